"""Running jobs cost the server nothing that grows with their number."""

import gc
from typing import Any

from cluster.support import Kubectl, create, ended, until, write
from local_lab.server import LabServer
from support.memory import own_memory, tree

_JOBS = 20
_MEGABYTE = 1024 * 1024


def test_twenty_running_jobs_add_no_process_and_hardly_any_memory(
    server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    write(server, "wait.ipynb", "import time\ntime.sleep(3600)")
    write(server, "quick.ipynb", "1")

    def look() -> list[dict[str, Any]]:
        return list(server.request("GET", "jobs")["jobs"])

    def run_together(count: int) -> list[str]:
        job_ids = [create(server, "wait.ipynb") for _ in range(count)]
        until(
            lambda: all(
                job["status"] == "IN_PROGRESS" for job in look() if job["job_id"] in job_ids
            ),
            seconds=180,
            what="all jobs to run",
        )
        return job_ids

    # Warm-up: as many requests and records as will be measured.
    for job_id in run_together(_JOBS):
        server.request("DELETE", f"jobs/{job_id}")
    ended(server, create(server, "quick.ipynb"))
    for _ in range(50):
        look()
    gc.collect()
    before, processes = own_memory(server), len(list(tree(server)))

    job_ids = run_together(_JOBS)
    for _ in range(50):
        look()

    assert len(job_ids) == _JOBS
    assert len(list(tree(server))) == processes
    assert own_memory(server) - before < 2 * _MEGABYTE
