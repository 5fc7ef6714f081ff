"""Removes what a cluster put on the machine, whether it was taken down or killed.

Each step finds its things by a name that only this project uses, so none depends on notes that an
interrupted run may not have written.
"""

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from . import control_groups, network, processes, slots
from .cache import locked, locked_if_free
from .layout import RUN_ROOT, Layout
from .shell import run, say
from .slots import Claim, Slot

RECORDS = ("etcd", "kubelet", "s3", "cni", "pod-logs")
# The kubelet has these paths built in.
KUBELET_FOLDER = Path("/var/lib/kubelet")
CONTAINER_LOGS = Path("/var/log/containers")


def take_down(claim: Claim) -> None:
    """Ends every process of the cluster and removes mounts, interfaces, rules and groups."""
    slot, state = claim.slot, claim.state
    _end_processes(slot, state)
    _remove_shim_sockets()
    unmount_below(state, slot.run)
    others = [other for other in slots.claims() if other != claim]
    network.remove(slot, last=not others)
    control_groups.remove(slot.label)
    _remove_dangling_logs(state)
    if not others:
        _remove_kubelet_leftovers()
    shutil.rmtree(slot.run, ignore_errors=True)
    shutil.rmtree(state / "cni", ignore_errors=True)


def _end_processes(slot: Slot, state: Path) -> None:
    roles = processes.running(state)
    # The kubelet and containerd first: they would start anew what is ended after them.
    for names in (("kubelet", "containerd"), tuple(roles)):
        processes.end([item.pid for name in names for item in roles.get(name, [])], grace=5)
    for _ in range(5):
        pids = control_groups.processes_in(slot.label)
        pids |= {item.pid for item in processes.all_running() if item.state == str(state)}
        if not pids:
            break
        processes.end(pids, grace=0)


def _remove_shim_sockets() -> None:
    """Sockets that nothing listens on, in the one folder that containerd's shims use for theirs."""
    folder = Path("/run/containerd/s")
    if not folder.is_dir():
        return
    bound = bound_sockets(Path("/proc/net/unix").read_text())
    for path in folder.iterdir():
        if str(path) not in bound:
            path.unlink(missing_ok=True)
    for empty in (folder, folder.parent / "runc", folder.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def bound_sockets(table: str) -> set[str]:
    """The paths in ``/proc/net/unix``: the eighth column, where there is one."""
    rows = (line.split(maxsplit=7) for line in table.splitlines()[1:])
    return {row[7] for row in rows if len(row) == 8}


def mounts_below(mounts: str, roots: Iterable[Path]) -> list[str]:
    """Mount points in ``/proc/self/mounts`` at or below one of ``roots``, innermost first."""
    found = []
    for line in mounts.splitlines():
        # Spaces and the like are written as octal escapes.
        escaped = line.split(" ")[1]
        point = escaped.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        if any(point == str(root) or point.startswith(f"{root}/") for root in roots):
            found.append(point)
    return found[::-1]


def unmount_below(*roots: Path) -> None:
    for _ in range(5):
        points = mounts_below(Path("/proc/self/mounts").read_text(), roots)
        if not points:
            return
        for point in points:
            run(["umount", "--lazy", point], check=False)
        time.sleep(0.1)


def _remove_dangling_logs(state: Path) -> None:
    if CONTAINER_LOGS.is_dir():
        for link in CONTAINER_LOGS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
                link.unlink()
        with contextlib.suppress(OSError):
            CONTAINER_LOGS.rmdir()


def _remove_kubelet_leftovers() -> None:
    """The device plugin folder, unless a kubelet that isn't ours uses it."""
    if run(["pgrep", "-x", "kubelet"], check=False).returncode == 0:
        return
    plugins = KUBELET_FOLDER / "device-plugins"
    for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        (plugins / name).unlink(missing_ok=True)
    for folder in (plugins, KUBELET_FOLDER):
        with contextlib.suppress(OSError):
            folder.rmdir()


def end_everything(layout: Layout) -> None:
    """Ends what runs beside a kind cluster: the S3 server."""
    roles = processes.running(layout.state)
    processes.end([item.pid for found in roles.values() for item in found], grace=5)


def sweep_dead_clusters(layout: Layout) -> None:
    """Cleans up after clusters of other checkouts that were killed, or whose checkout is gone.

    A cluster of another checkout that runs is left alone: it has addresses and names of its own.
    """
    for claim in slots.claims():
        if claim.state == layout.state:
            continue
        if not claim.state.exists():
            _sweep(claim)
            continue
        with locked_if_free(lock_of(claim.state)) as idle:
            roles = processes.running(claim.state)
            # One that is on its way up, or down, isn't dead.
            if idle and not ("kube-apiserver" in roles and "etcd" in roles):
                _sweep(claim)
    known = {str(claim.state) for claim in slots.claims()} | {str(layout.state)}
    stray = [process.pid for process in processes.all_running() if process.state not in known]
    processes.end(stray, grace=5)


def _sweep(claim: Claim) -> None:
    say(f"Cleaning up after the cluster of {claim.state.parents[1]}, which was killed")
    take_down(claim)
    slots.give_back(claim)


def lock_of(state: Path) -> Path:
    """What a command that changes a cluster holds."""
    return state / "lock"


def forget_records(layout: Layout, slot: Slot) -> None:
    """Removes what the cluster stored; its processes must not run."""
    _end_processes(slot, layout.state)
    unmount_below(layout.state)
    for name in RECORDS:
        shutil.rmtree(layout.state / name, ignore_errors=True)


def remove_state(layout: Layout) -> None:
    unmount_below(layout.state)
    shutil.rmtree(layout.state, ignore_errors=True)


def remove_run_root() -> None:
    """Removes ``/run/jupyter-scheduler-k8s`` once no cluster has a slot."""
    if RUN_ROOT.exists():
        with locked(RUN_ROOT / "lock"):
            if not slots.claims():
                unmount_below(RUN_ROOT)
                shutil.rmtree(RUN_ROOT, ignore_errors=True)
