"""What JupyterLab's forms offer: our extension reads it from the page.

It follows from the configuration alone, so a page opens as fast as ever and also
while the cluster is away. A page without it has upstream's forms.
"""

from typing import Any

from jupyter_scheduler_k8s.config import JOB_PARAMETERS, SCHEDULE_PARAMETERS, K8sConfig
from jupyter_scheduler_k8s.variables import RESERVED

# The page's option; src/settings.ts has its other side.
_OPTION = "jupyterSchedulerK8s"


def offer(server: Any, config: K8sConfig, *, full_mode: bool) -> None:
    """Have the pages of this server show the options of a job that runs on Kubernetes.

    Args:
        server: the running `jupyter_server.serverapp.ServerApp`.
        config: what jobs may ask for.
        full_mode: whether the scheduler is ours, too: then Kubernetes starts the runs of
            job definitions, and the server knows where a job's log is.
    """
    pages = server.web_app.settings.setdefault("page_config_data", {})
    pages[_OPTION] = page_settings(config, full_mode=full_mode)


def page_settings(config: K8sConfig, *, full_mode: bool) -> dict[str, Any]:
    """What the form may offer, under the names of K8sConfig's settings."""
    useless = set(config.forbidden_parameters)
    if not full_mode:
        useless.update(SCHEDULE_PARAMETERS)
    if config.max_retries == 0:
        useless.add("k8s_max_retries")
    if not config.allowed_images:
        useless.add("k8s_image")
    return {
        "parameters": [name for name in JOB_PARAMETERS if name not in useless],
        "image": config.image,
        "allowed_images": list(config.allowed_images),
        "allowed_secrets": list(config.allowed_secrets),
        "max_timeout_seconds": config.max_timeout_seconds,
        "max_retries": config.max_retries,
        "reserved_variables": sorted(RESERVED),
        "has_logs": full_mode,
    }
