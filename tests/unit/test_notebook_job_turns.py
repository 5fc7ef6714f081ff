"""Runs of a schedule: the next one replaces this one, and each keeps the input that it ran."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import MemoryStore

from notebook_job import files as program
from notebook_job.codes import FilesExit, Outcome
from notebook_job.store import Patience, Store, StoreError
from notebook_job.turns import Turns, number
from support.files_program import NOTEBOOK, Run, Start, appears, starting

PREFIX = "schedules/1/turns/"
OLD, OWN, NEW = (f"nb-jobdef-1-{minutes}" for minutes in (999, 1000, 1001))
TURN = {"turn_prefix": PREFIX, "turn_name": OWN}
REPLACED = "The next run of this schedule began, and replaced this one."


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts the program with some inputs; it looks at the other runs all the time."""
    monkeypatch.setattr(program, "TURN_SECONDS", 0.01)
    async with starting(tmp_path) as begin:
        yield begin


def bucket(*turns: str, **objects: bytes) -> MemoryStore:
    """A bucket with these runs' objects, and others of the run that is started."""
    memory = MemoryStore()
    for turn in turns:
        obstore.put(memory, PREFIX + turn, b"")
    for name, content in objects.items():
        obstore.put(memory, f"out/{name}", content)
    return memory


def turns_in(memory: MemoryStore) -> list[str]:
    """The runs that have an object."""
    found = obstore.list(memory, PREFIX).collect()
    return sorted(str(entry["path"]).removeprefix(PREFIX) for entry in found)


def fail_to(monkeypatch: pytest.MonkeyPatch, what: str, key: str) -> None:
    """Let S3 refuse one kind of request for keys that begin with `key`."""
    working = getattr(Store, what)

    async def refuse(self: Store, first: Any, *others: Any) -> Any:
        if str(getattr(first, "key", first)).startswith(key):
            raise StoreError("S3 is away.")
        return await working(self, first, *others)

    monkeypatch.setattr(Store, what, refuse)


def is_replaced(run: Run) -> bool:
    """Whether `notebook` has been told."""
    return (run.control / "replaced").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nb-jobdef-1-29000000", 29000000),
        ("nb-jobdef-1-007", 7),
        ("nb-jobdef-a1", None),
        ("nb-jobdef-1-12x", None),
        ("12", None),
        ("nb-jobdef-1-" + "9" * 19, None),
        ("nb-jobdef-1-\u0663", None),
    ],
)
def test_the_number_of_a_run(name: str, expected: int | None) -> None:
    assert number(name) == expected


@pytest.mark.parametrize(
    ("others", "over", "left"),
    [
        ([], False, [OWN]),
        ([OWN], False, [OWN]),
        ([OLD], False, [OWN]),
        # By its value, not as text.
        (["nb-jobdef-1-20"], False, [OWN]),
        ([NEW], True, [NEW]),
        ([OLD, OWN, NEW], True, [OWN, OLD, NEW]),
        (["made-by-hand"], False, ["made-by-hand", OWN]),
    ],
)
async def test_a_look_at_the_other_runs(others: list[str], over: bool, left: list[str]) -> None:
    memory = bucket(*others)
    turns = Turns(Store(memory, bucket="jobs"), prefix=PREFIX, name=OWN)

    assert await turns.is_over() is over

    assert turns_in(memory) == sorted(left)


async def test_a_run_that_is_the_newest(start: Start) -> None:
    run = start(**TURN)
    run.begin()
    await run.ready()
    assert turns_in(run.memory) == [OWN]
    (run.control / "notebook.ipynb").write_text(NOTEBOOK)
    (run.control / "state.json").write_text('{"outcome": "completed"}')
    run.end()

    code, result = await run.ended()

    assert (code, result.outcome) == (FilesExit.STORED, Outcome.COMPLETED)
    # It is known of to a run that begins late.
    assert turns_in(run.memory) == [OWN]


async def test_a_run_that_is_replaced_while_its_notebook_runs(start: Start) -> None:
    run = start(**TURN)
    run.begin()
    await run.ready()
    (run.control / "notebook.ipynb").write_text("so far")
    assert not is_replaced(run)

    obstore.put(run.memory, PREFIX + NEW, b"")

    await appears(lambda: is_replaced(run))
    # It is stored at once, as after SIGTERM.
    await appears(lambda: "result.json" in run.stored())
    assert run.result()["outcome"] == "replaced"
    assert not run.task.done()
    (run.control / "notebook.ipynb").write_text("at the end")
    state = {"outcome": "replaced", "message": "told", "cells": {"total": 2, "finished": 1}}
    (run.control / "state.json").write_text(json.dumps(state))
    (run.work / "made.txt").write_text("made")
    run.end()
    code, result = await run.ended()
    assert (code, result.outcome, result.message) == (
        FilesExit.REPLACED,
        Outcome.REPLACED,
        "told",
    )
    assert run.output("output.ipynb") == b"at the end"
    assert run.output("files/made.txt") == b"made"
    # An object of its own would come back only to be deleted.
    assert turns_in(run.memory) == [OWN, NEW]


async def test_a_notebook_that_is_replaced_and_says_nothing_of_it(start: Start) -> None:
    run = start(**TURN)
    run.begin()
    await run.ready()
    obstore.put(run.memory, PREFIX + NEW, b"")
    await appears(lambda: is_replaced(run))
    run.end()

    code, result = await run.ended()

    assert (code, result.outcome, result.message) == (
        FilesExit.REPLACED,
        Outcome.REPLACED,
        REPLACED,
    )


async def test_a_notebook_that_ended_before_it_heard_of_the_next_run(start: Start) -> None:
    run = start(**TURN)
    run.begin()
    await run.ready()
    obstore.put(run.memory, PREFIX + NEW, b"")
    await appears(lambda: is_replaced(run))
    (run.control / "notebook.ipynb").write_text(NOTEBOOK)
    (run.control / "state.json").write_text('{"outcome": "completed"}')
    run.end()

    code, result = await run.ended()

    assert (code, result.outcome) == (FilesExit.STORED, Outcome.COMPLETED)


async def test_a_replaced_run_that_gets_sigterm_tells_of_it(start: Start) -> None:
    run = start(**TURN)
    run.begin()
    await run.ready()
    obstore.put(run.memory, PREFIX + NEW, b"")
    await appears(lambda: is_replaced(run))
    run.files.terminate()
    run.end()

    code, _ = await run.ended()

    assert code is FilesExit.TERMINATED


async def test_a_run_that_finds_a_newer_one_does_not_start(start: Start) -> None:
    run = start(memory=bucket(NEW), **TURN)
    run.begin()

    code, result = await run.ended()

    assert (code, result.outcome) == (FilesExit.REPLACED, Outcome.REPLACED)
    assert not (run.control / "ready").exists()
    assert run.stored() == ["result.json"]
    assert run.result()["message"] == REPLACED
    assert turns_in(run.memory) == [NEW]


async def test_a_run_that_is_replaced_while_it_waits_for_its_notebook(start: Start) -> None:
    run = start(**TURN)
    await appears((run.work / "n.ipynb").exists)
    obstore.put(run.memory, PREFIX + NEW, b"")

    code, _ = await run.ended()

    assert code is FilesExit.REPLACED
    assert run.stored() == ["result.json"]


async def test_a_replaced_run_writes_nothing_over_the_outputs_of_a_pod_before(
    start: Start,
) -> None:
    memory = bucket(NEW, started=b"another pod", **{"result.json": b"its result"})
    run = start(memory=memory, **TURN)

    code, result = await run.ended()

    assert (code, result.outcome) == (FilesExit.ALREADY_STARTED, Outcome.ALREADY_STARTED)
    assert run.output("result.json") == b"its result"


async def test_a_replaced_run_that_cannot_look_for_a_pod_before_writes_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to(monkeypatch, "get", "out/started")
    run = start(memory=bucket(NEW), **TURN)

    code, _ = await run.ended()

    assert code is FilesExit.REPLACED
    assert run.stored() == []


async def test_a_run_that_is_replaced_while_it_says_that_it_begins(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put_slowly(self: Store, key: str, content: bytes, patience: Patience) -> None:
        await self.put(key, content, patience)
        await asyncio.Event().wait()

    monkeypatch.setattr(Store, "put_new", put_slowly)
    run = start(**TURN)
    run.begin()
    await appears(lambda: "started" in run.stored())
    obstore.put(run.memory, PREFIX + NEW, b"")

    code, _ = await run.ended()

    assert code is FilesExit.REPLACED
    assert run.stored() == ["result.json", "started"]


@pytest.mark.parametrize("what", ["list", "put", "delete"])
async def test_while_s3_is_away_nothing_is_replaced(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    with monkeypatch.context() as away:
        fail_to(away, what, PREFIX)
        run = start(memory=bucket(OLD), **TURN)
        run.begin()
        await run.ready()
        assert not is_replaced(run)
    assert "Whether the next run of this schedule began was not seen. S3 is away." in (
        capsys.readouterr().out
    )

    # It comes back.
    await appears(lambda: turns_in(run.memory) == [OWN])
    obstore.put(run.memory, PREFIX + NEW, b"")
    await appears(lambda: is_replaced(run))
    run.end()
    await run.ended()


async def test_a_run_without_turns_looks_at_none(start: Start) -> None:
    run = start(memory=bucket(NEW))
    run.begin()

    await run.ready()

    assert turns_in(run.memory) == [NEW]
    run.end()
    await run.ended()


INPUTS = {
    "n.ipynb": NOTEBOOK.encode(),
    "data/a #%25.csv": b"1,2",
    "%tree": b'{"folders": ["empty"], "executables": []}',
}


def kept(memory: MemoryStore) -> dict[str, bytes]:
    """The kept inputs."""
    entries = obstore.list(memory, "kept").collect()
    return {
        str(entry["path"]).removeprefix("kept/"): bytes(obstore.get(memory, entry["path"]).bytes())
        for entry in entries
    }


async def test_the_input_is_kept_before_anything_runs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What runs is what was kept, whatever becomes of the other meanwhile.
    fail_to(monkeypatch, "get", "in/")
    memory = MemoryStore()
    obstore.put(memory, "kept/n.ipynb", b"half of an earlier attempt")
    run = start(INPUTS, memory=memory, keep_input_prefix="kept/")
    await appears((run.work / "n.ipynb").exists)
    assert kept(memory) == INPUTS
    run.begin()

    await run.ready()

    assert (run.work / "data/a #%.csv").read_text() == "1,2"
    assert (run.work / "empty").is_dir()
    (run.work / "data/a #%.csv").write_text("changed")
    run.end()
    await run.ended()
    assert kept(memory) == INPUTS
    assert "files/data/a #%25.csv" in run.stored()


async def test_an_input_that_cannot_be_kept(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to(monkeypatch, "copy", "in/data")
    run = start(INPUTS, keep_input_prefix="kept/")
    run.begin()

    code, result = await run.ended()

    assert (code, result.outcome) == (FilesExit.INPUTS_FAILED, Outcome.INPUTS_FAILED)
    assert result.message == "The inputs cannot be kept. S3 is away."
    assert "started" not in run.stored()


async def test_an_input_that_is_too_large_for_a_copy_goes_through_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = MemoryStore()
    content = bytes(range(256)) * 100_000
    obstore.put(memory, "in/large", content)
    store = Store(memory, bucket="jobs")
    (item,) = await store.list("in/", Patience(0))
    monkeypatch.setattr("notebook_job.store.COPY_BYTES", item.size - 1)
    monkeypatch.delattr("obstore.copy_async")

    await store.copy(item, "kept/large", Patience(0))

    assert kept(memory) == {"large": content}
