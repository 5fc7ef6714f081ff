"""Runs of the stock scheduler's jobs, over HTTP, against what goes wrong with them."""

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.models import Status
from obstore.store import MemoryStore

from faults.fake_api import Answer, FakeApi, Lost
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError, NotFound, Rejected, StorageDenied
from jupyter_scheduler_k8s.executors import K8sExecutionManager
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.stock.run import StockRun, backend_for, record_of
from jupyter_scheduler_k8s.stock.sweep import Task, bring_to_end, conclude, remove
from jupyter_scheduler_k8s.storage import Storage
from support.stock import Database

NOTEBOOK = json.dumps(
    {
        "cells": [],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)
TIME = "2026-01-01T00:00:00Z"


class Case:
    """One job of a database, on the fake API server and a store in memory."""

    def __init__(self, api: FakeApi, folder: Path, **columns: Any) -> None:
        self.api = api
        self.database = Database(folder)
        self.ledger = self.database.ledger
        self.job_id = self.database.begun(**columns)
        self.paths = self.database.staging_paths(self.job_id)
        self.folder = Path(self.paths["input"]).parent
        (self.folder / "n.ipynb").write_text(NOTEBOOK)
        self.config = K8sConfig(namespace="space", s3_bucket="files", owner="me")
        self.store = MemoryStore()
        self.told: list[str | None] = []
        self._told = threading.Event()

    def _tell(self, message: str | None) -> None:
        self.told.append(message)
        self._told.set()

    def until_told(self, message: str) -> None:
        """Wait until the run has said this."""
        while message not in self.told:
            assert self._told.wait(10), self.told
            self._told.clear()

    def run(self, *, record: JobRecord | None = None) -> StockRun:
        """The run, as a new process has it."""
        log = logging.getLogger("run")
        backend = backend_for(self.job_id, config=self.config, log=log)
        backend.storage = Storage(bucket="files", store=self.store)
        backend.client = self._quick(backend)
        return StockRun(
            record or record_of(self.database.job(self.job_id), "me"),
            staging_paths=self.paths,
            backend=backend,
            told=self._tell,
        )

    def gone(self) -> StockRun:
        """The run of a record that was deleted."""
        self.database.remove(self.job_id)
        name = names.job_name(self.job_id)
        return self.run(record=JobRecord(job_id=self.job_id, owner="me", object_name=name))

    def _quick(self, backend: Backend) -> ClusterClient:
        connection: Connection = backend.client.connection
        return ClusterClient("space", connection=connection, deadline_seconds=0.2)

    def keys(self) -> list[str]:
        listed = self.store.list().collect()
        return sorted(found["path"] for found in listed)

    def put(self, tail: str, content: str) -> None:
        self.store.put(names.job_prefix(self.job_id) + tail, content.encode())

    def ends(self, condition: str, **annotations: Any) -> None:
        """The Job ends, as its controller says it."""
        (job,) = self.api.things("jobs")
        job["metadata"]["annotations"].update(
            {name: json.dumps(value) for name, value in annotations.items()}
        )
        when = {"type": condition, "status": "True", "lastTransitionTime": TIME}
        self.api.put("jobs", {**job, "status": {"conditions": [when]}})

    def completes_when_watched(self) -> threading.Thread:
        """The controller, for one Job that nobody stops."""

        def run() -> None:
            self.api.watch(2)
            self.ends("Complete")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _is_asked(self) -> bool:
        (job,) = self.api.things("jobs")
        return names.END_ANNOTATION in job["metadata"]["annotations"]

    def ends_when_asked(self) -> threading.Thread:
        """The controller, for one Job that is to be stopped."""

        def run() -> None:
            self.api.wait(self._is_asked)
            self.ends("Failed")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


@pytest.fixture
def folder(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, in an environment that leads to the fake API server."""
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    # Backend's own way to S3 credentials, of which there are none here.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return tmp_path


@pytest.fixture
def case(api: FakeApi, folder: Path) -> Case:
    return Case(api, folder)


# To the cluster.


def test_the_inputs_are_there_before_the_job(case: Case) -> None:
    case.run().start()

    (job,) = case.api.things("jobs")
    assert job["metadata"]["labels"][names.JOB_ID_LABEL] == case.job_id
    assert case.keys() == [f"jobs/{case.job_id}/input/n.ipynb"]


def test_a_create_without_an_answer_is_found_to_have_worked(case: Case) -> None:
    case.api.fail("create", Lost(done=True))
    run = case.run()

    run.start()

    assert len(case.api.things("jobs")) == 1
    assert not run.is_uncertain


def test_an_api_that_is_away_is_waited_for_and_said(case: Case) -> None:
    case.api.fail("create", *[Answer(503, "etcd is away")] * 4)

    case.run().start()

    assert len(case.api.things("jobs")) == 1
    assert case.told[-1] is None
    assert any("etcd is away" in (told or "") for told in case.told)


def test_a_refused_job_leaves_nothing(case: Case) -> None:
    case.api.fail("create", Answer(422, "limits.cpu: too small", "Invalid"))
    run = case.run()

    with pytest.raises(Rejected, match="too small"):
        run.start()

    assert (case.keys(), run.is_uncertain) == ([], False)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"output_formats": ["pdf"]}, "pdf is not made by jobs"),
        ({"runtime_environment_parameters": {"k8s_gpu": "-1"}}, "k8s_gpu must be"),
        ({"input_filename": "../n.ipynb"}, "would leave its folder"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_stored(
    api: FakeApi, folder: Path, columns: dict[str, Any], said: str
) -> None:
    case = Case(api, folder, **columns)

    with pytest.raises(BackendError, match=said):
        case.run().start()

    assert (case.keys(), api.things("jobs")) == ([], [])


def test_a_job_that_is_not_there_is_not_created_again(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_scheduler_k8s.stock.stopping.APPEARS_SECONDS", 0)

    with pytest.raises(NotFound, match="run it again if that is safe"):
        case.run().attach()

    assert case.api.things("jobs") == []


# Meanwhile, and back.


def test_the_end_comes_over_the_watch(case: Case) -> None:
    run = case.run()
    run.start()
    case.put("outputs/output.ipynb", "executed")
    ending = case.completes_when_watched()

    assert run.wait().status == "COMPLETED"
    ending.join()
    run.fetch()

    assert Path(case.paths["ipynb"]).read_text() == "executed"


def test_why_a_pod_waits_is_said_while_it_waits(case: Case) -> None:
    run = case.run()
    run.start()
    (job,) = case.api.things("jobs")
    pod = {
        "metadata": {
            "name": "p",
            "labels": {
                names.JOB_ID_LABEL: case.job_id,
                names.POD_JOB_NAME_LABEL: job["metadata"]["name"],
            },
            "ownerReferences": [{"uid": job["metadata"]["uid"]}],
            # Older than the 30 seconds in which nothing is said.
            "creationTimestamp": (datetime.now(UTC) - timedelta(seconds=40)).isoformat(),
        },
        "spec": {},
        "status": {
            "phase": "Pending",
            "conditions": [
                {"type": "PodScheduled", "status": "False", "message": "1 Insufficient memory."}
            ],
        },
    }
    case.api.put("pods", pod)

    waiting = threading.Thread(target=run.wait, daemon=True)
    waiting.start()
    case.until_told("Cannot schedule: Insufficient memory available")
    case.ends("Complete")
    waiting.join()

    assert case.told == ["Cannot schedule: Insufficient memory available"]


def test_an_end_that_nobody_watched_is_seen(case: Case) -> None:
    case.run().start()
    case.ends("Complete")
    later = case.run()

    later.attach()

    assert later.wait().status == "COMPLETED"


def test_a_job_deleted_in_the_cluster_ends_the_wait(case: Case) -> None:
    run = case.run()
    run.start()

    def delete() -> None:
        case.api.watch(2)
        case.api.remove("jobs", names.job_name(case.job_id))

    thread = threading.Thread(target=delete, daemon=True)
    thread.start()
    with pytest.raises(NotFound, match="was deleted in the cluster"):
        run.wait()
    thread.join()


def test_files_that_a_run_made_come_home_under_their_names(api: FakeApi, folder: Path) -> None:
    case = Case(api, folder, package_input_folder=True, output_formats=["html"])
    case.put("input/n.ipynb", "not fetched")
    case.put("outputs/output.html", "page")
    case.put("outputs/output.ipynb", "executed")
    case.put("outputs/files/made/out.csv", "1")

    assert case.run().fetch() == ["made/out.csv"]
    assert Path(case.paths["html"]).read_text() == "page"
    assert (case.folder / "made" / "out.csv").read_text() == "1"
    assert (case.folder / "n.ipynb").read_text() == NOTEBOOK


# What a sweep does.


def test_a_deleted_job_takes_its_run_its_files_and_its_job_along(case: Case) -> None:
    case.run().start()
    case.put("outputs/output.ipynb", "executed")
    run = case.gone()
    ending = case.ends_when_asked()

    remove(run, case.ledger)
    ending.join()

    assert (case.api.things("jobs"), case.keys()) == ([], [])
    assert case.ledger.open_runs() == []


def test_a_deleted_job_stays_in_the_ledger_until_its_files_are_gone(case: Case) -> None:
    case.run().start()
    case.ends("Complete")
    run = case.gone()

    class Refuses(Storage):
        async def delete_prefix(self, prefix: str) -> int:
            raise StorageDenied("S3 refuses.")

    run._backend.storage = Refuses(bucket="files", store=case.store)
    with pytest.raises(StorageDenied):
        remove(run, case.ledger)

    assert len(case.api.things("jobs")) == 1
    assert [found.job_id for found in case.ledger.open_runs()] == [case.job_id]


def test_a_stopped_run_keeps_what_it_had_computed(case: Case) -> None:
    case.run().start()
    case.put("outputs/output.ipynb", "as far as it got")
    case.database.status(case.job_id, Status.STOPPED)
    ending = case.ends_when_asked()

    conclude(case.run(), case.ledger, status="STOPPED")
    ending.join()

    job = case.database.job(case.job_id)
    assert job.status is Status.STOPPED
    assert job.status_message
    assert Path(case.paths["ipynb"]).read_text() == "as far as it got"
    assert case.ledger.open_runs() == []


def test_a_run_that_completed_before_its_stop_has_completed(case: Case) -> None:
    case.run().start()
    case.ends("Complete")
    case.database.status(case.job_id, Status.STOPPING)

    conclude(case.run(), case.ledger, status="STOPPING")

    assert case.database.job(case.job_id).status is Status.COMPLETED


def test_a_failure_before_the_cluster_stays_one(case: Case) -> None:
    case.ledger.end(case.job_id, settled=False, status=Status.FAILED, status_message="why")
    case.run().start()
    ending = case.ends_when_asked()

    conclude(case.run(), case.ledger, status="FAILED")
    ending.join()

    job = case.database.job(case.job_id)
    assert (job.status, job.status_message) == (Status.FAILED, "why")


def test_a_task_whose_record_is_deleted_meanwhile_is_removed(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backend, "storage", Storage(bucket="files", store=case.store))
    case.run().start()
    case.ends("Complete")
    task = Task(case.job_id, case.paths)
    case.database.remove(case.job_id)

    bring_to_end(task, ledger=case.ledger, config=case.config)

    assert (case.api.things("jobs"), case.keys()) == ([], [])


# The job's process as a whole.


@pytest.fixture
def manager(case: Case, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Backend, "storage", Storage(bucket="files", store=case.store))
    made = K8sExecutionManager(
        job_id=case.job_id,
        root_dir=str(case.folder),
        db_url=case.database.url,
        staging_paths=case.paths,
    )
    made.settings = case.config.effective()
    return made


def test_a_process_writes_the_outcome_and_its_files(case: Case, manager: Any) -> None:
    case.put("outputs/output.ipynb", "executed")
    ending = case.completes_when_watched()

    manager.process()
    ending.join()

    assert case.database.job(case.job_id).status is Status.COMPLETED
    assert Path(case.paths["ipynb"]).read_text() == "executed"
    assert case.ledger.open_runs() == []
    assert list(case.folder.parent.glob(".*")) == []


def test_a_wrong_setting_is_the_jobs_message(case: Case, manager: Any) -> None:
    manager.settings = {"namespace": "space", "s3_bucket": "no bucket!"}

    manager.process()

    job = case.database.job(case.job_id)
    assert job.status is Status.FAILED
    assert "can't be the name of a bucket" in (job.status_message or "")
    assert case.ledger.open_runs() == []


def test_a_job_that_was_stopped_before_its_process_was_ready_does_not_start(
    case: Case, manager: Any
) -> None:
    case.database.status(case.job_id, Status.STOPPED)

    with pytest.raises(SystemExit):
        manager.process()

    assert case.api.kinds() == []


def test_outputs_that_cannot_be_brought_home_leave_the_run_open(
    case: Case, manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(Storage):
        async def download(self, wanted: Any) -> None:
            raise StorageDenied("S3 refuses.")

    monkeypatch.setattr(Backend, "storage", Refuses(bucket="files", store=case.store))
    case.put("outputs/output.ipynb", "executed")
    ending = case.completes_when_watched()

    manager.process()
    ending.join()

    job = case.database.job(case.job_id)
    assert job.status is Status.COMPLETED
    assert job.status_message == "The outputs are not here yet: S3 refuses."
    assert [found.status for found in case.ledger.open_runs()] == ["COMPLETED"]
