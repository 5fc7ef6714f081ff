"""Readers of Kubernetes objects as they come over the wire: dicts, with parts missing."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any


def annotations(thing: Mapping[str, Any]) -> Mapping[str, str]:
    """The annotations of an object."""
    return thing["metadata"].get("annotations") or {}


def condition(thing: Mapping[str, Any], *types: str) -> Mapping[str, Any]:
    """The first condition of one of these types that holds; empty if none does."""
    for found in (thing.get("status") or {}).get("conditions") or ():
        if found.get("type") in types and found.get("status") == "True":
            return dict(found)
    return {}


def container_statuses(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the kubelet says of a pod's containers."""
    return (pod.get("status") or {}).get("containerStatuses") or ()


def terminated(pod: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The `terminated` state of the container `name`; empty while it hasn't ended."""
    for container in container_statuses(pod):
        if container.get("name") == name:
            return (container.get("state") or {}).get("terminated") or {}
    return {}


def has_begun(pod: Mapping[str, Any], name: str) -> bool:
    """Whether the container `name` runs, or has run."""
    return any(
        container.get("name") == name
        and bool({"running", "terminated"} & set(container.get("state") or {}))
        for container in container_statuses(pod)
    )


def image_of(pod: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    """The image of a container status as the manifest names it."""
    for declared in (pod.get("spec") or {}).get("containers") or ():
        if declared.get("name") == container.get("name") and declared.get("image"):
            return str(declared["image"])
    return str(container.get("image", ""))


def newest_first(pods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pods, the one that was created last in front."""
    return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)


def is_given_up(pod: Mapping[str, Any]) -> bool:
    """Whether this pod was told to end and isn't known to have ended."""
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" in pod["metadata"] and phase not in ("Succeeded", "Failed")


def retries(job: Mapping[str, Any]) -> int:
    """How often a Job's run may be begun again."""
    return int((job.get("spec") or {}).get("backoffLimit") or 0)


def failed_pods(job: Mapping[str, Any]) -> int:
    """How many of a Job's pods have failed; no sign that it has, where more may come."""
    return int((job.get("status") or {}).get("failed") or 0)


def json_object(text: object) -> Mapping[str, Any]:
    """The JSON object in `text`; empty for anything else, since a pod or a person wrote it."""
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of one of Kubernetes' timestamps (RFC 3339)."""
    return datetime.fromisoformat(timestamp).timestamp()


def timestamp(seconds: float) -> str:
    """A time, in seconds since the epoch, as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(timestamp: str) -> int:
    """Milliseconds since the epoch of one of Kubernetes' timestamps."""
    return int(seconds(timestamp) * 1000)
