"""What can be said of a notebook before it runs."""

import json

from jupyter_scheduler_k8s.errors import BackendError

# The formats that nbconvert makes with Python alone, and those that need pandoc,
# which an image may have: the run says so if it doesn't.
# https://nbconvert.readthedocs.io/en/latest/usage.html
PYTHON_FORMATS = ("ipynb", "html", "markdown", "script", "slides", "python", "notebook")
PANDOC_FORMATS = ("latex", "rst", "asciidoc")
# These need TeX or a browser, which interpret what the notebook's author wrote:
# they are not run beside the S3 credentials.
_UNSAFE_FORMATS = ("pdf", "webpdf", "qtpdf", "qtpng")


def check_notebook(name: str, text: bytes) -> None:
    """Refuse a file that no kernel could run.

    Raises:
        BackendError: it is no notebook, or names no kernel.
    """
    try:
        notebook = json.loads(text)
        metadata = notebook["metadata"]
        cells = notebook.get("cells", notebook.get("worksheets"))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        metadata = cells = None
    if not isinstance(metadata, dict) or not isinstance(cells, list):
        raise BackendError(
            f"{name} is not a notebook, or is damaged: open and save it in JupyterLab, and try"
            " again."
        )
    kernelspec = metadata.get("kernelspec")
    if not isinstance(kernelspec, dict) or not isinstance(kernelspec.get("name"), str):
        raise BackendError(
            f"{name} names no kernel: open it in JupyterLab, select a kernel, save it, and try"
            " again."
        )


def check_formats(output_formats: list[str]) -> None:
    """Refuse an output format that no run makes.

    Raises:
        BackendError: naming the format and what to do.
    """
    for output_format in output_formats:
        if output_format in _UNSAFE_FORMATS:
            raise BackendError(
                f"{output_format} is not made by jobs: ask for html, and print or convert that."
            )
        if output_format not in (*PYTHON_FORMATS, *PANDOC_FORMATS):
            raise BackendError(
                f"{output_format!r} is not an output format; these are: "
                f"{', '.join((*PYTHON_FORMATS, *PANDOC_FORMATS))}."
            )
