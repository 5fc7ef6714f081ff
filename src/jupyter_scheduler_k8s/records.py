"""What is kept of a job or a definition, and how it is written onto its object.

`JobRecord` and `DefinitionRecord` have the attributes of upstream's `orm.Job` and
`orm.JobDefinition`, so that upstream's code, `from_orm` of its models first of all,
works on them. What a user asked for is written once, as JSON, into an annotation
of the Job or the CronJob; what the cluster knows better (status, times, whether a
schedule is paused) is never taken from there: see views.py.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.errors import RecordError

R = TypeVar("R", "JobRecord", "DefinitionRecord")

SCHEMA = 1

# The statuses after which nothing changes any more.
ENDED = ("COMPLETED", "FAILED", "STOPPED")

# The API server's limit for all annotations of an object together
# (k8s.io/apimachinery, TotalAnnotationSizeLimitB), less what the diagnosis and
# other writers may add later.
_ANNOTATION_LIMIT = 256 * 1024
_RESERVED = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job, as upstream's code sees it. Times are milliseconds since the epoch."""

    job_id: str
    job_definition_id: str | None = None
    name: str = ""
    status: str = "CREATED"
    status_message: str | None = None
    create_time: int = 0
    update_time: int = 0
    start_time: int | None = None
    end_time: int | None = None
    url: str = ""
    idempotency_token: str | None = None
    input_filename: str = ""
    runtime_environment_name: str = ""
    runtime_environment_parameters: Mapping[str, Any] | None = None
    compute_type: str | None = None
    output_formats: list[str] = field(default_factory=list)
    output_filename_template: str | None = None
    parameters: Mapping[str, str] | None = None
    tags: list[str] | None = None
    package_input_folder: bool | None = None
    packaged_files: list[str] = field(default_factory=list)
    # Columns that upstream's table has and that mean nothing here.
    pid: None = None
    email_notifications: None = None
    timeout_seconds: int | None = None
    retry_on_timeout: bool | None = None
    max_retries: int | None = None
    min_retry_interval_millis: int | None = None

    # Not columns: where the record lives.
    owner: str = ""
    object_name: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing can change any more."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionRecord:
    """One job definition, as upstream's code sees it. Times are milliseconds since the epoch."""

    job_definition_id: str
    name: str = ""
    schedule: str | None = None
    timezone: str | None = None
    active: bool = True
    create_time: int = 0
    update_time: int = 0
    url: str = ""
    input_filename: str = ""
    runtime_environment_name: str = ""
    runtime_environment_parameters: Mapping[str, Any] | None = None
    compute_type: str | None = None
    output_formats: list[str] | None = None
    output_filename_template: str | None = None
    parameters: Mapping[str, str] | None = None
    tags: list[str] | None = None
    package_input_folder: bool | None = None
    packaged_files: list[str] = field(default_factory=list)
    # Columns that upstream's table has and that mean nothing here.
    email_notifications: None = None
    timeout_seconds: int | None = None
    retry_on_timeout: bool | None = None
    max_retries: int | None = None
    min_retry_interval_millis: int | None = None

    # Not columns: where the record lives, and which of its inputs' versions is the current one.
    owner: str = ""
    object_name: str = ""
    input_version: str = ""


# What was asked for, as columns of upstream's tables.
ASKED = (
    "job_id",
    "job_definition_id",
    "name",
    "create_time",
    "update_time",
    "idempotency_token",
    "input_filename",
    "runtime_environment_name",
    "runtime_environment_parameters",
    "compute_type",
    "output_formats",
    "output_filename_template",
    "parameters",
    "tags",
    "package_input_folder",
)
# What the annotations hold: what was asked for, not what became of it.
_WRITTEN = (*ASKED, "owner")
_DEFINED = (
    *(name for name in ASKED if name not in ("job_id", "idempotency_token")),
    *("schedule", "timezone", "active", "owner", "input_version"),
)


def new_record(
    asked: Mapping[str, Any], *, job_id: str, owner: str, create_time: int, update_time: int
) -> JobRecord:
    """The record of a job that is to be created.

    Args:
        asked: the fields of upstream's `CreateJob`, without `input_uri`.
        job_id: the job's id, a UUID.
        owner: whose job it is.
        create_time: milliseconds since the epoch, as `update_time`.
        update_time: when it was changed last.
    """
    token = asked.get("idempotency_token")
    return JobRecord(
        **{"runtime_environment_parameters": {}, **as_read(asked)},
        job_id=job_id,
        create_time=create_time,
        update_time=update_time,
        owner=owner,
        object_name=names.token_job_name(owner, token) if token else names.job_name(job_id),
    )


def new_definition(
    asked: Mapping[str, Any],
    *,
    definition_id: str,
    owner: str,
    create_time: int,
    input_version: str,
) -> DefinitionRecord:
    """The record of a definition that is to be created.

    Args:
        asked: the fields of upstream's `CreateJobDefinition`, without `input_uri`.
        definition_id: its id, a UUID.
        owner: whose definition it is.
        create_time: milliseconds since the epoch.
        input_version: under which its input files are in S3.
    """
    return DefinitionRecord(
        **as_read(asked),
        job_definition_id=definition_id,
        owner=owner,
        create_time=create_time,
        update_time=create_time,
        input_version=input_version,
        object_name=names.definition_name(definition_id),
    )


def run_of(definition: DefinitionRecord) -> JobRecord:
    """What every run of a definition's schedule is: a job that has no id and no times yet."""
    asked = {
        name: getattr(definition, name)
        for name in (*ASKED, "owner")
        if getattr(definition, name, None) is not None
        and name not in ("create_time", "update_time")
    }
    return JobRecord(job_id="", **asked)


def by_hand(
    run: JobRecord, *, job_id: str, create_time: int, parameters: Mapping[str, str] | None
) -> JobRecord:
    """The record of a run of a definition that a person asked for; `run` is what `run_of` gave."""
    return replace(
        run,
        job_id=job_id,
        parameters=parameters,
        create_time=create_time,
        update_time=create_time,
        object_name=names.job_name(job_id),
    )


def as_read(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as a record holds them: upstream's model reads the number 0.5 as 0, the text as 0.5.

    Args:
        asked: columns of a record, all of them or some.
    """
    parameters = asked.get("runtime_environment_parameters")
    if parameters is None:
        return dict(asked)
    kept = {name: str(v) if isinstance(v, float) else v for name, v in parameters.items()}
    return {**asked, "runtime_environment_parameters": kept}


def labels(record: JobRecord | DefinitionRecord) -> dict[str, str]:
    """The labels of the record's object and of its pods: what records are selected by.

    The runs of a schedule share one template, so none of them has its id as a label.
    """
    found = {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_LABEL: names.owner_label(record.owner),
    }
    if isinstance(record, JobRecord) and record.job_id:
        found[names.JOB_ID_LABEL] = record.job_id
    if record.job_definition_id:
        found[names.DEFINITION_ID_LABEL] = record.job_definition_id
    return found


def selector(owner: str) -> str:
    """The label selector of all records of one owner."""
    return (
        f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY},"
        f"{names.OWNER_LABEL}={names.owner_label(owner)}"
    )


def job_data(record: JobRecord) -> str:
    """The annotation that holds what was asked for, as JSON.

    Raises:
        RecordError: it is larger than an annotation may be.
    """
    return _written("job", {name: getattr(record, name) for name in _WRITTEN})


def definition_data(record: DefinitionRecord) -> str:
    """The annotation of a CronJob that holds what was asked for, as JSON.

    Raises:
        RecordError: it is larger than an annotation may be.
    """
    return _written("definition", {name: getattr(record, name) for name in _DEFINED})


def _written(what: str, values: Mapping[str, Any]) -> str:
    text = json.dumps(
        {"schema": SCHEMA, **{k: v for k, v in values.items() if v is not None and v != ""}},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise RecordError(
            f"The name, parameters or tags of the {what} have half of a character (a lone"
            " surrogate), which no text can hold: write it again."
        ) from None
    if size > _ANNOTATION_LIMIT - _RESERVED:
        raise RecordError(
            f"The {what} is too large to be kept: its name, parameters and tags take"
            f" {size // 1024} KiB, and {(_ANNOTATION_LIMIT - _RESERVED) // 1024} KiB is the most;"
            " put large values into a file beside the notebook."
        )
    return text


def parse_job_data(job: Mapping[str, Any]) -> JobRecord:
    """The record that a Job's annotation holds, with no status yet.

    The id of a schedule's run is its Job's name, which Kubernetes chose, and it was
    created at the time that it was due at.

    Raises:
        RecordError: the annotation is missing or isn't what `job_data` writes.
    """

    def read(data: Mapping[str, Any]) -> JobRecord:
        found = {key: data[key] for key in _WRITTEN if key in data}
        scheduled = objects.annotations(job).get(names.SCHEDULED_ANNOTATION)
        if scheduled is not None and "job_id" not in found:
            found["job_id"] = job["metadata"]["name"]
            found["create_time"] = objects.milliseconds(scheduled)
        return JobRecord(**found)

    return _parsed("Job", job, names.JOB_DATA_ANNOTATION, read)


def parse_definition_data(cron_job: Mapping[str, Any]) -> DefinitionRecord:
    """The record that a CronJob's annotation holds.

    Raises:
        RecordError: the annotation is missing or isn't what `definition_data` writes.
    """
    return _parsed(
        "CronJob",
        cron_job,
        names.DEFINITION_DATA_ANNOTATION,
        lambda data: DefinitionRecord(**{key: data[key] for key in _DEFINED if key in data}),
    )


def _parsed(
    kind: str, thing: Mapping[str, Any], annotation: str, read: Callable[[Mapping[str, Any]], R]
) -> R:
    name = thing["metadata"]["name"]
    try:
        data = json.loads(thing["metadata"]["annotations"][annotation])
        if data["schema"] > SCHEMA:
            raise RecordError(
                f"The record {name} was written by a newer release; upgrade jupyter-scheduler-k8s."
            )
        found = read(data)
        _check_types(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(
            f"The record of the {kind} {name} can't be read ({type(error).__name__}); its"
            f" annotation {annotation} was changed."
        ) from error
    return found


# What an annotation may hold under names that are compared, sorted and shown.
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("job_id", "job_definition_id", "name", "input_filename", "owner"), (str,)),
    **dict.fromkeys(("schedule", "timezone", "input_version", "compute_type"), (str,)),
    **dict.fromkeys(("runtime_environment_name", "output_filename_template"), (str,)),
    **dict.fromkeys(("create_time", "update_time"), (int,)),
    **dict.fromkeys(("output_formats", "tags", "packaged_files"), (list,)),
    **dict.fromkeys(("parameters", "runtime_environment_parameters"), (dict,)),
    **dict.fromkeys(("active", "package_input_folder"), (bool,)),
}


def _check_types(record: object) -> None:
    for name, kinds in _KINDS.items():
        value = getattr(record, name, None)
        if value is not None and not isinstance(value, kinds):
            raise TypeError(name)
