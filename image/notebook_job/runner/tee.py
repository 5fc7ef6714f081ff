"""A copy of what this process and its children print, for the run's record."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from pathlib import Path

LOG_BYTES = 1 << 20
_CHUNK = 1 << 16
# A child that outlives the run may hold the pipe open; what it prints is not waited for.
_DRAIN_SECONDS = 0.2


class BoundedLog:
    """A file that keeps the last `limit` bytes, at most, of what is written to it."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self._path = path
        self._limit = limit
        self._file = path.open("wb", buffering=0)
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append `data`; the older half goes when the file is full."""
        data = data[-self._limit :]
        if self._size + len(data) > self._limit:
            kept = self._path.read_bytes()[-self._limit // 2 :]
            fresh = self._path.with_name(self._path.name + ".new")
            file = fresh.open("wb", buffering=0)
            file.write(kept)
            fresh.replace(self._path)
            self._file.close()
            self._file, self._size = file, len(kept)
        self._file.write(data)
        self._size += len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Tee:
    """File descriptors 1 and 2, each through a pipe to where it went before and to a log."""

    def __init__(self, path: Path) -> None:
        self._log = BoundedLog(path)
        self._targets: dict[int, int] = {}
        self._saved = {1: os.dup(1), 2: os.dup(2)}
        for number, saved in self._saved.items():
            reader, writer = os.pipe()
            os.dup2(writer, number)
            os.close(writer)
            self._targets[reader] = saved
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._copy, name="tee", daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        readers = set(self._targets)
        timeout: float | None = None
        while readers:
            ready, _, _ = select.select([*readers, self._stopping], [], [], timeout)
            if self._stopping in ready:
                timeout = _DRAIN_SECONDS
                os.read(self._stopping, 1)
                continue
            if not ready:
                return
            for reader in ready:
                data = os.read(reader, _CHUNK)
                if not data:
                    readers.discard(reader)
                    continue
                # A full disk must not end the run.
                with contextlib.suppress(OSError):
                    os.write(self._targets[reader], data)
                with contextlib.suppress(OSError):
                    self._log.write(data)

    def close(self) -> None:
        """Give the descriptors back and wait until what was printed is copied."""
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in self._saved.items():
            os.dup2(saved, number)
        os.write(self._stop, b".")
        self._thread.join(timeout=10 * _DRAIN_SECONDS)
        self._log.close()
