"""Things that take minutes to build, kept by the content of what they are built from.

An entry is made under a temporary name and renamed, so that a build which was interrupted leaves
nothing behind that looks finished. Two checkouts may build at once: a lock per kind makes the
second one wait and find the first one's result.
"""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from .shell import PROGRESS_SECONDS, say
from .trees import remove_tree

KEPT_PER_KIND = 4
IGNORED_NAMES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})


def digest(parts: Iterable[str | bytes]) -> str:
    """16 hex digits that depend on every part and on where one ends and the next begins."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()[:16]


def tree_digest(root: Path) -> str:
    """Depends on the names, contents and executable bits of the files below ``root``."""
    parts: list[str | bytes] = []
    for path in sorted(root.rglob("*")):
        if IGNORED_NAMES.intersection(path.relative_to(root).parts) or path.suffix == ".pyc":
            continue
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            parts += [name, "link", str(path.readlink())]
        elif path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            parts += [name, executable, path.read_bytes()]
    return digest(parts)


@contextmanager
def locked(path: Path, *, waiting: str = "") -> Iterator[None]:
    """Holds an exclusive lock on ``path``; says ``waiting`` while it isn't free."""
    with ExitStack() as stack:
        handle = _try_lock(path)
        if handle is None:
            spoken = -PROGRESS_SECONDS
            while handle is None:
                if waiting and time.monotonic() - spoken >= PROGRESS_SECONDS:
                    say(waiting)
                    spoken = time.monotonic()
                time.sleep(0.2)
                handle = _try_lock(path)
        stack.enter_context(handle)
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Holds the lock on ``path`` and yields true, or yields false when someone else holds it."""
    handle = _try_lock(path)
    if handle is None:
        yield False
        return
    with handle:
        yield True


def _try_lock(path: Path) -> TextIO | None:
    """The locked file, or nothing when it is taken, or was removed by the one who had it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    handle.close()
    return None


def cached(root: Path, kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The file or folder for ``key``; ``make`` writes it to the path that it is given.

    Older entries of the same kind are removed once there are more than a few.
    """
    entry = root / kind / key
    if entry.exists():
        os.utime(entry)
        return entry
    with locked(
        root / f"{kind}.lock",
        waiting=f"Another build of {kind} is under way; waiting for it.",
    ):
        if entry.exists():
            return entry
        entry.parent.mkdir(parents=True, exist_ok=True)
        # Whoever holds the lock is the only one that makes: the rest was left by a build that died.
        for dead in entry.parent.glob(".making-*"):
            remove_tree(dead)
        scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=entry.parent))
        try:
            make(scratch / key)
            (scratch / key).rename(entry)
        finally:
            remove_tree(scratch)
        _forget_old(entry.parent, keep=entry)
    return entry


def _forget_old(folder: Path, *, keep: Path) -> None:
    now = time.time()
    entries = sorted(
        (path for path in folder.iterdir() if path != keep),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    for path in entries[KEPT_PER_KIND - 1 :]:
        # An entry that another checkout is reading right now was touched a moment ago.
        if now - path.stat().st_mtime < 3600:
            continue
        remove_tree(path)
