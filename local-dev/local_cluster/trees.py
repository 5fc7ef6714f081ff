"""Removing folders in which something may be mounted."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from .errors import LocalClusterError
from .shell import run

MOUNTS = Path("/proc/self/mounts")


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
    """Unmounts everything at or below ``roots``; raises when something stays."""
    if not MOUNTS.exists():
        return
    for _ in range(5):
        points = mounts_below(MOUNTS.read_text(), roots)
        if not points:
            return
        for point in points:
            run(["umount", "--lazy", point], check=False)
        time.sleep(0.1)
    raise LocalClusterError(f"{points[0]} could not be unmounted.")


def remove_tree(path: Path) -> None:
    """Removes a folder or file, and never what is only mounted in it."""
    unmount_below(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
