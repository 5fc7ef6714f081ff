"""How long after a Job's condition a GET shows it."""

import time
from statistics import median

from budgets.servers import Lab
from budgets.table import Measurement
from cluster.pods import verdict, watching
from cluster.support import create, write

_TIMES = 5


def condition_shown(lab: Lab) -> list[Measurement]:
    """From the Complete condition on a watch of our own until a GET says COMPLETED."""
    write(lab.ours, "trivial.ipynb", "1 + 1")
    delays = [_delay(lab) for _ in range(_TIMES)]
    return [
        Measurement(
            what="Job condition set, until GET shows it",
            ours=median(delays),
            unit="ms",
            budget=100,
            absolute=True,
            note=f"the condition arrives on another watch (kubectl's); then GETs without a pause."
            f" Worst of {_TIMES}: {max(delays):.0f} ms.",
        )
    ]


def _delay(lab: Lab) -> float:
    job_id = create(lab.ours, "trivial.ipynb")
    selector = f"jupyter-scheduler.io/job-id={job_id}"
    with watching(lab.kubectl, "jobs", "-l", selector, seconds=120) as states:
        if not any(verdict(state) for state in states):
            raise RuntimeError(f"The job {job_id} did not end.")
        seen = time.perf_counter()
        while lab.ours.request("GET", f"jobs/{job_id}")["status"] != "COMPLETED":
            if time.perf_counter() - seen > 30:
                raise RuntimeError(f"The job {job_id} is not shown as COMPLETED.")
    return (time.perf_counter() - seen) * 1000
