"""Which run of a schedule is the newest, where each is to replace the one before.

Each run leaves an empty object named like itself below a prefix that they share. Their
names end in a number that grows from run to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator

from notebook_job.store import Patience, Store

_NUMBER = re.compile(r"-([0-9]{1,18})$")


def number(name: str) -> int | None:
    """The number at the end of a run's name, None where there is none."""
    found = _NUMBER.search(name)
    return int(found[1]) if found else None


@contextlib.contextmanager
def repeating(look: Callable[[], Awaitable[None]], *, seconds: float) -> Iterator[None]:
    """Within it, `look` is called every so many seconds, beside the rest."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            await look()

    task = asyncio.ensure_future(repeat())
    try:
        yield
    finally:
        task.cancel()


class Turns:
    """The runs of one schedule, as the run `name` sees them."""

    def __init__(self, store: Store, *, prefix: str, name: str) -> None:
        self._store = store
        self._prefix = prefix
        self._name = name

    async def is_over(self) -> bool:
        """Whether a newer run has begun; if not, say that this one has.

        Older runs' objects are deleted, and the newest one's stays after its end: so there
        is one in the long run, and a run that begins late finds it.

        Raises:
            StoreError: it isn't known, or couldn't be said.
        """
        items = await self._store.list(self._prefix, Patience(0))
        names = {item.key[len(self._prefix) :] for item in items}
        own = number(self._name) or 0
        numbers = {name: found for name in names if (found := number(name)) is not None}
        if any(found > own for found in numbers.values()):
            return True
        if self._name not in names:
            await self._store.put(self._prefix + self._name, b"", Patience(0))
        older = [name for name, found in numbers.items() if found < own]
        await asyncio.gather(
            *(self._store.delete(self._prefix + name, Patience(0)) for name in older)
        )
        return False
