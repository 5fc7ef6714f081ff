"""`K8sExecutionManager`: what jupyter-scheduler asks of an execution manager class."""

from pathlib import Path

from jupyter_scheduler.executors import ExecutionManager
from jupyter_scheduler.models import JobFeature

from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.notebooks import check_notebook

# A feature is true only where upstream's own field or action changes what happens.
_SUPPORTED = frozenset(
    {
        JobFeature.job_name,
        JobFeature.parameters,
        JobFeature.output_formats,
        JobFeature.idempotency_token,
        JobFeature.tags,
        JobFeature.stop_job,
        JobFeature.delete_job,
    }
)


class K8sExecutionManager(ExecutionManager):
    """Says what jobs on Kubernetes can do. `K8sScheduler` runs them without its help."""

    def execute(self) -> None:
        """Refused: a scheduler that starts a process for each job needs another class.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "K8sExecutionManager runs jobs with K8sScheduler only: add"
            " --SchedulerApp.scheduler_class=jupyter_scheduler_k8s.K8sScheduler."
        )

    # Upstream calls these two on the class, with the class as an argument.
    def supported_features(cls) -> dict[JobFeature, bool]:  # noqa: N805
        """Which of jupyter-scheduler's features change what happens here."""
        return {feature: feature in _SUPPORTED for feature in JobFeature}

    def validate(cls, input_path: str) -> bool:  # noqa: N805
        """Whether the notebook could run. Blocking: it reads the file."""
        try:
            path = Path(input_path)
            check_notebook(path.name, path.read_bytes())
        except (BackendError, OSError):
            return False
        return True
