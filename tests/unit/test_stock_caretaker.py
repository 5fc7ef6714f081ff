"""What a server starts for runs that nobody looks after, and what it leaves alone."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.models import Status

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.stock.caretaker import Caretaker
from jupyter_scheduler_k8s.stock.claim import Claim
from support.stock import Database


class Process:
    """A process that is started and does nothing."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.started = False
        self.exitcode: int | None = None

    def start(self) -> None:
        self.started = True

    def is_alive(self) -> bool:
        return self.exitcode is None


class Server:
    """A caretaker, and the processes that it started."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder)
        self.area = Path(self.database.scheduler.staging_path)
        self.area.mkdir()
        self.processes: list[Process] = []
        self.caretaker = Caretaker(
            scheduler=self.database.scheduler,
            config=K8sConfig(namespace="space", s3_bucket="files"),
            log=logging.getLogger("test"),
            make_process=self._make,
            clock=lambda: time.time() + 61,
        )

    def _make(self, **arguments: Any) -> Any:
        process = Process(**arguments)
        self.processes.append(process)
        return process

    def look(self) -> list[Process]:
        """The processes that a look has started."""
        known = len(self.processes)
        self.caretaker.look()
        started = self.processes[known:]
        assert all(process.started for process in started)
        return started


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def swept(process: Process) -> Mapping[str, Any]:
    """The staging paths that a sweep got, by job."""
    (tasks,) = process.arguments["args"]
    return {task.job_id: task.staging_paths for task in tasks}


def test_nothing_is_started_where_nobody_is_needed(server: Server) -> None:
    running = server.database.begun(start_time=1)
    assert Claim(server.area, running).take()
    done = server.database.begun()
    server.database.ledger.end(done, settled=True, status=Status.COMPLETED)
    server.database.add(status=Status.IN_PROGRESS)

    assert server.look() == []


def test_deleted_and_stopped_jobs_are_swept_by_one_process(server: Server) -> None:
    deleted, stopped = server.database.begun(), server.database.begun()
    server.database.remove(deleted)
    server.database.status(stopped, Status.STOPPED)

    (process,) = server.look()

    found = swept(process)
    assert found[deleted] is None
    assert found[stopped] == server.database.staging_paths(stopped)
    assert process.arguments["kwargs"]["settings"]["namespace"] == "space"
    # While it runs, no second one is started.
    assert server.look() == []
    process.exitcode = 0
    assert len(server.look()) == 1


def test_a_run_whose_process_is_dead_gets_another(server: Server) -> None:
    job_id = server.database.begun(start_time=1)

    (process,) = server.look()

    manager = process.arguments["target"].__self__
    assert (manager.job_id, manager.takes_over) == (job_id, True)


def test_a_process_gets_a_minute_to_load(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.caretaker._clock = time.time
    server.database.begun()

    assert server.look() == []


def test_an_end_that_was_not_brought_home_is_swept(server: Server) -> None:
    job_id = server.database.begun(start_time=1)
    server.database.ledger.end(job_id, settled=False, status=Status.COMPLETED)

    (process,) = server.look()

    assert list(swept(process)) == [job_id]


def test_runs_of_another_namespace_or_bucket_are_left_and_named_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = server.database.begun()
    server.database.ledger.place(job_id, "elsewhere", "files")
    server.database.remove(job_id)

    assert server.look() == server.look() == []
    (said,) = caplog.messages
    assert job_id in said
    assert "the namespace elsewhere" in said


def test_sweeps_that_fail_come_more_rarely(server: Server) -> None:
    server.database.remove(server.database.begun())
    pauses = []
    for code in (1, 1, 0):
        (process,) = server.look()
        process.exitcode = code
        pauses.append(server.caretaker._pause)
    server.look()

    assert pauses[0] < pauses[1] < pauses[2]
    assert server.caretaker._pause == pauses[0]
