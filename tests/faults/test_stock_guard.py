"""A stopped job's Job is ended, although the process that could do it was killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.models import Status

from faults.fake_api import Answer, FakeApi
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.diagnosis import end_reason
from jupyter_scheduler_k8s.errors import ClusterUnavailable, Rejected
from jupyter_scheduler_k8s.stock.stopping import end_job, stop_if_asked
from support.cached import Clock, job_object
from support.stock import Database

PROCESS = """
import sys
from jupyter_scheduler_k8s.stock.guarding import Guard
guard = Guard(db_url=sys.argv[1], job_id=sys.argv[2], namespace="space")
print("guarded", flush=True)
if sys.stdin.readline():
    guard.dismiss()
"""


@pytest.fixture
def database(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    return Database(tmp_path)


def put_job(api: FakeApi, job_id: str, *conditions: str) -> None:
    job = job_object(name=names.job_name(job_id))
    job["status"] = {"conditions": [{"type": each, "status": "True"} for each in conditions]}
    api.put("jobs", job)


def reason(api: FakeApi) -> str | None:
    (job,) = api.things("jobs")
    return end_reason(job)


@contextmanager
def guarded(database: Database, job_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a guard. At the end of the block, both have ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, database.url, job_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == b"guarded\n"
        yield process
        # The guard has this pipe, too: it ends when both have let go of it.
        assert process.stdout.read() == b""
        process.wait()


def test_a_kill_after_a_stop_ends_the_job(api: FakeApi, database: Database) -> None:
    job_id = database.begun()
    put_job(api, job_id)

    with guarded(database, job_id) as process:
        # In upstream's order.
        database.status(job_id, Status.STOPPING)
        process.kill()

    assert reason(api) == "stopped"
    (job,) = api.things("jobs")
    assert job["spec"]["activeDeadlineSeconds"] == 1


def test_a_kill_that_nobody_asked_for_leaves_the_run(api: FakeApi, database: Database) -> None:
    job_id = database.begun()
    put_job(api, job_id)

    with guarded(database, job_id) as process:
        process.kill()

    assert api.kinds() == []


def test_a_normal_end_dismisses_the_guard(api: FakeApi, database: Database) -> None:
    job_id = database.begun()
    put_job(api, job_id)
    database.status(job_id, Status.STOPPED)

    with guarded(database, job_id) as process:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.wait()

    assert api.kinds() == []


def test_a_deleted_record_ends_the_job(api: FakeApi, database: Database) -> None:
    job_id = database.begun()
    put_job(api, job_id)
    database.remove(job_id)

    stop_if_asked(db_url=database.url, job_id=job_id, namespace="space")

    assert reason(api) == "stopped"


def test_a_database_that_is_gone_ends_nothing(api: FakeApi, database: Database) -> None:
    job_id = database.begun()
    put_job(api, job_id)
    database.path.unlink()

    stop_if_asked(db_url=database.url, job_id=job_id, namespace="space")

    assert api.kinds() == []


class Ending:
    """`end_job` on a clock that only its waits move."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.clock = Clock()
        self.waits = 0
        self.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            clock=self.clock,
            sleep=self.clock.advance,
        )

    def end(self, *, then: Any = None, after: int = 1) -> None:
        """End the Job; before the `after`th wait, call `then`."""

        def sleep(seconds: float) -> None:
            self.waits += 1
            if self.waits == after and then is not None:
                then()
            self.clock.advance(seconds)

        end_job(self.client, names.job_name("a-1"), clock=self.clock, sleep=sleep)


@pytest.fixture
def ending(api: FakeApi, tmp_path: Path) -> Ending:
    return Ending(api, tmp_path)


def test_an_api_that_is_away_is_waited_for(api: FakeApi, ending: Ending) -> None:
    put_job(api, "a-1")
    api.stop()

    ending.end(then=api.start, after=3)

    assert reason(api) == "stopped"


def test_an_api_that_stays_away_is_given_up_after_an_hour(api: FakeApi, ending: Ending) -> None:
    began = ending.clock()
    api.stop()

    with pytest.raises(ClusterUnavailable):
        ending.end()

    assert 3600 <= ending.clock() - began < 3700


def test_a_job_that_is_about_to_be_created_is_waited_for(api: FakeApi, ending: Ending) -> None:
    ending.end(then=lambda: put_job(api, "a-1"), after=2)
    assert reason(api) == "stopped"


def test_a_job_that_never_was_is_no_trouble(api: FakeApi, ending: Ending) -> None:
    ending.end()
    assert set(api.kinds()) == {"get"}


@pytest.mark.parametrize("condition", ["Complete", "Failed", "FailureTarget"])
def test_a_run_that_has_ended_is_not_said_to_be_stopped(
    api: FakeApi, ending: Ending, condition: str
) -> None:
    put_job(api, "a-1", condition)
    ending.end()
    assert reason(api) is None


def test_a_refusal_is_not_repeated(api: FakeApi, ending: Ending) -> None:
    put_job(api, "a-1")
    api.fail("patch", Answer(403, "no", "Forbidden"))

    with pytest.raises(Rejected):
        ending.end()
    assert api.kinds().count("patch") == 1
