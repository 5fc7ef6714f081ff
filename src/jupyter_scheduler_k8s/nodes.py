"""What the cluster's nodes have, for the form: it is told, and bounds nothing."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jupyter_scheduler_k8s import catalog, quantities
from jupyter_scheduler_k8s.errors import Forbidden
from jupyter_scheduler_k8s.resources import GPU_PRODUCT_LABEL, GPU_RESOURCE, is_gpu_resource

# Nodes come and go in minutes.
_KEPT_SECONDS = 60.0

# A whole node is nobody's: each runs some pods of the system's.
_SHARES = (Decimal("0.75"), Decimal("0.5"), Decimal("0.25"))

# Jobs aren't run beside the cluster's own control plane, where it is kept for itself.
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the nodes that take jobs have.

    Attributes:
        most: the most that any one node has of "cpu", "memory" and "gpu", as
            quantities; empty where no node is known. Not always of one node.
        gpu_kinds: the values that `k8s_gpu_kind` may have and what a person calls
            them; empty where the number of GPUs says enough.
        sizes: names of sizes, as `catalog.size_amounts` reads them.
    """

    most: Mapping[str, str | int]
    gpu_kinds: Mapping[str, str]
    sizes: tuple[str, ...]


UNKNOWN = Survey(most={}, gpu_kinds={}, sizes=())


def survey(nodes: Iterable[Mapping[str, Any]]) -> Survey:
    """What these Node objects have."""
    taking = [node for node in nodes if _takes_jobs(node)]
    if not taking:
        return UNKNOWN
    cpu = max(_allocatable(node, "cpu") for node in taking)
    memory = max(_allocatable(node, "memory") for node in taking)
    gpu = max(sum(_gpus(node).values()) for node in taking)
    return Survey(
        most={
            "cpu": quantities.cores(cpu),
            "memory": quantities.memory(memory),
            "gpu": gpu,
        },
        gpu_kinds=_kinds(taking),
        sizes=_sizes(taking),
    )


class KnownNodes:
    """The nodes as they were last seen, looked at again when somebody asks."""

    def __init__(
        self,
        list_nodes: Callable[[], Iterable[Mapping[str, Any]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`list_nodes` may block, and raise a BackendError; it is called in a thread."""
        self._list_nodes = list_nodes
        self._clock = clock
        self._lock = threading.Lock()
        self._last = UNKNOWN
        self._looked_at: float | None = None
        self._looking: Future[Survey] | None = None

    def last(self) -> Survey:
        """What was seen last, at once; where that is old, it is looked at again meanwhile."""
        self.look()
        return self._last

    def look(self) -> "Future[Survey]":
        """What the nodes have, not older than a minute; all who ask at once share one look.

        The future has a BackendError where the cluster gives no answer. Who may
        not list nodes knows nothing of them, and that is no error.
        """
        with self._lock:
            if self._looking is not None:
                return self._looking
            found: Future[Survey] = Future()
            if self._looked_at is not None and self._clock() - self._looked_at < _KEPT_SECONDS:
                found.set_result(self._last)
                return found
            self._looking = found
        # A thread of its own: one of a pool would be waited for at the server's end.
        threading.Thread(target=self._look, args=(found,), name="nodes", daemon=True).start()
        return found

    def _look(self, told: "Future[Survey]") -> None:
        try:
            try:
                seen = survey(self._list_nodes())
            except Forbidden:
                seen = UNKNOWN
        # Whoever waits is told, whatever it was.
        except BaseException as error:  # noqa: BLE001
            with self._lock:
                self._looking = None
            told.set_exception(error)
            return
        with self._lock:
            self._last, self._looked_at, self._looking = seen, self._clock(), None
        told.set_result(seen)


def _takes_jobs(node: Mapping[str, Any]) -> bool:
    spec = node.get("spec") or {}
    return not spec.get("unschedulable") and not any(
        taint.get("key") in _CONTROL_PLANE and taint.get("effect") in ("NoSchedule", "NoExecute")
        for taint in spec.get("taints") or ()
    )


def _allocatable(node: Mapping[str, Any], resource: str) -> Decimal:
    found = ((node.get("status") or {}).get("allocatable") or {}).get(resource, "0")
    return quantities.amount(str(found))


def _gpus(node: Mapping[str, Any]) -> dict[str, int]:
    """How many GPUs a node has, by resource; without those of which it has none."""
    names = (node.get("status") or {}).get("allocatable") or {}
    counts = {name: int(_allocatable(node, name)) for name in names if is_gpu_resource(name)}
    return {name: count for name, count in counts.items() if count}


def _kinds(nodes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    resources: set[str] = set()
    products: set[str] = set()
    for node in nodes:
        resources |= set(_gpus(node))
        product = (node["metadata"].get("labels") or {}).get(GPU_PRODUCT_LABEL)
        if product and GPU_RESOURCE in _gpus(node):
            products.add(product)
    kinds = {name: name for name in sorted(resources)}
    if len(products) > 1:
        kinds.pop(GPU_RESOURCE)
        kinds |= {product: product.replace("-", " ") for product in sorted(products)}
    return {} if set(kinds) <= {GPU_RESOURCE} else kinds


def _sizes(nodes: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """Shares of the largest node, and one GPU with its share of the node that has most."""
    largest = max(nodes, key=lambda node: (_allocatable(node, "cpu"), _allocatable(node, "memory")))
    found = [_share(largest, share) for share in _SHARES]
    with_gpus = max(nodes, key=lambda node: _gpus(node).get(GPU_RESOURCE, 0))
    if count := _gpus(with_gpus).get(GPU_RESOURCE):
        found.append(_share(with_gpus, _SHARES[0] / count, gpu=1))
    return (catalog.CLUSTER_DEFAULT, *dict.fromkeys(name for name in found if name))


def _share(node: Mapping[str, Any], share: Decimal, *, gpu: int = 0) -> str:
    cpu = _rounded(_allocatable(node, "cpu") * share, whole=Decimal(1), part=Decimal("0.25"))
    memory = _rounded(
        _allocatable(node, "memory") * share,
        whole=quantities.GIBIBYTE,
        part=256 * quantities.MEBIBYTE,
    )
    if not cpu or not memory:
        return ""
    return catalog.size_name(cpu=quantities.cores(cpu), memory=quantities.memory(memory), gpu=gpu)


def _rounded(number: Decimal, *, whole: Decimal, part: Decimal) -> Decimal:
    """Down to what reads well: to whole units, or to parts of one where there are few."""
    step = whole if number >= 2 * whole else part
    return number // step * step
