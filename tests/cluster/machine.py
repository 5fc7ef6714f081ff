"""The programs of the local cluster: ended and started again, as a machine would do to them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.support import Kubectl, until
from local_cluster import control_groups, processes, slots
from local_cluster.layout import Layout

_ROOT = Path(__file__).parents[2]


def pids(role: str) -> list[int]:
    """The processes of a program of this checkout's cluster, such as "kube-apiserver".

    Raises:
        AssertionError: there is none; a cluster of kind runs them where this can't reach.
    """
    found = processes.running(_ROOT / "local-dev" / ".state").get(role, [])
    assert found, f"{role} is not a process of a cluster of this checkout on this machine"
    return [process.pid for process in found]


def kill(role: str) -> None:
    """SIGKILL a program; nothing starts it again but `restore`."""
    for pid in pids(role):
        os.kill(pid, signal.SIGKILL)


def lose_node() -> None:
    """SIGKILL the kubelet, containerd and every container, as if the power went."""
    kill("kubelet")
    kill("containerd")
    layout = Layout.of(_ROOT)
    claim = slots.claim_of(layout)
    assert claim is not None
    shims = [
        found.pid
        for found in processes.all_running()
        if found.state == str(layout.state) and processes.is_shim(found.pid)
    ]
    processes.kill([*shims, *control_groups.processes_in(claim.slot.label)])


@contextmanager
def frozen(role: str) -> Iterator[None]:
    """Hold a program with SIGSTOP: its connections stay open, and nothing comes."""
    held = pids(role)
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)


def restore(kubectl: Kubectl) -> None:
    """Start what isn't there, and wait until the API is ready."""
    subprocess.run(("make", "cluster"), cwd=_ROOT, check=True, capture_output=True, timeout=300)
    until(
        lambda: kubectl.run("get", "--raw", "/readyz", check=False) == "ok",
        seconds=60,
        what="a ready API server",
    )
