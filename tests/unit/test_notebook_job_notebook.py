"""Reading notebooks of every age, and the cell that sets parameters."""

import copy
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebook_job.runner.notebook import NotebookInvalid, inject, read, write


def cell(source: Any, *tags: str, kind: str = "code") -> dict[str, Any]:
    """A cell, as it is in a file."""
    found: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source}
    if tags:
        found["metadata"]["tags"] = list(tags)
    if kind == "code":
        found |= {"outputs": [], "execution_count": None}
    return found


def stored(tmp_path: Path, content: Any) -> Path:
    """A file with a notebook."""
    path = tmp_path / "n.ipynb"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def v4(*cells: dict[str, Any], minor: int = 4, **metadata: Any) -> dict[str, Any]:
    """A notebook of format 4."""
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": metadata, "cells": list(cells)}


def sources(notebook: Any) -> list[str]:
    """The cells' sources."""
    return [entry.source for entry in notebook.cells]


@pytest.mark.parametrize("minor", range(6))
def test_every_minor_of_format_4(tmp_path: Path, minor: int) -> None:
    notebook = read(stored(tmp_path, v4(cell("1\n2"), cell(["a\n", "b"]), minor=minor)))
    inject(notebook, {"x": "1"})
    write(notebook, tmp_path / "out.ipynb")

    assert sources(notebook) == ["x = 1", "1\n2", "a\nb"]
    nbformat.validate(json.loads((tmp_path / "out.ipynb").read_text()), relax_add_props=False)


def test_format_3(tmp_path: Path) -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 1, "source": "Title", "metadata": {}},
                    {
                        "cell_type": "code",
                        "input": "print(1)",
                        "outputs": [],
                        "language": "python",
                        "collapsed": False,
                        "metadata": {},
                    },
                ]
            }
        ],
    }

    assert sources(read(stored(tmp_path, old))) == ["# Title", "print(1)"]


def test_a_byte_order_mark_and_no_cells(tmp_path: Path) -> None:
    assert read(stored(tmp_path, "\ufeff" + json.dumps(v4()))).cells == []


def test_a_cell_may_lack_what_it_should_have(tmp_path: Path) -> None:
    notebook = read(stored(tmp_path, v4({"cell_type": "code"}, {"cell_type": "markdown"})))

    assert sources(notebook) == ["", ""]
    assert notebook.cells[0].outputs == []


def test_outputs_of_an_earlier_run_are_not_this_run_s(tmp_path: Path) -> None:
    earlier = cell("1") | {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": "old"}],
        "execution_count": 7,
    }

    (read_cell,) = read(stored(tmp_path, v4(earlier))).cells

    assert (read_cell.outputs, read_cell.execution_count) == ([], None)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is JSON, but not a notebook"),
        ('{"cells": []}', "is JSON, but not a notebook"),
        ({"nbformat": 5, "cells": []}, "has format 5, and the image reads up to 4"),
        ({"nbformat": 4, "nbformat_minor": 4, "cells": "x"}, "its cells are no list"),
        (v4({"source": "1"}), "cell 1 has no type"),
        (v4(cell("1"), cell(7)), "the source of cell 2 is no text"),
        (v4(cell("1") | {"metadata": {"tags": "parameters"}}), "the tags of cell 1 are no list"),
        ({"nbformat": 4, "metadata": [], "cells": []}, "its metadata are no object"),
        ({"nbformat": 4, "nbformat_minor": "x"}, "its minor version is no number"),
        ({"nbformat": 3, "worksheets": 5}, "does not follow the notebook format"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(
    tmp_path: Path, content: Any, sentence: str
) -> None:
    with pytest.raises(NotebookInvalid, match=sentence) as caught:
        read(stored(tmp_path, content))
    assert '"n.ipynb"' in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_bytes(b'{"nbformat": 4, "x": "\xff"}')

    with pytest.raises(NotebookInvalid, match="cannot be read"):
        read(tmp_path / "n.ipynb")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotebookInvalid, match="no notebook"):
        read(tmp_path / "n.ipynb")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([cell("a"), cell("b")], ["P", "a", "b"]),
        ([cell("a"), cell("b", "parameters"), cell("c")], ["a", "b", "P", "c"]),
        # An earlier injection is replaced, wherever it is.
        (
            [cell("a", "parameters"), cell("b"), cell("old", "injected-parameters"), cell("c")],
            ["a", "b", "P", "c"],
        ),
        ([cell("a", "parameters"), cell("b", "parameters")], ["a", "P", "b"]),
        ([], ["P"]),
    ],
)
def test_where_parameters_go(tmp_path: Path, cells: Any, expected: list[str]) -> None:
    notebook = read(stored(tmp_path, v4(*cells)))

    inject(notebook, {"year": "2024", "region": '"north"'})

    values = 'year = 2024\nregion = "north"'
    assert sources(notebook) == [values if text == "P" else text for text in expected]
    position = expected.index("P")
    assert notebook.cells[position].metadata.tags == ["injected-parameters"]


def test_parameters_go_where_upstream_puts_them(tmp_path: Path) -> None:
    from jupyter_scheduler.parameterize import add_parameters

    ours = read(stored(tmp_path, v4(cell("a"), cell("b", "parameters"), cell("c"), minor=5)))
    theirs = add_parameters(copy.deepcopy(ours), {"x": "1"})

    inject(ours, {"x": "1"})

    assert sources(ours) == sources(theirs)


def test_no_parameters_change_nothing(tmp_path: Path) -> None:
    notebook = read(stored(tmp_path, v4(cell("a", "parameters"))))

    inject(notebook, {})

    assert sources(notebook) == ["a"]


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    notebook = read(stored(tmp_path, v4(cell("a"))))
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("stream", text="\ud83d")  # type: ignore[no-untyped-call]
    ]

    write(notebook, tmp_path / "out.ipynb")

    assert '"?"' in (tmp_path / "out.ipynb").read_text()
