"""The bucket: reading, listing and writing objects, patiently, and saying what went wrong.

The only importer of obstore. Texts of its errors are never shown as they are:
an S3 server's answer may repeat an access key and what was signed with it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore, S3Store

T = TypeVar("T")

# Objects up to this size are read and written in one piece; larger ones in such pieces.
PIECE_BYTES = 8 << 20
_PIECES_AT_ONCE = 4
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
COPY_BYTES = 5 << 30
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
# A refusal may be a credential that is being renewed; more than that, it is a refusal.
_REFUSALS = 3
_SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})</Message>")
_STATUS = re.compile(r"non-2xx status code: (\d{3}[A-Za-z ]{0,40})")

# What rustls calls a certificate that nobody it trusts has signed.
_UNTRUSTED = "InvalidCertificate"


class StoreError(Exception):
    """S3 did not do what was asked; the text is a sentence."""


class ObjectMissing(StoreError):
    """There is no such object, or no such bucket."""


class AlreadyThere(StoreError):
    """The object that was to be new exists."""


@dataclass(frozen=True)
class Item:
    """An object of the bucket."""

    key: str
    size: int


class Patience:
    """How long transient faults are waited out, from now on; `clock` counts seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds left."""
        return self._deadline - self._clock()


def connect(
    *, bucket: str, endpoint_url: str, ca_bundle: str, environment: Mapping[str, str]
) -> S3Store:
    """The bucket, opened with the credentials that `environment` or the machine gives.

    obstore finds keys, a session token, a web identity's token file, a
    container's or an instance's role by the standard variables.

    Args:
        bucket: its name.
        endpoint_url: the server, "" for AWS itself; its buckets are paths then.
        ca_bundle: path of a PEM file with a private authority's certificates, "" for none.
        environment: for the region, whose default is AWS's.
    """
    client: dict[str, object] = {
        "connect_timeout": "5s",
        # A request that goes on is not cut off for being long.
        "timeout": "1h",
        "read_timeout": "60s",
        "allow_http": endpoint_url.startswith("http://"),
    }
    if ca_bundle:
        client["root_certificate"] = Path(ca_bundle).read_bytes()
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    options: dict[str, object] = {"endpoint": endpoint_url} if endpoint_url else {}
    return S3Store(
        bucket,
        region=region,
        virtual_hosted_style_request=not endpoint_url,
        client_options=client,  # type: ignore[arg-type]
        retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=30)},
        **options,  # type: ignore[arg-type]
    )


class Store:
    """A bucket. Every method raises StoreError and its kinds; `patience` bounds its retries."""

    def __init__(self, store: ObjectStore, *, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def list(self, prefix: str, patience: Patience) -> list[Item]:
        """All objects below `prefix`, which ends in a slash."""

        async def attempt() -> list[Item]:
            items: list[Item] = []
            async for page in obstore.list(self._store, prefix.rstrip("/")):
                items += [Item(entry["path"], entry["size"]) for entry in page]
            return [item for item in items if item.key.startswith(prefix)]

        return await self._patiently(attempt, f"list {prefix}", patience)

    async def get(self, key: str, patience: Patience) -> bytes:
        """The content of a small object."""

        async def attempt() -> bytes:
            response = await obstore.get_async(self._store, key)
            return bytes(await response.bytes_async())

        return await self._patiently(attempt, f"read {key}", patience)

    async def get_into(self, item: Item, handle: int, patience: Patience) -> None:
        """Write the content of `item` to the file `handle`."""
        if item.size <= PIECE_BYTES:
            _write_at(handle, await self.get(item.key, patience), 0)
            return
        slots = asyncio.Semaphore(_PIECES_AT_ONCE)

        async def piece(start: int) -> None:
            end = min(start + PIECE_BYTES, item.size)

            async def attempt() -> bytes:
                return bytes(
                    await obstore.get_range_async(self._store, item.key, start=start, end=end)
                )

            async with slots:
                data = await self._patiently(attempt, f"read {item.key}", patience)
                await asyncio.to_thread(_write_at, handle, data, start)

        await asyncio.gather(*(piece(start) for start in range(0, item.size, PIECE_BYTES)))

    async def put(
        self, key: str, content: bytes | Callable[[], Iterator[bytes]], patience: Patience
    ) -> None:
        """Store `content`; a callable gives it in pieces, anew for each attempt."""

        async def attempt() -> None:
            if isinstance(content, bytes):
                await obstore.put_async(self._store, key, content, use_multipart=False)
                return
            pieces = content()
            first = await asyncio.to_thread(_first_piece, pieces)
            if len(first) < PIECE_BYTES:
                await obstore.put_async(self._store, key, first, use_multipart=False)
                return
            await obstore.put_async(
                self._store,
                key,
                _stream(first, pieces),
                use_multipart=True,
                chunk_size=PIECE_BYTES,
                max_concurrency=_PIECES_AT_ONCE,
            )

        await self._patiently(attempt, f"store {key}", patience)

    async def copy(self, item: Item, key: str, patience: Patience) -> None:
        """Store the content of `item` under `key` too, within S3 where its size allows that."""

        async def attempt() -> None:
            if item.size <= COPY_BYTES:
                await obstore.copy_async(self._store, item.key, key)
                return
            response = await obstore.get_async(self._store, item.key)
            await obstore.put_async(
                self._store,
                key,
                response.stream(min_chunk_size=PIECE_BYTES),
                use_multipart=True,
                chunk_size=PIECE_BYTES,
                max_concurrency=_PIECES_AT_ONCE,
            )

        await self._patiently(attempt, f"copy {item.key} to {key}", patience)

    async def delete(self, key: str, patience: Patience) -> None:
        """Delete one object."""

        async def attempt() -> None:
            await obstore.delete_async(self._store, key)

        await self._patiently(attempt, f"delete {key}", patience)

    async def put_new(self, key: str, content: bytes, patience: Patience) -> None:
        """Store `content`, of no other's making, under a key that nobody has used.

        Raises:
            AlreadyThere: someone has.
        """

        async def attempt() -> None:
            # Servers that ignore the condition of a put show the object here at least.
            await self._refuse_if_there(key, content)
            try:
                await obstore.put_async(self._store, key, content, mode="create")
            except AlreadyExistsError:
                # Perhaps by an attempt whose answer was lost.
                await self._refuse_if_there(key, content)
            except (NotSupportedError, GenericError) as error:
                if isinstance(error, GenericError) and "NotImplemented" not in str(error):
                    raise
                await obstore.put_async(self._store, key, content)

        await self._patiently(attempt, f"store {key}", patience)

    async def _refuse_if_there(self, key: str, own: bytes) -> None:
        try:
            found = bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        except FileNotFoundError:
            return
        if found != own:
            raise AlreadyThere(f"The object {key} exists.")

    async def _patiently(
        self, attempt: Callable[[], Awaitable[T]], what: str, patience: Patience
    ) -> T:
        pause, refusals = _FIRST_PAUSE, 0
        while True:
            try:
                return await attempt()
            except FileNotFoundError as error:
                raise ObjectMissing(self._sentence(error, what)) from None
            except (BaseError, OSError, ValueError) as error:
                refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError))
                refusals += refused
                hopeless = refusals >= _REFUSALS or not (refused or _is_transient(error))
                if hopeless or patience.left <= 0:
                    raise StoreError(self._sentence(error, what)) from None
            # Many pods must not come back in step.
            await asyncio.sleep(min(pause * random.uniform(0.5, 1), max(0, patience.left)))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _sentence(self, error: Exception, what: str) -> str:
        text = str(error)
        code, message, status = _CODE.search(text), _MESSAGE.search(text), _STATUS.search(text)
        if code:
            reason = f"{code[1]}{f' ({message[1].strip()})' if message else ''}"
        elif status:
            reason = status[1].strip()
        elif _UNTRUSTED in text:
            reason = "the server's certificate is not trusted"
        elif "tcp connect error" in text or "ConnectionRefused" in text:
            reason = "the server does not answer"
        elif "dns error" in text:
            reason = "the server's name is not known"
        elif "timed out" in text or "TimedOut" in text:
            reason = "the server did not answer in time"
        elif isinstance(error, BaseError):
            reason = type(error).__name__
        elif isinstance(error, OSError) and error.errno:
            reason = os.strerror(error.errno)
        else:
            reason = type(error).__name__
        return without_secrets(f"Could not {what} in bucket {self._bucket}: {reason}.")


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` with the credentials of `environment` blacked out."""
    for name in _SECRET_VARIABLES:
        if value := environment.get(name):
            text = text.replace(value, "***")
    return text


def _is_transient(error: Exception) -> bool:
    """Whether trying again may help: the network, or the server's own faults."""
    if not isinstance(error, GenericError):
        return False
    status = _STATUS.search(str(error))
    if status:
        return status[1].startswith(("5", "408", "429"))
    return _UNTRUSTED not in str(error)


def _write_at(handle: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, start)
        view, start = view[written:], start + written


def _first_piece(pieces: Iterator[bytes]) -> bytes:
    """As many of the next pieces as make PIECE_BYTES, or all."""
    first = bytearray()
    while len(first) < PIECE_BYTES and (piece := next(pieces, None)) is not None:
        first += piece
    return bytes(first)


async def _stream(first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """`first` and the other `pieces`, read in threads, so that a slow disk holds up nothing."""
    piece = first
    while piece:
        yield piece
        piece = await asyncio.to_thread(_first_piece, pieces)
