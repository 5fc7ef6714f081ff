"""What `notebook` says of its run, in /job/control/state.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from notebook_job.codes import Outcome
from notebook_job.runner.notebook import replace_file
from notebook_job.runner.usage import Meter

SCHEMA = 1
# A person reads the first lines; the notebook itself has the whole text.
_VALUE_CHARACTERS = 4000


def now_ms(clock: Callable[[], float]) -> int:
    """Milliseconds since the epoch."""
    return int(clock() * 1000)


@dataclass(frozen=True)
class CellError:
    """The exception that ended the run, and its cell's place among all cells, from 1."""

    name: str
    value: str
    cell: int


@dataclass(frozen=True)
class State:
    """The run so far. `total` and `finished` count cells with code; times in ms."""

    outcome: Outcome = Outcome.RUNNING
    message: str = ""
    error: CellError | None = None
    total: int = 0
    finished: int = 0
    started_at: int | None = None
    ended_at: int | None = None
    kernel: str | None = None
    kernel_note: str | None = None


class Report:
    """The state, and the file that shows it to `files`."""

    def __init__(self, path: Path, meter: Meter) -> None:
        self._path = path
        self._meter = meter
        self.state = State()

    def update(self, **changes: object) -> None:
        """Change fields of the state, without writing it."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]

    def write(self) -> None:
        """Show the state, with the memory and processor time used up to now."""
        state, usage = self.state, self._meter.read()
        error = None
        if state.error:
            error = asdict(state.error)
            error["value"] = error["value"][:_VALUE_CHARACTERS]
        content = {
            "schema": SCHEMA,
            "outcome": state.outcome.value,
            "message": state.message,
            "error": error,
            "cells": {"total": state.total, "finished": state.finished},
            "started_at": state.started_at,
            "ended_at": state.ended_at,
            "peak_memory_bytes": usage.peak_memory_bytes,
            "memory_limit_bytes": usage.memory_limit_bytes,
            "cpu_seconds": usage.cpu_seconds,
            "kernel": state.kernel,
            "kernel_note": state.kernel_note,
        }
        replace_file(self._path, json.dumps(content).encode())
