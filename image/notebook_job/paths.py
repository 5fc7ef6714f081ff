"""Relative paths of files as the tails of S3 keys, and back.

A key shows the path as it is, in UTF-8, with `/` between its parts, so that any
S3 client shows names that a person knows. Only `%`, `\\`, control characters
and the two that XML can't hold are written %XX, byte by byte.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_UNSAFE_IN_KEY = re.compile("[\x00-\x1f\x7f%\\\\\ufffe\uffff]")


class UnsafePath(Exception):
    """The path is none below its folder; the text is a sentence."""


def check_path(path: str) -> str:
    """Return `path`.

    Raises:
        UnsafePath: it is empty, absolute, not UTF-8, or has a part that is
            empty, `.`, `..` or holds a NUL.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsafePath(f"The file name {path!r} is not valid UTF-8.") from None
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise UnsafePath(f"The file name {path!r} would leave its folder.")
    return path


def escape_path(path: str) -> str:
    """The tail of an S3 key for the file `path`.

    Raises:
        UnsafePath: see `check_path`.
    """
    return _UNSAFE_IN_KEY.sub(_percent, check_path(path))


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def unescape_path(tail: str) -> str:
    """The path that `escape_path` made `tail` of.

    Raises:
        UnsafePath: the result is no path below its folder (see `check_path`), or
            `escape_path` would have written it in another way, as with `%2E%2E`.
    """
    try:
        path = check_path(unquote(tail, errors="strict"))
    except UnicodeDecodeError:
        raise UnsafePath(f"The name {tail!r} is not valid UTF-8.") from None
    if escape_path(path) != tail:
        raise UnsafePath(f"The name {tail!r} is not written as an input's name must be.")
    return path
