"""What the form is told of the nodes, over HTTP, whatever the API does."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from tornado.httpclient import HTTPClientError

from faults.fake_api import Answer, FakeApi, Silent
from jupyter_scheduler_k8s import extension
from jupyter_scheduler_k8s.scheduler import K8sScheduler
from support.nodes import node

pytest_plugins = ["pytest_jupyter.jupyter_server"]

Fetch = Callable[..., Any]

ADDRESS = "jupyter_scheduler_k8s/form"
NOTHING: dict[str, Any] = {"largest_node": None, "gpu_kinds": [], "remark": None}


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    """A server without extensions: the test puts scheduler and extension there."""
    return {"ServerApp": {"jpserver_extensions": {}}}


@pytest.fixture
def fetch(jp_asyncio_loop: Any, jp_fetch: Any) -> Fetch:
    """Ask the server for what the form asks for; the server runs on a loop of its own."""
    return lambda **asked: jp_asyncio_loop.run_until_complete(jp_fetch(ADDRESS, **asked))


@pytest.fixture
def load(
    api: FakeApi, jp_serverapp: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Put K8sScheduler on the fake API, and our extension, into the server."""
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    monkeypatch.setenv("S3_BUCKET", "files")
    # Nothing is asked but by the form.
    monkeypatch.setattr("jupyter_scheduler_k8s.backend.Backend.warm_up", lambda _: None)

    def load(**settings: Any) -> None:
        jp_serverapp.config.K8sConfig.update(settings)
        environments: Any = StaticEnvironmentManager()
        jp_serverapp.web_app.settings["scheduler"] = K8sScheduler(
            root_dir=str(tmp_path), environments_manager=environments, config=jp_serverapp.config
        )
        extension.load(jp_serverapp)

    return load


def test_the_form_is_told_what_the_nodes_have(
    api: FakeApi, load: Callable[..., None], fetch: Fetch
) -> None:
    a100, t4 = ({"nvidia.com/gpu.product": product} for product in ("NVIDIA-A100", "Tesla-T4"))
    api.put("nodes", node("a", cpu="16", memory="64Gi"))
    api.put("nodes", node("b", others={"nvidia.com/gpu": "4"}, labels=a100))
    api.put("nodes", node("c", others={"nvidia.com/gpu": "1"}, labels=t4))
    load()

    for _ in range(2):
        answer = fetch()
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


def test_upstreams_form_offers_sizes_of_the_nodes(
    api: FakeApi, load: Callable[..., None], jp_serverapp: Any, fetch: Fetch
) -> None:
    api.put("nodes", node("a", cpu="16", memory="64Gi"))
    load()
    fetch()

    manager = jp_serverapp.web_app.settings["environments_manager"]
    (found,) = manager.list_environments()

    assert found.compute_types == [
        "Cluster default",
        "12 CPU, 48Gi",
        "8 CPU, 32Gi",
        "4 CPU, 16Gi",
    ]


def test_without_permission_nothing_is_known_and_nothing_is_wrong(
    api: FakeApi, load: Callable[..., None], fetch: Fetch
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

    assert json.loads(fetch().body) == NOTHING


def test_a_cluster_that_is_away_is_remarked_on_within_seconds(
    api: FakeApi, load: Callable[..., None], fetch: Fetch
) -> None:
    api.stop()
    load()

    began = time.monotonic()
    found = json.loads(fetch().body)

    assert time.monotonic() - began < 5
    assert found | {"remark": None} == NOTHING
    assert found["remark"].startswith("The cluster doesn't answer: The Kubernetes API at http://")


def test_a_cluster_that_says_nothing_is_remarked_on_and_no_request_waits_for_it(
    api: FakeApi, load: Callable[..., None], fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_scheduler_k8s.handlers._PATIENCE_SECONDS", 0.2)
    api.fail("list", Silent())
    load()

    for _ in range(2):
        found = json.loads(fetch().body)
        assert found["remark"] == "The cluster doesn't answer: nothing came within 0 seconds."
    # The second form waited for the first one's look.
    assert api.kinds() == ["list"]


def test_a_wrong_setting_is_the_remark(load: Callable[..., None], fetch: Fetch) -> None:
    load(profiles={"large": {"cpu": "eight"}})

    found = json.loads(fetch().body)

    assert found | {"remark": None} == NOTHING
    assert found["remark"].startswith("K8sConfig.profiles['large'].cpu must be a Kubernetes")


def test_strangers_are_told_nothing(api: FakeApi, load: Callable[..., None], fetch: Fetch) -> None:
    load()

    with pytest.raises(HTTPClientError) as refusal:
        fetch(headers={"Authorization": "token of somebody else"})

    assert refusal.value.code == 403
    assert api.asked == []
