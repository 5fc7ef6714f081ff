"""A Kubernetes backend for jupyter-scheduler: jobs run, and are kept, as Kubernetes Jobs."""

from typing import Any

from jupyter_scheduler_k8s.database import K8sDatabaseManager
from jupyter_scheduler_k8s.executors import K8sExecutionManager
from jupyter_scheduler_k8s.scheduler import K8sScheduler

__all__ = ["K8sDatabaseManager", "K8sExecutionManager", "K8sScheduler"]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyter_scheduler_k8s"}]


def _load_jupyter_server_extension(server: Any) -> None:
    from jupyter_scheduler_k8s.extension import load

    load(server)
