"""The converter, as a process: formats, what it can't make, and how it dies."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from notebook_job.converter import ConversionFailed, Converter

# The smallest image there is: one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with an image among its outputs."""
    cell = {
        "cell_type": "code",
        "metadata": {},
        "source": "plot()",
        "execution_count": 1,
        "outputs": [
            {
                "output_type": "display_data",
                "metadata": {},
                "data": {"image/png": PIXEL, "text/plain": "<Figure>"},
            }
        ],
    }
    content: dict[str, Any] = {
        "nbformat": 4,
        "nbformat_minor": 4,
        "metadata": {"language_info": {"name": "python"}},
        "cells": [cell],
    }
    path = tmp_path / "notebook.ipynb"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
async def converter() -> AsyncIterator[Converter]:
    """A converter that ends with the test."""
    found = Converter(["html"])
    yield found
    await found.stop()


async def test_formats_that_need_nothing_else(converter: Converter, notebook: Path) -> None:
    for name, content in {
        "html": "<title>My report</title>",
        "markdown": f"data:image/png;base64,{PIXEL}",
        "script": "plot()",
        "slides": "reveal",
        "python": "plot()",
    }.items():
        made = await converter.convert(notebook, name, title="My report")
        assert content in made.read_text(), name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("pdf", "needs LaTeX, which does not run beside the S3 credentials"),
        ("webpdf", "needs a browser"),
        ("no-such", 'The format "no-such" is not known to nbconvert.'),
        ("os.system", 'The format "os.system" is not known.'),
        ("../x", 'The format "../x" is not known.'),
    ],
)
async def test_formats_that_are_not_made(
    converter: Converter, notebook: Path, name: str, sentence: str
) -> None:
    with pytest.raises(ConversionFailed, match=sentence):
        await converter.convert(notebook, name, title="x")


async def test_a_format_that_needs_a_tool_which_is_not_there(
    converter: Converter, notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(ConversionFailed, match="needs pandoc, which the image does not have"):
        await converter.convert(notebook, "latex", title="x")


def environment_of(pid: int) -> str:
    """The environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_text()


async def test_it_has_no_credentials(converter: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted")

    process = await converter.start()

    environment = environment_of(process.pid)
    assert "PATH=" in environment
    assert "planted" not in environment


async def test_one_that_dies_is_replaced(converter: Converter, notebook: Path) -> None:
    process = await converter.start()
    process.kill()

    with pytest.raises(ConversionFailed, match="crashed"):
        await converter.convert(notebook, "html", title="x")
    made = await converter.convert(notebook, "html", title="x")

    assert made.stat().st_size > 0


async def test_one_that_takes_too_long_is_ended(notebook: Path) -> None:
    converter = Converter([], seconds=0.001)
    process = await converter.start()

    with pytest.raises(ConversionFailed, match="took longer than"):
        await converter.convert(notebook, "html", title="x")

    assert process.returncode is not None
