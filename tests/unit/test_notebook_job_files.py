"""The program `files` against a bucket in memory, with `notebook` played by the test."""

import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import obstore
import pytest

from notebook_job import files as program
from notebook_job import storing
from notebook_job.codes import FilesExit, Outcome
from support.files_program import NOTEBOOK, Start, appears, starting

STATE = json.dumps({"outcome": "completed", "cells": {"total": 1, "finished": 1}})


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the program with some inputs."""
    async with starting(tmp_path) as begin:
        yield begin


async def test_a_whole_run(start: Start) -> None:
    run = start(
        {
            "n.ipynb": NOTEBOOK.encode(),
            "data/a #%25.csv": b"1,2",
            "run.sh": b"#!/bin/sh",
            "%tree": json.dumps({"folders": ["empty/one"], "executables": ["run.sh"]}).encode(),
        },
        formats=("ipynb", "html", "pdf"),
        parameters={"x": "1"},
    )
    run.begin()
    await run.ready()

    assert (run.work / "data/a #%.csv").read_text() == "1,2"
    assert (run.work / "empty/one").is_dir()
    assert os.access(run.work / "run.sh", os.X_OK)
    assert not os.access(run.work / "n.ipynb", os.X_OK)
    assert json.loads((run.control / "run.json").read_text()) == {
        "notebook": "n.ipynb",
        "parameters": {"x": "1"},
    }
    assert (run.control / "runner/notebook_job/runner/run.py").exists()
    assert run.stored() == ["started"]

    (run.control / "notebook.ipynb").write_text(NOTEBOOK)
    (run.control / "state.json").write_text(STATE)
    (run.control / "log").write_text("a line\n")
    (run.work / "made.txt").write_text("made")
    (run.work / "data/a #%.csv").write_text("3,4")
    run.end()

    code, result = await run.ended()

    assert code is FilesExit.STORED
    assert result.outcome is Outcome.COMPLETED
    assert run.output("output.ipynb") == NOTEBOOK.encode()
    assert b"shown" in run.output("output.html")
    assert run.output("files/made.txt") == b"made"
    assert run.output("files/data/a #%25.csv") == b"3,4"
    stored = run.result()
    assert stored["outputs"] == ["ipynb", "html"]
    assert "needs LaTeX" in stored["failed_outputs"]["pdf"]
    assert stored["files"] == [
        {"path": "data/a #%.csv", "size": 3},
        {"path": "made.txt", "size": 4},
    ]
    assert stored["log_tail"] == "a line\n"


async def test_files_are_left_out_unless_the_folder_is_packaged(start: Start) -> None:
    run = start(package_input_folder=False)
    run.begin()
    await run.ready()
    (run.work / "made.txt").write_text("made")
    (run.control / "notebook.ipynb").write_text(NOTEBOOK)
    run.end()

    await run.ended()

    assert run.stored() == ["output.ipynb", "result.json", "started"]


async def test_nothing_is_released_before_notebook_has_begun(start: Start) -> None:
    run = start()
    await appears((run.work / "n.ipynb").exists)

    assert not (run.control / "ready").exists()
    assert run.stored() == []

    run.files.terminate()
    code, result = await run.ended()
    assert code is FilesExit.TERMINATED
    assert result.message == "The run was ended from outside before it began."


async def test_notebook_that_ended_before_it_got_its_inputs(start: Start) -> None:
    run = start()
    run.begin()
    run.end()

    code, _ = await run.ended()

    assert code is FilesExit.NOT_BEGUN
    assert run.stored() == ["result.json"]


async def test_a_run_that_another_pod_began(start: Start) -> None:
    run = start()
    obstore.put(run.memory, "out/started", b"another pod")
    obstore.put(run.memory, "out/result.json", b"its result")
    run.begin()

    code, result = await run.ended()

    assert code is FilesExit.ALREADY_STARTED
    assert result.outcome is Outcome.ALREADY_STARTED
    assert not (run.control / "ready").exists()
    assert run.output("result.json") == b"its result"


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({"other.ipynb": b""}, 'The notebook "n.ipynb" is not among the inputs in S3.'),
        ({"n.ipynb": b"", "%2E%2E/x": b""}, "'../x' would leave its folder"),
        ({"n.ipynb": b"", "a%41": b""}, "is not written as an input's name must be"),
        ({"n.ipynb": b"", "%tree": b"["}, "list of the inputs' folders is malformed"),
        ({"n.ipynb": b"", "%tree": b'{"folders": ["../x"]}'}, "would leave its folder"),
        ({"n.ipynb": b"", "a": b"", "a/b": b""}, 'The input "a'),
        ({"n.ipynb": b"", "n" * 300: b""}, "cannot be written: file name too long"),
    ],
)
async def test_inputs_that_cannot_be_brought(
    start: Start, inputs: dict[str, bytes], sentence: str
) -> None:
    run = start(inputs)

    code, result = await run.ended()

    assert code is FilesExit.INPUTS_FAILED
    assert sentence in result.message
    assert run.result()["outcome"] == "inputs-failed"


async def test_a_thousand_inputs(start: Start) -> None:
    names = [f"folder {number % 10}/file {number}.txt" for number in range(1000)]
    run = start({"n.ipynb": b"", **{name: name.encode() for name in names}})
    run.begin()

    await run.ready()

    assert all((run.work / name).read_text() == name for name in names)
    run.end()
    await run.ended()


async def test_a_large_file_comes_and_goes_whole(start: Start) -> None:
    large = os.urandom(1 << 20) * 20
    run = start({"n.ipynb": b"", "large.bin": large})
    run.begin()
    await run.ready()

    assert (run.work / "large.bin").read_bytes() == large
    (run.work / "made.bin").write_bytes(large + b"end")
    run.end()
    await run.ended()

    assert run.output("files/made.bin") == large + b"end"


async def test_the_notebook_is_stored_while_it_runs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(program, "_LOOK_SECONDS", 0.01)
    run = start()
    run.begin()
    await run.ready()

    for content in ("first", "second"):
        (run.control / "new").write_text(content)
        (run.control / "new").rename(run.control / "notebook.ipynb")
        await appears(partial(run.has, content))

    run.end()
    await run.ended()


async def test_sigterm_stores_at_once_and_waits_for_the_end(start: Start) -> None:
    run = start()
    run.begin()
    await run.ready()
    (run.control / "notebook.ipynb").write_text("so far")

    run.files.terminate()
    await appears(lambda: run.has("so far"))
    assert not run.task.done()
    await appears(lambda: "result.json" in run.stored())
    assert run.result()["outcome"] == "terminated"
    assert run.result()["outputs"] == ["ipynb"]
    (run.control / "notebook.ipynb").write_text("at the end")
    run.end()

    code, result = await run.ended()
    assert code is FilesExit.TERMINATED
    assert result.outcome is Outcome.TERMINATED
    assert run.output("output.ipynb") == b"at the end"


async def test_what_is_too_much_is_skipped(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "FILE_BYTES", 10)
    monkeypatch.setattr(storing, "TOTAL_BYTES", 15)
    monkeypatch.setattr(storing, "FILES", 3)
    run = start()
    run.begin()
    await run.ready()
    sizes = {"a": 10, "b-large": 11, "c-total": 6, "d": 2, "e": 2, "f-count": 1}
    for name, size in sizes.items():
        (run.work / name).write_bytes(b"x" * size)
    run.end()

    code, result = await run.ended()

    assert code is FilesExit.STORED
    assert [name for name, _ in result.files] == ["a", "d", "e"]
    assert {name: why.split(" ")[0] for name, why in result.skipped_files.items()} == {
        "b-large": "it",
        "c-total": "all",
        "f-count": "there",
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"nbformat": 4, "cells": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"nbformat": 1' + b"0" * 10_000 + b"}",
        b"\xff\xfe",
    ],
)
async def test_a_notebook_of_any_content_is_stored_as_it_is(start: Start, content: bytes) -> None:
    run = start(formats=("html",))
    run.begin()
    await run.ready()
    (run.control / "notebook.ipynb").write_bytes(content)
    run.end()

    code, _ = await run.ended()

    assert code is FilesExit.STORED
    assert run.output("output.ipynb") == content
    assert set(run.result()["failed_outputs"]) == {"html"}


async def test_a_notebook_cannot_choose_the_class_that_converts_it(start: Start) -> None:
    run = start(formats=("script",))
    run.begin()
    await run.ready()
    content = json.loads(NOTEBOOK)
    content["metadata"]["language_info"]["nbconvert_exporter"] = "nbconvert.PDFExporter"
    (run.control / "notebook.ipynb").write_text(json.dumps(content))
    run.end()

    await run.ended()

    assert b"print('shown')" in run.output("output.script")
