"""Nodes, as the Kubernetes API has them."""

from collections.abc import Mapping
from typing import Any


def node(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    others: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    taint: str = "",
) -> dict[str, Any]:
    """A node whose pods may have `cpu`, `memory` and `others` together."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"taints": [{"key": taint, "effect": "NoSchedule"}]} if taint else {},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110", **(others or {})},
        },
    }
