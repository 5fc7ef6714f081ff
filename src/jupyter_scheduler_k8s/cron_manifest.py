"""Definition and settings in, CronJobs and their patches out: pure functions.

A definition without a schedule is a CronJob that is suspended for ever. Kubernetes'
own Replace would delete the Job that it replaces, and with it the record; so it is
told to allow both, and the later run ends the earlier one through S3 (image/README.md).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler_k8s import cron, manifests, names, records
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.manifests import Definition, Placement
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord

# The largest number that the API takes: the controller deletes what exceeds a limit,
# and a Job is the record of its run.
_NO_LIMIT = 2**31 - 1

# A run that is late by more than this is left out. Without a limit, an outage of a week
# would be followed by a run that nobody expects any more.
LATEST_START_SECONDS = 24 * 3600

# Of a CronJob that never fires; it must have one that is valid.
_NEVER = ("0 0 1 1 *", "Etc/UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One merge patch of a CronJob; `status` says that it is one of its status."""

    body: Mapping[str, Any]
    status: bool = False


def cron_job_manifest(
    record: DefinitionRecord,
    config: K8sConfig,
    *,
    options: JobOptions,
    placement: Placement,
    credentials: Collection[str],
) -> dict[str, Any]:
    """The CronJob that schedules, and is, `record`.

    Args:
        record: what was asked for; its `object_name` is the CronJob's name.
        config: the server's settings.
        options: what the user asked for beside the notebook and the schedule.
        placement: what is known of the cluster.
        credentials: the keys of the Secret with what opens S3; see `job_manifest`.

    Raises:
        BackendError: Kubernetes has no such schedule, or the record is too large.
    """
    definition = Definition(
        definition_id=record.job_definition_id,
        input_version=record.input_version,
        takes_turns=options.concurrency_policy == "Replace",
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": record.object_name,
            "namespace": config.namespace,
            "labels": records.labels(record),
            "annotations": {names.DEFINITION_DATA_ANNOTATION: records.definition_data(record)},
        },
        "spec": {
            **times(record),
            "concurrencyPolicy": "Allow" if definition.takes_turns else options.concurrency_policy,
            "startingDeadlineSeconds": options.starting_deadline_seconds or LATEST_START_SECONDS,
            "successfulJobsHistoryLimit": _NO_LIMIT,
            "failedJobsHistoryLimit": _NO_LIMIT,
            "jobTemplate": manifests.job_template(
                records.run_of(record),
                config,
                options=options,
                placement=placement,
                credentials=credentials,
                definition=definition,
            ),
        },
    }


def edit_operations(
    live: Mapping[str, Any], manifest: Mapping[str, Any], now: str
) -> list[Operation]:
    """What turns a CronJob into what `manifest` says, in this order.

    A schedule that is changed or resumed, or one that may now fire later than before or
    beside a run, would fire a slot that has passed, unless Kubernetes takes it that it
    has just fired; so that is written first. A server that dies in between has changed
    nothing that anybody sees.

    Args:
        live: the CronJob as it is.
        manifest: as `cron_job_manifest` makes it.
        now: the time, as Kubernetes writes it (RFC 3339, whole seconds).
    """
    spec = manifest["spec"]
    change = {
        "metadata": {
            "annotations": manifest["metadata"]["annotations"],
            "labels": manifest["metadata"]["labels"],
        },
        "spec": {
            **spec,
            "jobTemplate": _replaced(live["spec"].get("jobTemplate"), spec["jobTemplate"]),
        },
    }
    operations = [Operation(body=change)]
    if _fires(spec) and any(live["spec"].get(key) != spec[key] for key in _TIMES):
        operations.insert(0, skip_past(now))
    return operations


def skip_past(now: str) -> Operation:
    """What keeps slots before `now` from firing: none has been missed since then."""
    return Operation(body={"status": {"lastScheduleTime": now}}, status=True)


def fires_otherwise(record: DefinitionRecord, spec: Mapping[str, Any]) -> bool:
    """Whether somebody has given a CronJob another schedule than its record says."""
    if not record.schedule:
        return False
    try:
        said = cron.for_kubernetes(record.schedule, record.timezone)
    except BackendError:
        return True
    return said != (spec.get("schedule"), spec.get("timeZone"))


# What decides whether a slot that has passed may still be fired.
_TIMES = ("schedule", "timeZone", "suspend", "startingDeadlineSeconds", "concurrencyPolicy")


def times(record: DefinitionRecord) -> dict[str, Any]:
    """When a CronJob fires: the fields of its spec.

    Raises:
        BackendError: Kubernetes has no such schedule or no such time zone.
    """
    if record.schedule:
        schedule, zone = cron.for_kubernetes(record.schedule, record.timezone)
        return {"schedule": schedule, "timeZone": zone, "suspend": not record.active}
    return {"schedule": _NEVER[0], "timeZone": _NEVER[1], "suspend": True}


def _fires(spec: Mapping[str, Any]) -> bool:
    return not spec.get("suspend")


def _replaced(live: object, wanted: object) -> object:
    """`wanted` as a merge patch of `live`: with null for what it no longer has."""
    if not isinstance(live, Mapping) or not isinstance(wanted, Mapping):
        return wanted
    gone = {key: None for key in live if key not in wanted}
    return {**gone, **{key: _replaced(live.get(key), value) for key, value in wanted.items()}}
