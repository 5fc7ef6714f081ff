"""The server extension: puts our parts into a server whose scheduler is ours.

Extensions load in the order of their names, so this one comes after
jupyter_scheduler and finds what that put into the server's settings. With
another scheduler it changes nothing.
"""

from typing import Any

from jupyter_scheduler_k8s.downloads import K8sJobFilesManager
from jupyter_scheduler_k8s.errors import ConfigurationError
from jupyter_scheduler_k8s.scheduler import K8sScheduler


def load(server: Any) -> None:
    """Replace upstream's download of job files, whose forked process hangs beside obstore.

    Args:
        server: the running `jupyter_server.serverapp.ServerApp`.
    """
    settings = server.web_app.settings
    scheduler = settings.get("scheduler")
    if not isinstance(scheduler, K8sScheduler):
        return
    # Upstream's annotation asks for a class where its code takes an instance.
    settings["job_files_manager"] = K8sJobFilesManager(scheduler=scheduler)  # type: ignore[arg-type]
    try:
        backend = scheduler.backend
    except ConfigurationError as error:
        # A person reads the sentence; where it was raised says nothing to them.
        server.log.error("Notebook jobs can't run: %s", error)  # noqa: TRY400
        return
    server.log.info(
        "Notebook jobs run in the Kubernetes namespace %s, with files in the S3 bucket %s.",
        backend.config.namespace,
        backend.config.s3_bucket or "(none set)",
    )
    # Importing the Kubernetes client takes long enough to be felt at start-up.
    server.io_loop.call_later(1, backend.warm_up)
