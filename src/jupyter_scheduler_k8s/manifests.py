"""Record and settings in, Kubernetes objects out: pure functions that return dicts.

The pod has two containers that start together. `files` holds the S3 credentials
and moves files; `notebook` runs what the user wrote and holds none. They share
one volume; image/README.md describes what they do with it.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_scheduler_k8s import names, pod_template, records
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.diagnosis import FINAL_CODES
from jupyter_scheduler_k8s.errors import RecordError
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.pod_template import VOLUME_PATH
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.variables import LONGEST, literal

# The key of the Secret that holds certificates. They are a file in the pod: a
# system's whole bundle is longer than a variable may be (128 KiB on Linux).
CA_KEY = "ca.crt"
_CA_FOLDER = "/etc/s3-ca"

# Runs in the notebook's image, whatever that is; it is text here, never imported.
BOOTSTRAP = Path(__file__).with_name("notebook_bootstrap.py").read_text(encoding="utf-8")

# What `files` needs after SIGTERM to store what the run left.
GRACE_SECONDS = 60

# A pod that was lost before its notebook began may be replaced, at no cost to
# the retries; one that had begun finds its marker in S3 and fails the Job.
# https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
_WITHOUT_RETRIES = {
    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
}

# With retries every lost pod counts as one: a notebook that had begun is begun
# again no more often than was asked for, whatever ended it. What would end in the
# same way again is not tried again.
_WITH_RETRIES = {
    "rules": [
        {
            "action": "FailJob",
            "onExitCodes": {
                "containerName": container,
                "operator": "In",
                "values": sorted(codes),
            },
        }
        for container, codes in FINAL_CODES.items()
    ]
}


# Stands for the name of a run's Job in variables that Kubernetes expands: the runs of
# a schedule share one template, and their Jobs' names are their ids.
_JOB_NAME = "$(JOB_NAME)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a run has from the definition that it belongs to.

    Attributes:
        definition_id: the definition's id.
        input_version: the version of its input files, which the run keeps a copy of.
        takes_turns: whether a run ends those of this definition that began before it.
    """

    definition_id: str
    input_version: str
    takes_turns: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What a manifest needs to know of the cluster.

    Attributes:
        context: the kubeconfig context in use, None inside a cluster.
        quota: the resources, in a ResourceQuota's spelling ("requests.cpu"),
            that the namespace wants every container to state.
        region: the bucket's region, where one is set.
    """

    context: str | None = None
    quota: Collection[str] = field(default_factory=frozenset)
    region: str = ""


def job_manifest(
    record: JobRecord,
    config: K8sConfig,
    *,
    options: JobOptions,
    placement: Placement,
    credentials: Collection[str],
    definition: Definition | None = None,
) -> dict[str, Any]:
    """The Job that runs, and is, `record`.

    Args:
        record: what was asked for; its `object_name` is the Job's name.
        config: the server's settings.
        options: what the user asked for beside the notebook.
        placement: what is known of the cluster.
        credentials: the keys of the Secret that `credentials_secret` made; where
            it has no access key, the pod's own identity opens S3.
        definition: whose input files the run takes; without it, its own.

    Raises:
        RecordError: the record is too large for a Job.
    """
    template = job_template(
        record,
        config,
        options=options,
        placement=placement,
        credentials=credentials,
        definition=definition,
    )
    metadata = {"name": record.object_name, "namespace": config.namespace, **template["metadata"]}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


def job_template(
    record: JobRecord,
    config: K8sConfig,
    *,
    options: JobOptions,
    placement: Placement,
    credentials: Collection[str],
    definition: Definition | None,
) -> dict[str, Any]:
    """The metadata and the spec of a Job, as a CronJob's `jobTemplate` has them.

    Args and Raises: see `job_manifest`; a record without an id is that of every run
    of the definition's schedule.
    """
    labels, data = records.labels(record), records.job_data(record)
    pod = {
        "metadata": {
            "labels": labels,
            "annotations": {names.SKIP_CONTAINERS_ANNOTATION: names.NOTEBOOK_CONTAINER},
        },
        "spec": _pod_spec(
            record,
            config,
            options=options,
            placement=placement,
            credentials=credentials,
            definition=definition,
        ),
    }
    spec: dict[str, Any] = {
        "backoffLimit": options.max_retries,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _WITH_RETRIES if options.max_retries else _WITHOUT_RETRIES,
        "template": pod_template.merge(pod, options.pod_template, config.pod_template),
    }
    if options.timeout_seconds is not None:
        spec["activeDeadlineSeconds"] = options.timeout_seconds
    annotations = {names.JOB_DATA_ANNOTATION: data}
    if definition is not None:
        annotations[names.INPUT_VERSION_ANNOTATION] = definition.input_version
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}


def credentials_secret(config: K8sConfig, data: Mapping[str, str]) -> dict[str, Any]:
    """The Secret that only the `files` containers read.

    Args:
        config: the server's settings.
        data: environment variables, AWS_ACCESS_KEY_ID and so on, and under
            `CA_KEY` the PEM text of a private S3 server's authority.
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


def secret_keys(secret: Mapping[str, Any] | None) -> frozenset[str]:
    """The keys of a Secret that `credentials_secret` made, which `job_manifest` takes."""
    return frozenset(secret["stringData"]) if secret else frozenset()


def end_patch(reason: str, **details: str) -> dict[str, Any]:
    """The patch that ends a run, as a merge patch of its Job.

    The pods get their grace period, whatever state they are in, and a schedule
    behind the Job goes on; `suspend` would hold up both. So a Job that somebody has
    suspended is resumed, since no time passes for it before.

    Args:
        reason: "stopped" for a user's stop; anything else is a failure.
        details: `category` and `message` of a failure, for the diagnosis.
    """
    return {
        "metadata": {
            "annotations": {names.END_ANNOTATION: _compact({"reason": reason, **details})}
        },
        "spec": {"activeDeadlineSeconds": 1, "suspend": False},
    }


def secret_name(config: K8sConfig) -> str:
    """The name of the Secret that `credentials_secret` makes."""
    return names.credentials_secret_name(config.owner, config.s3_endpoint_url, config.s3_bucket)


def _pod_spec(
    record: JobRecord,
    config: K8sConfig,
    *,
    options: JobOptions,
    placement: Placement,
    credentials: Collection[str],
    definition: Definition | None,
) -> dict[str, Any]:
    resources = options.resources
    notebook_image = options.image or config.image
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
                "env": [
                    *_prefixes(record, options, definition),
                    *_environment(record, config, placement, credentials),
                ],
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
    if CA_KEY in credentials:
        items = [{"key": CA_KEY, "path": CA_KEY}]
        spec["volumes"].append(
            {"name": "s3-ca", "secret": {"secretName": secret_name(config), "items": items}}
        )
        spec["containers"][0]["volumeMounts"].append(_mount("s3-ca", _CA_FOLDER))
    if options.variables:
        spec["containers"][1]["env"] = [variable.manifest() for variable in options.variables]
    if selector := resources.node_selector():
        spec["nodeSelector"] = selector
    if config.service_account:
        spec["serviceAccountName"] = config.service_account
    return spec


def _environment(
    record: JobRecord,
    config: K8sConfig,
    placement: Placement,
    credentials: Collection[str],
) -> list[dict[str, Any]]:
    variables = {
        "S3_BUCKET": config.s3_bucket,
        "S3_ENDPOINT_URL": config.s3_endpoint_url,
        "S3_CA_BUNDLE": f"{_CA_FOLDER}/{CA_KEY}" if CA_KEY in credentials else "",
        "AWS_REGION": placement.region,
        "NOTEBOOK_PATH": record.input_filename,
        "OUTPUT_PATH": names.output_file("ipynb"),
        "OUTPUT_FORMATS": _compact(record.output_formats),
        "PARAMETERS": _compact(record.parameters or {}),
        "PACKAGE_INPUT_FOLDER": "true" if record.package_input_folder else "false",
    }
    size = len(variables["PARAMETERS"].encode())
    if size > LONGEST:
        raise RecordError(
            f"The parameters take {size // 1024} KiB, and {LONGEST // 1024} KiB is the"
            " most; put large values into a file beside the notebook."
        )
    plain = [{"name": name, "value": literal(value)} for name, value in variables.items() if value]
    secret = [
        {
            "name": name,
            "valueFrom": {"secretKeyRef": {"name": secret_name(config), "key": name}},
        }
        for name in sorted(credentials)
        if name != CA_KEY
    ]
    return plain + secret


def _prefixes(
    record: JobRecord, options: JobOptions, definition: Definition | None
) -> list[dict[str, Any]]:
    """Where a run finds its inputs and stores its outputs; these values are expanded."""
    job_id = record.job_id or _JOB_NAME
    found = []
    if not record.job_id:
        found.append(_from_field("JOB_NAME", f"metadata.labels['{names.POD_JOB_NAME_LABEL}']"))
    outputs = names.output_prefix(job_id)
    if options.max_retries:
        # Each attempt has a place of its own.
        found.append(_from_field("POD_UID", "metadata.uid"))
        outputs = names.attempt_prefix(job_id, "$(POD_UID)")
    values = {"S3_OUTPUT_PREFIX": outputs, "S3_INPUT_PREFIX": names.input_prefix(job_id)}
    if definition is not None:
        values["S3_INPUT_PREFIX"] = names.definition_input_prefix(
            definition.definition_id, definition.input_version
        )
        values["S3_KEEP_INPUT_PREFIX"] = names.input_prefix(job_id)
        if definition.takes_turns:
            values["S3_TURN_PREFIX"] = names.turns_prefix(definition.definition_id)
            values["S3_TURN_NAME"] = job_id
    return found + [{"name": name, "value": value} for name, value in values.items()]


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _pod_security(config: K8sConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if config.run_as_user is not None:
        found["runAsUser"] = config.run_as_user
    if config.run_as_group is not None:
        found["fsGroup"] = config.run_as_group
        found["fsGroupChangePolicy"] = "OnRootMismatch"
        # containerd starts no container that has a group and no user.
        if config.run_as_user is not None:
            found["runAsGroup"] = config.run_as_group
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
