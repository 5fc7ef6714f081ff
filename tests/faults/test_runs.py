"""Jobs that two delete at once."""

import logging
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from faults.fake_api import Answer, FakeApi
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import Rejected
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.runs import Runs
from jupyter_scheduler_k8s.storage import Storage

KEY = "jobs/1/outputs/output.ipynb"


@pytest.fixture
async def backend(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    config = K8sConfig(owner="mira", s3_bucket="files", namespace="space")
    backend = Backend(config=config, log=logging.getLogger("test"))
    backend.storage = Storage(bucket="files", store=MemoryStore())
    await backend.storage.put_bytes(KEY, b"x")
    return backend


@pytest.mark.parametrize("status", ["COMPLETED", "IN_PROGRESS"])
async def test_a_job_that_somebody_else_deletes_meanwhile_is_deleted(
    backend: Backend, status: str
) -> None:
    record = JobRecord(job_id="1", object_name="nb-job-1", status=status)

    await Runs(backend).delete(record)

    assert await backend.storage.list("jobs/1/") == []


async def test_a_job_that_could_not_be_deleted_is_no_success(
    api: FakeApi, backend: Backend
) -> None:
    api.put("jobs", {"metadata": {"name": "nb-job-1"}})
    api.fail("delete", Answer(403, "no", "Forbidden"))
    record = JobRecord(job_id="1", object_name="nb-job-1", status="COMPLETED")

    with pytest.raises(Rejected):
        await Runs(backend).delete(record)
