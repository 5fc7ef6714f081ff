"""The local cluster, a server of one's own on it, and what is left to look at after a failure.

Each test's server has an owner of its own, so that tests see only their records.
Servers run with the rights of the Role in deploy/; the tests look with all rights.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster.pods import Pods
from cluster.support import Bucket, Kubectl, create, ended
from local_lab.environment import cluster_environment
from local_lab.server import SCHEDULER_FLAG, LabServer, running


@pytest.fixture(scope="session")
def cluster() -> dict[str, str]:
    """The environment of an administrator of the local cluster."""
    return cluster_environment(administrator=True)


@pytest.fixture(scope="session")
def kubectl(cluster: dict[str, str]) -> Kubectl:
    """kubectl with all rights, in the namespace of the jobs."""
    return Kubectl(cluster, cluster["K8S_NAMESPACE"])


@pytest.fixture(scope="session")
def bucket(cluster: dict[str, str]) -> Bucket:
    """The bucket, seen by another client."""
    return Bucket.of(cluster)


@pytest.fixture
def owner(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh owner; its records are removed, or shown where the test failed."""
    name = f"test-{secrets.token_hex(5)}"
    selector = f"jupyter-scheduler.io/owner={name}"
    yield name
    if getattr(request.node, "failed", False):
        for what in (("get", "cronjobs,jobs,pods", "-o", "yaml"), ("get", "events")):
            text = kubectl.run(*what, *(("-l", selector) if what[1] != "events" else ()))
            request.node.add_report_section("teardown", " ".join(what), text[-20_000:])
    kubectl.run("delete", "cronjobs,jobs,secrets", "-l", selector, "--wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell fixtures whether their test failed."""
    report = yield
    if report is not None and report.failed:
        item.failed = True
    return report


@pytest.fixture
def environment(owner: str) -> dict[str, str]:
    """The environment of a server of this test."""
    return cluster_environment() | {"JUPYTERHUB_USER": owner}


@pytest.fixture
def start_server(
    tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Callable[..., LabServer]]:
    """Starts a server, in the test's folder `files` and with an empty home."""
    with ExitStack() as servers:
        started: list[LabServer] = []

        def start(
            *,
            flags: tuple[str, ...] = (),
            changes: Mapping[str, str] | None = None,
            mode: str = SCHEDULER_FLAG,
            home: Path | None = None,
        ) -> LabServer:
            root = tmp_path / "files"
            root.mkdir(exist_ok=True)
            server = servers.enter_context(
                running(
                    root,
                    home=home or tmp_path / f"home-{len(started)}",
                    environment=environment | dict(changes or {}),
                    flags=flags,
                    mode=mode,
                )
            )
            started.append(server)
            return server

        yield start
        if getattr(request.node, "failed", False):
            for server in started:
                text = server.log.read_text(errors="replace")
                request.node.add_report_section("teardown", str(server.log), text[-20_000:])


@pytest.fixture
def server(start_server: Callable[..., LabServer]) -> LabServer:
    """One server."""
    return start_server()


@pytest.fixture
def pods(
    kubectl: Kubectl, bucket: Bucket, cluster: dict[str, str], owner: str, monkeypatch: Any
) -> Pods:
    """Creates Jobs without a server."""
    for name in ("S3_ENDPOINT_URL", "K8S_IMAGE_PULL_POLICY", "JUPYTERHUB_USER"):
        monkeypatch.delenv(name, raising=False)
    return Pods(kubectl, bucket, cluster, owner)


@pytest.fixture
def run_job(kubectl: Kubectl) -> Callable[..., dict[str, Any]]:
    """Creates a job through a server's REST API and waits for its end."""

    def run(server: LabServer, path: str, *, seconds: float = 120, **asked: Any) -> dict[str, Any]:
        job_id = create(server, path, **asked)
        return ended(server, job_id, seconds=seconds)

    return run
