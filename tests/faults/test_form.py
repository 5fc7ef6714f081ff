"""What the form is told of the nodes, over HTTP, whatever the API does."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from faults.fake_api import Answer, FakeApi, Silent
from faults.lab_server import Server
from support.nodes import node

NOTHING: dict[str, Any] = {"largest_node": None, "gpu_kinds": [], "remark": None}


async def test_the_form_is_told_what_the_nodes_have(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    a100, t4 = ({"nvidia.com/gpu.product": product} for product in ("NVIDIA-A100", "Tesla-T4"))
    api.put("nodes", node("a", cpu="16", memory="64Gi"))
    api.put("nodes", node("b", others={"nvidia.com/gpu": "4"}, labels=a100))
    api.put("nodes", node("c", others={"nvidia.com/gpu": "1"}, labels=t4))
    load()

    for _ in range(2):
        answer = await server.fetch("form")
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
    await server.fetch("form")

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

    assert json.loads((await server.fetch("form")).body) == NOTHING


async def test_a_cluster_that_is_away_is_remarked_on_within_seconds(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    api.stop()
    load()

    began = time.monotonic()
    found = json.loads((await server.fetch("form")).body)

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
        found = json.loads((await server.fetch("form")).body)
        assert found["remark"] == "The cluster doesn't answer: nothing came within 0 seconds."
    # The second form waited for the first one's look.
    assert api.kinds() == ["list"]


async def test_a_wrong_setting_is_the_remark(load: Callable[..., None], server: Server) -> None:
    load(profiles={"large": {"cpu": "eight"}})

    found = json.loads((await server.fetch("form")).body)

    assert found | {"remark": None} == NOTHING
    assert found["remark"].startswith("K8sConfig.profiles['large'].cpu must be a Kubernetes")


async def test_strangers_are_told_nothing(
    api: FakeApi, load: Callable[..., None], server: Server
) -> None:
    load()

    refusal = await server.fetch("form", token="of somebody else")

    assert refusal.code == 403
    assert api.asked == []
