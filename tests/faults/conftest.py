"""A fake API server for each test, a mirror of it, and a Jupyter server that uses it."""

import importlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from traitlets.config import Config

from faults.callers import Caller
from faults.fake_api import FakeApi
from faults.lab_server import Server
from faults.mirrored import Mirrored
from faults.scheduled import ENVIRONMENT, Case
from jupyter_scheduler_k8s import extension
from jupyter_scheduler_k8s.scheduler import K8sScheduler

# Loaded while no other thread loads anything: it hides a warning of its own imports
# with a filter, which another thread's imports may take away.
importlib.import_module("kubernetes.client")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    # A proxy of the machine would stand between the client and this server.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fake = FakeApi()
    yield fake
    fake.stop()


@pytest.fixture
def caller(api: FakeApi, tmp_path: Path) -> Caller:
    return Caller(api.kubeconfig(tmp_path))


@pytest.fixture
def hasty(api: FakeApi, tmp_path: Path) -> Caller:
    """One that doesn't wait long for an answer."""
    return Caller(api.kubeconfig(tmp_path), read_seconds=0.3)


@pytest.fixture
def mirrored(api: FakeApi, tmp_path: Path) -> Iterator[Mirrored]:
    made = Mirrored(api, api.kubeconfig(tmp_path), logging.getLogger("mirrored"))
    yield made
    for reflector in made.reflectors:
        reflector.stop(timeout=10)
        assert not reflector.alive


@pytest.fixture
def scheduled(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A server with definitions."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return Case(api, tmp_path)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server without extensions."""
    made = Server()
    yield made
    await made.stop()


@pytest.fixture
def load(
    api: FakeApi, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Put K8sScheduler on the fake API, and our extension, into the server."""
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    monkeypatch.setenv("S3_BUCKET", "files")

    def load(**settings: Any) -> None:
        server.config = Config({"K8sConfig": settings})
        environments: Any = StaticEnvironmentManager()
        server.web_app.settings["scheduler"] = K8sScheduler(
            root_dir=str(tmp_path), environments_manager=environments, config=server.config
        )
        extension.load(server)

    yield load
    # A look at the nodes outlives its request, and would ask the next test's server.
    api.stop()
    for thread in threading.enumerate():
        if thread.name == "nodes":
            thread.join()
