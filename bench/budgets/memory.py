"""What ten running jobs cost the server."""

from budgets.servers import Lab
from budgets.table import Measurement
from cluster.support import create, ended, until, write
from local_lab.server import LabServer
from support.memory import own_memory, tree

_JOBS = 10
# Long enough for the last of the stock jobs to have begun before the first ends.
_SLEEP_SECONDS = 90
_MEGABYTE = 1024 * 1024


def memory(lab: Lab) -> list[Measurement]:
    """Memory and processes of a server per running job."""
    ours, our_processes = _cost(lab.ours, warm_up=_JOBS)
    theirs, their_processes = _cost(lab.stock, warm_up=1)
    what = f"server {{}} per running job ({_JOBS} run)"
    return [
        Measurement(
            what=what.format("memory"),
            ours=ours,
            theirs=theirs,
            against="stock",
            unit="MB",
            budget=0.1,
            absolute=True,
            note="unique set size of the server and all processes below it, before the jobs and"
            " while all run, after a warm-up.",
        ),
        Measurement(
            what=what.format("processes"),
            ours=our_processes,
            theirs=their_processes,
            against="stock",
            unit="processes",
            budget=0,
            absolute=True,
        ),
    ]


def _cost(server: LabServer, *, warm_up: int) -> tuple[float, float]:
    """Megabytes and processes per job."""
    write(server, "quick.ipynb", "1")
    ended(server, create(server, "quick.ipynb"))
    _end(server, _run_together(server, warm_up))
    before, processes = own_memory(server), len(list(tree(server)))
    job_ids = _run_together(server, _JOBS)
    cost = (own_memory(server) - before) / _MEGABYTE / _JOBS
    more = (len(list(tree(server))) - processes) / _JOBS
    _end(server, job_ids)
    # Not below nothing: what the server gives back meanwhile is no job's doing.
    return max(cost, 0), more


def _run_together(server: LabServer, count: int) -> list[str]:
    """Start jobs, and wait until the cells of all run."""
    markers = server.root_dir / "markers"
    markers.mkdir(exist_ok=True)
    for old in markers.iterdir():
        old.unlink()
    # A stock job says IN_PROGRESS before it has a kernel; one in a pod can't leave a marker.
    write(
        server,
        "wait.ipynb",
        "import pathlib, time, uuid\n"
        f"folder = pathlib.Path({str(markers)!r})\n"
        "if folder.exists(): (folder / uuid.uuid4().hex).touch()\n"
        f"time.sleep({_SLEEP_SECONDS})",
    )
    local = server.root_dir.name == "files-stock"
    job_ids = [create(server, "wait.ipynb") for _ in range(count)]

    def all_run() -> bool:
        if local:
            return len(list(markers.iterdir())) == count
        jobs = server.request("GET", "jobs")["jobs"]
        running = {job["job_id"] for job in jobs if job["status"] == "IN_PROGRESS"}
        return running.issuperset(job_ids)

    until(all_run, seconds=180, what=f"{count} jobs to run")
    return job_ids


def _end(server: LabServer, job_ids: list[str]) -> None:
    """Delete running jobs; what the stock scheduler leaves of them lowers its own figure."""
    for job_id in job_ids:
        server.request("DELETE", f"jobs/{job_id}")
