"""Many transfers, a few at a time, none of them cancelled half-way.

A request that is cancelled may still reach the server, and an object that arrives
after the clean-up stays for ever. So when one transfer fails, or the caller is
cancelled, nothing new is started and what is under way is waited for; long
transfers look at `stopped` between two pieces.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from jupyter_scheduler_k8s.errors import StorageError

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Lane(Generic[Item]):
    """Items of one kind.

    Attributes:
        items: taken one by one, when a worker is free.
        handle: what is done with each.
        workers: how many at a time.
    """

    items: Iterable[Item]
    handle: Callable[[Item], Awaitable[None]]
    workers: int


class Work:
    """Items handled by several workers at a time, in lanes; used once.

    Attributes:
        stopped: one item failed, or the caller was cancelled: finish soon.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raise where it is time to finish; what is raised reaches nobody."""
        if self.stopped:
            raise StorageError("The transfer was given up, because another one had failed.")

    async def run(self, *lanes: Lane[Any]) -> None:
        """Handle all items.

        Raises:
            Exception: the first failure, once nothing is under way any more.
        """
        tasks = []
        for lane in lanes:
            items = iter(lane.items)
            tasks += [
                asyncio.create_task(self._worker(items, lane.handle)) for _ in range(lane.workers)
            ]
        everything = asyncio.gather(*tasks)
        try:
            await asyncio.shield(everything)
        except asyncio.CancelledError:
            self.stopped = True
            await asyncio.shield(everything)
            raise
        if self._failure is not None:
            raise self._failure

    async def _worker(
        self, items: Iterator[Item], handle: Callable[[Item], Awaitable[None]]
    ) -> None:
        for item in items:
            if self.stopped:
                return
            try:
                await handle(item)
            except Exception as error:  # noqa: BLE001 - raised by run()
                self._failure = self._failure or error
                self.stopped = True
