"""Locks that the kernel drops when their holder ends, however it ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import uuid
from pathlib import Path

from notebook_job.volume import Refused, Volume


class NotBegun(Exception):
    """The holder of the lock ended before it did anything."""


def hold(control: Volume, name: str) -> int:
    """Hold the lock `name` for as long as the returned descriptor is open.

    The file gets its name once it is held, so a free lock means that its holder ended.
    """
    fresh = f"{name}.{uuid.uuid4().hex}"
    handle = control.create(fresh)
    fcntl.flock(handle, fcntl.LOCK_EX)
    control.rename(fresh, name)
    return handle


def is_held(control: Volume, name: str) -> bool | None:
    """Whether someone holds the lock; None where it was never held."""
    try:
        handle = control.open(name)
    except Refused:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def when_free(control: Volume, name: str) -> asyncio.Future[None]:
    """A future that is done once the holder of the lock ended; it must have been held."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    handle = control.open(name)

    def done() -> None:
        if not future.done():
            future.set_result(None)

    def wait() -> None:
        # The kernel wakes this thread; nothing polls.
        fcntl.flock(handle, fcntl.LOCK_SH)
        os.close(handle)
        if not loop.is_closed():
            loop.call_soon_threadsafe(done)

    threading.Thread(target=wait, name=name, daemon=True).start()
    return future


def control_folder(job: Path) -> Volume:
    """The folder through which the two programs talk."""
    folder = job / "control"
    folder.mkdir(parents=True, exist_ok=True)
    return Volume(folder)
