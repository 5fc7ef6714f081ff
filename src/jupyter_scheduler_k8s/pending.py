"""Inputs in S3 whose Job may not exist, so that none stay there without a record.

A note is stored before the first input and struck off when it is known what
became of them: the Job exists, or the inputs are removed. A server that dies in
between, or doesn't hear whether its Job was created, leaves its note; whoever
finds one that nobody has renewed for a while asks the cluster, and removes the
inputs that no Job has.

Notes lie under a key made of cluster, namespace and owner, because buckets are
shared: only who can see the Jobs may say that one is missing.
"""

import asyncio
import contextlib
import hashlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from logging import Logger

from jupyter_scheduler.exceptions import IdempotencyTokenError, SchedulerError

from jupyter_scheduler_k8s import names, versions
from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    NotFound,
    RecordError,
    StorageError,
)
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord
from jupyter_scheduler_k8s.storage import Storage

# A note is renewed this often while its upload lasts,
RENEW_SECONDS = 60.0
# and is nobody's any more when it is this old, by S3's clock.
ABANDONED_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The input files of a job, or those of one version of a definition.

    Attributes:
        record_id: the id of the job or the definition.
        version: the version; empty for a job, which has one only.
        object_name: the name of the Job or the CronJob that they are for.
    """

    record_id: str
    version: str = ""
    object_name: str

    @classmethod
    def of(cls, record: JobRecord | DefinitionRecord) -> "Inputs":
        """Those of a record, as it is to be written."""
        if isinstance(record, JobRecord):
            return cls(record_id=record.job_id, object_name=record.object_name)
        return cls(
            record_id=record.job_definition_id,
            version=record.input_version,
            object_name=record.object_name,
        )

    @classmethod
    def noted_as(cls, tail: str) -> "Inputs":
        """Those that the end of a note's key names."""
        record_id, *version, object_name = tail.split("/")
        return cls(record_id=record_id, version="/".join(version), object_name=object_name)

    @property
    def tail(self) -> str:
        """The end of the key of their note."""
        return "/".join(filter(None, (self.record_id, self.version, self.object_name)))

    @property
    def prefix(self) -> str:
        """The S3 prefix of all of them."""
        if self.version:
            return names.version_prefix(self.record_id, self.version)
        return names.job_prefix(self.record_id)


class Note:
    """One job's note, while its inputs are stored and its Job is created."""

    def __init__(self, storage: Storage, key: str, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._key = key
        self._clock = clock
        self._written = 0.0
        self.creating = False

    async def write(self) -> None:
        """Store it, or make it new again."""
        await self._storage.put_bytes(self._key, b"")
        self._written = self._clock()

    async def keep_new(self) -> None:
        """Renew it until cancelled."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            # One that failed is followed by the next, long before it counts.
            with contextlib.suppress(StorageError):
                await self.write()

    async def before_create(self) -> None:
        """Make sure that it still stands; from now on only the cluster's refusal ends it.

        Raises:
            StorageError: this machine slept so long that the inputs were cleared away.
        """
        if self._clock() - self._written > ABANDONED_SECONDS / 2:
            if not await self._storage.list(_folder_of(self._key)):
                raise StorageError(
                    "The inputs took too long to store and were cleared away: try again."
                )
            await self.write()
        self.creating = True


class PendingInputs:
    """The notes of one owner, and the thread that clears away what abandoned ones stand for.

    The thread waits for work; it looks at the bucket once when it starts, and
    again only when a note that it saw there, or was told of, may be abandoned.
    """

    def __init__(
        self,
        *,
        client: ClusterClient,
        storage: Callable[[], Storage],
        owner: str,
        log: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            client: asked whether a Job exists.
            storage: the bucket; called when it is first needed.
            owner: whose notes these are.
            log: where what can't be done is said.
            clock: seconds, of a clock that goes on while the machine sleeps.
        """
        self._client = client
        self._storage = storage
        self._owner = owner
        self._log = log
        self._clock = clock
        # A note to strike off, a time to look, or the end.
        self._work: queue.SimpleQueue[str | float | None] = queue.SimpleQueue()
        self._due: float | None = None
        self._thread = threading.Thread(target=self._run, name="pending-inputs", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._work.put(self._clock())
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        self._work.put(None)

    @contextlib.asynccontextmanager
    async def noted(self, record: JobRecord | DefinitionRecord) -> AsyncIterator[Note]:
        """Keep a note of a record's inputs while the body stores them and creates its object.

        The body awaits the note's `before_create` just before the create, or the
        change that lets a definition use them. Where it fails, the inputs and the note
        are removed, unless they may be used all the same.

        Raises:
            BackendError: S3 can't be written to, or what the body raised.
        """
        inputs = Inputs.of(record)
        key = f"{await asyncio.to_thread(self._folder)}{inputs.tail}"
        note = Note(self._storage(), key, self._clock)
        renewal = None
        try:
            await note.write()
            renewal = asyncio.create_task(note.keep_new())
            yield note
        except BaseException as error:
            # S3 isn't waited for again where it has just failed.
            if isinstance(error, StorageError) or (
                note.creating and not await self._is_refused(inputs, error)
            ):
                self._work.put(self._clock() + ABANDONED_SECONDS)
            else:
                await self._discard(inputs, key)
            raise
        else:
            self._work.put(key)
        finally:
            if renewal is not None:
                renewal.cancel()

    async def versions(self, definition_id: str) -> set[str]:
        """The versions of a definition's input files that a server is about to use.

        Raises:
            BackendError: S3 didn't answer.
        """
        folder = await asyncio.to_thread(self._folder)
        found = await self._storage().list(f"{folder}{definition_id}/")
        return {Inputs.noted_as(note.key.removeprefix(folder)).version for note in found}

    async def _is_refused(self, inputs: Inputs, error: BaseException) -> bool:
        """Whether it is known that nothing uses the inputs."""
        refused = isinstance(error, (SchedulerError, IdempotencyTokenError))
        if not refused or isinstance(error, ClusterUnavailable):
            return False
        try:
            # An attempt whose answer was lost may have worked, and only the next one was refused.
            return not await asyncio.to_thread(self._in_use, inputs)
        except BackendError:
            return False

    async def _discard(self, inputs: Inputs, key: str) -> None:
        """Remove the files of what was refused; the refusal is what the user must see."""
        try:
            await self._storage().delete_prefix(inputs.prefix)
            await self._storage().delete_prefix(_folder_of(key))
        except BackendError as error:
            self._log.warning("Refused input files remain in S3 at %s: %s", inputs.prefix, error)
            self._work.put(self._clock() + ABANDONED_SECONDS)

    def sweep(self) -> float | None:
        """Clear away what abandoned notes stand for. Blocking.

        Returns:
            The seconds until the next note may be abandoned; None where there is none.

        Raises:
            BackendError: the cluster or S3 didn't answer; nothing is lost, the notes stay.
        """
        return asyncio.run(self._sweep())

    async def _sweep(self) -> float | None:
        storage, folder = self._storage(), self._folder()
        if not await storage.list(folder):
            return None
        # S3's own clock says how old the others are.
        now_key = f"{folder}now/"
        await storage.put_bytes(f"{now_key}now", b"")
        found = await storage.list(folder)
        await storage.delete_prefix(now_key)
        now = max(note.modified for note in found)
        waits = []
        for note in found:
            inputs = Inputs.noted_as(note.key.removeprefix(folder))
            age = now - note.modified
            if inputs.record_id == "now":
                continue
            if age < ABANDONED_SECONDS:
                waits.append(ABANDONED_SECONDS - age)
                continue
            try:
                used = await asyncio.to_thread(self._in_use, inputs)
            except RecordError as error:
                self._log.warning(
                    "Files that may be of no use stay at %s: %s", inputs.prefix, error
                )
                waits.append(ABANDONED_SECONDS)
                continue
            if not used:
                removed = await storage.delete_prefix(inputs.prefix)
                self._log.info(
                    "Removed %d input files from %s, which nothing uses.", removed, inputs.prefix
                )
            await storage.delete_prefix(_folder_of(note.key))
        return min(waits, default=None)

    def _in_use(self, inputs: Inputs) -> bool:
        if inputs.version:
            return inputs.version in versions.in_use(self._client, inputs.record_id)
        try:
            job = self._client.get_job(inputs.object_name)
        except NotFound:
            return False
        # Another job may have the token, and so the name.
        labels = job["metadata"].get("labels") or {}
        return bool(labels.get(names.JOB_ID_LABEL) == inputs.record_id)

    def _folder(self) -> str:
        connection = self._client.connection
        scope = "\0".join((connection.fingerprint(), self._client.namespace, self._owner))
        return names.pending_prefix(hashlib.sha256(scope.encode()).hexdigest()[:20])

    def _run(self) -> None:
        while True:
            wait = None if self._due is None else max(self._due - self._clock(), 0)
            try:
                work = self._work.get(timeout=wait)
            except queue.Empty:
                self._due = None
                self._swept()
                continue
            if work is None:
                return
            if isinstance(work, str):
                self._strike(work)
            else:
                self._due = work if self._due is None else min(self._due, work)

    def _swept(self) -> None:
        try:
            wait = self.sweep()
        except BackendError as error:
            self._log.warning("Input files that belong to no job were not looked for: %s", error)
            wait = ABANDONED_SECONDS
        if wait is not None:
            self._due = self._clock() + wait

    def _strike(self, key: str) -> None:
        try:
            asyncio.run(self._storage().delete_prefix(_folder_of(key)))
        except BackendError:
            # The next sweep finds that there is nothing else to do.
            self._due = self._due or self._clock() + ABANDONED_SECONDS


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0] + "/"
