"""A server on the real cluster, with an owner of its own and notebooks to run."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.support import Kubectl, write
from local_lab.environment import cluster_environment
from local_lab.server import LabServer, running
from ui.pages import remove_all

# So soon after the page begins to say why, a job that can't be scheduled fails for that.
_SCHEDULING_SECONDS = "90"

NOTEBOOKS = {
    "report": ("print('region', region, 'year', __import__('os').environ['YEAR'])",),
    "fails": ("print('The first cell is fine.')", "1 / 0"),
    "long": ("import time\nprint('begun')\ntime.sleep(600)",),
    "simple": ("print('done')",),
}


@contextmanager
def on_cluster(folder: Path) -> Iterator[LabServer]:
    """The server, until the block ends; nothing of it is left in the cluster."""
    owner = f"test-{secrets.token_hex(5)}"
    root = folder / "files"
    root.mkdir()
    with running(
        root,
        home=folder / "home",
        environment=cluster_environment()
        | {"JUPYTERHUB_USER": owner, "K8S_SCHEDULING_TIMEOUT": _SCHEDULING_SECONDS},
    ) as server:
        for name, sources in NOTEBOOKS.items():
            write(server, f"{name}.ipynb", *sources)
        try:
            yield server
            remove_all(server)
        finally:
            environment = cluster_environment(administrator=True)
            kubectl = Kubectl(environment, environment["K8S_NAMESPACE"])
            selector = f"jupyter-scheduler.io/owner={owner}"
            kubectl.run("delete", "cronjobs,jobs,secrets", "-l", selector, "--wait=false")
