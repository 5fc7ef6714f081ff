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

    reads: Any = nbformat.reads
    notebook = reads(path.read_text(encoding="utf-8"), as_version=4)
    language = notebook.metadata.get("language_info")
    if isinstance(language, dict):
        # The script exporter imports whatever class the notebook names here.
        language.pop("nbconvert_exporter", None)
        if str(language.get("name")).lower() == "python":
            language["nbconvert_exporter"] = "python"
    return notebook


class Exporters:
    """nbconvert's exporters by format, each made once: making one costs more than its work."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def get(self, output_format: str) -> Any:
        """The exporter of a format.

        Raises:
            CannotConvert: there is none, or it can't work here.
        """
        name = exporter_name(output_format)
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    @staticmethod
    def _make(name: str) -> Any:
        import nbconvert
        from traitlets.config import Config

        library: Any = nbconvert
        try:
            found = library.get_exporter(name)
        except library.exporters.ExporterNameError:
            raise CannotConvert(f'The format "{name}" is not known to nbconvert.') from None
        if name != "markdown":
            return found()
        # Images become part of the text: as files beside it they would be lost.
        return found(config=Config({"ExtractOutputPreprocessor": {"enabled": False}}))

    def warm_up(self, formats: list[str]) -> None:
        """Make the exporters of `formats`, with their templates, while nothing waits for them."""
        import nbformat

        library: Any = nbformat.v4
        empty = library.new_notebook(
            cells=[library.new_code_cell("1"), library.new_markdown_cell("1")],
            metadata={"language_info": {"name": "python"}},
        )
        for output_format in formats:
            # What is wrong, the real request says.
            with contextlib.suppress(Exception):
                self.get(output_format).from_notebook_node(empty)

    def convert(self, request: Mapping[str, str]) -> int:
        """Write the requested output; return its size in bytes.

        Raises:
            CannotConvert: see `get`.
        """
        exporter = self.get(request["format"])
        notebook = _load(Path(request["notebook"]))
        resources = {"metadata": {"name": request["title"]}}
        body, _ = exporter.from_notebook_node(notebook, resources=resources)
        data = body.encode("utf-8", "replace") if isinstance(body, str) else bytes(body)
        Path(request["output"]).write_bytes(data)
        return len(data)

    def answer(self, line: str) -> dict[str, object]:
        """The answer to one request."""
        try:
            return {"size": self.convert(json.loads(line))}
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
    # An optional part of jsonschema that takes a second to load, and checks what no notebook has.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    # Only answers go where answers are read; whatever a library prints goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    exporters = Exporters()
    exporters.warm_up(json.loads(sys.argv[1]) if len(sys.argv) > 1 else [])
    for line in sys.stdin:
        answers.write(json.dumps(exporters.answer(line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
