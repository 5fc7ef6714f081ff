"""What upstream's tests find in place of its own fixtures: K8sScheduler, on the local cluster."""

import asyncio
import inspect
import secrets
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jupyter_scheduler.tests
import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.tests import test_handlers

from jupyter_scheduler_k8s import K8sScheduler, records
from local_lab.environment import cluster_environment

pytest_plugins = ["pytest_jupyter.jupyter_server"]

_ROWS = "asserts columns of rows in SQLite: lists of files are in S3, not in the record"
# Tests that are left out, each with the reason.
LEFT_OUT = {
    "test_create_job_with_input_folder": _ROWS,
    "test_create_job_definition_with_input_folder": _ROWS,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is listed above, and nothing that isn't there any more."""
    names = {getattr(item, "originalname", item.name) for item in items}
    assert set(LEFT_OUT) <= names or len({item.path for item in items}) < 2
    left = [item for item in items if getattr(item, "originalname", "") in LEFT_OUT]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a server of its own on the local cluster."""
    for name, value in cluster_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTERHUB_USER", f"upstream-{secrets.token_hex(4)}")


@pytest.fixture
def jp_server_config(tmp_path: Path) -> dict[str, Any]:
    """A server as upstream's tests expect it, with our scheduler."""
    return {
        "ServerApp": {
            "jpserver_extensions": {"jupyter_scheduler": True, "jupyter_scheduler_k8s": True}
        },
        "SchedulerApp": {
            "scheduler_class": "jupyter_scheduler_k8s.K8sScheduler",
            "environment_manager_class": "jupyter_scheduler.tests.mocks.MockEnvironmentManager",
            "db_url": f"sqlite:///{tmp_path / 'unused.sqlite'}",
        },
    }


@pytest.fixture(autouse=True)
def patches_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test replaces a method of upstream's scheduler, replace ours."""

    def patch(target: str, *args: Any, **options: Any) -> Any:
        ours = target.replace(
            "jupyter_scheduler.scheduler.Scheduler.", "jupyter_scheduler_k8s.K8sScheduler."
        )
        return mock.patch(ours, *args, **options)

    monkeypatch.setattr(test_handlers, "patch", patch)


@pytest.fixture
def static_test_files_dir() -> Path:
    """The notebooks that come with upstream's tests."""
    return Path(jupyter_scheduler.tests.__file__).parent / "static"


@pytest.fixture
def jp_scheduler_root_dir(tmp_path: Path, static_test_files_dir: Path) -> Path:
    """The folder of the server's files."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy2(static_test_files_dir / "helloworld.ipynb", root)
    return root


class Synchronous:
    """A scheduler whose coroutines are run to their end, as upstream's tests call them."""

    def __init__(self, scheduler: K8sScheduler) -> None:
        self._scheduler = scheduler

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        return partial(_run, found) if inspect.iscoroutinefunction(found) else found


def _run(method: Any, *args: Any, **options: Any) -> Any:
    return asyncio.run(method(*args, **options))


@pytest.fixture
def jp_scheduler(jp_scheduler_root_dir: Path) -> Iterator[Synchronous]:
    """The scheduler under test."""
    scheduler = K8sScheduler(
        root_dir=str(jp_scheduler_root_dir), environments_manager=StaticEnvironmentManager()
    )
    yield Synchronous(scheduler)
    # Upstream's definitions have the same ids in each test.
    client = scheduler.backend.client
    for cron_job in client.list_cron_jobs(records.selector(scheduler.backend.config.owner)):
        client.delete_cron_job(cron_job["metadata"]["name"], propagation="Background")
    scheduler.backend.close()


@pytest.fixture
def jp_scheduler_db(jp_scheduler: Synchronous) -> Any:
    """A session of the records."""
    return jp_scheduler.db_session()
