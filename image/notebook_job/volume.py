"""Files in a folder that someone else can write to, and may want to misuse.

The notebook's container shares the folder, so nothing in it is what it seems: a
link may lead to this process' own credentials, a pipe may block a reader for
ever, a file may grow while it is read. Here each part of a path is opened by
itself, without following links; only regular files are read; sizes are bounded.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe without it waits for a writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
# More names in one folder than these are not looked at.
_NAMES = 200_000
# Folders of folders: deeper than any person goes, and far from the limit of open files.
_DEPTH = 100


class Refused(Exception):
    """A file is not read, or not written; the text says why in a few words."""


@dataclass(frozen=True)
class Mark:
    """What tells a file that was changed from one that wasn't."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True)
class Found:
    """A regular file below the folder, or something that is none, with the reason."""

    path: str
    mark: Mark | None = None
    refused: str = ""


def _mark(status: os.stat_result) -> Mark:
    return Mark(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "it is a link"
    if stat.S_ISFIFO(mode):
        return "it is a pipe"
    if stat.S_ISSOCK(mode):
        return "it is a socket"
    return "it is not a regular file"


class Volume:
    """The folder `root`; all paths are relative to it, with `/` between their parts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fd = os.open(root, _FOLDER)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._fd)

    @contextlib.contextmanager
    def _folder(self, parts: list[str], *, create: bool = False) -> Iterator[int]:
        current = os.dup(self._fd)
        try:
            for part in parts:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=current)
                following = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)

    def make_folder(self, path: str) -> None:
        """Create a folder with those above it, where they don't exist.

        Raises:
            Refused: something in the way is no folder.
        """
        try:
            with self._folder(path.split("/"), create=True):
                pass
        except OSError as error:
            raise Refused(_reason(error)) from None

    def create(self, path: str, *, executable: bool = False) -> int:
        """A descriptor to write the new file `path` with; the caller closes it.

        Raises:
            Refused: it exists, or something in its way is no folder.
        """
        *folders, name = path.split("/")
        try:
            with self._folder(folders, create=True) as folder:
                return os.open(name, _CREATE, 0o775 if executable else 0o664, dir_fd=folder)
        except OSError as error:
            raise Refused(_reason(error)) from None

    def write(self, path: str, data: bytes) -> None:
        """Write the new file `path`, which appears whole.

        Raises:
            Refused: see `create`.
        """
        fresh = f"{path}.new"
        with os.fdopen(self.create(fresh), "wb") as file:
            file.write(data)
        self.rename(fresh, path)

    def rename(self, old: str, new: str) -> None:
        """Give the file `old` the name `new`, in the same folder, in the place of any other.

        Raises:
            Refused: something in its way is no folder.
        """
        *folders, name = old.split("/")
        try:
            with self._folder(folders) as folder:
                os.rename(name, new.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise Refused(_reason(error)) from None

    def open(self, path: str) -> int:
        """A descriptor to read the regular file `path` with; the caller closes it.

        Raises:
            Refused: it is a link, a pipe, or below one; it can't be read; it isn't there.
        """
        *folders, name = path.split("/")
        try:
            with self._folder(folders) as folder:
                handle = os.open(name, _READ, dir_fd=folder)
        except OSError as error:
            raise Refused(_reason(error)) from None
        mode = os.fstat(handle).st_mode
        if stat.S_ISREG(mode):
            return handle
        os.close(handle)
        raise Refused(_kind(mode))

    def exists(self, path: str) -> bool:
        """Whether there is a regular file `path`."""
        try:
            os.close(self.open(path))
        except Refused:
            return False
        return True

    def mark(self, path: str) -> Mark | None:
        """The mark of the file `path`, or None where there is no regular file."""
        try:
            handle = self.open(path)
        except Refused:
            return None
        try:
            return _mark(os.fstat(handle))
        finally:
            os.close(handle)

    def read(self, path: str, limit: int) -> bytes:
        """The content of `path`.

        Raises:
            Refused: it has more than `limit` bytes; and see `open`.
        """
        data = b"".join(self.chunks(path, limit + 1))
        if len(data) > limit:
            raise Refused(f"it is larger than {limit} bytes")
        return data

    def tail(self, path: str, size: int) -> bytes:
        """The last `size` bytes of `path`; see `open` for what it raises."""
        handle = self.open(path)
        try:
            start = max(0, os.fstat(handle).st_size - size)
            return os.pread(handle, size, start)
        finally:
            os.close(handle)

    def chunks(self, path: str, limit: int, size: int = _CHUNK) -> Iterator[bytes]:
        """The first `limit` bytes of `path` in pieces; see `open` for what it raises.

        The limit holds whatever the file does meanwhile.
        """
        handle = self.open(path)
        try:
            left = limit
            while left > 0 and (data := os.read(handle, min(size, left))):
                left -= len(data)
                yield data
        except OSError as error:
            raise Refused(_reason(error)) from None
        finally:
            os.close(handle)

    def walk(self, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
        """Everything below the folder, in order of names; folders named in `skip` are left out."""
        yield from self._walk(os.dup(self._fd), "", skip, _DEPTH)

    def _walk(self, folder: int, prefix: str, skip: frozenset[str], depth: int) -> Iterator[Found]:
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in islice(entries, _NAMES + 1))
            if len(names) > _NAMES:
                yield Found(prefix.rstrip("/"), refused=f"it has more than {_NAMES} files")
            for name in names[:_NAMES]:
                path = prefix + name
                try:
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode):
                        yield _found(path, status)
                        continue
                    if name in skip:
                        continue
                    if depth == 0:
                        yield Found(path, refused="its folders are too deep")
                        continue
                    below = os.open(name, _FOLDER, dir_fd=folder)
                except FileNotFoundError:
                    # It went away meanwhile.
                    continue
                except OSError as error:
                    yield Found(path, refused=_reason(error))
                    continue
                yield from self._walk(below, f"{path}/", skip, depth - 1)
        except OSError as error:
            yield Found(prefix.rstrip("/"), refused=_reason(error))
        finally:
            os.close(folder)


def _found(path: str, status: os.stat_result) -> Found:
    if stat.S_ISREG(status.st_mode):
        return Found(path, mark=_mark(status))
    return Found(path, refused=_kind(status.st_mode))


def _reason(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    return text[:1].lower() + text[1:]
