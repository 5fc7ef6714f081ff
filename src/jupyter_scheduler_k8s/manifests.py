"""Record and settings in, Kubernetes objects out: pure functions that return dicts.

The pod has two containers that start together. `files` holds the S3 credentials
and moves files; `notebook` runs what the user wrote and holds none. They share
one volume; image/README.md describes what they do with it.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources as package_files
from typing import Any

from jupyter_scheduler_k8s import names, records
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.resources import Resources

VOLUME_PATH = "/job"

# Runs in the notebook's image, whatever that is; it is text here, never imported.
BOOTSTRAP = (
    package_files.files("jupyter_scheduler_k8s")
    .joinpath("notebook_bootstrap.py")
    .read_text(encoding="utf-8")
)

# What `files` needs after SIGTERM to store what the run left.
GRACE_SECONDS = 60

# A pod that was lost before its notebook began may be replaced, at no cost to
# the retries; one that had begun finds its marker in S3 and fails the Job.
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
_POD_FAILURE_POLICY = {
    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a manifest needs to know of the cluster.

    Attributes:
        context: the kubeconfig context in use, None inside a cluster.
        quota: the resources, in a ResourceQuota's spelling ("requests.cpu"),
            that the namespace wants every container to state.
        region: the bucket's region, where one is set.
        ca_certificate: PEM text of a private S3 server's authority, where one is set.
    """

    context: str | None = None
    quota: Collection[str] = field(default_factory=frozenset)
    region: str = ""
    ca_certificate: str = ""


def job_manifest(
    record: JobRecord,
    config: K8sConfig,
    *,
    resources: Resources,
    placement: Placement,
    credentials: bool,
) -> dict[str, Any]:
    """The Job that runs, and is, `record`.

    Args:
        record: what was asked for; its `object_name` is the Job's name.
        config: the server's settings.
        resources: what the user asked for of the cluster.
        placement: what is known of the cluster.
        credentials: whether the Secret of `credentials_secret` exists; where it
            doesn't, the pod's own identity opens S3.

    Raises:
        RecordError: the record is too large for a Job.
    """
    labels = records.labels(record)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": record.object_name,
            "namespace": config.namespace,
            "labels": labels,
            "annotations": {names.JOB_DATA_ANNOTATION: records.job_data(record)},
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": _POD_FAILURE_POLICY,
            "template": {
                "metadata": {
                    "labels": labels,
                    # On EKS, keeps the pod's cloud identity from the notebook.
                    "annotations": {"eks.amazonaws.com/skip-containers": names.NOTEBOOK_CONTAINER},
                },
                "spec": _pod_spec(
                    record,
                    config,
                    resources=resources,
                    placement=placement,
                    credentials=credentials,
                ),
            },
        },
    }


def credentials_secret(config: K8sConfig, data: Mapping[str, str]) -> dict[str, Any]:
    """The Secret with the S3 credentials that only the `files` containers read.

    Args:
        config: the server's settings.
        data: environment variables, AWS_ACCESS_KEY_ID and so on.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret_name(config),
            "namespace": config.namespace,
            "labels": {
                names.MANAGED_BY_LABEL: names.MANAGED_BY,
                names.OWNER_LABEL: names.owner_label(config.owner),
            },
        },
        "stringData": dict(data),
    }


def end_patch(reason: str, **details: str) -> dict[str, Any]:
    """The patch that ends a run, as a merge patch of its Job.

    The pods get their grace period, whatever state they are in, and a schedule
    behind the Job goes on; `suspend` would hold up both.

    Args:
        reason: "stopped" for a user's stop; anything else is a failure.
        details: `category` and `message` of a failure, for the diagnosis.
    """
    return {
        "metadata": {
            "annotations": {names.END_ANNOTATION: _compact({"reason": reason, **details})}
        },
        "spec": {"activeDeadlineSeconds": 1},
    }


def secret_name(config: K8sConfig) -> str:
    """The name of the Secret that `credentials_secret` makes."""
    return names.credentials_secret_name(config.owner, config.s3_endpoint_url, config.s3_bucket)


def _pod_spec(
    record: JobRecord,
    config: K8sConfig,
    *,
    resources: Resources,
    placement: Placement,
    credentials: bool,
) -> dict[str, Any]:
    notebook_image = resources.image or config.image
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": _pod_security(config),
        "containers": [
            {
                "name": names.FILES_CONTAINER,
                "image": config.image,
                "imagePullPolicy": config.pull_policy(config.image, placement.context),
                "command": ["python", "-m", "notebook_job.files"],
                "env": _environment(record, config, placement),
                "resources": resources.for_files(placement.quota),
                "securityContext": _container_security(read_only=True),
                "volumeMounts": [_mount("job", VOLUME_PATH), _mount("tmp", "/tmp")],  # noqa: S108
            },
            {
                "name": names.NOTEBOOK_CONTAINER,
                "image": notebook_image,
                "imagePullPolicy": config.pull_policy(notebook_image, placement.context),
                # Not `command`: the image's own entry point prepares its environment.
                "args": ["python3", "-c", BOOTSTRAP],
                "resources": resources.for_notebook(
                    placement.quota,
                    default_cpu=config.default_cpu,
                    default_memory=config.default_memory,
                ),
                "securityContext": _container_security(read_only=False),
                "volumeMounts": [_mount("job", VOLUME_PATH)],
            },
        ],
        "volumes": [{"name": "job", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    if credentials:
        spec["containers"][0]["envFrom"] = [{"secretRef": {"name": secret_name(config)}}]
    if config.service_account:
        spec["serviceAccountName"] = config.service_account
    return spec


def _environment(
    record: JobRecord, config: K8sConfig, placement: Placement
) -> list[dict[str, str]]:
    variables = {
        "S3_BUCKET": config.s3_bucket,
        "S3_INPUT_PREFIX": names.input_prefix(record.job_id),
        "S3_OUTPUT_PREFIX": names.output_prefix(record.job_id),
        "NOTEBOOK_PATH": record.input_filename,
        "OUTPUT_PATH": names.output_file("ipynb"),
        "OUTPUT_FORMATS": _compact(record.output_formats),
        "PARAMETERS": _compact(record.parameters or {}),
        "PACKAGE_INPUT_FOLDER": "true" if record.package_input_folder else "false",
    }
    optional = {
        "S3_ENDPOINT_URL": config.s3_endpoint_url,
        "S3_CA_BUNDLE": placement.ca_certificate,
        "AWS_REGION": placement.region,
    }
    variables |= {name: value for name, value in optional.items() if value}
    # Kubernetes expands $(NAME) in a value; $$ is a plain dollar.
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in variables.items()]


def _pod_security(config: K8sConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if config.run_as_user is not None:
        found["runAsUser"] = config.run_as_user
    if config.run_as_group is not None:
        found["runAsGroup"] = found["fsGroup"] = config.run_as_group
        found["fsGroupChangePolicy"] = "OnRootMismatch"
    return found


def _container_security(*, read_only: bool) -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        # Not for the notebook: people install packages in a cell.
        "readOnlyRootFilesystem": read_only,
    }


def _mount(name: str, path: str) -> dict[str, str]:
    return {"name": name, "mountPath": path}


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
