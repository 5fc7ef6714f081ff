"""Jobs and definitions as they stand: what was asked for, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_scheduler_k8s import cron_manifest, names, objects, status
from jupyter_scheduler_k8s.errors import RecordError
from jupyter_scheduler_k8s.records import (
    DefinitionRecord,
    JobRecord,
    parse_definition_data,
    parse_job_data,
)


def job_record(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobRecord:
    """The record of this Job and its pods at `now` (seconds since the epoch).

    A Job under our labels whose annotation can't be read still has a record,
    whose message says what is wrong with it: nothing under a label is hidden.
    """
    metadata = job["metadata"]
    state = status.derive(job, pods, now)
    message = state.message
    try:
        asked = parse_job_data(job)
    except RecordError as error:
        message = str(error)
        asked = JobRecord(
            job_id=_label(job, names.JOB_ID_LABEL) or metadata["name"],
            job_definition_id=_label(job, names.DEFINITION_ID_LABEL),
            name=metadata["name"],
        )
    create_time = asked.create_time or objects.milliseconds(metadata["creationTimestamp"])
    # Kubernetes' times are whole seconds: a run must not seem to begin before
    # it was asked for.
    start_time = None if state.start_time is None else max(state.start_time, create_time)
    end_time = None if state.end_time is None else max(state.end_time, start_time or create_time)
    return replace(
        asked,
        status=state.status.value,
        status_message=message,
        create_time=create_time,
        update_time=max(asked.update_time, create_time, end_time or start_time or 0),
        start_time=start_time,
        end_time=end_time,
        url=f"/jobs/{asked.job_id}",
        object_name=metadata["name"],
    )


def definition_record(
    cron_job: Mapping[str, Any], _pods: Sequence[Mapping[str, Any]] = (), _now: float = 0
) -> DefinitionRecord:
    """The record of this CronJob, whatever its pods and the time.

    Whether it is paused, and when it fires, is what the CronJob says, since that is
    what Kubernetes does. One under our labels whose annotation can't be read still
    has a record, whose name says what is wrong with it.
    """
    metadata = cron_job["metadata"]
    spec = cron_job.get("spec") or {}
    try:
        defined = as_defined(cron_job)
    except RecordError as error:
        defined = DefinitionRecord(
            job_definition_id=_own_id(cron_job),
            name=f"{metadata['name']}: {error}",
            schedule=spec.get("schedule"),
            timezone=spec.get("timeZone"),
        )
    create_time = defined.create_time or objects.milliseconds(metadata["creationTimestamp"])
    schedule, timezone = defined.schedule, defined.timezone
    if cron_manifest.fires_otherwise(defined, spec):
        schedule, timezone = spec.get("schedule"), spec.get("timeZone")
    return replace(
        defined,
        schedule=schedule,
        timezone=timezone,
        # One without a schedule is a CronJob that never fires.
        active=defined.active if not schedule else not spec.get("suspend"),
        create_time=create_time,
        update_time=max(defined.update_time, create_time),
        url=f"/job_definitions/{defined.job_definition_id}",
        object_name=metadata["name"],
    )


def as_defined(cron_job: Mapping[str, Any]) -> DefinitionRecord:
    """What was asked for when this CronJob was written.

    Raises:
        RecordError: it can't be read, or is a copy that somebody made of another one.
    """
    defined = parse_definition_data(cron_job)
    original = names.definition_name(defined.job_definition_id)
    if cron_job["metadata"]["name"] != original:
        raise RecordError(
            f"It is a copy of {original}, and runs that one's notebook: delete it, or create a"
            " definition in JupyterLab instead."
        )
    return defined


def _own_id(cron_job: Mapping[str, Any]) -> str:
    """The id of a CronJob that can't be read: that in its label, unless it is another's."""
    labelled, name = _label(cron_job, names.DEFINITION_ID_LABEL), cron_job["metadata"]["name"]
    return labelled if labelled and name == names.definition_name(labelled) else str(name)


def _label(thing: Mapping[str, Any], key: str) -> str | None:
    found: str | None = (thing["metadata"].get("labels") or {}).get(key)
    return found
