"""Which input files a job sends to S3, and how they are opened.

What the client says (`input_uri`, `input_filename`) is not trusted: nothing
outside the server's root folder is read, whatever the names or the links say.

Differences from upstream's `copy_directory`, which copies everything:

- the scheduler's own output folder is left out, or a notebook in the root
  folder would send the outputs of all earlier jobs with each new one;
- `.ipynb_checkpoints` folders are left out: they are JupyterLab's own copies;
- a link that leads out of the root folder refuses the job instead of sending
  what it points to, and a link to nothing (editors leave such as lock files), a
  link to a folder that holds it, a FIFO, a socket or a device is left out
  instead of failing or hanging.
"""

import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from jupyter_scheduler.exceptions import InputUriError

from jupyter_scheduler_k8s import beneath
from jupyter_scheduler_k8s.errors import BackendError, UnsafePath
from jupyter_scheduler_k8s.names import check_path, escape_path

_CHECKPOINTS = ".ipynb_checkpoints"
# File systems allow 255 bytes; the output folder adds a dash and a UUID to the
# name's stem, the dated output a time and its format.
_FILENAME_BYTES = 200
# S3 allows keys of 1,024 bytes; the job's own prefix takes less than the rest.
_KEY_BYTES = 900


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One file to send.

    Attributes:
        path: where it is in the input tree, relative.
        size: bytes, when the tree was walked.
        executable: whether its owner may execute it.
        root: the folder below which it is opened, absolute, without links.
        parts: where it is below `root`, without links.
    """

    path: str
    size: int
    executable: bool
    root: str
    parts: tuple[str, ...]

    def open(self) -> BinaryIO:
        """The file, opened for reading without following any link.

        Raises:
            BackendError: it can't be read, or isn't the file that was found.
        """
        try:
            return beneath.open_file(self.root, self.parts)
        except OSError as error:
            raise _unreadable(self.path, error) from None


@dataclass(frozen=True, slots=True)
class StagedTree:
    """What a job sends.

    Attributes:
        notebook: the notebook's path in the tree.
        files: all files, the notebook among them.
        folders: the folders that hold nothing, relative.
        skipped: what was left out, and why, for the log.
    """

    notebook: str
    files: tuple[StagedFile, ...]
    folders: tuple[str, ...]
    skipped: Mapping[str, str]

    @property
    def packaged_files(self) -> list[str]:
        """The paths of all files but the notebook."""
        return [file.path for file in self.files if file.path != self.notebook]

    def tree_object(self) -> bytes | None:
        """The content of the `%tree` object: what S3 keys can't say. None where there is nothing.

        JSON: {"folders": [empty folders], "executables": [paths]}, not escaped.
        """
        executables = [file.path for file in self.files if file.executable]
        if not executables and not self.folders:
            return None
        return json.dumps({"folders": list(self.folders), "executables": executables}).encode()


def check_filename(name: str) -> str:
    """Return `name`, which names one file in a folder, and its outputs by their own names.

    Raises:
        UnsafePath: it is no single name, or too long to be one.
    """
    if "/" in check_path(name):
        raise UnsafePath(f"The file name {name!r} must be a name without folders.")
    if len(name.encode()) > _FILENAME_BYTES:
        raise UnsafePath(
            f"The file name is longer than {_FILENAME_BYTES} bytes, and its outputs add "
            "a date to it; rename the notebook and try again."
        )
    return name


def stage(root_dir: str, input_uri: str, *, package: bool, output_directory: str) -> StagedTree:
    """Find the files that a job sends. Reads folders, not files; call it in a thread.

    Args:
        root_dir: the server's root folder.
        input_uri: the notebook, relative to `root_dir`, as the client sent it.
        package: send the notebook's whole folder.
        output_directory: the scheduler's output folder, relative to `root_dir`.

    Raises:
        InputUriError: there is no such file.
        UnsafePath: a name or a link leads out of `root_dir`.
        BackendError: it is no file, or a folder can't be read.
    """
    root = os.path.realpath(root_dir)
    uri = check_path(input_uri)
    notebook = check_filename(uri.rpartition("/")[2])
    real = _beneath(root, str(Path(root, uri)), shown=uri)
    try:
        found = os.lstat(str(Path(root, *real)))
    except (FileNotFoundError, NotADirectoryError):
        raise InputUriError(input_uri) from None
    except OSError as error:
        raise _unreadable(uri, error) from None
    if stat.S_ISDIR(found.st_mode):
        raise BackendError(f"{uri} is a folder: name the notebook in it that is to run.")
    if not stat.S_ISREG(found.st_mode):
        raise BackendError(f"{uri} is not a file that could be a notebook.")
    if not package:
        file = _staged(root, real, notebook, found)
        return StagedTree(notebook=notebook, files=(file,), folders=(), skipped={})
    walk = _Walk(root, excluded=_identity(str(Path(root, output_directory))))
    # The folder that holds the name, not the one that a linked notebook is in.
    start = _beneath(root, str(Path(root, uri).parent), shown=uri)
    walk.run(start)
    return StagedTree(
        notebook=notebook,
        files=tuple(sorted(walk.files, key=lambda staged: staged.path)),
        folders=tuple(sorted(walk.empty)),
        skipped=walk.skipped,
    )


class _Walk:
    """One walk through a folder. Links are resolved, then opened without following any."""

    def __init__(self, root: str, *, excluded: tuple[int, int] | None) -> None:
        self._root = root
        self._excluded = excluded
        self.files: list[StagedFile] = []
        self.empty: set[str] = set()
        self.skipped: dict[str, str] = {}
        # (parts below the root, path in the tree, the folders it is in)
        self._todo: list[tuple[tuple[str, ...], str, frozenset[tuple[int, int]]]] = []

    def run(self, start: tuple[str, ...]) -> None:
        identity = _identity(str(Path(self._root, *start)))
        above = frozenset() if identity is None else frozenset({identity})
        # A notebook that lies in the output folder itself takes its neighbours along.
        if identity == self._excluded:
            self._excluded = None
        self._todo.append((start, "", above))
        while self._todo:
            parts, path, above = self._todo.pop()
            try:
                with (
                    beneath.folder(self._root, parts) as descriptor,
                    os.scandir(descriptor) as all_,
                ):
                    entries = [(e.name, e.stat(follow_symlinks=False)) for e in all_]
            except OSError as error:
                raise _unreadable(path or ".", error) from None
            kept = [self._take((*parts, name), _join(path, name), s, above) for name, s in entries]
            if path and not any(kept):
                self.empty.add(path)

    def _take(
        self,
        parts: tuple[str, ...],
        path: str,
        found: os.stat_result,
        above: frozenset[tuple[int, int]],
    ) -> bool:
        """Note one entry of a folder; False where it is left out."""
        if stat.S_ISLNK(found.st_mode):
            parts = _beneath(self._root, str(Path(self._root, *parts)), shown=path)
            try:
                found = os.lstat(str(Path(self._root, *parts)))
            except (FileNotFoundError, NotADirectoryError):
                return self._skip(path, "a link to nothing")
            except OSError as error:
                raise _unreadable(path, error) from None
            if stat.S_ISLNK(found.st_mode):
                return self._skip(path, "a link to itself")
        if stat.S_ISREG(found.st_mode):
            self.files.append(_staged(self._root, parts, path, found))
            return True
        if not stat.S_ISDIR(found.st_mode):
            return self._skip(path, "not a regular file")
        identity = (found.st_dev, found.st_ino)
        if path.rpartition("/")[2] == _CHECKPOINTS:
            return self._skip(path, "JupyterLab's own copies")
        if identity == self._excluded:
            return self._skip(path, "the outputs of earlier jobs")
        if identity in above:
            return self._skip(path, "a link to a folder that it is in")
        check_path(path)
        self._todo.append((parts, path, above | {identity}))
        return True

    def _skip(self, path: str, why: str) -> bool:
        self.skipped[path] = why
        return False


def _staged(root: str, parts: tuple[str, ...], path: str, found: os.stat_result) -> StagedFile:
    if len(escape_path(path).encode()) > _KEY_BYTES:
        raise UnsafePath(f"The path {path!r} is longer than S3 allows ({_KEY_BYTES} bytes).")
    return StagedFile(
        path=path,
        size=found.st_size,
        executable=bool(found.st_mode & stat.S_IXUSR),
        root=root,
        parts=parts,
    )


def _beneath(root: str, path: str, *, shown: str) -> tuple[str, ...]:
    """The parts of `path` below `root` once all links are followed.

    Raises:
        UnsafePath: it isn't below `root`.
    """
    real = os.path.realpath(path)
    if real == root:
        return ()
    base = root if root.endswith("/") else f"{root}/"
    if not real.startswith(base):
        raise UnsafePath(
            f"{shown!r} is a link that leads out of the folder that JupyterLab shows, "
            "so it can't be sent; replace it by a copy, or move it away."
        )
    return tuple(real[len(base) :].split("/"))


def _identity(path: str) -> tuple[int, int] | None:
    """Device and inode of a folder, None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _unreadable(path: str, error: OSError) -> BackendError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return BackendError(f"{path!r} vanished while it was being read; try again.")
    why = os.strerror(error.errno) if error.errno else "the file system refused"
    return BackendError(f"{path!r} can't be read: {why}.")
