"""Removes what a cluster put on the machine, whether it was taken down or killed.

Each step finds its things by a name that only this project uses, so none depends on notes that an
interrupted run may not have written.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from . import control_groups, network, processes, slots
from .cache import locked, locked_if_free
from .layout import RUN_ROOT, Layout
from .shell import run, say
from .slots import Claim, Slot
from .trees import remove_tree, unmount_below

RECORDS = ("etcd", "kubelet", "s3", "cni", "pod-logs")
LAB = "lab"
# The kubelet has these paths built in.
KUBELET_FOLDER = Path("/var/lib/kubelet")
CONTAINER_LOGS = Path("/var/log/containers")
# Folders that containerd, the CNI plugins and the kubelet make outside ours, innermost first.
SHARED_FOLDERS = (
    Path("/run/containerd/s"),
    Path("/run/containerd/runc"),
    Path("/run/containerd"),
    Path("/var/lib/cni/results"),
    Path("/var/lib/cni"),
    CONTAINER_LOGS,
    KUBELET_FOLDER / "device-plugins",
    KUBELET_FOLDER,
)


def take_down(claim: Claim) -> None:
    """Ends every process of the cluster and removes mounts, interfaces, rules and groups.

    Nothing is asked to end gracefully: etcd stands it, and the rest has no state of its own.
    """
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
        _remove_empty(SHARED_FOLDERS)
    remove_tree(slot.run)
    remove_tree(state / "cni")


def _end_processes(slot: Slot, state: Path) -> None:
    # The kubelet and containerd first: they would start anew what is ended after them.
    roles = processes.running(state)
    first = [item.pid for name in ("kubelet", "containerd") for item in roles.get(name, [])]
    processes.kill(first)
    # Whatever was being started meanwhile is found the next time.
    for _ in range(5):
        ours = {item.pid for item in processes.all_running() if item.state == str(state)}
        found = ours | control_groups.processes_in(slot.label)
        if not found:
            break
        processes.kill(found)


def _remove_shim_sockets() -> None:
    """Sockets that nothing listens on, in the one folder that containerd's shims use for theirs."""
    folder = Path("/run/containerd/s")
    if not folder.is_dir():
        return
    bound = bound_sockets(Path("/proc/net/unix").read_text())
    for path in folder.iterdir():
        if str(path) not in bound:
            path.unlink(missing_ok=True)


def bound_sockets(table: str) -> set[str]:
    """The paths in ``/proc/net/unix``: the eighth column, where there is one."""
    rows = (line.split(maxsplit=7) for line in table.splitlines()[1:])
    return {row[7] for row in rows if len(row) == 8}


def _remove_dangling_logs(state: Path) -> None:
    if CONTAINER_LOGS.is_dir():
        for link in CONTAINER_LOGS.iterdir():
            if link.is_symlink() and str(link.readlink()).startswith(f"{state}/"):
                link.unlink()


def _remove_kubelet_leftovers() -> None:
    """The device plugin folder, unless a kubelet that isn't ours uses it."""
    if run(["pgrep", "-x", "kubelet"], check=False).returncode == 0:
        return
    plugins = KUBELET_FOLDER / "device-plugins"
    for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        (plugins / name).unlink(missing_ok=True)


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
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
    for name in RECORDS:
        remove_tree(layout.state / name)


def remove_state(layout: Layout) -> None:
    """Removes all that the cluster kept; the files of ``make lab`` are people's, and stay."""
    if not layout.state.exists():
        return
    for path in layout.state.iterdir():
        if path.name != LAB:
            remove_tree(path)
    with contextlib.suppress(OSError):
        # Not empty where a lab was started.
        layout.state.rmdir()


def unmount_builds(layout: Layout) -> None:
    """Unmounts what a build that was killed left mounted in the cache; one that goes on is left."""
    for name in ("base", "buildah"):
        if (layout.cache / name).exists():
            with locked_if_free(layout.cache / f"{name}.lock") as free:
                if free:
                    unmount_below(layout.cache / name)


def remove_run_root() -> None:
    """Removes ``/run/jupyter-scheduler-k8s`` once no cluster has a slot."""
    if os.access(RUN_ROOT, os.W_OK):
        with locked(RUN_ROOT / "lock"):
            if not slots.claims():
                remove_tree(RUN_ROOT)
