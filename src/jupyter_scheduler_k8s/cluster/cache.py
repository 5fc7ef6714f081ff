"""All records of one owner, as the watch shows them, in the orders they are asked for."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.index import Entry, Sorted, fold
from jupyter_scheduler_k8s.cluster.mirror import Mirror, Seen
from jupyter_scheduler_k8s.cluster.slim import pack, slim_job, slim_pod, unpack
from jupyter_scheduler_k8s.records import JobRecord

MakeRecord = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], float], JobRecord]

# What of a record depends on the time of day: after 30 s of waiting, the reason
# is told. Everything else changes with its Job or its pods only.
TIME_DEPENDENT = frozenset({"status_message"})

# For how long a record that isn't at its end is taken as current, in seconds.
_FRESH_SECONDS = 1.0


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
        self._mirror = Mirror(self._make, clock)
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
        if not self.synced:
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
        if self.synced:
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
            entry = self._mirror.entries.get(name)
            if entry is None:
                return None
            return unpack(entry.job), self._mirror.pods_of(entry)

    def names(self) -> list[str]:
        """The names of all Jobs, in no order."""
        with self._lock:
            return list(self._mirror.entries)

    def __len__(self) -> int:
        with self._lock:
            return len(self._mirror.indexes.by_time.entries)

    @contextmanager
    def reading(self) -> Iterator["View"]:
        """One consistent state, for as long as the block runs: keep it short, writers wait."""
        with self._lock:
            yield View(self._mirror, self._clock)

    # -- own writes ---------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator["Writing"]:
        """To be held around a request that writes, and its answer put in:

        with cache.writing() as write:
            write.put(client.patch_job(name, body))
        """
        with self._lock:
            number = self._mirror.number()
        yield Writing(self, number)

    def put_job(self, job: Mapping[str, Any]) -> bool:
        """Put in a Job that was just created. False if the watch knows better already."""
        return self._put(job, None)

    def forget(self, name: str, uid: str | None = None) -> None:
        """Take out a Job that was just deleted; with `uid`, only that very one."""
        with self._lock:
            changed = self._mirror.forget(name, uid)
        self._tell(changed)

    def _put(self, job: Mapping[str, Any], sent: int | None) -> bool:
        seen = _seen(job)
        with self._lock:
            stored = self._mirror.put(seen, sent)
            doubtful = seen.name in self._mirror.unsettled()
        if stored:
            self._tell([seen.name])
        if doubtful:
            self.jobs.wake()
        return stored

    def _make(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> JobRecord | None:
        try:
            return self._make_record(job, pods, self._wall_clock())
        # One object that can't be understood must not hide the others.
        except Exception:  # noqa: BLE001
            self._log.exception("The record of the Job %s can't be read.", job["metadata"]["name"])
            return None

    def _listed(self, changed: Sequence[str]) -> None:
        """After a list is in: wake those who wait for the first ones, and the listeners."""
        with self._lock:
            ready = self._mirror.jobs_listed and self._mirror.pods_listed and not self._announced
            self._announced = self._announced or ready
        if ready:
            # Not under the lock: this runs the callbacks of `when_synced`.
            self._synced.set_result(None)
        self._tell(changed)

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

    def __init__(self, mirror: Mirror, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._clock = clock

    def everything(self) -> Sequence[Entry]:
        """All entries, oldest first."""
        return self._mirror.indexes.by_time.entries

    def with_status(self, status: str) -> Sequence[Entry]:
        """Those of one status, oldest first."""
        return _entries(self._mirror.indexes.by_status, status)

    def with_definition(self, definition_id: str) -> Sequence[Entry]:
        """Those of one job definition, oldest first."""
        return _entries(self._mirror.indexes.by_definition, definition_id)

    def with_id(self, job_id: str) -> Sequence[Entry]:
        """Those of one job id: one, or none."""
        return self._mirror.indexes.by_id.get(job_id, ())

    def with_name_prefix(self, prefix: str) -> Sequence[Entry]:
        """Those whose name begins with `prefix`, whatever its ASCII letters' case; by name."""
        return self._mirror.indexes.by_name.beginning_with(fold(prefix))

    def record(self, entry: Entry) -> JobRecord:
        """The entry's record as of now."""
        known = entry.record
        if entry in self._mirror.active:
            self._refresh(entry)
        found = entry.record or known
        assert found is not None, "an indexed entry has a record"
        return found

    def refresh(self) -> None:
        """Bring all records up to date that depend on the time; before a filter looks at it."""
        for entry in list(self._mirror.active):
            self._refresh(entry)

    def _refresh(self, entry: Entry) -> None:
        if entry.made is None or self._clock() - entry.made >= _FRESH_SECONDS:
            self._mirror.make(entry)


class _Sink:
    """What both sinks share; see `reflector.Sink`."""

    def __init__(self, cache: RecordCache) -> None:
        self._cache = cache
        self.heard = float("-inf")
        self.sentence: str | None = None

    def begin(self) -> int:
        with self._cache._lock:
            return self._cache._mirror.number()

    def contact(self) -> None:
        self.heard = self._cache._clock()

    def trouble(self, sentence: str | None) -> None:
        self.sentence = sentence


class JobSink(_Sink):
    """What the watch of Jobs feeds."""

    def __init__(self, cache: RecordCache) -> None:
        super().__init__(cache)
        self.wake: Callable[[], None] = lambda: None

    def on_unsettled(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def unsettled(self) -> list[str]:
        with self._cache._lock:
            return self._cache._mirror.unsettled()

    def replace(self, objects: Iterable[dict[str, Any]], begun: int) -> None:
        # The costly part, the requests behind `objects` among it, needs no lock:
        # readers go on meanwhile.
        listed = {seen.name: seen for job in objects if (seen := self._seen(job)) is not None}
        with self._cache._lock:
            changed = self._cache._mirror.replace_jobs(listed, begun)
        self._cache._listed(changed)

    def settle(self, name: str, live: dict[str, Any] | None, asked: int) -> None:
        seen = None if live is None else _seen(live)
        with self._cache._lock:
            settled = self._cache._mirror.settle(name, seen, asked)
        if settled:
            self._cache._tell([name])

    def apply(self, event: str, thing: dict[str, Any]) -> None:
        seen = self._seen(thing)
        if seen is None:
            return
        with self._cache._lock:
            mirror = self._cache._mirror
            if event == "DELETED":
                changed = mirror.remove_job(seen.uid, seen.name)
            else:
                changed = mirror.apply_job(seen)
        self._cache._tell(changed)

    def _seen(self, job: Mapping[str, Any]) -> Seen | None:
        try:
            return _seen(job)
        except (KeyError, TypeError, AttributeError):
            self._cache._log.warning("The API sent a Job without a name, uid or version.")
            return None


class PodSink(_Sink):
    """What the watch of pods feeds. Pods are not records: they are joined to their Job."""

    def replace(self, objects: Iterable[dict[str, Any]], _begun: int) -> None:
        groups: dict[str, dict[str, bytes]] = {}
        for pod in objects:
            place = _place(pod)
            if place is not None:
                groups.setdefault(place[0], {})[place[1]] = pack(slim_pod(pod))
        with self._cache._lock:
            changed = self._cache._mirror.replace_pods(groups)
        self._cache._listed(changed)

    def unsettled(self) -> list[str]:
        return []

    def settle(self, _name: str, _live: dict[str, Any] | None, _asked: int) -> None:
        """Never called: nothing is ever unsettled."""

    def on_unsettled(self, _wake: Callable[[], None]) -> None:
        """Nothing to wake for."""

    def apply(self, event: str, thing: dict[str, Any]) -> None:
        place = _place(thing)
        if place is None:
            return
        job_name, pod_name = place
        with self._cache._lock:
            mirror = self._cache._mirror
            if event == "DELETED":
                changed = mirror.remove_pod(pod_name)
            else:
                changed = mirror.apply_pod(job_name, pod_name, pack(slim_pod(thing)))
        self._cache._tell(changed)


def _seen(job: Mapping[str, Any]) -> Seen:
    metadata = job["metadata"]
    return Seen(metadata["name"], metadata["uid"], metadata["resourceVersion"], pack(slim_job(job)))


def _place(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """The names of a pod's Job and of the pod; None for a pod of no Job."""
    metadata = pod.get("metadata") or {}
    job_name = (metadata.get("labels") or {}).get(names.POD_JOB_NAME_LABEL)
    pod_name = metadata.get("name")
    return (job_name, pod_name) if job_name and pod_name else None


def _entries(groups: Mapping[str, Sorted], key: str) -> Sequence[Entry]:
    group = groups.get(key)
    return () if group is None else group.entries


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
