"""One kind of object, mirrored: a list in pages, then a watch, for ever.

What goes wrong is expected here: streams end, connections die silently, the
API server restarts, versions expire, credentials run out. All of it ends in a
wait and another attempt; nothing ends the thread but `stop`, and a thread that
dies all the same starts its successor. There is no polling: without an event, a
bookmark or an end of the stream, nothing is asked.

The versions of objects and lists are opaque: they are stored and sent back, and
compared for equality at most.
"""

import json
import logging
import random as random_module
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from jupyter_scheduler_k8s.cluster.backoff import Backoff
from jupyter_scheduler_k8s.cluster.failures import ApiFailure
from jupyter_scheduler_k8s.cluster.transport import Transport, Watch
from jupyter_scheduler_k8s.errors import BackendError

PAGE = 500
# The server ends a watch after a time from this range, in seconds: short enough
# to spread the watches of many servers, long enough to cost nothing.
WATCH_SECONDS = (300, 600)
# The lists must be right again within 5 s of the API's return.
FIRST_DELAY = 0.25
LONGEST_DELAY = 3.0
# A missing Role is put right by a person, not by the next second; a restarting
# API server, too, says 403 for a moment, and that is covered by the first delays.
LONGEST_FORBIDDEN_DELAY = 30.0
# A stream that lived this long has worked, even if nothing happened on it.
HEALTHY_SECONDS = 5.0
# A list that is of no use within this time of the last one has to wait.
CALM_SECONDS = 30.0
# Lines that can't be read at one version, until the list is fetched again.
UNREADABLE_LIMIT = 3


class Sink(Protocol):
    """Where the mirrored objects go. Called from the reflector's thread only."""

    def begin(self) -> int:
        """The API is about to be asked; the number is handed over with its answer."""

    def replace(self, objects: Iterable[dict[str, Any]], number: int, /) -> None:
        """These objects are all there are.

        They are fetched while this iterates, so that no more than one page of
        them is held whole; what fails on the way is raised through here, and
        then nothing is replaced.
        """

    def unsettled(self) -> list[str]:
        """The names that have to be looked at live, because a list can't decide on them."""

    def settle(self, name: str, live: dict[str, Any] | None, number: int, /) -> None:
        """What the API has under such a name."""

    def on_unsettled(self, wake: Callable[[], None], /) -> None:
        """Call `wake`, from any thread, when there are such names."""

    def apply(self, event: str, thing: dict[str, Any]) -> None:
        """One event: ADDED, MODIFIED, or DELETED (it has left the selection)."""

    def contact(self) -> None:
        """The API has just said something: what is mirrored is its state of now."""

    def trouble(self, sentence: str | None) -> None:
        """What keeps the mirror from being current; None when nothing does any more."""


class _Stopped(Exception):
    """`stop` was called while a list was under way."""


class _Relist(Exception):
    """The version is of no use any more; the list has to be fetched again."""


class Reflector:
    """Mirrors one kind of object into a sink, in a thread of its own."""

    def __init__(
        self,
        transport: Transport,
        sink: Sink,
        *,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """`sleep` waits between attempts; by default `stop` interrupts it."""
        self._transport = transport
        self._sink = sink
        self._log = log
        self._clock = clock
        self._sleep = sleep or self._wait
        self._random = random
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch: Watch | None = None
        self._version: str | None = None
        self._unreadable = 0
        self._whole_list = False
        self._listed = float("-inf")
        self._backoff = Backoff(first=FIRST_DELAY, cap=LONGEST_DELAY, random=random)
        self._trouble: str | None = None
        sink.on_unsettled(self._nudge)

    def start(self) -> None:
        """Start the thread, or a new one if it died. Cheap when it runs."""
        with self._lock:
            if self._stopping.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._launch()

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread; waits `timeout` seconds for it at most."""
        self._stopping.set()
        with self._lock:
            thread, watch = self._thread, self._watch
        if watch is not None:
            watch.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _nudge(self) -> None:
        """Leave the watch for a moment, to look at what is unsettled."""
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.close()

    def _launch(self) -> None:
        name = f"watch-{self._transport.resource}"
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        try:
            while not self._stopping.is_set():
                self._attempt()
        finally:
            # Only what isn't an Exception gets here without `stop`.
            if not self._stopping.is_set():
                self._log.critical(
                    "The watch of %s died and is started again.", self._transport.resource
                )
                self._version = None
                self._pause()
                with self._lock:
                    self._launch()

    def _attempt(self) -> None:
        """One list if one is needed, and one watch, until it ends."""
        try:
            if self._version is None:
                self._list()
            self._settle()
            self._follow()
        except _Stopped:
            return
        except _Relist as reason:
            self._list_again(str(reason))
        except ApiFailure as failure:
            self._recover(failure)
        except BackendError as error:
            # No kubeconfig file, for example: someone may be about to write it.
            self._report(str(error))
            self._transport.reload_credentials()
            self._pause(cap=LONGEST_FORBIDDEN_DELAY)
        # A fault of ours or of the sink. Listing again can't make it worse, and
        # giving up would freeze what readers see.
        except Exception:  # noqa: BLE001
            self._log.exception("The watch of %s failed.", self._transport.resource)
            self._report(f"The watch of {self._transport.resource} failed; see the server's log.")
            self._version = None
            self._pause()

    def _list(self) -> None:
        number = self._sink.begin()
        versions: list[str] = []
        self._sink.replace(self._objects(versions), number)
        self._version = versions[-1]
        self._whole_list = False
        self._listed = self._clock()

    def _objects(self, versions: list[str]) -> Iterator[dict[str, Any]]:
        """All objects, page by page; the version of each page is added to `versions`."""
        token = ""
        # After an expired page the list is taken in one piece: on a slow
        # connection the pages might expire every time.
        limit = None if self._whole_list else PAGE
        while True:
            if self._stopping.is_set():
                raise _Stopped
            try:
                page = self._transport.list_page(limit=limit, token=token)
            except ApiFailure as failure:
                if failure.status == 410 and token:
                    self._whole_list = True
                raise
            self._sink.contact()
            versions.append(page.version)
            token = page.token
            yield from page.objects
            del page
            if not token:
                return

    def _settle(self) -> None:
        while not self._stopping.is_set() and (names := self._sink.unsettled()):
            for name in names:
                number = self._sink.begin()
                self._sink.settle(name, self._transport.get(name), number)

    def _follow(self) -> None:
        if self._stopping.is_set() or self._version is None:
            return
        low, high = WATCH_SECONDS
        seconds = low + int(self._random() * (high - low))
        opened = self._clock()
        events = 0
        with self._transport.watch(version=self._version, timeout_seconds=seconds) as watch:
            with self._lock:
                self._watch = watch
            try:
                # `stop` or `_nudge` may have looked for it just before it was stored.
                if self._stopping.is_set() or self._sink.unsettled():
                    return
                self._sink.contact()
                self._report(None)
                for line in watch:
                    self._event(line)
                    events += 1
                    if self._stopping.is_set():
                        return
            except ApiFailure as failure:
                if failure.status is not None:
                    raise
                # Cut, or silent for too long. Nothing is known to be wrong with
                # the server: if it is, the next attempt says so.
                self._log.info("The watch of %s broke: %s.", self._transport.resource, failure)
            finally:
                with self._lock:
                    self._watch = None
                healthy = self._clock() - opened >= HEALTHY_SECONDS
                if events or healthy:
                    self._backoff.reset()
        # The server's time limit, or a proxy's: go on where it ended, at once. A
        # server that closes early is given more and more time.
        if not healthy and not self._sink.unsettled():
            self._pause()

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            kind, thing = event["type"], event["object"]
            version = None if kind == "ERROR" else thing["metadata"]["resourceVersion"]
        except (ValueError, KeyError, TypeError) as error:
            self._unreadable += 1
            if self._unreadable >= UNREADABLE_LIMIT:
                self._unreadable = 0
                raise _Relist("its events can't be read") from error
            raise ApiFailure(None, reason="Unreadable", message="an event can't be read") from error
        if kind == "ERROR":
            code = thing.get("code")
            raise ApiFailure(
                code if isinstance(code, int) else 500,
                reason=str(thing.get("reason") or ""),
                message=str(thing.get("message") or ""),
                retry_after=_retry_seconds(thing),
            )
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            self._sink.apply(kind, thing)
        elif kind != "BOOKMARK":
            # It may stand for a change that this release doesn't understand.
            raise _Relist(f"it got an event of the unknown type {str(kind)[:40]}")
        self._version = version
        self._unreadable = 0
        self._sink.contact()

    def _recover(self, failure: ApiFailure) -> None:
        if self._stopping.is_set():
            return
        if failure.status == 410:
            self._list_again("its version has expired")
            return
        if failure.status == 401:
            self._transport.reload_credentials()
        self._report(self._transport.sentence(failure))
        cap = LONGEST_FORBIDDEN_DELAY if failure.status == 403 else LONGEST_DELAY
        self._pause(retry_after=failure.retry_after, cap=cap)

    def _list_again(self, reason: str) -> None:
        self._log.info("Listing %s again: %s.", self._transport.resource, reason)
        self._version = None
        # Once, at once; a server that makes every list useless is not hammered.
        if self._clock() - self._listed < CALM_SECONDS:
            self._pause()

    def _report(self, sentence: str | None) -> None:
        """Tell the sink, and the log once for each new trouble."""
        if sentence == self._trouble:
            return
        if sentence is not None:
            self._log.warning("%s", sentence)
        else:
            self._log.info("The watch of %s is current again.", self._transport.resource)
        self._trouble = sentence
        self._sink.trouble(sentence)

    def _pause(self, *, retry_after: float | None = None, cap: float | None = None) -> None:
        self._sleep(self._backoff.next(retry_after=retry_after, cap=cap))

    def _wait(self, seconds: float) -> None:
        self._stopping.wait(seconds)


def _retry_seconds(status: dict[str, Any]) -> float | None:
    """What a Status in an ERROR event says about waiting."""
    found = (status.get("details") or {}).get("retryAfterSeconds")
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else None
