"""The cluster where a container engine runs: kind does the work of ``native.py``.

kubectl is the one inside kind's node, so that nothing of Kubernetes is built.
"""

import json
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import binaries
from .cache import digest
from .errors import CommandFailed, LocalClusterError
from .layout import CONTEXT, NAME, Layout
from .shell import run, run_long

ENGINES = ("docker", "podman", "finch")


def engine() -> str | None:
    """The container engine that runs, not only its client; first the one that kind is told."""
    told = os.environ.get("KIND_EXPERIMENTAL_PROVIDER", "")
    return next((name for name in dict.fromkeys([told, *ENGINES]) if name and _runs(name)), None)


def _runs(name: str) -> bool:
    if not shutil.which(name):
        return False
    try:
        return run([name, "info"], check=False, timeout=30).returncode == 0
    except CommandFailed:
        return False


@dataclass(frozen=True, slots=True)
class KindCluster:
    """A kind cluster in ``engine``."""

    layout: Layout
    engine: str

    @property
    def name(self) -> str:
        """A cluster per checkout: two of them share nothing but the engine."""
        return f"{NAME}-{digest([str(self.layout.checkout)])[:6]}"

    @property
    def node(self) -> str:
        return f"{self.name}-control-plane"

    @property
    def s3_address(self) -> str:
        """The machine's address on kind's network."""
        address = gateway(run([self.engine, "network", "inspect", "kind"]).stdout)
        try:
            with socket.socket() as probe:
                probe.bind((address, 0))
        except OSError:
            raise LocalClusterError(
                f"Containers of {self.engine} can't reach this machine at {address}; "
                "the local S3 server needs an engine that runs on the machine itself."
            ) from None
        return address

    @property
    def description(self) -> str:
        return f"kind cluster {self.name} in {self.engine}"

    def kubectl(
        self, arguments: Sequence[str | Path], *, input_text: str | None = None, check: bool = True
    ) -> str:
        words: list[str | Path] = []
        for word in arguments:
            # Files are copied to where the node's kubectl sees them.
            if isinstance(word, Path):
                inside = f"/root/{NAME}-{word.name}"
                run([self.engine, "exec", self.node, "rm", "-rf", inside])
                run([self.engine, "cp", word, f"{self.node}:{inside}"])
                word = inside
            words.append(word)
        command = [self.engine, "exec", "-i", self.node, "kubectl"]
        command += ["--kubeconfig", "/etc/kubernetes/admin.conf"]
        return run([*command, *words], input_text=input_text or "", check=check).stdout

    def has_image(self, reference: str) -> bool:
        command = [self.engine, "exec", self.node, "crictl", "inspecti", "-q", reference]
        return run(command, check=False).returncode == 0

    def build(self, name: str, context: Path, reference: str) -> None:
        """Builds with the engine, on the base that the Containerfile names."""
        run_long(
            f"Building the image {name}",
            [self.engine, "build", "-t", reference, "-f", context / "Containerfile", context],
            log=self.layout.logs / f"build-{name}.log",
        )

    def load(self, name: str, reference: str) -> None:
        """Hands an image of the engine to kind's node."""
        archive = self.layout.state / f"{name}.tar"
        try:
            run_long(
                f"Writing the image {name}",
                [self.engine, "save", "-o", archive, reference],
                log=self.layout.logs / "images.log",
            )
            run_long(
                f"Loading the image {name} into kind",
                [binaries.kind(self.layout), "load", "image-archive", archive, "--name", self.name],
                log=self.layout.logs / "images.log",
                env=_environment(self.engine),
            )
        finally:
            archive.unlink(missing_ok=True)


def _environment(name: str) -> dict[str, str]:
    return {**os.environ, "KIND_EXPERIMENTAL_PROVIDER": name}


def gateway(network_json: str) -> str:
    """The IPv4 gateway in the output of ``network inspect``, Docker's or Podman's."""
    network = json.loads(network_json)[0]
    plans = network.get("IPAM", {}).get("Config") or network.get("subnets") or []
    for plan in plans:
        address = plan.get("Gateway") or plan.get("gateway") or ""
        if address and ":" not in address:
            return str(address)
    raise LocalClusterError("kind's network has no IPv4 gateway that pods could reach.")


def up(layout: Layout, engine: str) -> KindCluster:
    kind = binaries.kind(layout)
    cluster = KindCluster(layout, engine)
    environment = _environment(engine)
    if cluster.name not in run([kind, "get", "clusters"], env=environment).stdout.split():
        run_long(
            "Creating the kind cluster",
            [
                *(kind, "create", "cluster", "--name", cluster.name, "--wait", "120s"),
                *("--kubeconfig", layout.kubeconfig),
            ],
            log=layout.logs / "kind.log",
            env=environment,
        )
    # kind calls its context after itself; everything here knows it by the project's name.
    text = run([kind, "get", "kubeconfig", "--name", cluster.name], env=environment).stdout
    view = ["--kubeconfig", "/dev/stdin", "config", "view", "--raw", "-o", "json"]
    layout.kubeconfig.touch(mode=0o600)
    layout.kubeconfig.write_text(renamed(cluster.kubectl(view, input_text=text)))
    kubectl = layout.state / "bin" / "kubectl"
    kubectl.parent.mkdir(exist_ok=True)
    inside = f"{engine} exec -i {cluster.node} kubectl --kubeconfig /etc/kubernetes/admin.conf"
    kubectl.write_text(f'#!/bin/sh\nexec {inside} "$@"\n')
    kubectl.chmod(0o755)
    return cluster


def renamed(kubeconfig: str) -> str:
    """The kubeconfig (JSON, one context) with our name for its context."""
    data = json.loads(kubeconfig)
    (context,) = data["contexts"]
    context["name"] = data["current-context"] = CONTEXT
    return json.dumps(data, indent=2)


def down(layout: Layout, engine: str) -> None:
    name = KindCluster(layout, engine).name
    run([binaries.kind(layout), "delete", "cluster", "--name", name], env=_environment(engine))
