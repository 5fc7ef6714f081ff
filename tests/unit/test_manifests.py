"""What a record and the settings become on the cluster."""

import json
from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import RecordError
from jupyter_scheduler_k8s.manifests import (
    BOOTSTRAP,
    CA_KEY,
    Placement,
    credentials_secret,
    job_manifest,
    secret_keys,
)
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import JobRecord, parse_job_data
from jupyter_scheduler_k8s.resources import Resources, quota_resources
from jupyter_scheduler_k8s.variables import Variable

JOB_ID = "3f0c8f5e-9d0a-4b52-9c11-0f3c1f6f4a10"


def record(**changes: Any) -> JobRecord:
    asked: dict[str, Any] = {
        "job_id": JOB_ID,
        "object_name": names.job_name(JOB_ID),
        "owner": "mira",
        "name": "Weekly report",
        "input_filename": "weekly report.ipynb",
        "runtime_environment_name": "default",
        "output_formats": ["ipynb", "html"],
        "parameters": {"region": '"north"', "price": "$(AWS_SECRET_ACCESS_KEY)"},
        "create_time": 1_772_366_400_123,
        "update_time": 1_772_366_400_123,
    }
    return JobRecord(**asked | changes)


def config(**changes: Any) -> K8sConfig:
    return K8sConfig(
        **{"namespace": "team", "image": "ours:1", "s3_bucket": "jobs", "owner": "mira"} | changes
    )


def manifest(
    *, options: JobOptions | None = None, placement: Placement | None = None, **changes: Any
) -> dict[str, Any]:
    return job_manifest(
        record(**changes),
        config(),
        options=options or JobOptions(),
        placement=placement or Placement(context="kind-dev"),
        credentials={"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    )


def parsed(**parameters: Any) -> JobOptions:
    return JobOptions.from_parameters(parameters, config())


def container(job: dict[str, Any], name: str) -> dict[str, Any]:
    containers = job["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = next(entry for entry in containers if entry["name"] == name)
    return found


def secret_variable(key: str) -> dict[str, Any]:
    name = credentials_secret(config(), {})["metadata"]["name"]
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def test_the_whole_job_of_a_plain_notebook() -> None:
    labels = {
        "app.kubernetes.io/managed-by": "jupyter-scheduler-k8s",
        "jupyter-scheduler.io/owner": "mira",
        "jupyter-scheduler.io/job-id": JOB_ID,
    }
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

    assert manifest() == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"nb-job-{JOB_ID}",
            "namespace": "team",
            "labels": labels,
            "annotations": {
                "jupyter-scheduler.io/job-data": json.dumps(
                    {
                        "schema": 1,
                        "job_id": JOB_ID,
                        "name": "Weekly report",
                        "create_time": 1_772_366_400_123,
                        "update_time": 1_772_366_400_123,
                        "input_filename": "weekly report.ipynb",
                        "runtime_environment_name": "default",
                        "output_formats": ["ipynb", "html"],
                        "parameters": {"region": '"north"', "price": "$(AWS_SECRET_ACCESS_KEY)"},
                        "owner": "mira",
                    },
                    separators=(",", ":"),
                )
            },
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
            },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"eks.amazonaws.com/skip-containers": "notebook"},
                },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 60,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                        "runAsUser": 1000,
                        "runAsGroup": 100,
                        "fsGroup": 100,
                        "fsGroupChangePolicy": "OnRootMismatch",
                    },
                    "containers": [
                        {
                            "name": "files",
                            "image": "ours:1",
                            "imagePullPolicy": "Never",
                            "command": ["python", "-m", "notebook_job.files"],
                            "env": [
                                {"name": "S3_OUTPUT_PREFIX", "value": f"jobs/{JOB_ID}/outputs/"},
                                {"name": "S3_INPUT_PREFIX", "value": f"jobs/{JOB_ID}/input/"},
                                {"name": "S3_BUCKET", "value": "jobs"},
                                {"name": "NOTEBOOK_PATH", "value": "weekly report.ipynb"},
                                {"name": "OUTPUT_PATH", "value": "output.ipynb"},
                                {"name": "OUTPUT_FORMATS", "value": '["ipynb","html"]'},
                                {
                                    "name": "PARAMETERS",
                                    "value": '{"region":"\\"north\\"",'
                                    '"price":"$$(AWS_SECRET_ACCESS_KEY)"}',
                                },
                                {"name": "PACKAGE_INPUT_FOLDER", "value": "false"},
                                secret_variable("AWS_ACCESS_KEY_ID"),
                                secret_variable("AWS_SECRET_ACCESS_KEY"),
                            ],
                            "resources": {"requests": {"memory": "128Mi"}},
                            "securityContext": secure | {"readOnlyRootFilesystem": True},
                            "volumeMounts": [
                                {"name": "job", "mountPath": "/job"},
                                {"name": "tmp", "mountPath": "/tmp"},
                            ],
                        },
                        {
                            "name": "notebook",
                            "image": "ours:1",
                            "imagePullPolicy": "Never",
                            "args": ["python3", "-c", BOOTSTRAP],
                            "resources": {},
                            "securityContext": secure | {"readOnlyRootFilesystem": False},
                            "volumeMounts": [{"name": "job", "mountPath": "/job"}],
                        },
                    ],
                    "volumes": [
                        {"name": "job", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def test_a_record_is_read_back_as_it_was_written() -> None:
    asked = record(
        tags=["ü", "a b"],
        package_input_folder=True,
        runtime_environment_parameters={"k8s_cpu": "2"},
        idempotency_token="once",
    )
    job = job_manifest(asked, config(), options=JobOptions(), placement=Placement(), credentials=())

    read = parse_job_data(job)

    assert read.parameters == asked.parameters
    assert read.tags == ["ü", "a b"]
    assert (read.idempotency_token, read.package_input_folder) == ("once", True)
    assert read.create_time == asked.create_time


def test_a_record_that_does_not_fit_is_refused_with_its_size() -> None:
    with pytest.raises(RecordError, match="293 KiB, and 224 KiB is the most"):
        manifest(parameters={"blob": "x" * 300_000})


def test_parameters_that_no_process_could_be_given_are_refused() -> None:
    with pytest.raises(RecordError, match="The parameters take 146 KiB, and 120 KiB is the most"):
        manifest(parameters={"blob": "x" * 150_000})


@pytest.mark.parametrize(
    "annotation", [None, "{", "[]", '{"schema": 1}', '{"schema": "new"}', '{"schema": 99}']
)
def test_a_damaged_record_says_so(annotation: str | None) -> None:
    annotations = {} if annotation is None else {names.JOB_DATA_ANNOTATION: annotation}
    with pytest.raises(RecordError, match="nb-job-x"):
        parse_job_data({"metadata": {"name": "nb-job-x", "annotations": annotations}})


def test_what_the_user_gave_is_request_and_limit_and_nothing_else_is() -> None:
    asked = parsed(k8s_cpu=2, k8s_memory="4Gi", k8s_gpu="1")

    assert container(manifest(options=asked), "notebook")["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"},
    }


def test_a_quota_is_satisfied_by_every_container() -> None:
    quota = quota_resources(
        [{"spec": {"hard": {"cpu": "4", "limits.memory": "8Gi", "pods": "10"}}}]
    )
    job = manifest(
        options=JobOptions(resources=Resources(memory="2Gi")),
        placement=Placement(context="kind-dev", quota=quota),
    )

    assert quota == {"requests.cpu", "limits.memory"}
    assert container(job, "notebook")["resources"] == {
        "requests": {"cpu": "500m", "memory": "2Gi"},
        "limits": {"memory": "2Gi"},
    }
    assert container(job, "files")["resources"] == {
        "requests": {"cpu": "50m", "memory": "128Mi"},
        "limits": {"memory": "1Gi"},
    }


def test_an_image_of_the_user_runs_the_notebook_and_ours_moves_the_files() -> None:
    job = manifest(
        options=JobOptions(image="team/image:2"), placement=Placement(context="production")
    )

    assert container(job, "notebook")["image"] == "team/image:2"
    assert container(job, "notebook")["imagePullPolicy"] == "IfNotPresent"
    assert container(job, "files")["image"] == "ours:1"
    assert container(job, "files")["imagePullPolicy"] == "Always"


def test_users_and_groups_can_be_left_to_the_platform() -> None:
    job = job_manifest(
        record(),
        config(run_as_user=None, run_as_group=None),
        options=JobOptions(),
        placement=Placement(),
        credentials=(),
    )

    assert job["spec"]["template"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_only_the_files_container_is_given_credentials() -> None:
    job = manifest()

    assert not {"env", "envFrom"} & set(container(job, "notebook"))
    assert secret_variable("AWS_SECRET_ACCESS_KEY") in container(job, "files")["env"]


def test_the_whole_secret_of_the_credentials() -> None:
    secret = credentials_secret(config(), {"AWS_ACCESS_KEY_ID": "key"})

    name = secret["metadata"].pop("name")
    assert name.startswith("nb-s3-")
    assert secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "namespace": config().namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "jupyter-scheduler-k8s",
                "jupyter-scheduler.io/owner": config().owner,
            },
        },
        "stringData": {"AWS_ACCESS_KEY_ID": "key"},
    }
    assert secret_keys(secret) == {"AWS_ACCESS_KEY_ID"}
    assert secret_keys(None) == frozenset()


def test_certificates_are_a_file_that_only_files_reads() -> None:
    job = job_manifest(
        record(),
        config(s3_endpoint_url="https://s3.example:9000"),
        options=JobOptions(),
        placement=Placement(),
        credentials={CA_KEY},
    )

    files = container(job, "files")
    assert {"name": "S3_CA_BUNDLE", "value": "/etc/s3-ca/ca.crt"} in files["env"]
    assert {"name": "s3-ca", "mountPath": "/etc/s3-ca"} in files["volumeMounts"]
    assert {"name": "s3-ca", "mountPath": "/etc/s3-ca"} not in container(job, "notebook")[
        "volumeMounts"
    ]


def test_variables_are_the_notebooks_and_mean_what_they_say() -> None:
    plain = Variable(name="PRICE", value="$(HOME) costs $5")
    secret = Variable(name="TOKEN", secret="api", key="token")

    job = manifest(options=JobOptions(variables=(plain, secret)))

    assert container(job, "notebook")["env"] == [
        {"name": "PRICE", "value": "$$(HOME) costs $$5"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
    ]
    assert container(job, "files")["env"] == container(manifest(), "files")["env"]


def test_a_time_limit_is_the_jobs() -> None:
    assert manifest(options=JobOptions(timeout_seconds=90))["spec"]["activeDeadlineSeconds"] == 90
    assert "activeDeadlineSeconds" not in manifest()["spec"]


def test_each_attempt_stores_at_a_place_of_its_own_and_what_cannot_succeed_is_tried_once() -> None:
    spec = manifest(options=JobOptions(max_retries=2))["spec"]

    assert spec["backoffLimit"] == 2
    # No rule that lets a lost pod go for nothing: a begun notebook would be begun for ever.
    assert spec["podFailurePolicy"] == {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {
                    "containerName": "notebook",
                    "operator": "In",
                    "values": [21, 25, 26, 28],
                },
            },
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": "files", "operator": "In", "values": [35]},
            },
        ]
    }
    assert container({"spec": spec}, "files")["env"][:2] == [
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "S3_OUTPUT_PREFIX", "value": f"jobs/{JOB_ID}/outputs/$(POD_UID)/"},
    ]
