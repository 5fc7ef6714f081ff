"""The programs of the local cluster: ended and started again, as a machine would do to them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.support import Kubectl, until
from local_cluster import processes

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
