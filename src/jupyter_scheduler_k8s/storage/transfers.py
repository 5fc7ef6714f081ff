"""Many files up and down, fast where they are small, in bounded memory where they are large."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from jupyter_scheduler_k8s.errors import BackendError, StorageError
from jupyter_scheduler_k8s.storage.connection import Connection, Stores
from jupyter_scheduler_k8s.storage.work import Lane, Work

# Up to here a file goes in one request with a short time limit, 16 at a time:
# together 1 MiB, which half a Mbit/s carries within the limit.
SMALL = 64 * 1024
SMALL_AT_ONCE = 16
# Small files are read this many to a thread call: a call costs as much as a file.
_READ_TOGETHER = 8
# S3's smallest part. A file up to here goes in one request, a bigger one in parts;
# 4 files x (3 parts under way + 1 being read) x 5 MiB bounds the memory to 80 MiB.
_PART = 5 * 1024 * 1024
_LARGE_AT_ONCE = 4
_PARTS_AT_ONCE = 3
# S3 takes 10,000 parts.
_MOST_PARTS = 9_000
# A download's bytes are handed on in pieces of this size.
_PIECE = 1024 * 1024
_LARGE_DOWN_AT_ONCE = 8


class Source(Protocol):
    """A file to upload; `staging.StagedFile` is one."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    def open(self) -> BinaryIO: ...


class Sink(Protocol):
    """A file to be written; `beneath.NewFile` is one. Called in threads, one call at a time."""

    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Download:
    """One object to fetch.

    Attributes:
        key: the object's key.
        size: bytes, as listed; a running job may have replaced the object since.
        open: makes the file that its bytes go to; called in a thread.
    """

    key: str
    size: int
    open: Callable[[], Sink]


class Transfers:
    """Uploads and downloads over one connection; the bound on memory is for all of them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._large_up = _Slots(_LARGE_AT_ONCE)
        self._large_down = _Slots(_LARGE_DOWN_AT_ONCE)

    async def upload(self, pairs: Sequence[tuple[str, Source]]) -> None:
        """Store files under their keys. When it raises, nothing is under way any more.

        Raises:
            BackendError: S3 refused, or a file can't be read.
        """
        work = Work()
        small = [pair for pair in pairs if pair[1].size <= SMALL]
        large = [pair for pair in pairs if pair[1].size > SMALL]
        batches = [
            small[start : start + _READ_TOGETHER] for start in range(0, len(small), _READ_TOGETHER)
        ]

        async def put_large(pair: tuple[str, Source]) -> None:
            async with self._large_up.one():
                await self._put_large(*pair, work=work)

        async def put_small(batch: Sequence[tuple[str, Source]]) -> None:
            contents = await asyncio.to_thread(_read_small, [source for _, source in batch])
            for pair, content in zip(batch, contents, strict=True):
                if work.stopped:
                    return
                if content is None:
                    await put_large(pair)
                else:
                    await self._put_small(*pair, content=content)

        await work.run(
            Lane(batches, put_small, workers=min(SMALL_AT_ONCE, len(batches))),
            Lane(large, put_large, workers=min(_LARGE_AT_ONCE, len(large))),
        )

    async def download(self, wanted: Iterable[Download]) -> None:
        """Fetch objects into files. Those that are whole when one fails stay.

        Raises:
            ObjectMissing: an object has vanished.
            BackendError: S3 refused, or a file can't be written.
        """
        work = Work()

        async def fetch(one: Download) -> None:
            if one.size <= SMALL:
                await self._fetch(one, work)
                return
            async with self._large_down.one():
                await self._fetch(one, work)

        await work.run(Lane(wanted, fetch, workers=SMALL_AT_ONCE))

    async def _put_small(self, key: str, source: Source, *, content: bytes) -> None:
        await self._connection.put(
            f"store {source.path!r}",
            lambda stores: stores.quick.put_async(key, content, use_multipart=False),
        )

    async def _put_large(self, key: str, source: Source, *, work: Work) -> None:
        part = max(_PART, -(-source.size // _MOST_PARTS))
        file = await asyncio.to_thread(source.open)
        try:
            first = await asyncio.to_thread(_read, file, part, source.path)
            pieces = _pieces(first, file, part, path=source.path, work=work)
            await self._connection.ask(
                f"store {source.path!r}",
                lambda stores: (
                    stores.bulk.put_async(key, first, use_multipart=False)
                    if len(first) < part
                    else stores.bulk.put_async(
                        key, pieces, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
                    )
                ),
            )
        finally:
            file.close()

    async def _fetch(self, one: Download, work: Work) -> None:
        async def fetch(stores: Stores) -> None:
            store = stores.quick if one.size <= SMALL else stores.bulk
            found = await store.get_async(one.key)
            size = int(found.meta["size"])
            if size <= _PIECE:
                content = bytes(await found.bytes_async())
                await asyncio.to_thread(_write_whole, one.open, content)
                return
            sink = await asyncio.to_thread(one.open)
            try:
                async for piece in found.stream(min_chunk_size=_PIECE):
                    work.check()
                    size -= len(piece)
                    await asyncio.to_thread(sink.write, piece)
                _check_whole(one.key, left=size)
            except BaseException:
                await asyncio.to_thread(sink.discard)
                raise
            await asyncio.to_thread(sink.finish)

        await self._connection.ask(f"fetch '{one.key}'", fetch)


class _Slots:
    """A bound that all calls share. asyncio's semaphores belong to one event loop each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )

    def one(self) -> asyncio.Semaphore:
        """To be entered with `async with`."""
        loop = asyncio.get_running_loop()
        slots = self._by_loop.get(loop)
        if slots is None:
            slots = self._by_loop[loop] = asyncio.Semaphore(self._limit)
        return slots


def _check_whole(key: str, *, left: int) -> None:
    if left:
        raise StorageError(f"'{key}' came incomplete from S3; try again.")


def _read(file: BinaryIO, size: int, path: str) -> bytes:
    """The next `size` bytes, fewer only at the end of the file."""
    pieces = []
    try:
        while size > 0 and (piece := file.read(size)):
            pieces.append(piece)
            size -= len(piece)
    except OSError as error:
        raise BackendError(f"{path!r} can't be read: {error.strerror}.") from None
    return b"".join(pieces)


def _read_small(sources: Sequence[Source]) -> list[bytes | None]:
    """The contents of files, None for one that has grown too large for one request."""
    contents: list[bytes | None] = []
    for source in sources:
        with source.open() as file:
            content = _read(file, SMALL + 1, source.path)
        contents.append(content if len(content) <= SMALL else None)
    return contents


async def _pieces(
    first: bytes, file: BinaryIO, part: int, *, path: str, work: Work
) -> AsyncIterator[bytes]:
    """The file's parts. An exception here makes obstore abort the upload, parts and all."""
    piece = first
    while piece:
        yield piece
        work.check()
        piece = await asyncio.to_thread(_read, file, part, path)


def _write_whole(open_sink: Callable[[], Sink], content: bytes) -> None:
    sink = open_sink()
    try:
        sink.write(content)
    except BaseException:
        sink.discard()
        raise
    sink.finish()
