"""A job is created once, with its inputs, or not at all: over HTTP, against what goes wrong."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.exceptions import IdempotencyTokenError
from jupyter_scheduler.models import CreateJob, ListJobsQuery
from obstore.store import MemoryStore

from faults.fake_api import Answer, FakeApi, Fault, Lost, Silent
from jupyter_scheduler_k8s import K8sScheduler
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    ConfigurationError,
    Forbidden,
    Rejected,
)
from jupyter_scheduler_k8s.pending import PendingInputs
from jupyter_scheduler_k8s.storage import Storage
from support.cached import Clock

NOTEBOOK = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


class Case:
    """A scheduler on the fake API server and a store in memory."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        self.store = MemoryStore()
        root = folder / "root"
        root.mkdir()
        (root / "n.ipynb").write_text(json.dumps(NOTEBOOK))
        self.scheduler = K8sScheduler(
            root_dir=str(root), environments_manager=StaticEnvironmentManager()
        )
        backend = self.scheduler.backend
        clock = Clock()
        backend.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            read_seconds=0.3,
            clock=clock,
            sleep=clock.advance,
            random=lambda: 0.5,
        )
        backend.__dict__["storage"] = Storage(bucket="files", store=self.store)
        self.pending_clock = Clock()
        backend.pending = PendingInputs(
            client=backend.client,
            storage=lambda: backend.storage,
            owner="somebody",
            log=backend.log,
            clock=self.pending_clock,
        )
        self.looked_after = False

    def look_after(self) -> None:
        """Stands for the start of the server's threads, which no test here is about."""
        self.looked_after = True

    def create(self, **asked: Any) -> str:
        model = CreateJob(
            name="n", input_uri="n.ipynb", runtime_environment_name="python3", **asked
        )
        return asyncio.run(self.scheduler.create_job(model))

    def keys(self, prefix: str = "jobs/") -> list[str]:
        return sorted(meta["path"] for page in self.store.list(prefix) for meta in page)

    def job_ids(self) -> list[str]:
        labels = [job["metadata"]["labels"] for job in self.api.things("jobs")]
        return [found["jupyter-scheduler.io/job-id"] for found in labels]


@pytest.fixture
def case(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    for name, value in {
        "K8S_NAMESPACE": "space",
        "S3_BUCKET": "files",
        "S3_ENDPOINT_URL": "",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "planted",
        "AWS_CA_BUNDLE": "",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    made = Case(api, tmp_path)
    monkeypatch.setattr(made.scheduler.backend, "start", made.look_after)
    return made


def test_the_inputs_are_stored_before_the_job_exists(case: Case) -> None:
    job_id = case.create()

    assert case.keys() == [f"jobs/{job_id}/input/n.ipynb"]
    assert case.job_ids() == [job_id]
    assert case.api.kinds()[-1] == "create"


def test_a_job_is_looked_after_though_nobody_reads_the_list(case: Case) -> None:
    case.create()

    assert case.looked_after


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True)], ids=["lost", "time-out"])
def test_a_create_whose_answer_was_lost_is_one_job(case: Case, lost: Fault) -> None:
    case.api.fail("create", lost)

    job_id = case.create()

    assert case.job_ids() == [job_id]
    assert case.keys() == [f"jobs/{job_id}/input/n.ipynb"]


def test_a_create_with_no_answer_at_all_keeps_the_inputs_and_says_so(case: Case) -> None:
    case.api.fail("create", *[Lost(done=True)] * 1, *[Answer(503, "gone")] * 60)

    with pytest.raises(ClusterUnavailable, match="may have been created"):
        case.create()

    # It had taken effect: the run finds what it needs.
    (job_id,) = case.job_ids()
    assert case.keys() == [f"jobs/{job_id}/input/n.ipynb"]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (
            Answer(
                403, 'jobs.batch is forbidden: User "me" cannot create resource "jobs"', "Forbidden"
            ),
            Forbidden,
            "create",
        ),
        (
            Answer(403, "jobs.batch is forbidden: exceeded quota: all", "Forbidden"),
            BackendError,
            "exceeded quota",
        ),
        (
            Answer(422, "Job.batch is invalid: quantities must match", "Invalid"),
            Rejected,
            "quantities must match",
        ),
    ],
)
def test_a_refused_job_leaves_nothing(
    case: Case, answer: Answer, error: type[BackendError], said: str
) -> None:
    case.api.fail("create", answer)

    with pytest.raises(error, match=said) as refusal:
        case.create()

    assert "planted" not in str(refusal.value)
    assert (case.keys(), case.job_ids()) == ([], [])


def test_a_cluster_that_is_away_leaves_nothing(case: Case) -> None:
    case.api.stop()

    with pytest.raises(ClusterUnavailable):
        case.create()

    assert case.keys() == []


def test_an_upload_that_fails_creates_no_job(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(MemoryStore):
        async def put_async(self, *_: Any, **__: Any) -> Any:
            raise OSError("no space left")

    case.scheduler.backend.__dict__["storage"] = Storage(bucket="files", store=Full())

    with pytest.raises((BackendError, OSError)):
        case.create()

    assert case.job_ids() == []


def test_credentials_that_do_not_work_never_reach_the_other_jobs(case: Case) -> None:
    class Refusing(MemoryStore):
        async def put_async(self, *_: Any, **__: Any) -> Any:
            raise PermissionError("SignatureDoesNotMatch")

    case.create()
    before = case.api.things("secrets")
    case.scheduler.backend.__dict__["storage"] = Storage(bucket="files", store=Refusing())

    with pytest.raises((BackendError, OSError)):
        case.create()

    assert case.api.things("secrets") == before
    assert len(before) == 1


def test_a_wrong_setting_is_said_by_every_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K8S_SCHEDULING_TIMEOUT", "soon")
    scheduler = K8sScheduler(
        root_dir=str(tmp_path), environments_manager=StaticEnvironmentManager()
    )

    with pytest.raises(ConfigurationError, match="K8S_SCHEDULING_TIMEOUT must be a number"):
        asyncio.run(scheduler.list_jobs(ListJobsQuery()))


def test_a_token_makes_one_job_however_often_it_is_sent(case: Case) -> None:
    job_id = case.create(idempotency_token="once")

    with pytest.raises(IdempotencyTokenError, match="once"):
        case.create(idempotency_token="once")

    assert case.job_ids() == [job_id]
    assert case.keys() == [f"jobs/{job_id}/input/n.ipynb"]


def test_two_requests_with_one_token_at_the_same_moment_make_one_job(case: Case) -> None:
    # The second looks before the first has created its Job, and finds nothing.
    case.api.fail("get", None, Answer(404, "not found", "NotFound"))
    job_id = case.create(idempotency_token="once")

    with pytest.raises(IdempotencyTokenError, match="once"):
        case.create(idempotency_token="once")

    assert case.job_ids() == [job_id]
    assert case.keys() == [f"jobs/{job_id}/input/n.ipynb"]


def test_no_bucket_names_the_setting(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S3_BUCKET")
    scheduler = K8sScheduler(
        root_dir=str(tmp_path), environments_manager=StaticEnvironmentManager()
    )
    model = CreateJob(
        name="n",
        input_uri="n.ipynb",
        runtime_environment_name="python3",
        runtime_environment_parameters=None,
    )

    with pytest.raises(ConfigurationError, match="S3_BUCKET"):
        asyncio.run(scheduler.create_job(model))


def test_a_server_makes_its_namespace_where_it_may(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", case.api.kubeconfig(tmp_path))
    scheduler = K8sScheduler(
        root_dir=str(tmp_path), environments_manager=StaticEnvironmentManager()
    )
    scheduler.backend.__dict__["storage"] = Storage(bucket="files", store=MemoryStore())

    scheduler.backend.warm_up()

    case.api.wait(lambda: bool(case.api.things("namespaces")))
    assert [found["metadata"]["name"] for found in case.api.things("namespaces")] == ["space"]
