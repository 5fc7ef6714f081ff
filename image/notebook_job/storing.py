"""What a run leaves: from the shared folder to S3, in the order of its worth.

The executed notebook comes first, then files that the run made, then converted
formats, and result.json last: where it is, everything is.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from notebook_job.contract import Contract
from notebook_job.converter import ConversionFailed, Converter
from notebook_job.outcome import Result
from notebook_job.paths import UnsafePath, escape_path
from notebook_job.store import Patience, Store, StoreError
from notebook_job.volume import Mark, Refused, Volume

NOTEBOOK = "notebook.ipynb"
# Bounds that no honest run meets, so that a hostile one can't fill the bucket.
NOTEBOOK_BYTES = 4 << 30
FILE_BYTES = 64 << 30
TOTAL_BYTES = 256 << 30
FILES = 20_000
SKIPPED = 200
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
KEY_BYTES = 1024
# nbconvert needs many times the notebook's size in memory.
CONVERTED_BYTES = 256 << 20
LOG_TAIL_BYTES = 16 << 10
# Caches of Python and Jupyter, which nobody asked to keep.
SKIPPED_FOLDERS = frozenset({"__pycache__", ".ipynb_checkpoints"})
_SMALL = 1 << 20
_SMALL_AT_ONCE = 32
_LARGE_AT_ONCE = 4


@dataclass
class Stored:
    """What has been stored so far, and what hasn't, with sentences."""

    outputs: list[str] = field(default_factory=list)
    failed_outputs: dict[str, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    skipped_files: dict[str, str] = field(default_factory=dict)
    # Sentences of what S3 did not take; any of them fails the run.
    failures: list[str] = field(default_factory=list)

    def added_to(self, result: Result) -> Result:
        """`result` with this in it."""
        result = replace(
            result,
            outputs=tuple(self.outputs),
            failed_outputs=dict(self.failed_outputs),
            files=tuple(sorted(self.files.items())),
            skipped_files=dict(self.skipped_files),
        )
        if not self.failures:
            return result
        more = f" ({len(self.failures) - 1} more failed)" if len(self.failures) > 1 else ""
        return result.with_message(f"The outputs are not all stored. {self.failures[0]}{more}")


class Storing:
    """Stores one run's outputs; `stored` says how far it got."""

    def __init__(
        self,
        contract: Contract,
        store: Store,
        *,
        control: Volume,
        work: Volume,
        inputs: Mapping[str, Mark],
        patience: Patience,
    ) -> None:
        self._contract = contract
        self._store = store
        self._control = control
        self._work = work
        self._inputs = inputs
        self._patience = patience
        self.stored = Stored()

    async def _put(self, key: str, content: bytes | Callable[[], Iterator[bytes]]) -> bool:
        try:
            await self._store.put(key, content, self._patience)
        except StoreError as error:
            self.stored.failures.append(str(error))
            return False
        return True

    async def notebook(self) -> None:
        """Store the executed notebook as it is."""

        def pieces() -> Iterator[bytes]:
            return self._control.chunks(NOTEBOOK, NOTEBOOK_BYTES)

        mark = self._control.mark(NOTEBOOK)
        if mark is None:
            self.stored.failed_outputs["ipynb"] = "The run left no notebook."
        elif mark.size > NOTEBOOK_BYTES:
            self.stored.failed_outputs["ipynb"] = f"It is larger than {NOTEBOOK_BYTES >> 30} GiB."
        else:
            try:
                if await self._put(self._contract.output_key("ipynb"), pieces):
                    self.stored.outputs.append("ipynb")
            except Refused as error:
                self.stored.failed_outputs["ipynb"] = f"It can't be read: {error}."

    async def files(self) -> None:
        """Store the files that the run made or changed."""
        chosen = await asyncio.to_thread(self._choose)
        small, large = asyncio.Semaphore(_SMALL_AT_ONCE), asyncio.Semaphore(_LARGE_AT_ONCE)

        async def store(path: str, mark: Mark) -> None:
            async with small if mark.size <= _SMALL else large:
                await self._file(path)

        await asyncio.gather(*(store(path, mark) for path, mark in chosen))

    def _choose(self) -> list[tuple[str, Mark]]:
        """The files that the run made or changed, as far as they may be stored."""
        chosen: list[tuple[str, Mark]] = []
        total = 0
        for found in self._work.walk(SKIPPED_FOLDERS):
            if found.mark is None:
                self._skip(found.path, found.refused)
            elif found.mark != self._inputs.get(found.path):
                why = self._too_much(found.path, found.mark, count=len(chosen), total=total)
                if why:
                    self._skip(found.path, why)
                else:
                    total += found.mark.size
                    chosen.append((found.path, found.mark))
        return chosen

    def _skip(self, path: str, why: str) -> None:
        if len(self.stored.skipped_files) < SKIPPED:
            self.stored.skipped_files[_readable(path)] = why
        else:
            self.stored.skipped_files["..."] = "there are more"

    def _key(self, path: str) -> str:
        return f"{self._contract.output_prefix}files/{escape_path(path)}"

    def _too_much(self, path: str, mark: Mark, *, count: int, total: int) -> str:
        try:
            key = self._key(path)
        except UnsafePath:
            return "its name is not valid UTF-8"
        if len(key.encode()) > KEY_BYTES:
            return "its path is too long for S3"
        if mark.size > FILE_BYTES:
            return f"it is larger than {FILE_BYTES >> 30} GiB"
        if total + mark.size > TOTAL_BYTES:
            return f"all files together may have {TOTAL_BYTES >> 30} GiB"
        if count >= FILES:
            return f"there are more than {FILES} files"
        return ""

    async def _file(self, path: str) -> None:
        size = 0

        def pieces() -> Iterator[bytes]:
            nonlocal size
            size = 0
            for piece in self._work.chunks(path, FILE_BYTES):
                size += len(piece)
                yield piece

        try:
            if await self._put(self._key(path), pieces):
                self.stored.files[path] = size
        except Refused as error:
            self._skip(path, f"it can't be read: {error}")

    async def formats(self, converter: Converter) -> None:
        """Convert the notebook to the other formats and store them."""
        formats = [name for name in self._contract.formats if name != "ipynb"]
        if not formats or self._control.mark(NOTEBOOK) is None:
            return
        title = PurePosixPath(self._contract.notebook).stem
        with tempfile.TemporaryDirectory(prefix="convert-") as folder:
            snapshot = Path(folder) / NOTEBOOK
            try:
                content = self._control.read(NOTEBOOK, CONVERTED_BYTES)
            except Refused as error:
                sentence = f"The notebook is not converted: {error}."
                self.stored.failed_outputs.update(dict.fromkeys(formats, sentence))
                return
            await asyncio.to_thread(snapshot.write_bytes, content)
            del content
            for output_format in formats:
                try:
                    made = await converter.convert(snapshot, output_format, title=title)
                except ConversionFailed as error:
                    self.stored.failed_outputs[output_format] = str(error)
                    continue
                key = self._contract.output_key(output_format)
                if await self._put(key, lambda path=made: _pieces(path)):  # type: ignore[misc]
                    self.stored.outputs.append(output_format)
                made.unlink()

    async def result(self, result: Result) -> Result:
        """Store result.json, with all that was stored; return it."""
        whole = replace(self.stored.added_to(result), log_tail=self._log_tail())
        key = f"{self._contract.output_prefix}result.json"
        if await self._put(key, whole.to_json()):
            return whole
        return self.stored.added_to(result)

    def _log_tail(self) -> str:
        try:
            data = self._control.tail("log", LOG_TAIL_BYTES)
        except Refused:
            return ""
        if len(data) == LOG_TAIL_BYTES:
            # The first line is a part of one.
            data = data.partition(b"\n")[2]
        return data.decode("utf-8", "replace")


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_SMALL):
            yield piece


def _readable(path: str) -> str:
    """A name for a person, whatever bytes it has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
