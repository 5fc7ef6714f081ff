"""The control group below which the kubelet puts pods, under cgroup v1 or v2.

It is also how a container's processes are found when nothing else knows them any more.
"""

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def is_v2() -> bool:
    return (ROOT / "cgroup.controllers").exists()


def _hierarchies() -> list[Path]:
    if is_v2():
        return [ROOT]
    # cpu and cpuacct may be one hierarchy under two names; making the same group twice is harmless.
    return [path for path in ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def ensure(name: str) -> None:
    """Makes the group ``name`` in every hierarchy, with the controllers that pods need."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        if not group.exists():
            group.mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A new cpuset of cgroup v1 is empty and takes no process.
            path = group / setting
            if not is_v2() and path.exists() and not path.read_text().strip():
                path.write_text((hierarchy / setting).read_text())
    if is_v2():
        for controller in ("cpu", "cpuset", "memory", "pids", "io"):
            for group in (ROOT, ROOT / name):
                # Not every machine delegates every controller; the kubelet says which it misses.
                with contextlib.suppress(OSError):
                    (group / "cgroup.subtree_control").write_text(f"+{controller}")


def processes_in(name: str) -> set[int]:
    """The processes in the group and below it."""
    found: set[int] = set()
    for hierarchy in _hierarchies():
        for path in (hierarchy / name).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in path.read_text().split())
    return found


def remove(name: str) -> None:
    """Removes the group; groups that still hold processes stay."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        folders = sorted(
            (path for path in group.rglob("*") if path.is_dir()),
            key=lambda path: len(path.parts),
            reverse=True,
        )
        for folder in [*folders, group]:
            with contextlib.suppress(OSError):
                folder.rmdir()
