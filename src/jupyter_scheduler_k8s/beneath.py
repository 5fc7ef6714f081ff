"""Opening files strictly below a folder, without following a link.

A path is walked from the folder's descriptor one part at a time with
O_NOFOLLOW, so what was checked is what is opened: a link that somebody puts in
place of a folder in the meantime is refused by the kernel, not followed. The
folder itself is trusted, and may be reached through links.

Paths here are relative, with `/` between parts that `names.check_path` accepts.
POSIX only: needs openat, as Linux and macOS have it.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from jupyter_scheduler_k8s.errors import BackendError, UnsafePath
from jupyter_scheduler_k8s.names import check_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO would wait for its other end.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".nb-download-"
# Where the file system has no locks: who writes does so at least this often, in seconds.
_ABANDONED = 3600.0


@contextlib.contextmanager
def folder(root: str, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of the folder `parts` below `root`, made first where `create` says so.

    Raises:
        UnsafePath: a part is a link, or no folder.
        OSError: the folder can't be opened or made.
    """
    current = os.open(root, _FOLDER)
    try:
        for depth, part in enumerate(parts, start=1):
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
            try:
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=current)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                shown = "/".join(parts[:depth])
                raise UnsafePath(
                    f"{shown!r} is a link or a file where a folder was expected, "
                    "so nothing was read or written there."
                ) from None
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def open_file(root: str, parts: Sequence[str]) -> BinaryIO:
    """The regular file `parts` below `root`, opened for reading.

    Raises:
        UnsafePath: a part is a link, or the file isn't a regular one.
        OSError: it can't be opened.
    """
    shown = "/".join(parts)
    with folder(root, parts[:-1]) as parent:
        try:
            opened = os.open(parts[-1], _READ, dir_fd=parent)
        except OSError as error:
            # ENXIO and EOPNOTSUPP: a socket, or a device without its driver.
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP):
                raise
            raise UnsafePath(f"{shown!r} is not a regular file, so it was not read.") from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise UnsafePath(f"{shown!r} is not a regular file, so it was not read.")
    # Unbuffered: every reader asks for large pieces.
    return os.fdopen(opened, "rb", buffering=0)


def file_exists(root: str, path: str) -> bool:
    """Whether a regular file is at `path` below `root`; a link is none.

    Raises:
        UnsafePath: a folder on the way is a link, or the path isn't one.
    """
    parts = check_path(path).split("/")
    try:
        with folder(root, parts[:-1]) as parent:
            return stat.S_ISREG(os.stat(parts[-1], dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


class NewFile:
    """A file that gets its name below a folder when it is whole, and not before.

    The bytes go to a hidden file in the same folder, which is locked as long as its
    writer lives; `finish` gives it the final name in one step, replacing a file or a
    link (never what the link points to).
    All methods raise BackendError, in a sentence, where the file system refuses.
    """

    def __init__(self, root: str, path: str) -> None:
        """Open the hidden file, making the folders on the way.

        Args:
            root: the trusted folder, absolute.
            path: relative to `root`.

        Raises:
            UnsafePath: the path isn't one below `root`, or a folder on the way is a link.
            BackendError: the file can't be made.
        """
        *above, self._name = check_path(path).split("/")
        self._path = path
        with self._spoken(), folder(root, above, create=True) as parent:
            self._temporary, self._descriptor = _create_locked(parent)
            try:
                self._parent = os.dup(parent)
            except OSError:
                os.close(self._descriptor)
                raise

    def write(self, data: bytes) -> None:
        """Append `data`."""
        with self._spoken():
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Give the file its name. Nothing may be called after this."""
        try:
            with self._spoken():
                # Else a machine that loses power may keep the name without the bytes,
                # and the next download would take the file for whole.
                _sync(self._descriptor)
                os.replace(
                    self._temporary,
                    self._name,
                    src_dir_fd=self._parent,
                    dst_dir_fd=self._parent,
                )
        except BaseException:
            self.discard()
            raise
        self._close()

    def discard(self) -> None:
        """Remove what was written. Nothing may be called after this."""
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._parent)
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        os.close(self._parent)

    @contextlib.contextmanager
    def _spoken(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "the file system refused"
            raise BackendError(f"The file {self._path!r} can't be written: {why}.") from None


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and user-space file systems don't know it.
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise


def _create_locked(parent: int) -> tuple[str, int]:
    """A new hidden file in the folder `parent`: its name and its descriptor, locked."""
    while True:
        name = f"{_TEMPORARY}{secrets.token_hex(8)}"
        descriptor = os.open(name, _CREATE, 0o666, dir_fd=parent)
        # Where there are no locks, the file's age tells whether it is abandoned.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Somebody who removes abandoned files may have been faster with the lock.
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)


def remove_abandoned(root: str, path: str, *, now: float | None = None) -> None:
    """Remove what a killed download left in the folder `path` below `root`.

    A file that a living process writes is locked, and stays. Best effort: errors
    are ignored.
    """
    limit = (time.time() if now is None else now) - _ABANDONED
    parts = check_path(path).split("/")
    with contextlib.suppress(OSError, UnsafePath), folder(root, parts) as descriptor:
        with os.scandir(descriptor) as entries:
            ours = [entry.name for entry in entries if entry.name.startswith(_TEMPORARY)]
        for name in ours:
            with contextlib.suppress(OSError):
                _remove_if_abandoned(descriptor, name, limit=limit)


def _remove_if_abandoned(parent: int, name: str, *, limit: float) -> None:
    # NFS locks only what is open for writing.
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if found.st_mtime >= limit:
                return
        os.unlink(name, dir_fd=parent)
    finally:
        os.close(descriptor)
