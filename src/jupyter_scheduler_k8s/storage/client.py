"""Storage: one bucket, its objects by their whole keys."""

import asyncio
import io
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from jupyter_scheduler_k8s.errors import (
    BackendError,
    ConfigurationError,
    ObjectMissing,
    StorageError,
)
from jupyter_scheduler_k8s.names import TREE_KEY, escape_path
from jupyter_scheduler_k8s.storage.connection import Connection, Stores
from jupyter_scheduler_k8s.storage.credentials import Credentials, PodCredentials
from jupyter_scheduler_k8s.storage.endpoint import check_endpoint_url
from jupyter_scheduler_k8s.storage.transfers import (
    SMALL,
    SMALL_AT_ONCE,
    Download,
    Source,
    Transfers,
)
from jupyter_scheduler_k8s.storage.work import Lane, Work

if TYPE_CHECKING:
    from jupyter_scheduler_k8s.staging import StagedTree

_JSON_LIMIT = 16 * 1024 * 1024
_LIST_PAGE = 1000
# Objects that appear while a prefix is deleted are deleted too, but not for ever.
_DELETE_ROUNDS = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing.

    Attributes:
        key: the whole key.
        size: bytes.
        modified: seconds since the epoch, by S3's clock.
    """

    key: str
    size: int
    modified: float


class Storage:
    """One bucket. Cheap to make: nothing is imported, read or asked before the first call.

    Every method is a coroutine that blocks no event loop, may be called from any,
    and raises the exceptions of `errors.py`, in sentences without any credential.
    """

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str = "",
        region: str = "",
        ca_bundle: str = "",
        credentials: Credentials | None = None,
        store: Any = None,
    ) -> None:
        """
        Args:
            bucket: its name.
            endpoint_url: the S3 server; empty means AWS.
            region: empty means what the AWS configuration says, else us-east-1.
            ca_bundle: path of a PEM file; empty means AWS_CA_BUNDLE, if that is set.
            credentials: boto3's chain by default.
            store: an obstore store in place of S3, for tests.

        Raises:
            ConfigurationError: no bucket, or no usable address.
        """
        if not bucket:
            raise ConfigurationError("S3_BUCKET must name the bucket that the files go through.")
        self._connection = Connection(
            bucket=bucket,
            endpoint_url=check_endpoint_url(endpoint_url),
            region=region,
            ca_bundle=ca_bundle,
            credentials=credentials or Credentials(),
            store=store,
        )
        self._transfers = Transfers(self._connection)
        # Clean-ups whose caller was cancelled; the set keeps them alive.
        self._background: set[asyncio.Task[None]] = set()

    async def region(self) -> str:
        """The region that requests are signed for; pods get the same."""
        return await asyncio.to_thread(self._connection.find_region)

    async def pod_credentials(self) -> PodCredentials | None:
        """What the pods' Secret holds, None where each pod has an identity of its own.

        Raises:
            StorageDenied: there are no credentials, or they have expired.
            ConfigurationError: the AWS configuration can't be read.
        """
        found = await asyncio.to_thread(self._connection.credentials.pod)
        if found is not None:
            region = await self.region()
            found.data.update(AWS_REGION=region, AWS_DEFAULT_REGION=region)
        return found

    async def ca_certificates(self) -> str:
        """The private CA's certificates as PEM text; empty without one, or without TLS."""
        return await asyncio.to_thread(self._connection.certificates)

    async def check_bucket(self) -> None:
        """Ask for the bucket's first object.

        Raises:
            BackendError: the bucket can't be used, and why.
        """

        async def peek(stores: Stores) -> None:
            async for _ in stores.quick.list("jobs/", chunk_size=1):
                return

        await self._connection.ask("list the objects", peek)

    async def put_bytes(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what is there."""
        await self._connection.put(
            f"store '{key}'",
            lambda stores: (stores.quick if len(data) <= SMALL else stores.bulk).put_async(
                key, data, use_multipart=False
            ),
        )

    async def get_bytes(self, key: str, *, limit: int) -> bytes:
        """The object's bytes.

        Raises:
            ObjectMissing: there is none.
            StorageError: it has more than `limit` bytes.
        """

        async def get(stores: Stores) -> bytes:
            found = await stores.quick.get_async(key)
            size = int(found.meta["size"])
            if size > limit:
                raise StorageError(f"'{key}' in S3 has {size} bytes, more than {limit} allowed.")
            return bytes(await found.bytes_async())

        return await self._connection.ask(f"fetch '{key}'", get)

    async def get_json(self, key: str, *, limit: int = _JSON_LIMIT) -> Any:
        """The object's content, which is JSON.

        Raises:
            ObjectMissing: there is none.
            StorageError: it has more than `limit` bytes, or is no JSON.
        """
        data = await self.get_bytes(key, limit=limit)
        try:
            return json.loads(data)
        # A RecursionError: nested a thousand times.
        except (ValueError, RecursionError):
            raise StorageError(f"'{key}' in S3 is not valid JSON.") from None

    async def list(self, prefix: str) -> list[StoredObject]:
        """All objects below `prefix`, one job's or a part of it; sorted by key."""
        checked = _check_prefix(prefix)

        async def pages(stores: Stores) -> list[StoredObject]:
            return [
                StoredObject(
                    key=meta["path"], size=meta["size"], modified=meta["last_modified"].timestamp()
                )
                async for page in stores.quick.list(checked, chunk_size=_LIST_PAGE)
                for meta in page
            ]

        found = await self._connection.ask(f"list '{prefix}'", pages)
        return sorted(found, key=lambda stored: stored.key)

    async def upload_file(self, key: str, source: Source) -> None:
        """Store one file, however large, under `key`."""
        await self._transfers.upload([(key, source)])

    async def upload_tree(self, prefix: str, tree: "StagedTree") -> None:
        """Store all files of `tree` under `prefix`, which is new and the caller's own.

        When it fails or is cancelled, what had been stored is deleted.

        Raises:
            BackendError: S3 refused, or a file can't be read.
        """
        pairs = await asyncio.to_thread(_keyed, prefix, tree)
        try:
            await self._transfers.upload(pairs)
        except BaseException:
            cleaning = asyncio.create_task(self._clean_up(prefix))
            self._background.add(cleaning)
            cleaning.add_done_callback(self._background.discard)
            await asyncio.shield(cleaning)
            raise

    async def download(self, wanted: Iterable[Download]) -> None:
        """Fetch objects into files. Those that are whole when one fails stay.

        Raises:
            ObjectMissing: an object has vanished.
            BackendError: S3 refused, or a file can't be written.
        """
        await self._transfers.download(wanted)

    async def delete_prefix(self, prefix: str) -> int:
        """Delete everything below `prefix`, one job's or a part of it; how many objects that were.

        One request each: Google's S3 interface knows no bulk delete. What is gone
        already is no error, so a deletion that failed can be repeated.

        Raises:
            BackendError: an object wasn't deleted, and why.
        """
        deleted = 0
        for _ in range(_DELETE_ROUNDS):
            found = await self.list(prefix)
            if not found:
                return deleted
            await Work().run(Lane(found, self._delete, workers=SMALL_AT_ONCE))
            deleted += len(found)
        left = await self.list(prefix)
        if left:
            raise StorageError(
                f"{len(left)} objects under '{prefix}' in S3 can't be deleted, or others "
                "are being added; try again, or use another S3 client."
            )
        return deleted

    async def delete(self, key: str) -> None:
        """Delete one object; one that isn't there is as good as deleted."""
        try:
            await self._connection.ask(
                f"delete '{key}'", lambda stores: stores.quick.delete_async(key)
            )
        except ObjectMissing:
            return

    async def _delete(self, stored: StoredObject) -> None:
        await self.delete(stored.key)

    async def _clean_up(self, prefix: str) -> None:
        try:
            await self.delete_prefix(prefix)
        except BackendError as error:
            _log.warning("What a failed upload left under '%s' stays in S3: %s", prefix, error)


@dataclass(frozen=True, slots=True)
class _Made:
    """A source that is no file."""

    path: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


def _keyed(prefix: str, tree: "StagedTree") -> list[tuple[str, Source]]:
    """The files of a tree with their keys. Takes a while where they are many."""
    pairs: list[tuple[str, Source]] = [
        (prefix + escape_path(file.path), file) for file in tree.files
    ]
    extra = tree.tree_object()
    if extra is not None:
        pairs.append((prefix + TREE_KEY, _Made(TREE_KEY, extra)))
    return pairs


def _check_prefix(prefix: str) -> str:
    """Return `prefix`, which names one job's objects at most: a slip must not empty the bucket.

    Raises:
        ValueError: it doesn't.
    """
    parts = prefix.split("/")
    if len(parts) < 3 or parts.pop() or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{prefix!r} is no prefix of one job's objects")
    return prefix
