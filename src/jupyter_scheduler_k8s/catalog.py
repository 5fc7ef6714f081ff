"""What the form offers: an administrator's environments and profiles, and sizes by their names.

An environment is an image, a profile is a named size; both may say what a notebook
gets where its author says nothing. Upstream's form knows a profile, which it calls a
compute type, by its name alone.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler_k8s import notebooks, pod_template, quantities
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.resources import Resources

# The form preselects all formats of an environment, so these two are what upstream offers.
DEFAULT_FORMATS = ("ipynb", "html")

# As the parameters are called, without their prefix.
AMOUNTS = ("cpu", "memory", "gpu", "gpu_kind")

_ENVIRONMENT = ("name", "label", "description", "image", "output_formats", *AMOUNTS)
_PROFILE = (*AMOUNTS, "pod_template")

# The one size that states nothing.
CLUSTER_DEFAULT = "Cluster default"
_SIZE = re.compile(r"(?P<cpu>[0-9.]+) CPU, (?P<memory>[0-9.]+[GM]i)(, (?P<gpu>[0-9]+) GPU)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One entry of `K8sConfig.environments`; `amounts` has those of AMOUNTS that it names."""

    name: str
    label: str
    description: str
    image: str
    output_formats: tuple[str, ...]
    amounts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One entry of `K8sConfig.profiles`; `amounts` has those of AMOUNTS that it names."""

    name: str
    amounts: Mapping[str, str]
    pod_template: Mapping[str, Any]


def environments(entries: Iterable[Mapping[str, Any]]) -> tuple[Environment, ...]:
    """The environments that a list of mappings describes.

    Raises:
        ConfigurationError: naming the entry and the key that is wrong.
    """
    found: list[Environment] = []
    for number, entry in enumerate(entries):
        where = f"K8sConfig.environments[{number}]"
        _check_keys(entry, where, _ENVIRONMENT)
        name, image = _text(entry, "name", where), _text(entry, "image", where)
        if any(earlier.name == name for earlier in found):
            raise ConfigurationError(f"{where}.name must be another: two have {name!r}.")
        found.append(
            Environment(
                name=name,
                label=_text(entry, "label", where, default=name),
                description=_text(entry, "description", where, default=f"The image {image}"),
                image=image,
                output_formats=_formats(entry, where),
                amounts=_amounts(entry, where),
            )
        )
    return tuple(found)


def profiles(entries: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Profile]:
    """The profiles that a mapping of names describes, in its order.

    Raises:
        ConfigurationError: naming the entry and the key that is wrong.
    """
    found = {}
    for name, entry in entries.items():
        where = f"K8sConfig.profiles[{name!r}]"
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError(f"{where}: the name of a profile must be a text.")
        _check_keys(entry, where, _PROFILE)
        template = entry.get("pod_template") or {}
        if not isinstance(template, dict):
            raise ConfigurationError(f"{where}.pod_template must be a mapping.")
        pod_template.check(template, setting=where)
        found[name] = Profile(name=name, amounts=_amounts(entry, where), pod_template=template)
    return found


def size_name(*, cpu: str, memory: str, gpu: int = 0) -> str:
    """The name of a size that says what it gives, as `size_amounts` reads it."""
    return f"{cpu} CPU, {memory}" + (f", {gpu} GPU" if gpu else "")


def size_amounts(name: str) -> Mapping[str, str]:
    """What a size of that name gives: nothing, where it is no name of a size."""
    found = _SIZE.fullmatch(name)
    return {} if found is None else {key: text for key, text in found.groupdict().items() if text}


def _check_keys(entry: object, where: str, known: Iterable[str]) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} must be a mapping.")
    for key in entry:
        if key not in known:
            raise ConfigurationError(
                f"{where}.{key} is nothing that can be set there; what can is {', '.join(known)}."
            )


def _text(entry: Mapping[str, Any], key: str, where: str, *, default: str = "") -> str:
    value = entry.get(key, default)
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{where}.{key} must be a text, and not be empty.")
    return value


def _formats(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = entry.get("output_formats", DEFAULT_FORMATS)
    if not isinstance(value, (list, tuple)) or not value or not all(map(_is_text, value)):
        raise ConfigurationError(f"{where}.output_formats must be a list of formats.")
    try:
        notebooks.check_formats(list(value))
    except BackendError as error:
        raise ConfigurationError(f"{where}.output_formats: {error}") from None
    return tuple(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _amounts(entry: Mapping[str, Any], where: str) -> Mapping[str, str]:
    found = {}
    for key in AMOUNTS:
        value = entry.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ConfigurationError(f"{where}.{key} must be a text or a number.")
        found[key] = str(value).strip()
        if key in ("cpu", "memory"):
            _check_quantity(found[key], f"{where}.{key}")
    try:
        Resources.of(**found)
    except BackendError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return found


def _check_quantity(text: str, where: str) -> None:
    try:
        quantities.amount(text)
    except ValueError:
        raise ConfigurationError(
            f"{where} must be a Kubernetes quantity, such as '500m' or '4Gi'; it is {text!r}."
        ) from None
