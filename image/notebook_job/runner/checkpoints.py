"""Writing the notebook while it runs, often enough to be of use and seldom enough not to cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

# Writing takes at most this part of the time, however large the outputs are.
_SHARE = 0.1
LEAST_SECONDS = 1.0


class Checkpoints:
    """Calls `write` soon after a change, and not again before it is due."""

    def __init__(
        self,
        write: Callable[[], None],
        *,
        least_seconds: float = LEAST_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._write = write
        self._least_seconds = least_seconds
        self._clock = clock
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Say that there is something new to write."""
        self._changed.set()

    def write_now(self) -> float:
        """Write at once; return the seconds to wait before the next time."""
        self._changed.clear()
        begin = self._clock()
        try:
            self._write()
        except OSError as error:
            # The run is worth more than a checkpoint; the last write reports its failure.
            print(f"The notebook could not be saved yet: {error}", flush=True)  # noqa: T201
        return max(self._least_seconds, (self._clock() - begin) / _SHARE)

    async def keep(self) -> None:
        """Write after changes until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(self.write_now())
