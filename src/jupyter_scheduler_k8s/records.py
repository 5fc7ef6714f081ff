"""What is kept of a job, and how it is written onto its Kubernetes Job.

`JobRecord` has the attributes of upstream's `orm.Job`, so that upstream's code,
`DescribeJob.from_orm` first of all, works on it. What a user asked for is
written once, as JSON, into an annotation; what the cluster knows better (status,
times, the reason of a failure) is never written there: see views.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import RecordError

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
# What the annotation holds: what was asked for, not what became of it.
_WRITTEN = (*ASKED, "owner")


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
    # Upstream's model would read the number 0.5 as 0, but the text as 0.5.
    parameters = {
        name: str(value) if isinstance(value, float) else value
        for name, value in (asked.get("runtime_environment_parameters") or {}).items()
    }
    return JobRecord(
        **{**asked, "runtime_environment_parameters": parameters},
        job_id=job_id,
        create_time=create_time,
        update_time=update_time,
        owner=owner,
        object_name=names.token_job_name(owner, token) if token else names.job_name(job_id),
    )


def labels(record: JobRecord) -> dict[str, str]:
    """The labels of the record's Job and of its pods: what records are selected by."""
    found = {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_LABEL: names.owner_label(record.owner),
        names.JOB_ID_LABEL: record.job_id,
    }
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
    written = {name: getattr(record, name) for name in _WRITTEN}
    text = json.dumps(
        {"schema": SCHEMA, **{name: value for name, value in written.items() if value is not None}},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    size = len(text.encode())
    if size > _ANNOTATION_LIMIT - _RESERVED:
        raise RecordError(
            f"The job is too large to be kept: its name, parameters and tags take {size // 1024}"
            f" KiB, and {(_ANNOTATION_LIMIT - _RESERVED) // 1024} KiB is the most; put large"
            " values into a file beside the notebook."
        )
    return text


def parse_job_data(job: Mapping[str, Any]) -> JobRecord:
    """The record that a Job's annotation holds, with no status yet.

    Raises:
        RecordError: the annotation is missing or isn't what `job_data` writes.
    """
    metadata = job["metadata"]
    name = metadata["name"]
    try:
        data = json.loads(metadata["annotations"][names.JOB_DATA_ANNOTATION])
        if data["schema"] > SCHEMA:
            raise RecordError(
                f"The record {name} was written by a newer release; upgrade jupyter-scheduler-k8s."
            )
        found = JobRecord(**{key: data[key] for key in _WRITTEN if key in data})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(
            f"The record of the Job {name} can't be read ({type(error).__name__}); its annotation"
            f" {names.JOB_DATA_ANNOTATION} was changed."
        ) from error
    return found
