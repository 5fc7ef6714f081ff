"""Two servers of one person at once: each run has one record, one pod, one set of outputs."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.pods import watching
from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    first_output,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer, RequestFailed

StartServer = Callable[..., LabServer]

_JOBS = 20


def pods_seen(kubectl: Kubectl, owner: str, *, seconds: float) -> dict[str, set[str]]:
    """Every pod of an owner from now on, by job, as a dict that grows; also those gone again."""
    found: dict[str, set[str]] = {}
    what = ("pods", "-l", f"jupyter-scheduler.io/owner={owner}")

    def watch() -> None:
        with watching(kubectl, *what, seconds=seconds) as states:
            for pod in states:
                job_id = pod["metadata"]["labels"]["jupyter-scheduler.io/job-id"]
                found.setdefault(job_id, set()).add(pod["metadata"]["name"])

    threading.Thread(target=watch, daemon=True).start()
    return found


def test_twenty_jobs_of_two_servers_are_twenty_pods(
    start_server: StartServer, kubectl: Kubectl, bucket: Bucket, owner: str
) -> None:
    servers = [start_server(), start_server()]
    write(servers[0], "n.ipynb", "import socket\nprint(socket.gethostname())")
    prefixes = {key.split("/")[1] for key in bucket.keys("jobs/")}
    seen = pods_seen(kubectl, owner, seconds=300)

    refusals: list[tuple[int, bool]] = []

    def ask(number: int) -> str | None:
        """Ask one server for the job that the other one is asked for at the same moment."""
        token = f"token-{number // 2}"
        try:
            return create(servers[number % 2], "n.ipynb", name=token, idempotency_token=token)
        except RequestFailed as error:
            refusals.append((error.status, token in error.message))
            return None

    with ThreadPoolExecutor(4) as pool:
        job_ids = [job_id for job_id in pool.map(ask, range(2 * _JOBS)) if job_id]
    assert len(job_ids) == _JOBS
    assert set(refusals) == {(409, True)}
    jobs = [ended(servers[n % 2], job_id, seconds=240) for n, job_id in enumerate(job_ids)]

    assert Counter(job["name"] for job in jobs) == Counter(f"token-{n}" for n in range(_JOBS))
    whole = dict.fromkeys(job_ids, "COMPLETED")
    for server in servers:
        listed = server.request("GET", "jobs")["jobs"]
        assert {job["job_id"]: job["status"] for job in listed} == whole
    assert {job_id: len(pods) for job_id, pods in seen.items()} == dict.fromkeys(job_ids, 1)
    # What was refused left nothing, and the outputs are those of the one pod.
    assert {key.split("/")[1] for key in bucket.keys("jobs/")} - prefixes == set(job_ids)
    for job_id in job_ids:
        stored = bucket.read(f"jobs/{job_id}/outputs/output.ipynb")
        assert {text.strip() for text in text_outputs(stored)} == seen[job_id]


def test_what_one_server_does_the_other_shows(start_server: StartServer, bucket: Bucket) -> None:
    first, second = start_server(), start_server()
    write(first, "long.ipynb", "print('kept')", "import time\ntime.sleep(600)")
    job_id = create(first, "long.ipynb")
    until(
        lambda: second.request("GET", f"jobs/{job_id}")["status"] == "IN_PROGRESS",
        seconds=60,
        what="the other server to say that it runs",
    )

    first_output(bucket, job_id)

    second.request("PATCH", f"jobs/{job_id}", {"status": "STOPPED"})
    first.request("PATCH", f"jobs/{job_id}", {"status": "STOPPED"})

    for server in (first, second):
        assert ended(server, job_id)["status"] == "STOPPED"
    assert text_outputs(download(second, job_id)["ipynb"].read_text())[0] == "kept\n"
    first.request("DELETE", f"jobs/{job_id}")
    with pytest.raises(RequestFailed, match=f"There is no job {job_id}"):
        first.request("DELETE", f"jobs/{job_id}")
    until(
        lambda: second.request("GET", "jobs")["jobs"] == [],
        seconds=5,
        what="the other server to forget it",
    )
