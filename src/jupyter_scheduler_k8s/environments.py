"""`K8sEnvironmentManager`: the environments in upstream's form are images, not folders.

Upstream asks for them on the server's event loop, each time that a form is opened:
so nothing here asks anybody else.
"""

from collections.abc import Callable, Sequence

from jupyter_scheduler.environments import EnvironmentManager
from jupyter_scheduler.models import RuntimeEnvironment

from jupyter_scheduler_k8s import catalog, notebooks
from jupyter_scheduler_k8s.catalog import Environment
from jupyter_scheduler_k8s.config import K8sConfig

_LABELS = {
    "ipynb": "Notebook",
    "html": "HTML",
    "markdown": "Markdown",
    "script": "Script",
    "slides": "Slides",
    "python": "Python script",
    "notebook": "Notebook, converted",
    "latex": "LaTeX",
    "rst": "reStructuredText",
    "asciidoc": "AsciiDoc",
}


class _Labels(dict[str, str]):
    """Labels of formats; one that is none is called as it was asked for.

    The stock scheduler writes down whatever it is asked for, looks up each job's formats
    when it lists them, and would list nothing any more.
    """

    def __missing__(self, name: str) -> str:
        return name


class K8sEnvironmentManager(EnvironmentManager):
    """Offers the administrator's environments, or the one image of all jobs."""

    def __init__(self, config: K8sConfig, *, sizes: Callable[[], Sequence[str]]) -> None:
        """`sizes` tells, at once, the sizes to offer where the administrator has no profiles."""
        self._config = config
        self._sizes = sizes

    def list_environments(self) -> list[RuntimeEnvironment]:
        """What the form offers; the first of each is what it preselects."""
        compute_types = list(self._config.profiles or self._sizes())
        return [
            RuntimeEnvironment(
                name=environment.name,
                label=environment.label,
                description=environment.description,
                file_extensions=["ipynb"],
                output_formats=list(environment.output_formats),
                metadata={"image": environment.image},
                compute_types=compute_types or None,
                default_compute_type=compute_types[0] if compute_types else None,
                utc_only=False,
            )
            for environment in catalog.environments(self._config.environments) or self._default()
        ]

    def _default(self) -> tuple[Environment, ...]:
        image = self._config.image
        return (
            Environment(
                name="default",
                label=f"Default ({image})",
                description=f"The image {image}",
                image=image,
                output_formats=catalog.DEFAULT_FORMATS,
                amounts={},
            ),
        )

    def manage_environments_command(self) -> str:
        """None: an administrator's list isn't changed from JupyterLab."""
        return ""

    def output_formats_mapping(self) -> dict[str, str]:
        """What each format that a job may have is called, whatever the environment."""
        formats = (*notebooks.PYTHON_FORMATS, *notebooks.PANDOC_FORMATS)
        return _Labels({name: _LABELS[name] for name in formats})
