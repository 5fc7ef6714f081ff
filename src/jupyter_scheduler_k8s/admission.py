"""What every way to a run asks first: whether what is wished can be meant, and is allowed."""

from collections.abc import Mapping
from typing import Any

from jupyter_scheduler_k8s import catalog, names, notebooks, records, staging
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
    defaults, template = _chosen(record, config)
    options = JobOptions.from_parameters(
        record.runtime_environment_parameters,
        config,
        defaults=defaults,
        pod_template=template,
        default_timeout=None if is_job else config.scheduled_timeout_seconds,
    )
    if isinstance(record, JobRecord) and record.job_definition_id is None:
        _refuse_schedule_parameters(record)
    elif not names.is_label_value(record.job_definition_id or ""):
        raise BackendError(
            f"job_definition_id is {str(record.job_definition_id)[:40]!r}, which is the id of no"
            " definition."
        )
    notebooks.check_formats(record.output_formats or [])
    staging.check_filename(record.input_filename)
    if isinstance(record, JobRecord):
        records.job_data(record)
    else:
        records.definition_data(record)
    return options


def _chosen(
    record: JobRecord | DefinitionRecord, config: K8sConfig
) -> tuple[dict[str, str], Mapping[str, Any]]:
    """What the record's environment and profile give, by parameter, and add to the pod."""
    image, amounts = _environment(record.runtime_environment_name, config)
    profile_amounts, template = _profile(record.compute_type or "", config)
    defaults = {f"k8s_{name}": text for name, text in {**amounts, **profile_amounts}.items()}
    return {**defaults, "k8s_image": image}, template


def _environment(name: str, config: K8sConfig) -> tuple[str, Mapping[str, str]]:
    known = catalog.environments(config.environments)
    # Names of other servers, and of other environment managers, mean nothing here.
    if not known:
        return "", {}
    for environment in known:
        if environment.name == name:
            return environment.image, environment.amounts
    raise BackendError(
        f"{name!r} is none of this server's environments; these are:"
        f" {', '.join(environment.name for environment in known)}."
    )


def _profile(name: str, config: K8sConfig) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    known = catalog.profiles(config.profiles)
    if not known or not name:
        return catalog.size_amounts(name), {}
    if name not in known:
        raise BackendError(
            f"{name!r} is none of this server's compute types; these are: {', '.join(known)}."
        )
    return known[name].amounts, known[name].pod_template


def _refuse_schedule_parameters(record: JobRecord) -> None:
    for name in SCHEDULE_PARAMETERS:
        if (record.runtime_environment_parameters or {}).get(name) not in (None, ""):
            raise BackendError(
                f"{name} says how the runs of a schedule follow each other, and this job has"
                " none: leave it out, or create a job definition."
            )
