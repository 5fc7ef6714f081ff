"""The server extension: puts our parts into a server whose scheduler, or execution
manager, is ours.

Extensions load in the order of their names, so this one comes after
jupyter_scheduler and finds what that put into the server's settings. Elsewhere it
changes nothing, and says so where a setting suggests that it should.
"""

from typing import Any

from jupyter_scheduler.scheduler import BaseScheduler, Scheduler
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from traitlets import TraitError

from jupyter_scheduler_k8s import combinations, forms
from jupyter_scheduler_k8s.backend import node_lister
from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.downloads import K8sJobFilesManager
from jupyter_scheduler_k8s.environments import K8sEnvironmentManager
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.executors import FullModeExecutionManager, K8sExecutionManager
from jupyter_scheduler_k8s.handlers import FORM, LOG, FormHandler, LogHandler
from jupyter_scheduler_k8s.nodes import KnownNodes
from jupyter_scheduler_k8s.scheduler import K8sScheduler
from jupyter_scheduler_k8s.stock.caretaker import Caretaker


def load(server: Any) -> None:
    """Look at which parts of the running server are ours.

    Args:
        server: the running `jupyter_server.serverapp.ServerApp`.
    """
    scheduler = server.web_app.settings.get("scheduler")
    if isinstance(scheduler, K8sScheduler):
        _load_full_mode(server, scheduler)
    elif manager := _execution_manager(scheduler):
        _load_execution_manager_only(server, scheduler, manager)
    elif scheduler is None and combinations.names_no_database(server.config):
        server.log.error("Notebook jobs are off: %s", combinations.NO_DATABASE)
    elif sentence := combinations.misplaced(server.config, full_mode=False):
        server.log.error("Notebook jobs don't run on Kubernetes: %s", sentence)


def _load_full_mode(server: Any, scheduler: K8sScheduler) -> None:
    # One public name in both modes, but only the other one starts processes.
    if scheduler.execution_manager_class is K8sExecutionManager:
        scheduler.execution_manager_class = FullModeExecutionManager
    # Upstream's download forks a process, which hangs beside obstore; its
    # annotation asks for a class where its code takes an instance.
    manager = K8sJobFilesManager(scheduler=scheduler)  # type: ignore[arg-type]
    server.web_app.settings["job_files_manager"] = manager
    try:
        backend = scheduler.backend
    except ConfigurationError as error:
        _serve_form(server, None, trouble=str(error))
        # A person reads the sentence; where it was raised says nothing to them.
        server.log.error("Notebook jobs can't run: %s", error)  # noqa: TRY400
        return
    _offer(server, scheduler, config=backend.config, nodes=backend.nodes)
    _serve(server, LOG, LogHandler, read=scheduler.log_of)
    forms.offer(server, backend.config, full_mode=True)
    server.log.info(
        "Notebook jobs run in the Kubernetes namespace %s, with files in the S3 bucket %s.",
        backend.config.namespace,
        backend.config.s3_bucket or "(none set)",
    )
    # Importing the Kubernetes client takes long enough to be felt at start-up.
    server.io_loop.call_later(1, backend.warm_up)


def _execution_manager(scheduler: object) -> type[K8sExecutionManager] | None:
    """The execution manager of a scheduler, where that is ours and the scheduler isn't."""
    found = getattr(scheduler, "execution_manager_class", None)
    if isinstance(scheduler, BaseScheduler) and isinstance(found, type):
        return found if issubclass(found, K8sExecutionManager) else None
    return None


def _load_execution_manager_only(
    server: Any, scheduler: Scheduler, manager: type[K8sExecutionManager]
) -> None:
    try:
        combinations.refuse_misplaced(scheduler.config, full_mode=False)
        config = K8sConfig(parent=scheduler)
        config.require_bucket()
    except (BackendError, TraitError) as error:
        manager.configure({}, trouble=str(error))
        _serve_form(server, None, trouble=str(error))
        server.log.error("Notebook jobs can't run: %s", error)  # noqa: TRY400
        return
    manager.configure(config.effective())
    nodes = KnownNodes(node_lister(ClusterClient(config.namespace)))
    _offer(server, scheduler, config=config, nodes=nodes)
    forms.offer(server, config, full_mode=False)
    server.log.info(
        "Notebook jobs run in the Kubernetes namespace %s, with files in the S3 bucket %s;"
        " their records are in jupyter-scheduler's database.",
        config.namespace,
        config.s3_bucket,
    )
    Caretaker(scheduler=scheduler, config=config, log=server.log).start()


def _offer(server: Any, scheduler: Scheduler, *, config: K8sConfig, nodes: KnownNodes) -> None:
    """Let the form show what the administrator and the cluster offer."""
    _serve_form(server, nodes)
    # Somebody's own manager stays.
    if "environment_manager_class" in server.config.get("SchedulerApp", {}):
        return
    manager = K8sEnvironmentManager(config, sizes=lambda: nodes.last().sizes)
    server.web_app.settings["environments_manager"] = manager
    scheduler.environments_manager = manager


def _serve_form(server: Any, nodes: KnownNodes | None, *, trouble: str = "") -> None:
    _serve(server, FORM, FormHandler, nodes=nodes, trouble=trouble)


def _serve(server: Any, address: str, handler: type[APIHandler], **known: Any) -> None:
    path = url_path_join(server.web_app.settings["base_url"], address)
    server.web_app.add_handlers(".*$", [(path, handler, known)])
