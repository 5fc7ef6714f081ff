"""POST of a job on a live server, durable when it returns."""

import time

from budgets.repeated import interleaved
from budgets.servers import Lab
from budgets.table import Measurement
from cluster.support import create, ended, write
from local_lab.server import LabServer

_TIMES = 9


def post(lab: Lab) -> list[Measurement]:
    """Our POST beside the stock scheduler's; each run has ended before the next POST."""
    for server in (lab.ours, lab.stock):
        write(server, "quick.ipynb", "1")
    ours, theirs = interleaved(lambda: _post(lab.ours), lambda: _post(lab.stock), times=_TIMES)
    return [
        Measurement(
            what="POST of a job",
            ours=ours,
            theirs=theirs,
            against="stock",
            unit="ms",
            budget=0.5,
            note=f"REST on two live servers in turn, {_TIMES} each; every run had ended before"
            " the next POST, so no run's own CPU is in the figures but the process that stock"
            " starts within its POST.",
        )
    ]


def _post(server: LabServer) -> float:
    began = time.perf_counter()
    job_id = create(server, "quick.ipynb")
    taken = time.perf_counter() - began
    ended(server, job_id)
    # The containers' and the process' own end comes after the record's.
    time.sleep(0.5)
    return taken * 1000
