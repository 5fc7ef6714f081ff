"""What every way to a run asks first: whether what is wished can be meant, and is allowed."""

from jupyter_scheduler_k8s import notebooks, records, staging
from jupyter_scheduler_k8s.config import SCHEDULE_PARAMETERS, K8sConfig
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord


def admit(record: JobRecord | DefinitionRecord, config: K8sConfig) -> JobOptions:
    """What a job, or each run of a definition, asks for beside its notebook.

    The runs of a definition carry its parameters; of these, those that only a
    schedule can follow mean nothing to a run.

    Raises:
        BackendError: it can't be meant, or isn't allowed here.
        UnsafePath: the input's name is no single name.
        RecordError: the record is too large to be kept.
    """
    is_job = isinstance(record, JobRecord)
    options = JobOptions.from_parameters(
        record.runtime_environment_parameters,
        config,
        default_timeout=None if is_job else config.scheduled_timeout_seconds,
    )
    if isinstance(record, JobRecord) and record.job_definition_id is None:
        _refuse_schedule_parameters(record)
    notebooks.check_formats(record.output_formats)
    staging.check_filename(record.input_filename)
    if isinstance(record, JobRecord):
        records.job_data(record)
    else:
        records.definition_data(record)
    return options


def _refuse_schedule_parameters(record: JobRecord) -> None:
    for name in SCHEDULE_PARAMETERS:
        if (record.runtime_environment_parameters or {}).get(name) not in (None, ""):
            raise BackendError(
                f"{name} says how the runs of a schedule follow each other, and this job has"
                " none: leave it out, or create a job definition."
            )
