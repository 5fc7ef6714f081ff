"""The parts of objects that records are made of; the rest is dropped on arrival.

What is kept is what status.py, diagnosis.py, views.py and the recorder read. It
is kept as JSON text: a tenth of the memory of dicts, and decoded only when a
record has to be made again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_scheduler_k8s import names

_OF_METADATA = (
    "name",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
)
_OF_JOB_SPEC = ("activeDeadlineSeconds", "suspend", "backoffLimit")
_OF_JOB_STATUS = (
    *("conditions", "startTime", "completionTime"),
    *("active", "terminating", "ready", "failed"),
)
_OF_CRON_JOB_SPEC = (
    *("schedule", "timeZone", "suspend"),
    *("concurrencyPolicy", "startingDeadlineSeconds"),
)
_OF_CRON_JOB_STATUS = ("lastScheduleTime", "lastSuccessfulTime")
_OF_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions")
_OF_CONTAINER = ("name", "image", "resources")
_OF_CONTAINER_STATUS = ("name", "image", "state", "lastState", "restartCount")
_FOREIGN_ANNOTATIONS = ("batch.kubernetes.io/cronjob-scheduled-timestamp",)


def slim_job(job: Mapping[str, Any]) -> dict[str, Any]:
    """A Job without what no record needs, its pod template above all."""
    found = _metadata(job)
    spec = _pick(job.get("spec"), _OF_JOB_SPEC)
    status = _pick(job.get("status"), _OF_JOB_STATUS)
    return {"metadata": found, "spec": spec, "status": status}


def slim_cron_job(cron_job: Mapping[str, Any]) -> dict[str, Any]:
    """A CronJob without what no record needs, its template above all."""
    return {
        "metadata": _metadata(cron_job),
        "spec": _pick(cron_job.get("spec"), _OF_CRON_JOB_SPEC),
        "status": _pick(cron_job.get("status"), _OF_CRON_JOB_STATUS),
    }


def slim_pod(pod: Mapping[str, Any]) -> dict[str, Any]:
    """A pod without what no record needs."""
    metadata = _metadata(pod)
    metadata["ownerReferences"] = [
        _pick(owner, ("uid", "controller"))
        for owner in (pod["metadata"].get("ownerReferences") or ())
    ]
    spec = pod.get("spec") or {}
    status = pod.get("status") or {}
    return {
        "metadata": metadata,
        "spec": {
            **_pick(spec, ("nodeName", "terminationGracePeriodSeconds")),
            "containers": _pick_each(spec.get("containers"), _OF_CONTAINER),
        },
        "status": {
            **_pick(status, _OF_POD_STATUS),
            "containerStatuses": _pick_each(status.get("containerStatuses"), _OF_CONTAINER_STATUS),
        },
    }


def pack(thing: Mapping[str, Any]) -> bytes:
    """An object as compact JSON."""
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def unpack(data: bytes) -> dict[str, Any]:
    """The object that `pack` was given."""
    found: dict[str, Any] = json.loads(data.decode("utf-8", "surrogatepass"))
    return found


def belongs_to(pod: Mapping[str, Any], job_uid: str) -> bool:
    """Whether the pod was made for this very Job, and not for an earlier one of its name."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return not owners or any(owner.get("uid") == job_uid for owner in owners)


def _metadata(thing: Mapping[str, Any]) -> dict[str, Any]:
    metadata = thing["metadata"]
    found = _pick(metadata, _OF_METADATA)
    annotations = metadata.get("annotations") or {}
    found["annotations"] = {
        key: value
        for key, value in annotations.items()
        if key.startswith(f"{names.GROUP}/") or key in _FOREIGN_ANNOTATIONS
    }
    return found


def _pick(thing: Mapping[str, Any] | None, keys: Sequence[str]) -> dict[str, Any]:
    return {key: thing[key] for key in keys if key in thing} if thing else {}


def _pick_each(
    things: Sequence[Mapping[str, Any]] | None, keys: Sequence[str]
) -> list[dict[str, Any]]:
    return [_pick(thing, keys) for thing in things or ()]
