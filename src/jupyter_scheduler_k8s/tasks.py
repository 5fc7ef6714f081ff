"""Waiting on the event loop: for the end of a run, or not at all."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Ends:
    """Wakes those who wait for the end of a run. `changed` may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = {}

    def changed(self, name: str) -> None:
        with self._lock:
            waiting = list(self._waiting.get(name, ()))
        for loop, event in waiting:
            loop.call_soon_threadsafe(event.set)

    async def wait(self, name: str, ended: Callable[[str], bool], *, seconds: float) -> bool:
        """Whether `ended(name)` became true within that time."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        with self._lock:
            self._waiting.setdefault(name, []).append(waiter)
        try:
            async with asyncio.timeout(seconds):
                while not ended(name):
                    await event.wait()
                    event.clear()
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting[name].remove(waiter)
                if not self._waiting[name]:
                    del self._waiting[name]
        return True


class Background:
    """Work that a request starts and doesn't wait for; it says itself how it failed."""

    def __init__(self) -> None:
        # The loop keeps no task alive.
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@contextmanager
def early(work: Coroutine[Any, Any, T]) -> Iterator[asyncio.Task[T]]:
    """Start what the block needs later. Where the block ends without it, it is given up."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        # A failure that nobody asked for is not missed.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
