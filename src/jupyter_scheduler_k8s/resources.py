"""CPU, memory and GPU of a job, and what a namespace's quotas want stated.

Quantities are Kubernetes' to judge: its answer reaches the user. What it would
misread, or accept and never run, is refused here.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler_k8s.errors import BackendError

GPU_RESOURCE = "nvidia.com/gpu"
# What NVIDIA's feature discovery calls the cards of a node.
GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"

# Devices that aren't GPUs are not a job's to ask for.
_GPU_RESOURCES = re.compile(r"[a-z0-9.-]+/gpu|nvidia\.com/mig-[a-z0-9.-]+")
_PRODUCT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

# What the container that moves files asks for. It asks for CPU only where a
# quota wants that: beside a notebook that asks for none, the smallest request
# would give it 25 times the notebook's share of a busy node.
_FILES_REQUESTS = {"memory": "128Mi"}
_FILES_QUOTA_REQUESTS = {"cpu": "50m", "memory": "128Mi"}
_FILES_QUOTA_LIMITS = {"cpu": "1", "memory": "1Gi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Kubernetes quantities as the user gave them; empty where nothing was given.

    Attributes:
        gpu_kind: the kind of GPU that `gpu` counts: the name of a resource, as in
            "amd.com/gpu", or of a product, as in "NVIDIA-A100-SXM4-40GB"; empty
            for `nvidia.com/gpu` of any product.
    """

    cpu: str = ""
    memory: str = ""
    gpu: str = ""
    gpu_kind: str = ""

    @classmethod
    def of(
        cls, *, cpu: str = "", memory: str = "", gpu: str = "", gpu_kind: str = ""
    ) -> "Resources":
        """What the user gave as `k8s_cpu`, `k8s_memory`, `k8s_gpu` and `k8s_gpu_kind`.

        Raises:
            BackendError: a value that Kubernetes could not mean, in a sentence.
        """
        # Kubernetes takes numbers beyond 64 bits, loses them, and runs the job without GPUs.
        if gpu and not re.fullmatch(r"[0-9]{1,9}", gpu):
            raise BackendError(
                f"k8s_gpu must be a whole number of GPUs, 0 or more; it is {gpu[:40]!r}."
            )
        for name, amount in (("k8s_cpu", cpu), ("k8s_memory", memory)):
            if re.fullmatch(r"0+(\.0*)?", amount):
                raise BackendError(
                    f"{name} must be more than 0; send it as text, such as '0.5', because"
                    " jupyter-scheduler cuts numbers to whole ones."
                )
        if gpu_kind and not (is_gpu_resource(gpu_kind) or _PRODUCT.fullmatch(gpu_kind)):
            raise BackendError(
                "k8s_gpu_kind must be the name of a GPU's resource, such as amd.com/gpu, or of its"
                f" product, such as NVIDIA-A100-SXM4-40GB; it is {gpu_kind[:80]!r}."
            )
        if gpu.strip("0") == "":
            gpu = gpu_kind = ""
        return cls(cpu=cpu, memory=memory, gpu=gpu, gpu_kind=gpu_kind)

    def node_selector(self) -> dict[str, str]:
        """The labels of the nodes that have this kind of GPU, where a resource doesn't tell."""
        is_product = self.gpu_kind and not is_gpu_resource(self.gpu_kind)
        return {GPU_PRODUCT_LABEL: self.gpu_kind} if is_product else {}

    def for_notebook(
        self, quota: Collection[str], *, default_cpu: str, default_memory: str
    ) -> dict[str, dict[str, str]]:
        """The `resources` of the notebook's container.

        What the user gave is both request and limit, so that a run behaves the
        same on an empty node as on a full one. A quota that wants more stated
        gets the defaults.
        """
        given = {
            name: value for name, value in (("cpu", self.cpu), ("memory", self.memory)) if value
        }
        requests, limits = dict(given), dict(given)
        if self.gpu:
            kind = self.gpu_kind
            limits[kind if is_gpu_resource(kind) else GPU_RESOURCE] = self.gpu
        defaults = {"cpu": default_cpu, "memory": default_memory}
        _fill(requests, "requests", quota, defaults)
        _fill(limits, "limits", quota, defaults)
        return _stated(requests, limits)

    def for_files(self, quota: Collection[str]) -> dict[str, dict[str, str]]:
        """The `resources` of the container that moves the files."""
        requests = dict(_FILES_REQUESTS)
        limits: dict[str, str] = {}
        _fill(requests, "requests", quota, _FILES_QUOTA_REQUESTS)
        _fill(limits, "limits", quota, _FILES_QUOTA_LIMITS)
        return _stated(requests, limits)


def is_gpu_resource(name: str) -> bool:
    """Whether a node's resource of this name counts GPUs, or parts of them."""
    return bool(_GPU_RESOURCES.fullmatch(name))


def quota_resources(quotas: Collection[Mapping[str, Any]]) -> frozenset[str]:
    """The compute resources that ResourceQuota objects want stated, as "limits.memory"."""
    hard = {name for quota in quotas for name in (quota.get("spec") or {}).get("hard") or {}}
    # https://kubernetes.io/docs/concepts/policy/resource-quotas/: "cpu" and
    # "memory" are the same as "requests.cpu" and "requests.memory".
    wanted = {f"requests.{name}" if name in ("cpu", "memory") else name for name in hard}
    return frozenset(name for name in wanted if name.startswith(("requests.", "limits.")))


def _fill(
    amounts: dict[str, str], kind: str, quota: Collection[str], defaults: Mapping[str, str]
) -> None:
    for name, value in defaults.items():
        if f"{kind}.{name}" in quota:
            amounts.setdefault(name, value)


def _stated(requests: Mapping[str, str], limits: Mapping[str, str]) -> dict[str, dict[str, str]]:
    both = {"requests": dict(requests), "limits": dict(limits)}
    return {kind: amounts for kind, amounts in both.items() if amounts}
