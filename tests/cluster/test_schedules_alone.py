"""Five minutes of schedules: with no server at all, and with two servers at once."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.schedules import (
    EVERY_MINUTE,
    define,
    ended_runs,
    jobs_of,
    missing_minutes,
    slot,
)
from cluster.support import Bucket, Kubectl, download, text_outputs, until, write
from local_lab.environment import cluster_environment
from local_lab.server import LabServer, running

SLOTS = 5
TASK_RUNNER = ("--Scheduler.task_runner_class=jupyter_scheduler.task_runner.TaskRunner",)


@dataclass(frozen=True)
class FiveMinutes:
    """What became of them.

    Attributes:
        alone: the definition that fired with no server alive.
        together: the definition of the two servers.
        folder: the servers' files; theirs are gone.
        owners: whose the two are.
    """

    alone: str
    together: str
    folder: Path
    owners: tuple[str, str]


@pytest.fixture(scope="module")
def five_minutes(
    kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FiveMinutes]:
    """Both kinds at the same time: one waits for them once."""
    folder = tmp_path_factory.mktemp("schedules")
    owners = (f"alone-{time.time_ns()}", f"together-{time.time_ns()}")

    def server(number: int, owner: str, *flags: str) -> Any:
        root = folder / "files"
        root.mkdir(exist_ok=True)
        environment = cluster_environment() | {"JUPYTERHUB_USER": owner}
        home = folder / f"home-{number}"
        return running(root, home=home, environment=environment, flags=flags)

    try:
        with server(0, owners[1], *TASK_RUNNER) as first, server(1, owners[1], *TASK_RUNNER):
            with server(2, owners[0]) as dead:
                write(dead, "n.ipynb", "print('at', x)")
                alone = define(
                    dead, "n.ipynb", name="alone", schedule=EVERY_MINUTE, parameters={"x": "7"}
                )
                dead.kill()
            together = define(first, "n.ipynb", name="together", schedule=EVERY_MINUTE)
            for definition_id in (alone, together):
                until(
                    partial(all_ended, kubectl, definition_id),
                    seconds=60 * (SLOTS + 2),
                    what=f"{SLOTS} runs",
                )
        yield FiveMinutes(alone, together, folder, owners)
    finally:
        for owner in owners:
            selector = f"jupyter-scheduler.io/owner={owner}"
            kubectl.run("delete", "cronjobs,jobs,secrets", "-l", selector, "--wait=false")


def all_ended(kubectl: Kubectl, definition_id: str) -> bool:
    """Whether there are enough runs, and each has ended."""
    jobs = jobs_of(kubectl, definition_id)
    return len(jobs) >= SLOTS and all(
        any(
            found["type"] in ("Complete", "Failed") for found in job["status"].get("conditions", ())
        )
        for job in jobs[:SLOTS]
    )


@pytest.fixture
def later_server(five_minutes: FiveMinutes, start_server: Callable[..., LabServer]) -> LabServer:
    """A server that knows nothing: an empty home, and files of its own."""
    return start_server(changes={"JUPYTERHUB_USER": five_minutes.owners[0]})


def test_runs_that_no_server_saw_are_all_there(
    five_minutes: FiveMinutes, later_server: LabServer, kubectl: Kubectl, bucket: Bucket
) -> None:
    jobs = jobs_of(kubectl, five_minutes.alone)[:SLOTS]

    shown = {run["job_id"]: run for run in ended_runs(later_server, five_minutes.alone, SLOTS)}

    assert missing_minutes(slot(job) for job in jobs) == []
    for job in jobs:
        run = shown[job["metadata"]["name"]]
        assert run["create_time"] == slot(job)
        assert (run["status"], run["name"]) == ("COMPLETED", "alone")
        assert run["parameters"] == {"x": "7"}
        assert run["create_time"] <= run["start_time"] <= run["end_time"]
        files = download(later_server, run["job_id"])
        assert text_outputs(files["ipynb"].read_text())[-1] == "at 7\n"
        assert "print('at', x)" in files["input"].read_text()
        assert bucket.keys(f"jobs/{run['job_id']}/input/")


def test_two_servers_with_upstreams_task_runner_named_fire_each_slot_once(
    five_minutes: FiveMinutes, kubectl: Kubectl
) -> None:
    selector = f"jupyter-scheduler.io/owner={five_minutes.owners[1]}"

    jobs = kubectl.get("jobs", "-l", selector)

    slots = [slot(job) for job in jobs]
    assert len(slots) == len(set(slots)) >= SLOTS
    assert missing_minutes(slots) == []
