"""Objects as dicts: which of them a selector selects, and what a patch makes of them."""

from collections.abc import Mapping
from typing import Any

Thing = dict[str, Any]

# The resources whose objects have a status, which is a resource of its own.
STATUSES = frozenset({"jobs", "cronjobs"})


def matches(thing: Thing, query: Mapping[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, value = part.split("=")
        if labels.get(key) != value:
            return False
    path, _, wanted = query.get("fieldSelector", "").partition("=")
    found: Any = thing
    for part in filter(None, path.split(".")):
        found = found.get(part, {})
    return not path or bool(found == wanted)


def merge(thing: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(thing) if isinstance(thing, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merge(found.get(key), value)
    return found
