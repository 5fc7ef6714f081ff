"""What `files` makes of the word of a program that it does not trust."""

import json
from typing import Any

import pytest

from notebook_job.codes import Outcome
from notebook_job.outcome import CUT_SHORT, TERMINATION_BYTES, Result, final, read_state

STATE: dict[str, Any] = {
    "schema": 1,
    "outcome": "cell-error",
    "message": "Cell 3 raised ValueError: no",
    "error": {"name": "ValueError", "value": "no", "cell": 3},
    "cells": {"total": 5, "finished": 1},
    "started_at": 1_700_000_000_000,
    "ended_at": 1_700_000_001_000,
    "peak_memory_bytes": 1024,
    "memory_limit_bytes": None,
    "cpu_seconds": 1.5,
    "kernel": "python3",
    "kernel_note": None,
}


def read(**changes: Any) -> Result:
    """The state with changes, as it is read."""
    result = read_state(json.dumps(STATE | changes).encode())
    assert result is not None
    return result


def test_a_state_is_read_whole() -> None:
    assert read() == Result(
        outcome=Outcome.CELL_ERROR,
        message="Cell 3 raised ValueError: no",
        error={"name": "ValueError", "value": "no", "cell": 3},
        cells={"total": 5, "finished": 1},
        started_at=1_700_000_000_000,
        ended_at=1_700_000_001_000,
        peak_memory_bytes=1024,
        cpu_seconds=1.5,
        kernel="python3",
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"[" * 200_000,
        b'{"outcome": "made up"}',
        b'{"outcome": ["completed"]}',
        b'{"outcome": 1' + b"0" * 10_000 + b"}",
    ],
)
def test_what_is_no_state_is_none(data: bytes | None) -> None:
    assert read_state(data) is None


@pytest.mark.parametrize(
    "value", [True, -1, 1e400, float("nan"), 10**30, "12", [], {}, {"cell": "x"}]
)
def test_values_of_other_kinds_are_nothing(value: Any) -> None:
    result = read(
        message=value if not isinstance(value, str) else None,
        error=value,
        cells=value,
        started_at=value,
        peak_memory_bytes=value,
        cpu_seconds=value,
        kernel=[value],
    )

    assert result == Result(outcome=Outcome.CELL_ERROR, ended_at=STATE["ended_at"])


def test_text_that_is_no_text_can_be_stored() -> None:
    result = read(message="half \ud83d a pair", error=STATE["error"] | {"value": "\ud800"})

    assert json.loads(result.to_json())["message"] == "half ? a pair"
    assert json.loads(result.to_termination_message())["error"]["value"] == "?"


def test_long_texts_are_cut() -> None:
    result = read(message="m" * 10_000, error=STATE["error"] | {"name": "n" * 10_000})

    assert len(result.message) == 4000
    assert result.error is not None
    assert len(result.error["name"]) == 200


def test_the_termination_message_fits() -> None:
    result = Result(
        outcome=Outcome.CELL_ERROR,
        message="ü" * 4000,
        error={"name": "E", "value": "日" * 4000, "cell": 3},
        kernel_note="k" * 4000,
        failed_outputs={f"format-{number}": "it failed " * 40 for number in range(60)},
        files=tuple((f"file-{number}", number) for number in range(5000)),
        log_tail="log" * 9000,
    )

    data = result.to_termination_message()

    told = json.loads(data)
    assert len(data) <= TERMINATION_BYTES
    assert told["outcome"] == "cell-error"
    assert told["error"]["cell"] == 3
    assert told["file_count"] == 5000
    assert "files" not in told
    assert "log_tail" not in told


def test_an_end_that_was_told_stands() -> None:
    assert final(read(), cut_short=Outcome.TERMINATED, now_ms=7) == read()


def test_a_run_that_vanished_is_lost() -> None:
    result = final(read(outcome="running", error=None), cut_short=None, now_ms=7)

    assert result.outcome is Outcome.NOTEBOOK_LOST
    assert result.message == (
        "The notebook's container ended after 1 of 5 code cells without saying why."
    )
    assert result.ended_at == 7


def test_a_run_that_never_said_anything_is_lost() -> None:
    result = final(None, cut_short=None, now_ms=7)

    assert result.outcome is Outcome.NOTEBOOK_LOST
    assert result.message == "The notebook's container ended without saying why."


@pytest.mark.parametrize("cause", [Outcome.TERMINATED, Outcome.REPLACED])
def test_a_run_that_was_ended_says_so(cause: Outcome) -> None:
    result = final(read(outcome="running"), cut_short=cause, now_ms=7)

    assert result.outcome is cause
    assert result.message == CUT_SHORT[cause]
