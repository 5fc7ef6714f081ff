"""Jobs and CronJobs as the API shows them: with everything that a real one carries."""

import uuid
from collections.abc import Iterator
from typing import Any

from jupyter_scheduler_k8s import names, records
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.cron_manifest import cron_job_manifest
from jupyter_scheduler_k8s.manifests import Placement, job_manifest
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

OWNER = "bench"
# Each has a hundred jobs of 10,000; a schedule's are fewer.
DEFINITIONS = 100
SCHEDULED = 1_000
NAMES = 200
_TIME = "2026-03-01T12:00:00Z"
_FIRST = 1_760_000_000_000


def record(number: int, definitions: int = DEFINITIONS) -> JobRecord:
    """The record of one job of many; each has another create time."""
    job_id = str(uuid.UUID(int=number))
    return JobRecord(
        job_id=job_id,
        job_definition_id=f"definition-{number % definitions}",
        name=f"report {number % NAMES}",
        create_time=_FIRST + number * 1000,
        update_time=_FIRST + number * 1000,
        input_filename="weekly-report.ipynb",
        runtime_environment_name="python3",
        runtime_environment_parameters={"k8s_cpu": "1", "k8s_memory": "512Mi"},
        output_formats=["ipynb", "html"],
        output_filename_template="{{input_filename}}-{{create_time}}",
        parameters={"region": '"north"', "weeks": "3"},
        tags=[],
        owner=OWNER,
        url=f"/jobs/{job_id}",
        object_name=names.job_name(job_id),
        # One in twenty failed, the others completed.
        status="FAILED" if number % 20 == 0 else "COMPLETED",
    )


def definition(number: int) -> DefinitionRecord:
    """The record of one definition of many, which fires every day at a minute of its own."""
    run = record(number)
    definition_id = f"definition-{number}"
    return DefinitionRecord(
        **{
            name: getattr(run, name)
            for name in (*_SHARED, "name", "create_time", "update_time", "owner")
        },
        job_definition_id=definition_id,
        schedule=f"{number % 60} {number % 24} * * *",
        timezone="Europe/Berlin",
        input_version="1",
        url=f"/job_definitions/{definition_id}",
        object_name=names.definition_name(definition_id),
    )


_SHARED = (
    *("input_filename", "runtime_environment_name", "runtime_environment_parameters"),
    *("output_formats", "output_filename_template", "parameters", "tags"),
)


def objects(count: int, definitions: int = DEFINITIONS) -> Iterator[dict[str, Any]]:
    """The Jobs of the first `count` records, ended."""
    config = K8sConfig(namespace="bench", image="bench:1", s3_bucket="bench", owner=OWNER)
    template = _manifest(record(0), config)
    for number in range(count):
        yield _job(template, record(number, definitions))


def definition_objects(count: int) -> Iterator[dict[str, Any]]:
    """The CronJobs of the first `count` definitions."""
    config = K8sConfig(namespace="bench", image="bench:1", s3_bucket="bench", owner=OWNER)
    for number in range(count):
        one = definition(number)
        made = cron_job_manifest(
            one,
            config,
            options=JobOptions.from_parameters(one.runtime_environment_parameters, config),
            placement=Placement(region="us-east-1"),
            credentials=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
        )
        made["metadata"] |= {"uid": one.object_name, "resourceVersion": "1"}
        made["metadata"] |= {"creationTimestamp": _TIME}
        yield made


def _manifest(example: JobRecord, config: K8sConfig) -> dict[str, Any]:
    return job_manifest(
        example,
        config,
        options=JobOptions.from_parameters(example.runtime_environment_parameters, config),
        placement=Placement(region="us-east-1"),
        credentials=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    )


def _job(template: dict[str, Any], one: JobRecord) -> dict[str, Any]:
    """A Job of its own; the pod's specification, which nobody changes, is the template's."""
    labels = records.labels(one)
    failed = one.status == "FAILED"
    pod = template["spec"]["template"]
    pod = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
    condition = {
        "type": "Failed" if failed else "Complete",
        "status": "True",
        "reason": "BackoffLimitExceeded" if failed else "CompletionsReached",
        "lastTransitionTime": _TIME,
    }
    return {
        **template,
        "metadata": {
            **template["metadata"],
            "name": one.object_name,
            "uid": one.job_id,
            "resourceVersion": "1",
            "creationTimestamp": _TIME,
            "labels": labels,
            "annotations": {names.JOB_DATA_ANNOTATION: records.job_data(one)},
        },
        "spec": {**template["spec"], "template": pod},
        "status": {
            "startTime": _TIME,
            "conditions": [condition],
            "failed" if failed else "succeeded": 1,
        },
    }
