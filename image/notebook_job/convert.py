"""The converter: a process of its own, without credentials, that runs nbconvert.

A notebook is anything its user made of it, and nbconvert may take for ever or
fall over it; then only this process is lost. It is started early, because
importing nbconvert takes most of a second, and reads one request per line:
{"notebook": path, "format": name, "output": path, "title": text}. It answers
each with one line: {"size": bytes} or {"error": sentence}.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Formats that nbconvert makes by itself, and its names for them.
_BY_ITSELF = {
    "html": "html",
    "markdown": "markdown",
    "notebook": "notebook",
    "python": "python",
    "script": "script",
    "slides": "slides",
}
# Formats that need another program, which the image may have.
_BY_TOOL = {"asciidoc": "pandoc", "latex": "pandoc", "rst": "pandoc"}
# TeX and browsers run what a notebook says, so they don't run beside credentials.
_NEVER = {
    "pdf": "LaTeX",
    "qtpdf": "a browser",
    "qtpng": "a browser",
    "webpdf": "a browser",
}


class CannotConvert(Exception):
    """The format is not to be had; the text is a sentence that says why."""


def exporter_name(output_format: str) -> str:
    """nbconvert's name for a format.

    Raises:
        CannotConvert: it needs a program that isn't there, or that is never run.
    """
    if output_format in _BY_ITSELF:
        return _BY_ITSELF[output_format]
    if output_format in _NEVER:
        raise CannotConvert(
            f'The format "{output_format}" needs {_NEVER[output_format]}, which does not run '
            "beside the S3 credentials; convert the downloaded notebook instead."
        )
    tool = _BY_TOOL.get(output_format)
    if tool and shutil.which(tool) is None:
        raise CannotConvert(
            f'The format "{output_format}" needs {tool}, which the image does not have.'
        )
    # A dot would name any class of any module.
    if not output_format.replace("_", "").replace("-", "").isalnum():
        raise CannotConvert(f'The format "{output_format}" is not known.')
    return output_format


def _load(path: Path) -> Any:
    import nbformat

    notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    language = notebook.metadata.get("language_info")
    if isinstance(language, dict):
        # The script exporter imports whatever class the notebook names here.
        language.pop("nbconvert_exporter", None)
        if str(language.get("name")).lower() == "python":
            language["nbconvert_exporter"] = "python"
    return notebook


def _exporter(name: str) -> Any:
    import nbconvert

    try:
        exporter = nbconvert.get_exporter(name)()
    except nbconvert.exporters.ExporterNameError:
        raise CannotConvert(f'The format "{name}" is not known to nbconvert.') from None
    if name == "markdown":
        # Images become part of the text; beside it they would be lost.
        exporter.register_preprocessor(
            nbconvert.preprocessors.ExtractOutputPreprocessor(enabled=False), enabled=False
        )
        exporter._preprocessors = [
            step
            for step in exporter._preprocessors
            if not isinstance(step, nbconvert.preprocessors.ExtractOutputPreprocessor)
        ]
    return exporter


def convert(request: Mapping[str, str]) -> int:
    """Write the requested output; return its size in bytes.

    Raises:
        CannotConvert: see there.
    """
    name = exporter_name(request["format"])
    exporter = _exporter(name)
    resources = {"metadata": {"name": request["title"]}}
    body, _ = exporter.from_notebook_node(_load(Path(request["notebook"])), resources=resources)
    data = body.encode("utf-8", "replace") if isinstance(body, str) else bytes(body)
    Path(request["output"]).write_bytes(data)
    return len(data)


def _warm_up(formats: list[str]) -> None:
    """Make each exporter once, with its templates, while nothing waits for it."""
    import nbformat

    empty = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell("1")],
        metadata={"language_info": {"name": "python"}},
    )
    for output_format in formats:
        try:
            _exporter(exporter_name(output_format)).from_notebook_node(empty)
        except Exception:  # noqa: BLE001, PERF203, S110
            # The real request says what is wrong.
            pass


def _answer(line: str) -> dict[str, object]:
    try:
        return {"size": convert(json.loads(line))}
    except CannotConvert as error:
        return {"error": str(error)}
    except RecursionError:
        return {"error": "The notebook is nested too deeply to be converted."}
    except Exception as error:  # noqa: BLE001
        return {"error": f"nbconvert failed: {type(error).__name__}: {str(error)[:300]}"}


def main() -> None:
    """Answer requests until the input ends."""
    # When memory runs out, the machine kills this process before the one that stores.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Only answers go where answers are read; whatever a library prints goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _warm_up(json.loads(sys.argv[1]) if len(sys.argv) > 1 else [])
    for line in sys.stdin:
        answers.write(json.dumps(_answer(line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
