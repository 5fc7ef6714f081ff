"""Reading a notebook of any format that Jupyter ever had, its parameters, and writing it."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat as _nbformat

# Its functions have no types.
nbformat: Any = _nbformat

# Cells have ids from format 4.5 on; before, an id makes the notebook invalid.
_CELL_IDS = (4, 5)


class NotebookInvalid(Exception):
    """The file is no notebook that can run; the text is a sentence."""


def read(path: Path) -> Any:
    """The notebook in `path` as an nbformat 4 notebook.

    Raises:
        NotebookInvalid: it isn't there, isn't JSON, or isn't a notebook.
    """
    name = path.name
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotebookInvalid(f'There is no notebook "{name}" among the inputs.') from None
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookInvalid(f'The notebook "{name}" cannot be read: {error}.') from None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookInvalid(f'The notebook "{name}" is not valid JSON: {error}.') from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("nbformat"), int):
        raise NotebookInvalid(f'The file "{name}" is JSON, but not a notebook.')
    if parsed["nbformat"] > nbformat.current_nbformat:
        raise NotebookInvalid(
            f'The notebook "{name}" has format {parsed["nbformat"]}, and the image reads '
            f"up to {nbformat.current_nbformat}."
        )
    try:
        if parsed["nbformat"] == nbformat.current_nbformat:
            return nbformat.v4.reads(json.dumps(_complete(parsed)))
        with warnings.catch_warnings():
            # What is old is expected to lack what is new.
            warnings.simplefilter("ignore")
            return nbformat.from_dict(_complete(nbformat.reads(text, as_version=4)))
    except Exception as error:  # noqa: BLE001
        raise NotebookInvalid(
            f'The notebook "{name}" does not follow the notebook format: '
            f"{type(error).__name__}: {error}."
        ) from None


def _complete(notebook: dict[str, Any]) -> dict[str, Any]:
    """Give each cell what execution relies on; old and hand-made notebooks lack some of it."""
    minor = notebook.setdefault("nbformat_minor", _CELL_IDS[1] - 1)
    metadata = notebook.setdefault("metadata", {})
    cells = notebook.setdefault("cells", [])
    if not isinstance(minor, int):
        raise TypeError("its minor version is no number")
    if not isinstance(metadata, dict):
        raise TypeError("its metadata are no object")
    if not isinstance(cells, list):
        raise TypeError("its cells are no list")
    for number, cell in enumerate(cells, start=1):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise TypeError(f"cell {number} has no type")
        source = cell.setdefault("source", "")
        if isinstance(source, list):
            cell["source"] = source = "".join(str(line) for line in source)
        if not isinstance(source, str):
            raise TypeError(f"the source of cell {number} is no text")
        if not isinstance(cell.setdefault("metadata", {}), dict):
            raise TypeError(f"the metadata of cell {number} are no object")
        if not isinstance(cell["metadata"].get("tags", []), list):
            raise TypeError(f"the tags of cell {number} are no list")
        if minor >= _CELL_IDS[1]:
            cell.setdefault("id", uuid.uuid4().hex[:8])
        if cell["cell_type"] == "code":
            # What an earlier run left is not this run's output.
            cell["outputs"] = []
            cell["execution_count"] = None
    return notebook


def _find(notebook: Any, tag: str) -> int | None:
    for index, cell in enumerate(notebook.cells):
        if tag in cell.metadata.get("tags", []):
            return index
    return None


def inject(notebook: Any, parameters: Mapping[str, str]) -> None:
    """Put a cell that sets `parameters` into the notebook.

    As jupyter-scheduler's own parameters work: each line is `name = value`, the
    value as it was typed; the cell replaces one tagged injected-parameters, or
    follows the first one tagged parameters, or comes first.
    """
    if not parameters:
        return
    source = "\n".join(f"{name} = {value}" for name, value in parameters.items())
    cell = nbformat.v4.new_code_cell(source=source)
    cell.metadata["tags"] = ["injected-parameters"]
    if (notebook.get("nbformat", 4), notebook.get("nbformat_minor", 0)) < _CELL_IDS:
        cell.pop("id", None)
    injected = _find(notebook, "injected-parameters")
    if injected is not None:
        notebook.cells[injected] = cell
        return
    tagged = _find(notebook, "parameters")
    notebook.cells.insert(0 if tagged is None else tagged + 1, cell)


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)


def write(notebook: Any, path: Path) -> None:
    """Write the notebook as Jupyter does, without validating it: any kernel's output is kept."""
    text = nbformat.v4.writes(notebook) + "\n"
    # A kernel may print what no encoding has, such as half of a surrogate pair.
    replace_file(path, text.encode("utf-8", "replace"))
