"""All records of one owner, as the watch shows them, in the orders they are asked for."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.kinds import JOBS, Kind
from jupyter_scheduler_k8s.cluster.mirror import Mirror, Seen
from jupyter_scheduler_k8s.cluster.slim import pack, slim_pod, unpack
from jupyter_scheduler_k8s.cluster.view import View
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

R = TypeVar("R", bound=JobRecord | DefinitionRecord)
MakeRecord = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]], float], R]

# What of a record depends on the time of day: after 30 s of waiting, the reason
# is told. Everything else changes with its Job or its pods only.
TIME_DEPENDENT = frozenset({"status_message"})


class RecordCache(Generic[R]):
    """Records of one kind of object, by time, name, id and its groups. Safe between threads."""

    def __init__(
        self,
        make_record: MakeRecord[R],
        *,
        kind: Kind = JOBS,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`make_record` gets a slimmed object, its pods and `wall_clock()`."""
        self._kind = kind
        self._make_record: MakeRecord[R] = make_record
        self._log = log
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.RLock()
        self._mirror = Mirror(kind, self._make, clock)
        self._listeners: list[Callable[[str], None]] = []
        self._synced: Future[None] = Future()
        self._announced = False
        self.records = RecordSink(self)
        self.pods = PodSink(self)
        # What is to be mirrored into the cache, as the API calls it.
        self.sinks: Mapping[str, RecordSink | PodSink] = {
            kind.resource: self.records,
            **({"pods": self.pods} if kind.has_pods else {}),
        }

    # -- state of the mirror ------------------------------------------------

    def age(self) -> float:
        """Seconds since the API last spoke on the watch that has been silent the longest.

        A healthy watch of a quiet namespace says something once a minute.
        Infinite before the first lists are in.
        """
        if not self.synced:
            return float("inf")
        return self._clock() - min(sink.heard for sink in self.sinks.values())

    def problem(self) -> str | None:
        """Why the records may be out of date, as a sentence; None while they aren't."""
        return next((sink.sentence for sink in self.sinks.values() if sink.sentence), None)

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
        """Call `listener` with the name of each object that changed, came or left.

        It is called in the thread of the change, after it can be read; it must
        be quick. What it raises is logged.
        """
        self._listeners.append(listener)

    # -- reading ------------------------------------------------------------

    def get(self, record_id: str) -> R | None:
        """The record of this id."""
        with self.reading() as view:
            for entry in view.with_id(record_id):
                return view.record(entry)
        return None

    def objects(self, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """The slimmed object of this name and its pods, as the watch last showed them."""
        with self._lock:
            entry = self._mirror.entries.get(name)
            if entry is None:
                return None
            return unpack(entry.data), self._mirror.pods_of(entry)

    def names(self) -> list[str]:
        """The names of all objects, in no order."""
        with self._lock:
            return list(self._mirror.entries)

    def __len__(self) -> int:
        with self._lock:
            return len(self._mirror.indexes.by_time.entries)

    @contextmanager
    def reading(self) -> Iterator[View[R]]:
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

    def put(self, thing: Mapping[str, Any]) -> bool:
        """Put in an object that was just created. False if the watch knows better already."""
        return self._put(thing, None)

    def forget(self, name: str, uid: str | None = None) -> None:
        """Take out an object that was just deleted; with `uid`, only that very one."""
        with self._lock:
            changed = self._mirror.forget(name, uid)
        self._tell(changed)

    def _put(self, thing: Mapping[str, Any], sent: int | None) -> bool:
        seen = self._seen(thing)
        with self._lock:
            stored = self._mirror.put(seen, sent)
            doubtful = seen.name in self._mirror.unsettled()
        if stored:
            self._tell([seen.name])
        if doubtful:
            self.records.wake()
        return stored

    def _seen(self, thing: Mapping[str, Any]) -> Seen:
        metadata = thing["metadata"]
        return Seen(
            metadata["name"],
            metadata["uid"],
            metadata["resourceVersion"],
            pack(self._kind.slim(thing)),
        )

    def _make(self, thing: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> R | None:
        try:
            return self._make_record(thing, pods, self._wall_clock())
        # One object that can't be understood must not hide the others.
        except Exception:  # noqa: BLE001
            self._log.exception(
                "The record of the %s %s can't be read.", self._kind.noun, thing["metadata"]["name"]
            )
            return None

    def _listed(self, changed: Sequence[str]) -> None:
        """After a list is in: wake those who wait for the first ones, and the listeners."""
        with self._lock:
            ready = self._mirror.listed and self._mirror.pods_listed and not self._announced
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

    def __init__(self, cache: RecordCache[Any], number: int) -> None:
        self._cache = cache
        self._number = number

    def put(self, thing: Mapping[str, Any]) -> bool:
        """Put in what the API answered with. False if the watch knows better already."""
        return self._cache._put(thing, self._number)


class _Sink:
    """What both sinks share; see `reflector.Sink`."""

    def __init__(self, cache: RecordCache[Any]) -> None:
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


class RecordSink(_Sink):
    """What the watch of the objects that are records feeds."""

    def __init__(self, cache: RecordCache[Any]) -> None:
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
        listed = {seen.name: seen for thing in objects if (seen := self._seen(thing)) is not None}
        with self._cache._lock:
            changed = self._cache._mirror.replace(listed, begun)
        self._cache._listed(changed)

    def settle(self, name: str, live: dict[str, Any] | None, asked: int) -> None:
        seen = None if live is None else self._cache._seen(live)
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
                changed = mirror.remove(seen.uid, seen.name)
            else:
                changed = mirror.apply(seen)
        self._cache._tell(changed)

    def _seen(self, thing: Mapping[str, Any]) -> Seen | None:
        try:
            return self._cache._seen(thing)
        except (KeyError, TypeError, AttributeError):
            self._cache._log.warning(
                "The API sent a %s without a name, uid or version.", self._cache._kind.noun
            )
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


def _place(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    """The names of a pod's Job and of the pod; None for a pod of no Job."""
    metadata = pod.get("metadata") or {}
    job_name = (metadata.get("labels") or {}).get(names.POD_JOB_NAME_LABEL)
    pod_name = metadata.get("name")
    return (job_name, pod_name) if job_name and pod_name else None


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
