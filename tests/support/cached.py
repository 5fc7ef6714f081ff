"""Objects as the API sends them, and caches filled with them, for tests."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster import CRON_JOBS
from jupyter_scheduler_k8s.cluster.cache import MakeRecord, RecordCache
from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

_PHASE = f"{names.GROUP}/phase"
_TIME = f"{names.GROUP}/time"


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; also what a sleeper does with it."""
        self.now += seconds


def job_object(
    *,
    name: str = "nb-job-1",
    uid: str = "",
    version: str = "1",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    phase: str = "QUEUED",
) -> dict[str, Any]:
    """A Job; its uid follows from its name unless one is given. `simple_record` reads `phase`."""
    return {
        "metadata": {
            "name": name,
            "uid": uid or f"uid-of-{name}",
            "resourceVersion": version,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": dict(labels or {}),
            "annotations": {**(annotations or {}), _PHASE: phase},
            "managedFields": [{"manager": "x" * 100}],
        },
        "spec": {"backoffLimit": 0, "template": {"spec": {"containers": [{"name": "x" * 100}]}}},
        "status": {},
    }


def pod_object(
    *, name: str, job: str, job_uid: str = "", status: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A pod of the Job named `job`."""
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {names.POD_JOB_NAME_LABEL: job},
            "ownerReferences": [{"uid": job_uid or f"uid-of-{job}", "controller": True}],
        },
        "spec": {"containers": []},
        "status": dict(status or {}),
    }


def simple_record(
    job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float
) -> JobRecord:
    """A record whose name is the Job's version and whose message counts its pods and the time."""
    metadata = job["metadata"]
    return JobRecord(
        job_id=metadata["labels"].get(names.JOB_ID_LABEL, metadata["name"]),
        name=metadata["resourceVersion"],
        status=metadata["annotations"][_PHASE],
        status_message=f"{len(pods)} pods at {now:.0f}",
        create_time=int(metadata["annotations"].get(_TIME, "0")),
        object_name=metadata["name"],
    )


def simple_definition(
    cron_job: Mapping[str, Any], _pods: Sequence[Mapping[str, Any]], _now: float
) -> DefinitionRecord:
    """A record whose name is the CronJob's version."""
    metadata = cron_job["metadata"]
    return DefinitionRecord(
        job_definition_id=metadata["labels"].get(names.DEFINITION_ID_LABEL, metadata["name"]),
        name=metadata["resourceVersion"],
        create_time=int(metadata["annotations"].get(_TIME, "0")),
        object_name=metadata["name"],
    )


def empty_cache(
    kind: Kind, *, clock: Callable[[], float] | None = None, log: logging.Logger | None = None
) -> RecordCache[Any]:
    """A cache of simple records that has seen nothing yet."""
    make_record: MakeRecord[Any] = simple_definition if kind is CRON_JOBS else simple_record
    clock = clock or Clock()
    log = log or logging.getLogger("test")
    return RecordCache(make_record, kind=kind, log=log, clock=clock, wall_clock=clock)


def cache_of(
    jobs: Sequence[dict[str, Any]],
    pods: Sequence[dict[str, Any]] = (),
    *,
    make_record: MakeRecord[JobRecord] = simple_record,
    clock: Callable[[], float] | None = None,
) -> RecordCache[JobRecord]:
    """A cache of Jobs that has seen its first lists."""
    clock = clock or Clock()
    cache = RecordCache(make_record, log=logging.getLogger("test"), clock=clock, wall_clock=clock)
    fill(cache, jobs, pods)
    return cache


def fill(
    cache: RecordCache[Any], things: Sequence[dict[str, Any]], pods: Sequence[dict[str, Any]] = ()
) -> None:
    """Show a cache its first lists."""
    for sink in cache.sinks.values():
        number = sink.begin()
        sink.contact()
        sink.replace(list(pods if sink is cache.pods else things), number)
