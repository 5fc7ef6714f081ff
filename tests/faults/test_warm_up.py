"""What a server does before anybody asks it for anything."""

import logging
from pathlib import Path

import pytest

from faults.fake_api import FakeApi
from jupyter_scheduler_k8s import records
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.config import K8sConfig


@pytest.fixture
def backend(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    config = K8sConfig(owner="mira", s3_bucket="files", namespace="space")
    backend = Backend(config=config, log=logging.getLogger("test"))
    # They ask S3, which is not there.
    for part in (backend.pending, backend._renewal):
        monkeypatch.setattr(part, "start", lambda: None)
    return backend


def schedule(api: FakeApi, owner: str) -> None:
    pairs = (pair.split("=") for pair in records.selector(owner).split(","))
    api.put("cronjobs", {"metadata": {"name": "nb-jobdef-1", "labels": dict(pairs)}})


def test_a_server_whose_owner_has_schedules_watches_over_their_runs(
    api: FakeApi, backend: Backend
) -> None:
    schedule(api, "mira")
    backend._care_for_schedules()
    try:
        api.watch(3)
    finally:
        backend.close()

    assert {watch.asked.resource for watch in api.watches} == {"jobs", "pods", "cronjobs"}


def test_a_server_without_schedules_waits_for_its_first_request(
    api: FakeApi, backend: Backend
) -> None:
    schedule(api, "noor")
    backend._care_for_schedules()
    backend.close()

    assert api.kinds() == ["list"]
