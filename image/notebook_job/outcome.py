"""What became of a run: `notebook`'s word for it, checked, and what `files` adds.

state.json lies where the notebook's user can write, so it is read as something
a stranger sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from notebook_job.codes import Outcome

SCHEMA = 1
# https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
TERMINATION_BYTES = 4096
STATE_BYTES = 1 << 20
_TEXT = 4000
_NAME = 200
_LARGEST = 1 << 62
# Why a run was told to end, in sentences.
CUT_SHORT = {
    Outcome.TERMINATED: "The run was ended from outside.",
    Outcome.REPLACED: "The next run of this schedule began, and replaced this one.",
}


@dataclass(frozen=True)
class Result:
    """result.json; its fields have the names and units of README.md."""

    outcome: Outcome
    message: str = ""
    error: Mapping[str, Any] | None = None
    cells: Mapping[str, int] = field(default_factory=lambda: {"total": 0, "finished": 0})
    started_at: int | None = None
    ended_at: int | None = None
    peak_memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_seconds: float | None = None
    kernel: str | None = None
    kernel_note: str | None = None
    outputs: tuple[str, ...] = ()
    failed_outputs: Mapping[str, str] = field(default_factory=dict)
    files: tuple[tuple[str, int], ...] = ()
    skipped_files: Mapping[str, str] = field(default_factory=dict)
    log_tail: str = ""

    def with_message(self, message: str) -> Result:
        """The same, with `message` before what it says already."""
        return replace(self, message=f"{message} {self.message}".strip())

    def _common(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "outcome": self.outcome.value,
            "message": self.message,
            "error": self.error,
            "cells": dict(self.cells),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "peak_memory_bytes": self.peak_memory_bytes,
            "memory_limit_bytes": self.memory_limit_bytes,
            "cpu_seconds": self.cpu_seconds,
            "kernel": self.kernel,
            "kernel_note": self.kernel_note,
            "outputs": list(self.outputs),
            "failed_outputs": dict(self.failed_outputs),
            "file_count": len(self.files),
        }

    def to_json(self) -> bytes:
        """result.json."""
        content = self._common() | {
            "files": [{"path": path, "size": size} for path, size in self.files],
            "skipped_files": dict(self.skipped_files),
            "log_tail": self.log_tail,
        }
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")

    def to_termination_message(self) -> bytes:
        """The same without its lists and the log, in the bytes that Kubernetes keeps."""
        content = self._common()
        for length in (1000, 300, 100, 20):
            text = json.dumps(_shortened(content, length), ensure_ascii=False)
            data = text.encode("utf-8", "replace")
            if len(data) <= TERMINATION_BYTES:
                return data
        content["failed_outputs"] = {}
        return json.dumps(_shortened(content, 20)).encode()[:TERMINATION_BYTES]


def _shortened(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= length else value[: length - 1] + "…"
    if isinstance(value, dict):
        return {key: _shortened(item, length) for key, item in value.items()}
    return value


def _text(value: object, length: int = _TEXT) -> str:
    if not isinstance(value, str):
        return ""
    # Half a surrogate pair can't be written as UTF-8.
    return value[:length].encode("utf-8", "replace").decode()


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if 0 <= value < _LARGEST else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _error(value: object) -> dict[str, Any] | None:
    error = _object(value)
    cell = _whole(error.get("cell"))
    if not error or cell is None:
        return None
    return {
        "name": _text(error.get("name"), _NAME),
        "value": _text(error.get("value")),
        "cell": cell,
    }


def read_state(data: bytes | None) -> Result | None:
    """The result that state.json tells so far; None where it tells nothing usable."""
    if data is None:
        return None
    try:
        state = _object(json.loads(data))
        outcome = Outcome(state.get("outcome"))
    except (ValueError, RecursionError, TypeError):
        return None
    cells = _object(state.get("cells"))
    return Result(
        outcome=outcome,
        message=_text(state.get("message")),
        error=_error(state.get("error")),
        cells={name: _whole(cells.get(name)) or 0 for name in ("total", "finished")},
        started_at=_whole(state.get("started_at")),
        ended_at=_whole(state.get("ended_at")),
        peak_memory_bytes=_whole(state.get("peak_memory_bytes")),
        memory_limit_bytes=_whole(state.get("memory_limit_bytes")),
        cpu_seconds=_number(state.get("cpu_seconds")),
        kernel=_text(state.get("kernel"), _NAME) or None,
        kernel_note=_text(state.get("kernel_note")) or None,
    )


def final(told: Result | None, *, cut_short: Outcome | None, now_ms: int) -> Result:
    """The result of a run whose `notebook` ended, having `told` this last.

    Args:
        told: `notebook`'s last word.
        cut_short: why this run was told to end, if it was.
        now_ms: the time, for a run that didn't tell its end.
    """
    if told is not None and told.outcome is not Outcome.RUNNING:
        return told
    base = told or Result(outcome=Outcome.NOTEBOOK_LOST)
    if cut_short is not None:
        message = CUT_SHORT[cut_short]
        return replace(base, outcome=cut_short, message=message, ended_at=now_ms)
    done = f" after {base.cells['finished']} of {base.cells['total']} code cells" if told else ""
    return replace(
        base,
        outcome=Outcome.NOTEBOOK_LOST,
        message=f"The notebook's container ended{done} without saying why.",
        ended_at=now_ms,
    )
