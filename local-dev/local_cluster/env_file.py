"""The file of ``export`` lines that shells, Makefiles and tests read."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path


def render(values: Mapping[str, str]) -> str:
    """Lines that a POSIX shell reads back to exactly these values."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def parse(text: str) -> dict[str, str]:
    """The inverse of ``render``."""
    values = {}
    for word in shlex.split(text):
        name, separator, value = word.partition("=")
        if separator:
            values[name] = value
    return values


def read(path: Path) -> dict[str, str]:
    return parse(path.read_text()) if path.exists() else {}


def write(path: Path, values: Mapping[str, str]) -> None:
    """Replaces the file in one step; only its owner may read it, since it holds the S3 keys."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(render(values))
    scratch.rename(path)
