"""Killing what runs in a pod, from the machine that runs it."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from chaos.plan import Victim
from cluster.support import Kubectl

# What a process of each victim has in its command line; that of the notebook's container is
# the text that starts it.
_WORDS: dict[Victim, str] = {
    "files": "notebook_job.files",
    "notebook": "wait_for_inputs(",
    "kernel": "ipykernel_launcher",
}


def pod_uid(kubectl: Kubectl, job_id: str, seconds: float) -> str | None:
    """The uid of a job's pod, once there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pod in kubectl.pods(job_id):
            return str(pod["metadata"]["uid"])
        time.sleep(0.1)
    return None


def kill(uid: str, victim: Victim, seconds: float) -> bool:
    """SIGKILL a process of this pod; whether there was one within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid, command in _processes(uid):
            if _WORDS[victim] in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
        time.sleep(0.02)
    return False


def _processes(uid: str) -> Iterator[tuple[int, str]]:
    """The processes in a pod's control groups, with their command lines."""
    names = (uid, uid.replace("-", "_"))
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            # One that ends meanwhile is none of them.
            with contextlib.suppress(OSError):
                if any(name in (folder / "cgroup").read_text() for name in names):
                    yield int(folder.name), (folder / "cmdline").read_text(errors="replace")
