"""Which kernel runs a notebook, in an image that may not have the one it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Kernel names by which Jupyter's own kernels say their language, where the notebook doesn't.
_LANGUAGE_OF_PREFIX = {"python": "python", "conda": "python", "ir": "R", "julia": "julia"}
_DEFAULT_NAME = "python3"
_DEFAULT_LANGUAGE = "python"


class KernelMissing(Exception):
    """No kernel fits; the text is a sentence that lists those that exist."""


@dataclass(frozen=True)
class Choice:
    """A kernel's name, and a sentence when it is not the one that the notebook names."""

    name: str
    note: str | None = None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def wanted(metadata: Mapping[str, Any]) -> tuple[str, str]:
    """The kernel's name ("" for none) and the language that a notebook's metadata ask for."""
    kernelspec = _mapping(metadata.get("kernelspec"))
    name = _text(kernelspec.get("name"))
    language = _text(kernelspec.get("language")) or _text(
        _mapping(metadata.get("language_info")).get("name")
    )
    if not language and name:
        prefixes = [prefix for prefix in _LANGUAGE_OF_PREFIX if name.lower().startswith(prefix)]
        language = _LANGUAGE_OF_PREFIX[prefixes[0]] if prefixes else ""
    return name, language or ("" if name else _DEFAULT_LANGUAGE)


def _listed(kernels: Mapping[str, str]) -> str:
    if not kernels:
        return "The image has no kernel"
    names = ", ".join(f"{name} ({language})" for name, language in sorted(kernels.items()))
    return f"The image has {names}"


def choose(metadata: Mapping[str, Any], kernels: Mapping[str, str]) -> Choice:
    """The kernel for a notebook with `metadata`, out of `kernels` ({name: language}).

    Raises:
        KernelMissing: the notebook's kernel is not there, and not exactly one
            other of its language is.
    """
    name, language = wanted(metadata)
    if name in kernels:
        return Choice(name)
    if not name and kernels.get(_DEFAULT_NAME, "").lower() == language.lower():
        return Choice(_DEFAULT_NAME)
    same = [key for key, value in kernels.items() if value.lower() == language.lower()]
    asked = f'the kernel "{name}"' if name else f"a kernel for {language}"
    if len(same) == 1:
        return Choice(
            same[0], f'The image does not have {asked}, so the notebook ran with "{same[0]}".'
        )
    others = f", and {'more than one other' if same else 'no other'} for {language}"
    raise KernelMissing(
        f"The notebook wants {asked}, which the image does not have"
        f"{others if name and language else ''}. {_listed(kernels)}."
    )


def installed() -> dict[str, str]:
    """The image's kernels as {name: language}."""
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    return {name: _text(spec["spec"].get("language")) for name, spec in specs.items()}
