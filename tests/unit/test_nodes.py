"""What the form learns from the cluster's nodes, and how often they are asked for."""

import threading
from decimal import Decimal
from typing import Any

import pytest

from jupyter_scheduler_k8s.catalog import size_amounts
from jupyter_scheduler_k8s.errors import ClusterUnavailable, Forbidden
from jupyter_scheduler_k8s.nodes import UNKNOWN, KnownNodes, survey
from jupyter_scheduler_k8s.quantities import amount
from support.cached import Clock
from support.nodes import node

A100, T4 = "NVIDIA-A100-SXM4-40GB", "Tesla-T4"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16", "16"),
        ("500m", "0.5"),
        ("1.5", "1.5"),
        ("1.", "1"),
        ("1500000u", "1.5"),
        ("2k", "2000"),
        ("1e3", "1000"),
        ("12E2", "1200"),
        ("1Ki", "1024"),
        ("0.5Gi", "536870912"),
        ("2G", "2000000000"),
    ],
)
def test_a_quantity_is_a_number(text: str, number: str) -> None:
    assert amount(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "Gi", "4 Gi", "4GB", "-1", "1e", "1Eii", "NaN", "1,5", "٣"])
def test_what_is_no_quantity_has_no_number(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - its text is the quantity
        amount(text)


def test_the_most_of_each_is_what_any_node_has() -> None:
    found = survey(
        [
            node("a", cpu="15890m", memory="32Gi"),
            node("b", cpu="8", memory="65859232Ki", others={"nvidia.com/gpu": "2"}),
            node("c", cpu="2", memory="1Gi", others={"amd.com/gpu": "4"}),
        ]
    )

    assert found.most == {"cpu": "15.89", "memory": "62.8Gi", "gpu": 4}


def test_nodes_that_take_no_jobs_do_not_count() -> None:
    closed = node("closed", cpu="64", memory="512Gi")
    closed["spec"]["unschedulable"] = True
    control = node(
        "control", taint="node-role.kubernetes.io/control-plane", cpu="64", memory="512Gi"
    )
    tainted = node(
        "gpu", taint="nvidia.com/gpu", cpu="4", memory="8Gi", others={"nvidia.com/gpu": "1"}
    )

    assert survey([closed, control, tainted]).most == {"cpu": "4", "memory": "8Gi", "gpu": 1}
    assert survey([closed, control]) == survey([]) == UNKNOWN


def kinds(*nodes: Any) -> dict[str, str]:
    return dict(survey(nodes).gpu_kinds)


def test_kinds_are_told_where_a_number_says_too_little() -> None:
    plain = node("p", cpu="4", memory="8Gi")
    a100 = node("a", labels={"nvidia.com/gpu.product": A100}, others={"nvidia.com/gpu": "8"})
    t4 = node("t", labels={"nvidia.com/gpu.product": T4}, others={"nvidia.com/gpu": "1"})
    unnamed = node("u", others={"nvidia.com/gpu": "1"})
    amd = node("m", others={"amd.com/gpu": "1"})
    mig = node("g", others={"nvidia.com/mig-1g.5gb": "7"})
    other = node("f", others={"example.org/fpga": "1", "nvidia.com/gpu": "0"})

    assert kinds(plain, other) == kinds(plain, a100) == kinds(unnamed, a100) == {}
    assert kinds(plain, amd) == {"amd.com/gpu": "amd.com/gpu"}
    assert list(kinds(a100, mig)) == ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"]
    assert kinds(t4, a100, amd) == {
        "amd.com/gpu": "amd.com/gpu",
        A100: "NVIDIA A100 SXM4 40GB",
        T4: "Tesla T4",
    }


@pytest.mark.parametrize(
    ("cpu", "memory", "sizes"),
    [
        ("16", "65859232Ki", ["12 CPU, 47Gi", "8 CPU, 31Gi", "4 CPU, 15Gi"]),
        ("2", "8Gi", ["1.5 CPU, 6Gi", "1 CPU, 4Gi", "0.5 CPU, 2Gi"]),
        ("1", "2Gi", ["0.75 CPU, 1.5Gi", "0.5 CPU, 1Gi", "0.25 CPU, 512Mi"]),
        ("500m", "512Mi", ["0.25 CPU, 256Mi"]),
        ("100m", "64Mi", []),
    ],
)
def test_sizes_are_shares_of_the_largest_node(cpu: str, memory: str, sizes: list[str]) -> None:
    found = survey([node("small", cpu="100m", memory="64Mi"), node("n", cpu=cpu, memory=memory)])

    assert found.sizes == ("Cluster default", *sizes)
    for name in sizes:
        given = size_amounts(name)
        assert f"{given['cpu']} CPU, {given['memory']}" == name
        assert amount(given["cpu"]) < amount(cpu)
        assert amount(given["memory"]) < amount(memory)


def test_one_size_has_a_gpu_and_its_share_of_that_node() -> None:
    found = survey(
        [
            node("a", cpu="64", memory="256Gi"),
            node("b", cpu="16", memory="64Gi", others={"nvidia.com/gpu": "4"}),
        ]
    )

    assert found.sizes[-1] == "3 CPU, 12Gi, 1 GPU"
    assert size_amounts(found.sizes[-1]) == {"cpu": "3", "memory": "12Gi", "gpu": "1"}


class Cluster:
    """A cluster whose answers the test holds back."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = threading.Event()
        self.error: Exception | None = None

    def list_nodes(self) -> list[dict[str, Any]]:
        self.asked += 1
        assert self.answer.wait(10)
        if self.error:
            raise self.error
        return [node("n", cpu=str(self.asked), memory="8Gi")]


def test_all_who_ask_at_once_share_one_look_and_its_result_is_kept() -> None:
    cluster, clock = Cluster(), Clock()
    known = KnownNodes(cluster.list_nodes, clock=clock)

    assert known.last() is UNKNOWN
    first, second = known.look(), known.look()
    assert first is second
    cluster.answer.set()
    assert first.result(10).most["cpu"] == "1"
    clock.advance(59)
    assert known.last().most["cpu"] == known.look().result(0).most["cpu"] == "1"
    assert cluster.asked == 1


def test_what_is_old_is_told_while_it_is_looked_at_again() -> None:
    cluster, clock = Cluster(), Clock()
    known = KnownNodes(cluster.list_nodes, clock=clock)
    cluster.answer.set()
    known.look().result(10)
    cluster.answer.clear()
    clock.advance(61)

    assert known.last().most["cpu"] == "1"
    looking = known.look()
    assert not looking.done()
    cluster.answer.set()
    assert looking.result(10).most["cpu"] == known.last().most["cpu"] == "2"


def test_a_cluster_that_is_away_is_asked_again_and_what_was_known_is_kept() -> None:
    cluster, clock = Cluster(), Clock()
    known = KnownNodes(cluster.list_nodes, clock=clock)
    cluster.answer.set()
    known.look().result(10)
    clock.advance(61)
    cluster.error = ClusterUnavailable("no answer")

    for _ in range(2):
        with pytest.raises(ClusterUnavailable):
            known.look().result(10)

    assert cluster.asked == 3
    assert known.last().most["cpu"] == "1"


def test_who_may_not_list_nodes_knows_nothing_and_does_not_ask_again_at_once() -> None:
    cluster, clock = Cluster(), Clock()
    known = KnownNodes(cluster.list_nodes, clock=clock)
    cluster.error = Forbidden("no")
    cluster.answer.set()

    assert known.look().result(10) is UNKNOWN
    assert known.look().result(10) is UNKNOWN
    assert cluster.asked == 1
