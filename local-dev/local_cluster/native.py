"""Our own single-node cluster: started, asked, and fed with images."""

import json
import os
import shlex
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import binaries, certificates, cleanup, control_groups, network, oci, processes, slots
from .components import (
    NODE,
    PAUSE_IMAGE,
    Node,
    containerd_configuration,
    daemons,
    kubeconfig,
    kubelet_configuration,
)
from .errors import LocalClusterError
from .layout import Layout
from .shell import run, run_long, say
from .trees import remove_tree

READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class NativeCluster:
    """A running cluster of our own."""

    node: Node

    @property
    def s3_address(self) -> str:
        return self.node.slot.gateway

    @property
    def description(self) -> str:
        return f"Kubernetes {_version(self.node.layout)} at {self.node.api}"

    def kubectl(
        self, arguments: Sequence[str | Path], *, input_text: str | None = None, check: bool = True
    ) -> str:
        """kubectl's output, as the administrator."""
        command: list[str | Path] = ["kubectl", "--kubeconfig", self.node.layout.kubeconfig]
        return run(
            [self.node.kubernetes, *command, *arguments], input_text=input_text, check=check
        ).stdout

    def has_image(self, reference: str) -> bool:
        return reference in run([*self._ctr(), "images", "list", "-q"]).stdout.splitlines()

    def load_image(self, folder: Path, reference: str) -> None:
        """Imports the image from an OCI layout; layers that containerd has are not sent again.

        New layers are linked into containerd's store beforehand. It still reads them, and finds
        that it needn't write them.
        """
        store = self.node.containerd_root / "io.containerd.content.v1.content" / "blobs" / "sha256"
        known = {path.name for path in store.iterdir()} if store.is_dir() else set()
        oci.link_layers(folder, store)
        run_long(
            f"Importing {reference.rpartition('/')[2]} into the cluster",
            [*self._ctr(), "images", "import", "-"],
            log=self.node.layout.logs / "images.log",
            feed=lambda stream: oci.pack(
                folder, stream, reference=reference, has=lambda name: name in known
            ),
        )

    def _ctr(self) -> list[str | Path]:
        return ["ctr", "--address", self.node.containerd_socket, "-n", "k8s.io"]


def up(layout: Layout) -> NativeCluster:
    """Starts whatever does not run, and waits until the node takes pods."""
    kubernetes = binaries.build(layout, binaries.KUBERNETES)
    pause = binaries.build(layout, binaries.PAUSE)
    cleanup.sweep_dead_clusters(layout)
    slot = slots.take(layout)
    slot.run.mkdir(parents=True, exist_ok=True, mode=0o711)
    node = _node(layout, slot, kubernetes)
    wanted = certificates.wanted(slot.gateway, slot.first_service, NODE)
    if certificates.ensure(layout.certificates, wanted):
        # Records that were made under other addresses belong to a cluster that is gone.
        cleanup.forget_records(layout, slot)
    _write_configuration(node)
    _bind(layout.state / "kubelet", node.kubelet_root)
    network.ensure(slot)
    control_groups.ensure(slot.label)
    cluster = NativeCluster(node)
    began = datetime.now(UTC).replace(microsecond=0)
    *others, kubelet = daemons(node)
    started = [daemon.role for daemon in others if _ensure(node, daemon)]
    _wait_for_containerd(cluster)
    if not cluster.has_image(PAUSE_IMAGE):
        _import_pause(cluster, pause)
    _wait_for_api(node)
    # The kubelet gives up when it finds no containerd.
    if _ensure(node, kubelet):
        started.append(kubelet.role)
        _wait_for_node(cluster, since=began)
    else:
        _wait_for_node(cluster, since=datetime.min.replace(tzinfo=UTC))
    if started:
        say(f"Started {', '.join(started)}")
    return cluster


def find(layout: Layout) -> NativeCluster | None:
    """This checkout's cluster, when it has been started and not been taken down."""
    claim = slots.claim_of(layout)
    if not claim:
        return None
    kubernetes = binaries.build(layout, binaries.KUBERNETES)
    return NativeCluster(_node(layout, claim.slot, kubernetes))


def _node(layout: Layout, slot: slots.Slot, kubernetes: Path) -> Node:
    return Node(
        layout=layout,
        slot=slot,
        kubernetes=kubernetes,
        snapshotter="overlayfs" if overlay_works(layout.state) else "native",
        nameservers=nameservers(Path("/etc/resolv.conf")),
    )


def _bind(folder: Path, target: Path) -> None:
    """Makes ``folder`` appear at ``target`` as well."""
    folder.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    if not target.samefile(folder):
        run(["mount", "--bind", folder, target])


def _ensure(node: Node, daemon: processes.Daemon) -> bool:
    return processes.ensure(node.layout.state, daemon, log=node.layout.logs / f"{daemon.role}.log")


def _write_configuration(node: Node) -> None:
    config = node.config
    (config / "cni").mkdir(parents=True, exist_ok=True)
    files = {
        config / "controller-manager.kubeconfig": kubeconfig(node, "controller-manager"),
        config / "scheduler.kubeconfig": kubeconfig(node, "scheduler"),
        config / "kubelet.kubeconfig": kubeconfig(node, "kubelet-client"),
        config / "containerd.toml": containerd_configuration(node),
        config / "kubelet.json": kubelet_configuration(node),
        config / "cni" / "10-bridge.conflist": network.cni_configuration(
            node.slot, node.layout.state / "cni"
        ),
        node.layout.kubeconfig: kubeconfig(node, "admin"),
    }
    for path, text in files.items():
        path.touch(mode=0o600)
        path.write_text(text)
    kubectl = node.layout.state / "bin" / "kubectl"
    kubectl.parent.mkdir(exist_ok=True)
    kubectl.write_text(f'#!/bin/sh\nexec {shlex.quote(str(node.kubernetes))} kubectl "$@"\n')
    kubectl.chmod(0o755)


def _version(layout: Layout) -> str:
    return binaries.kubernetes_version((layout.sources / "kubernetes" / "go.mod").read_text())


def _wait_for_api(node: Node) -> None:
    context = ssl.create_default_context(cafile=str(node.certificate(certificates.CLUSTER)))

    url = f"{node.api}/readyz"

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5, context=context) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    role = "kube-apiserver"
    processes.wait_until(
        "The API server",
        ready,
        seconds=READY_SECONDS,
        daemon=(node.layout.state, role),
        log=node.layout.logs / f"{role}.log",
    )


def _wait_for_containerd(cluster: NativeCluster) -> None:
    node = cluster.node

    def ready() -> bool:
        command = ["ctr", "--address", str(node.containerd_socket), "version"]
        return run(command, check=False).returncode == 0

    processes.wait_until(
        "containerd",
        ready,
        seconds=READY_SECONDS,
        daemon=(node.layout.state, "containerd"),
        log=node.layout.logs / "containerd.log",
    )


def _wait_for_node(cluster: NativeCluster, *, since: datetime) -> None:
    node = cluster.node

    def ready() -> bool:
        text = cluster.kubectl(["get", "node", NODE, "-o", "json"], check=False)
        return bool(text) and node_is_ready(text, since=since)

    processes.wait_until(
        "The node",
        ready,
        seconds=READY_SECONDS,
        daemon=(node.layout.state, "kubelet"),
        log=node.layout.logs / "kubelet.log",
    )


def node_is_ready(node_json: str, *, since: datetime) -> bool:
    """Whether the node takes pods: it said Ready after ``since``, and nothing keeps pods away.

    What it said before a restart tells nothing of the kubelet that runs now.
    """
    node = json.loads(node_json)
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            said = datetime.fromisoformat(condition["lastHeartbeatTime"])
            return said >= since and not node.get("spec", {}).get("taints")
    return False


def _import_pause(cluster: NativeCluster, pause: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "layer.tar"
        layer.write_bytes(oci.one_file_layer("pause", pause.read_bytes()))
        image = Path(folder) / "image"
        oci.write_layout(image, layer=layer, command=["/pause"], environment={})
        cluster.load_image(image, PAUSE_IMAGE)


def overlay_works(state: Path) -> bool:
    """Whether the file system of ``state`` can hold overlay layers; in a container, often not."""
    if os.geteuid() != 0:
        return False
    state.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".overlay-", dir=state))
    try:
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(folder / "merged")]
        if run(command, check=False).returncode != 0:
            return False
        run(["umount", folder / "merged"])
        return True
    finally:
        remove_tree(folder)


def nameservers(resolv_conf: Path) -> tuple[str, ...]:
    """The machine's DNS servers that pods can reach too: not one on the loopback interface."""
    if not resolv_conf.exists():
        return ()
    lines = (line.split() for line in resolv_conf.read_text().splitlines())
    found = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return tuple(server for server in found if not server.startswith("127.") and ":" not in server)[
        :3
    ]


def require_claim(layout: Layout) -> NativeCluster:
    cluster = find(layout)
    if not cluster:
        raise LocalClusterError("No local cluster of this checkout is up; run `make cluster`.")
    return cluster
