"""What the form is told of the nodes, over HTTP, whatever the API does."""

import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_server.auth.authorizer import AllowAllAuthorizer
from jupyter_server.auth.identity import IdentityProvider
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from traitlets.config import Config

from faults.fake_api import Answer, FakeApi, Silent
from jupyter_scheduler_k8s import extension
from jupyter_scheduler_k8s.scheduler import K8sScheduler
from support.nodes import node

NOTHING: dict[str, Any] = {"largest_node": None, "gpu_kinds": [], "remark": None}


class Server:
    """As much of a Jupyter server as the extension and its handler need."""

    def __init__(self) -> None:
        self.config = Config()
        self.log = logging.getLogger("server")
        self.io_loop = self
        self.web_app = web.Application(
            base_url="/base/",
            allow_remote_access=True,
            # As a server has it: each handler closes itself.
            allow_unauthenticated_access=True,
            cookie_secret="secret",
            identity_provider=IdentityProvider(token="token"),
            authorizer=AllowAllAuthorizer(),
        )
        self._server = HTTPServer(self.web_app)
        socket, self.port = bind_unused_port()
        self._server.add_socket(socket)

    def call_later(self, *_: Any) -> None:
        """Nothing is asked but by the form."""

    async def fetch(self, *, token: str = "token") -> HTTPResponse:
        """Ask for what the form asks for."""
        address = f"http://127.0.0.1:{self.port}/base/jupyter_scheduler_k8s/form"
        headers = {"Authorization": f"token {token}"}
        return await AsyncHTTPClient().fetch(address, headers=headers)

    async def stop(self) -> None:
        """End it."""
        self._server.stop()
        await self._server.close_all_connections()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server without extensions."""
    made = Server()
    yield made
    await made.stop()


@pytest.fixture
def load(
    api: FakeApi, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
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

    return load


async def test_the_form_is_told_what_the_nodes_have(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    a100, t4 = ({"nvidia.com/gpu.product": product} for product in ("NVIDIA-A100", "Tesla-T4"))
    api.put("nodes", node("a", cpu="16", memory="64Gi"))
    api.put("nodes", node("b", others={"nvidia.com/gpu": "4"}, labels=a100))
    api.put("nodes", node("c", others={"nvidia.com/gpu": "1"}, labels=t4))
    load()

    for _ in range(2):
        answer = await server.fetch()
        assert json.loads(answer.body) == {
            "largest_node": {"cpu": "16", "memory": "64Gi", "gpu": 4},
            "gpu_kinds": [
                {"value": "NVIDIA-A100", "label": "NVIDIA A100"},
                {"value": "Tesla-T4", "label": "Tesla T4"},
            ],
            "remark": None,
        }
    # What was seen is kept for a minute.
    assert [(asked.kind, asked.resource) for asked in api.asked] == [("list", "nodes")]


async def test_upstreams_form_offers_sizes_of_the_nodes(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    api.put("nodes", node("a", cpu="16", memory="64Gi"))
    load()
    await server.fetch()

    manager = server.web_app.settings["environments_manager"]
    (found,) = manager.list_environments()

    assert found.compute_types == [
        "Cluster default",
        "12 CPU, 48Gi",
        "8 CPU, 32Gi",
        "4 CPU, 16Gi",
    ]


async def test_without_permission_nothing_is_known_and_nothing_is_wrong(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    api.fail(
        "list",
        Answer(
            403,
            reason="Forbidden",
            message='nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at'
            " the cluster scope",
        ),
    )
    load()

    assert json.loads((await server.fetch()).body) == NOTHING


async def test_a_cluster_that_is_away_is_remarked_on_within_seconds(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    api.stop()
    load()

    began = time.monotonic()
    found = json.loads((await server.fetch()).body)

    assert time.monotonic() - began < 5
    assert found | {"remark": None} == NOTHING
    assert found["remark"].startswith("The cluster doesn't answer: The Kubernetes API at http://")


async def test_a_cluster_that_says_nothing_is_remarked_on_and_no_request_waits_for_it(
    api: FakeApi, load: Callable[..., None], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_scheduler_k8s.handlers._PATIENCE_SECONDS", 0.2)
    api.fail("list", Silent())
    load()

    for _ in range(2):
        found = json.loads((await server.fetch()).body)
        assert found["remark"] == "The cluster doesn't answer: nothing came within 0 seconds."
    # The second form waited for the first one's look.
    assert api.kinds() == ["list"]


async def test_a_wrong_setting_is_the_remark(load: Callable[..., None], server: Server) -> None:
    load(profiles={"large": {"cpu": "eight"}})

    found = json.loads((await server.fetch()).body)

    assert found | {"remark": None} == NOTHING
    assert found["remark"].startswith("K8sConfig.profiles['large'].cpu must be a Kubernetes")


async def test_strangers_are_told_nothing(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    load()

    with pytest.raises(HTTPClientError) as refusal:
        await server.fetch(token="of somebody else")

    assert refusal.value.code == 403
    assert api.asked == []
