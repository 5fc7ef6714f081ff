"""Long-lived programs of a cluster: started so that they outlive the shell, and found again.

A process is ours when its environment says so: each is started with a variable that holds the state
folder of its checkout, and what it starts (containerd's shims) inherits it. A process id in a file
is never trusted by itself.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import digest
from .errors import LocalClusterError
from .shell import say

MARK = "JUPYTER_SCHEDULER_K8S_STATE"
ROLE = "JUPYTER_SCHEDULER_K8S_ROLE"
VERSION = "JUPYTER_SCHEDULER_K8S_VERSION"
KILL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process of some cluster. ``version`` is a hash of how it was started."""

    pid: int
    parent: int
    state: str
    role: str
    version: str


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program to keep running: ``inputs`` are files whose change means a restart."""

    role: str
    command: Sequence[str | Path]
    env: Mapping[str, str]
    inputs: Sequence[Path] = ()

    @property
    def version(self) -> str:
        parts: list[str | bytes] = [str(word) for word in self.command]
        parts += [f"{key}={value}" for key, value in sorted(self.env.items())]
        parts += [path.read_bytes() for path in self.inputs]
        return digest(parts)


def _environment_of(pid: int) -> dict[str, str]:
    data = Path(f"/proc/{pid}/environ").read_bytes()
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}


def _parent_of(pid: int) -> tuple[int, str]:
    """The parent's id and the state letter, from ``/proc/<pid>/stat``."""
    # The second field is the program's name in parentheses, and may itself hold some.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def all_running() -> list[Running]:
    """Every live process that belongs to some checkout's cluster."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            environment = _environment_of(pid)
            if MARK not in environment:
                continue
            parent, letter = _parent_of(pid)
        except (OSError, ValueError):
            continue
        if letter not in {"Z", "X"}:
            found.append(
                Running(
                    pid=pid,
                    parent=parent,
                    state=environment[MARK],
                    role=environment.get(ROLE, ""),
                    version=environment.get(VERSION, ""),
                )
            )
    return found


def running(state: Path) -> dict[str, list[Running]]:
    """The daemons of one cluster, by role, without what they started."""
    by_role: dict[str, list[Running]] = {}
    ours = [process for process in all_running() if process.state == str(state)]
    pids = {process.pid for process in ours}
    for process in ours:
        # Shims are started by containerd and, once it has let go of them, have process 1 as parent.
        if process.parent in pids or is_shim(process.pid):
            continue
        by_role.setdefault(process.role, []).append(process)
    return by_role


def is_shim(pid: int) -> bool:
    """Whether a process is one of containerd's shims, the parent of a pod's containers."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("containerd-shim")
    return False


def ensure(state: Path, daemon: Daemon, *, log: Path) -> bool:
    """Starts ``daemon`` unless it runs as it should; true when it was started."""
    present = running(state).get(daemon.role, [])
    if len(present) == 1 and present[0].version == daemon.version:
        return False
    end([process.pid for process in present], grace=10)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "HOME": os.environ.get("HOME", "/root"),
        **daemon.env,
        MARK: str(state),
        ROLE: daemon.role,
        VERSION: daemon.version,
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in daemon.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    # Popen returns a moment before the kernel shows the new program's environment;
    # until then whoever looks for it would find it missing.
    while process.poll() is None and not _shows_its_mark(process.pid):
        time.sleep(0.001)
    return True


def _shows_its_mark(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return MARK in _environment_of(pid)
    return False


def end(pids: Iterable[int], *, grace: float) -> None:
    """SIGTERM, then SIGKILL after ``grace`` seconds; returns when the processes are gone."""
    _signal(pids, ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_SECONDS)))


def kill(pids: Iterable[int]) -> None:
    """SIGKILL; returns when the processes are gone."""
    _signal(pids, ((signal.SIGKILL, KILL_SECONDS),))


def _signal(pids: Iterable[int], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Sends each step's signal to those that are left, and waits up to its number of seconds.

    Signals go through file descriptors, so that an id that is used anew meanwhile is never hit.
    """
    handles: dict[int, int] = {}
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handles[pid] = os.pidfd_open(pid)
        for number, patience in steps:
            left = {pid: handle for pid, handle in handles.items() if not _gone(pid)}
            for handle in left.values():
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and not all(_gone(pid) for pid in left):
                time.sleep(0.02)
        stuck = [pid for pid in handles if not _gone(pid)]
    finally:
        for handle in handles.values():
            os.close(handle)
    if stuck:
        raise LocalClusterError(f"Processes {stuck} could not be ended.")


def _gone(pid: int) -> bool:
    try:
        return _parent_of(pid)[1] in {"Z", "X"}
    except (OSError, ValueError):
        return True


def wait_until(
    what: str, ready: Callable[[], bool], *, seconds: float, daemon: tuple[Path, str], log: Path
) -> None:
    """Waits for ``ready``; raises with the end of ``log`` when the daemon dies or time runs out."""
    state, role = daemon
    started = time.monotonic()
    said = started
    while not ready():
        now = time.monotonic()
        dead = not running(state).get(role)
        if dead or now - started > seconds:
            why = "ended" if dead else f"is not ready after {seconds:.0f} s"
            end_of_log = log.read_text(errors="replace")[-2500:] if log.exists() else ""
            raise LocalClusterError(f"{what} {why}; see {log}.\n{end_of_log}")
        if now - said > 8:
            say(f"  waiting for {what}: {now - started:.0f} s")
            said = now
        time.sleep(0.1)
