"""All records of one owner, as the watch shows them, in the orders they are asked for.

Three writers meet here: the watch of Jobs, the watch of pods, and our own
writes, whose answers are put in so that a reader finds what was just written.
Versions of objects are opaque, so who is newer is never read off them:

- What the watch shows comes in order, and wins over what it showed before.
- An own write is put in only if the watch has shown nothing of its Job since
  the request was sent; otherwise the watch has it already, or will.
- Once it is in, it is pinned: what the watch shows of that Job is older until
  it shows that very version.
- A list that was under way during the write can't tell; then the Job is looked
  at live (`settle`).
- A uid that has left stays away for writers: a late answer resurrects nothing.
  For the watch it may come back, because an object whose labels no longer match
  is shown as DELETED too. So "left" is all that a removal means here: what
  depends on a deletion asks the API.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.index import Entry, Indexes, Sorted, fold
from jupyter_scheduler_k8s.cluster.slim import belongs_to, pack, slim_job, slim_pod, unpack
from jupyter_scheduler_k8s.records import JobRecord

MakeRecord = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], float], JobRecord]

# What of a record depends on the time of day: after 30 s of waiting, the reason
# is told. Everything else changes with its Job or its pods only.
TIME_DEPENDENT = frozenset({"status_message"})
_ENDED = frozenset({"COMPLETED", "FAILED", "STOPPED"})

# For how long a record that isn't at its end is taken as current, in seconds.
_FRESH_SECONDS = 1.0
# From so many changes at once on, sorting anew is faster than inserting.
_BULK = 500
# So many uids that have left are remembered: an own write's answer is put in
# within seconds, so it would have to be overtaken by this many removals.
_REMEMBERED = 10_000


class RecordCache:
    """Records by id, time, status, definition and name. Safe between threads."""

    def __init__(
        self,
        make_record: MakeRecord,
        *,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`make_record` gets a slimmed Job, its pods and `wall_clock()`."""
        self._make_record = make_record
        self._log = log
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.RLock()
        self._number = 0
        self._entries: dict[str, Entry] = {}
        self._active: set[Entry] = set()
        self._indexes = Indexes()
        self._pods: dict[str, dict[str, bytes]] = {}
        self._job_of_pod: dict[str, str] = {}
        # Deleted by us, and still shown by the watch until it shows the deletion.
        self._forgotten: dict[str, int] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._listeners: list[Callable[[str], None]] = []
        self._synced: Future[None] = Future()
        self._announced = False
        self.jobs = JobSink(self)
        self.pods = PodSink(self)

    # -- state of the mirror ------------------------------------------------

    def age(self) -> float:
        """Seconds since the API last spoke on the watch that has been silent the longest.

        A healthy watch of a quiet namespace says something once a minute.
        Infinite before the first lists are in.
        """
        with self._lock:
            if not self._synced.done():
                return float("inf")
            return self._clock() - min(self.jobs.heard, self.pods.heard)

    def problem(self) -> str | None:
        """Why the records may be out of date, as a sentence; None while they aren't."""
        return self.jobs.sentence or self.pods.sentence

    @property
    def synced(self) -> bool:
        """Whether the first lists are in. Never becomes false again."""
        return self._synced.done()

    def wait_synced(self, timeout: float | None = None) -> bool:
        """Wait, in a thread, until the first lists are in; False after `timeout` seconds."""
        try:
            self._synced.result(timeout)
        except TimeoutError:
            return False
        return True

    async def when_synced(self, seconds: float | None = None) -> bool:
        """Wait, without blocking the loop, until the first lists are in; False after `seconds`."""
        if self._synced.done():
            return True
        loop = asyncio.get_running_loop()
        # A future of its own for each caller: cancelling one must not cancel all.
        own: asyncio.Future[None] = loop.create_future()

        def done(_: Future[None]) -> None:
            try:
                loop.call_soon_threadsafe(_finish, own)
            except RuntimeError:
                # The loop was closed while its caller waited: nobody is left to tell.
                return

        self._synced.add_done_callback(done)
        try:
            await asyncio.wait_for(own, seconds)
        except TimeoutError:
            return False
        return True

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of each Job that changed, came or left.

        It is called in the thread of the change, after it can be read; it must
        be quick. What it raises is logged.
        """
        self._listeners.append(listener)

    # -- reading ------------------------------------------------------------

    def get(self, job_id: str) -> JobRecord | None:
        """The record of this id."""
        with self.reading() as view:
            for entry in view.with_id(job_id):
                return view.record(entry)
        return None

    def objects(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """The slimmed Job of this name and its pods, as the watch last showed them."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                return None
            return unpack(entry.job), self._pods_of(entry)

    def __len__(self) -> int:
        with self._lock:
            return len(self._indexes.by_time.entries)

    @contextmanager
    def reading(self) -> Iterator["View"]:
        """One consistent state, for as long as the block runs: keep it short, writers wait."""
        with self._lock:
            yield View(self)

    # -- own writes ---------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator["Writing"]:
        """To be held around a request that writes, and its answer put in:

        with cache.writing() as write:
            write.put(client.patch_job(name, body))
        """
        with self._lock:
            self._number += 1
            number = self._number
        yield Writing(self, number)

    def put_job(self, job: Mapping[str, Any]) -> bool:
        """Put in a Job that was just created. False if the watch knows better already."""
        return self._put(job, None)

    def forget(self, name: str, uid: str | None = None) -> None:
        """Take out a Job that was just deleted; with `uid`, only that very one."""
        with self._lock:
            entry = self._entries.get(name)
            if uid is None and entry is not None:
                uid = entry.uid
            known = entry is not None and entry.uid == uid
            if uid is None or (uid in self._left and not known):
                # The watch has shown its end already.
                return
            self._number += 1
            self._forgotten[uid] = self._number
            self._leave(uid)
            if entry is None or not known:
                return
            self._drop(entry)
        self._tell([name])

    def _put(self, job: Mapping[str, Any], number: int | None) -> bool:
        name, uid, version = _identity(job)
        with self._lock:
            if uid in self._left:
                return False
            entry = self._entries.get(name)
            if entry is not None:
                if entry.uid == uid and entry.version == version:
                    return True
                if number is None or max(entry.seen, entry.put) > number:
                    return False
            self._number += 1
            entry = self._store(name, uid, version, pack(slim_job(job)))
            entry.put = self._number
            entry.pin = version
            self._make(entry)
        self._tell([name])
        return True

    # -- shared by the sinks ------------------------------------------------

    def _store(self, name: str, uid: str, version: str, job: bytes) -> Entry:
        """The entry of this name with this content; its record is made by the caller."""
        entry = self._entries.get(name)
        if entry is not None and entry.uid != uid:
            self._leave(entry.uid)
            self._drop(entry)
            entry = None
        if entry is None:
            entry = Entry(name, uid, version, job)
            self._entries[name] = entry
        else:
            entry.version, entry.job = version, job
        entry.pin = entry.listed = None
        return entry

    def _drop(self, entry: Entry) -> None:
        self._indexes.remove(entry)
        self._active.discard(entry)
        del self._entries[entry.name]

    def _leave(self, uid: str) -> None:
        self._left[uid] = None
        self._left.move_to_end(uid)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)

    def _make(self, entry: Entry, *, indexed: bool = True) -> None:
        """Make the entry's record, and move it in the indexes if that is called for."""
        try:
            record = self._make_record(unpack(entry.job), self._pods_of(entry), self._wall_clock())
        # One object that can't be understood must not hide the others.
        except Exception:  # noqa: BLE001
            self._log.exception("The record of the Job %s can't be read.", entry.name)
            record = None
        entry.made = self._clock()
        if indexed and not _same_place(entry.record, record):
            self._indexes.remove(entry)
            entry.record = record
            if record is not None:
                self._indexes.add(entry, record)
        else:
            entry.record = record
        if record is not None and record.status not in _ENDED:
            self._active.add(entry)
        else:
            self._active.discard(entry)

    def _make_all(self, entries: Sequence[Entry]) -> None:
        bulk = len(entries) > _BULK
        for entry in entries:
            self._make(entry, indexed=not bulk)
        if bulk:
            self._indexes.fill(self._entries.values())

    def _pods_of(self, entry: Entry) -> list[dict[str, Any]]:
        group = self._pods.get(entry.name)
        if not group:
            return []
        pods = [unpack(data) for data in group.values()]
        return [pod for pod in pods if belongs_to(pod, entry.uid)]

    def _refresh(self, entry: Entry) -> None:
        if self._clock() - entry.made >= _FRESH_SECONDS:
            self._make(entry)

    def _first_lists(self, pending: Sequence[Entry]) -> None:
        """Make the records that a list has changed; all, once both first lists are in.

        Until then records are not made: those that the list of Jobs would give
        would be made a second time with the pods.
        """
        if self._synced.done():
            self._make_all(pending)
        elif self.jobs.listed and self.pods.listed:
            self._make_all(list(self._entries.values()))

    def _announce(self) -> None:
        """Wake those who wait for the first lists. Not under the lock: callbacks run here."""
        with self._lock:
            ready = self.jobs.listed and self.pods.listed and not self._announced
            self._announced = self._announced or ready
        if ready:
            self._synced.set_result(None)

    def _tell(self, changed: Sequence[str]) -> None:
        for name in changed:
            for listener in self._listeners:
                try:
                    listener(name)
                except Exception:  # noqa: BLE001
                    self._log.exception("A listener failed on the change of %s.", name)


class Writing:
    """A request that writes is under way; see `RecordCache.writing`."""

    def __init__(self, cache: RecordCache, number: int) -> None:
        self._cache = cache
        self._number = number

    def put(self, job: Mapping[str, Any]) -> bool:
        """Put in the Job that the API answered with. False if the watch knows better already."""
        return self._cache._put(job, self._number)


class View:
    """One state of the cache; valid inside `RecordCache.reading` only."""

    def __init__(self, cache: RecordCache) -> None:
        self._cache = cache
        self._indexes = cache._indexes

    def everything(self) -> Sequence[Entry]:
        """All entries, oldest first."""
        return self._indexes.by_time.entries

    def with_status(self, status: str) -> Sequence[Entry]:
        """Those of one status, oldest first."""
        return _entries(self._indexes.by_status, status)

    def with_definition(self, definition_id: str) -> Sequence[Entry]:
        """Those of one job definition, oldest first."""
        return _entries(self._indexes.by_definition, definition_id)

    def with_id(self, job_id: str) -> Sequence[Entry]:
        """Those of one job id: one, or none."""
        return self._indexes.by_id.get(job_id, ())

    def with_name_prefix(self, prefix: str) -> Sequence[Entry]:
        """Those whose name begins with `prefix`, whatever its ASCII letters' case; by name."""
        return self._indexes.by_name.beginning_with(fold(prefix))

    def record(self, entry: Entry) -> JobRecord:
        """The entry's record as of now."""
        known = entry.record
        if entry in self._cache._active:
            self._cache._refresh(entry)
        found = entry.record or known
        assert found is not None, "an indexed entry has a record"
        return found

    def refresh(self) -> None:
        """Bring all records up to date that depend on the time; before a filter looks at it."""
        for entry in list(self._cache._active):
            self._cache._refresh(entry)


class JobSink:
    """What the watch of Jobs feeds."""

    def __init__(self, cache: RecordCache) -> None:
        self._cache = cache
        self.heard = float("-inf")
        self.sentence: str | None = None
        self.listed = False

    def begin(self) -> int:
        with self._cache._lock:
            self._cache._number += 1
            return self._cache._number

    def contact(self) -> None:
        self.heard = self._cache._clock()

    def trouble(self, sentence: str | None) -> None:
        self.sentence = sentence

    def replace(self, objects: list[dict[str, Any]], number: int) -> list[str]:
        cache = self._cache
        # The costly part needs no lock: readers go on meanwhile.
        listed = {}
        for job in objects:
            if (identity := self._identity(job)) is not None:
                listed[identity[0]] = (identity[1], identity[2], pack(slim_job(job)))
        changed: list[str] = []
        unsettled: list[str] = []
        pending: list[Entry] = []
        with cache._lock:
            cache._number += 1
            uids = {uid for uid, _, _ in listed.values()}
            cache._forgotten = {
                uid: at for uid, at in cache._forgotten.items() if uid in uids or at > number
            }
            for name in list(cache._entries.keys() - listed.keys()):
                entry = cache._entries[name]
                if entry.pin is not None and entry.put > number:
                    # Written while the list was under way: it may be too new for it.
                    unsettled.append(name)
                    continue
                cache._leave(entry.uid)
                cache._drop(entry)
                changed.append(name)
            for name, (uid, version, data) in listed.items():
                if uid in cache._forgotten:
                    continue
                known = cache._entries.get(name)
                if known is not None and (known.uid, known.version) == (uid, version):
                    known.pin = None
                    known.seen = cache._number
                    continue
                if known is not None and known.pin is not None and known.put > number:
                    known.listed = version
                    unsettled.append(name)
                    continue
                entry = cache._store(name, uid, version, data)
                entry.seen = cache._number
                pending.append(entry)
                changed.append(name)
            self.listed = True
            cache._first_lists(pending)
        cache._announce()
        cache._tell(changed)
        return unsettled

    def settle(self, name: str, live: dict[str, Any] | None, number: int) -> bool:
        cache = self._cache
        with cache._lock:
            entry = cache._entries.get(name)
            if entry is None or entry.pin is None:
                return True
            if entry.put > number:
                return False
            cache._number += 1
            if live is None:
                cache._leave(entry.uid)
                cache._drop(entry)
            else:
                _, uid, version = _identity(live)
                # The list's own version is not shown again; a later one is.
                pin = None if version == entry.listed else version
                put = entry.put
                entry = cache._store(name, uid, version, pack(slim_job(live)))
                entry.pin, entry.put = pin, put
                cache._make(entry)
        cache._tell([name])
        return True

    def apply(self, event: str, thing: dict[str, Any]) -> None:
        identity = self._identity(thing)
        if identity is None:
            return
        name, uid, version = identity
        cache = self._cache
        with cache._lock:
            entry = cache._entries.get(name)
            cache._number += 1
            if event == "DELETED":
                cache._forgotten.pop(uid, None)
                cache._leave(uid)
                if entry is None or entry.uid != uid:
                    return
                cache._drop(entry)
            else:
                if uid in cache._forgotten:
                    return
                if entry is not None and entry.pin is not None and entry.pin != version:
                    # Older than what we wrote, or a predecessor of the same name.
                    entry.seen = cache._number
                    return
                cache._left.pop(uid, None)
                same = entry is not None and (entry.uid, entry.version) == (uid, version)
                if entry is not None and same:
                    entry.pin = None
                    entry.seen = cache._number
                    return
                entry = cache._store(name, uid, version, pack(slim_job(thing)))
                entry.seen = cache._number
                cache._make(entry)
        cache._tell([name])

    def _identity(self, job: Mapping[str, Any]) -> tuple[str, str, str] | None:
        try:
            return _identity(job)
        except (KeyError, TypeError):
            self._cache._log.warning("The API sent a Job without a name, uid or version.")
            return None


class PodSink:
    """What the watch of pods feeds. Pods are not records: they are joined to their Job."""

    def __init__(self, cache: RecordCache) -> None:
        self._cache = cache
        self.heard = float("-inf")
        self.sentence: str | None = None
        self.listed = False

    def begin(self) -> int:
        return 0

    def contact(self) -> None:
        self.heard = self._cache._clock()

    def trouble(self, sentence: str | None) -> None:
        self.sentence = sentence

    def replace(self, objects: list[dict[str, Any]], _number: int) -> list[str]:
        cache = self._cache
        groups: dict[str, dict[str, bytes]] = {}
        job_of_pod = {}
        for pod in objects:
            place = self._place(pod)
            if place is not None:
                job_name, pod_name = place
                groups.setdefault(job_name, {})[pod_name] = pack(slim_pod(pod))
                job_of_pod[pod_name] = job_name
        with cache._lock:
            changed = [
                name
                for name in groups.keys() | cache._pods.keys()
                if groups.get(name) != cache._pods.get(name)
            ]
            cache._pods, cache._job_of_pod = groups, job_of_pod
            self.listed = True
            cache._first_lists([cache._entries[name] for name in changed if name in cache._entries])
        cache._announce()
        cache._tell(changed)
        return []

    def settle(self, _name: str, _live: dict[str, Any] | None, _number: int) -> bool:
        return True

    def apply(self, event: str, thing: dict[str, Any]) -> None:
        place = self._place(thing)
        if place is None:
            return
        job_name, pod_name = place
        cache = self._cache
        with cache._lock:
            if event == "DELETED":
                job_name = cache._job_of_pod.pop(pod_name, job_name)
                group = cache._pods.get(job_name, {})
                group.pop(pod_name, None)
                if not group:
                    cache._pods.pop(job_name, None)
            else:
                cache._job_of_pod[pod_name] = job_name
                cache._pods.setdefault(job_name, {})[pod_name] = pack(slim_pod(thing))
            entry = cache._entries.get(job_name)
            if entry is not None:
                cache._make(entry)
        cache._tell([job_name])

    def _place(self, pod: Mapping[str, Any]) -> tuple[str, str] | None:
        """The names of a pod's Job and of the pod; None for a pod of no Job."""
        metadata = pod.get("metadata") or {}
        job_name = (metadata.get("labels") or {}).get(names.POD_JOB_NAME_LABEL)
        pod_name = metadata.get("name")
        return (job_name, pod_name) if job_name and pod_name else None


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _identity(job: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = job["metadata"]
    return metadata["name"], metadata["uid"], metadata["resourceVersion"]


def _same_place(old: JobRecord | None, new: JobRecord | None) -> bool:
    """Whether both are found in the same places of all indexes."""
    if old is None or new is None:
        return old is new
    return (old.create_time, old.status, old.job_definition_id, old.job_id, old.name) == (
        new.create_time,
        new.status,
        new.job_definition_id,
        new.job_id,
        new.name,
    )


def _entries(groups: Mapping[str, Sorted], key: str) -> Sequence[Entry]:
    group = groups.get(key)
    return () if group is None else group.entries
