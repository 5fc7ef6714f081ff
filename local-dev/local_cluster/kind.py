"""The cluster where a container engine runs: kind does the work of ``native.py``.

kubectl is the one inside kind's node, so that nothing of Kubernetes is built.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import binaries
from .errors import LocalClusterError
from .layout import NAME, Layout
from .shell import run, run_long

ENGINES = ("docker", "podman", "finch")
NODE = f"{NAME}-control-plane"


def engine() -> str | None:
    """The first container engine that runs, not only its client."""
    for name in ENGINES:
        if shutil.which(name) and run([name, "info"], check=False, timeout=30).returncode == 0:
            return name
    return None


@dataclass(frozen=True, slots=True)
class KindCluster:
    """A kind cluster in ``engine``."""

    layout: Layout
    engine: str

    @property
    def s3_address(self) -> str:
        """The machine's address on kind's network."""
        text = run([self.engine, "network", "inspect", "kind"]).stdout
        return gateway(text)

    @property
    def description(self) -> str:
        return f"kind cluster {NAME} in {self.engine}"

    def kubectl(
        self, arguments: Sequence[str | Path], *, input_text: str | None = None, check: bool = True
    ) -> str:
        words: list[str | Path] = []
        for word in arguments:
            # Files are copied to where the node's kubectl sees them.
            if isinstance(word, Path):
                inside = f"/root/{NAME}-{word.name}"
                run([self.engine, "exec", NODE, "rm", "-rf", inside])
                run([self.engine, "cp", word, f"{NODE}:{inside}"])
                word = inside
            words.append(word)
        command = [self.engine, "exec", "-i", NODE, "kubectl"]
        command += ["--kubeconfig", "/etc/kubernetes/admin.conf"]
        return run([*command, *words], input_text=input_text or "", check=check).stdout

    def has_image(self, reference: str) -> bool:
        command = [self.engine, "exec", NODE, "crictl", "inspecti", "-q", reference]
        return run(command, check=False).returncode == 0

    def build_and_load(self, name: str, context: Path, reference: str) -> None:
        """Builds with the engine on the Containerfile's own base, and loads the result."""
        run_long(
            f"Building the image {name}",
            [self.engine, "build", "-t", reference, "-f", context / "Containerfile", context],
            log=self.layout.logs / f"build-{name}.log",
        )
        archive = self.layout.state / f"{name}.tar"
        try:
            run_long(
                f"Writing the image {name}",
                [self.engine, "save", "-o", archive, reference],
                log=self.layout.logs / "images.log",
            )
            run_long(
                f"Loading the image {name} into kind",
                [binaries.kind(self.layout), "load", "image-archive", archive, "--name", NAME],
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


def up(layout: Layout, name: str) -> KindCluster:
    kind = binaries.kind(layout)
    environment = _environment(name)
    if NAME not in run([kind, "get", "clusters"], env=environment).stdout.split():
        run_long(
            "Creating the kind cluster",
            [
                *(kind, "create", "cluster", "--name", NAME, "--wait", "120s"),
                *("--kubeconfig", layout.kubeconfig),
            ],
            log=layout.logs / "kind.log",
            env=environment,
        )
    run(
        [kind, "export", "kubeconfig", "--name", NAME, "--kubeconfig", layout.kubeconfig],
        env=environment,
    )
    rename = [name, "exec", "-i", NODE, "true"]
    run(rename)
    return KindCluster(layout, name)


def down(layout: Layout, name: str) -> None:
    run([binaries.kind(layout), "delete", "cluster", "--name", NAME], env=_environment(name))
