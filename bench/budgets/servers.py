"""JupyterLab servers to measure, and an owner whose records are removed in the end."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.support import Bucket, Kubectl
from local_lab.environment import cluster_environment
from local_lab.server import SCHEDULER_FLAG, LabServer, running

STOCK_FLAG = "--SchedulerApp.scheduler_class=jupyter_scheduler.scheduler.Scheduler"
# In the stock server, our extension would do nothing, but be imported.
WITHOUT_EXTENSION = '--ServerApp.jpserver_extensions={"jupyter_scheduler_k8s": False}'


@dataclass(slots=True)
class Lab:
    """What measurements on the live cluster share: folders, an owner, and two servers.

    Servers start when they are first asked for, and end with the block.
    """

    folder: Path
    owner: str
    administrator: Mapping[str, str]
    environment: Mapping[str, str]
    stack: ExitStack
    _servers: dict[str, LabServer] = field(default_factory=dict)

    @property
    def kubectl(self) -> Kubectl:
        """kubectl with all rights."""
        return Kubectl(self.administrator, self.administrator["K8S_NAMESPACE"])

    @property
    def bucket(self) -> Bucket:
        """The bucket, through another client than the product's."""
        return Bucket.of(self.administrator)

    @property
    def ours(self) -> LabServer:
        """A server with this backend."""
        return self._server("ours")

    @property
    def stock(self) -> LabServer:
        """A server with jupyter-scheduler's own scheduler, and without our extension."""
        return self._server("stock")

    def _server(self, name: str) -> LabServer:
        if name not in self._servers:
            self._servers[name] = self.stack.enter_context(self.start(name, name))
        return self._servers[name]

    @contextmanager
    def start(self, mode: str, home: str) -> Iterator[LabServer]:
        """One more server, until the block ends; `mode` is "ours" or "stock"."""
        root = self.folder / f"files-{home}"
        root.mkdir(exist_ok=True)
        ours = mode == "ours"
        with running(
            root,
            home=self.folder / f"home-{home}",
            environment=self.environment,
            mode=SCHEDULER_FLAG if ours else STOCK_FLAG,
            flags=() if ours else (WITHOUT_EXTENSION,),
        ) as server:
            yield server


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A laboratory with an owner of its own; the owner's records and files go in the end."""
    owner = f"bench-{secrets.token_hex(5)}"
    administrator = cluster_environment(administrator=True)
    environment = cluster_environment() | {"JUPYTERHUB_USER": owner}
    with ExitStack() as stack:
        made = Lab(folder, owner, administrator, environment, stack)
        stack.callback(_remove, made)
        yield made


def _remove(made: Lab) -> None:
    selector = f"jupyter-scheduler.io/owner={made.owner}"
    found = made.kubectl.get("jobs", "-l", selector)
    for job in found:
        job_id = job["metadata"]["labels"].get("jupyter-scheduler.io/job-id")
        for key in made.bucket.keys(f"jobs/{job_id}/") if job_id else ():
            made.bucket.client.remove_object(made.bucket.name, key)
    made.kubectl.run("delete", "jobs,secrets", "-l", selector, "--wait=false")
