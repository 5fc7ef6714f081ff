"""A trivial notebook from its POST to COMPLETED, and the same programs in a bare Job."""

import io
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from kubernetes import client, config, watch

from budgets.repeated import interleaved
from budgets.servers import Lab
from budgets.table import Measurement
from cluster.support import create, ended, notebook, write

_TIMES = 5
_FORMATS = ["ipynb", "html"]
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def end_to_end(lab: Lab) -> list[Measurement]:
    """POST to COMPLETED, beside a bare Job of the same image, inputs and outputs."""
    write(lab.ours, "trivial.ipynb", "1 + 1")
    ours, theirs = interleaved(lambda: _through_us(lab), lambda: _bare(lab), times=_TIMES)
    return [
        Measurement(
            what="trivial notebook to ipynb and html",
            ours=ours,
            theirs=theirs,
            against="bare Job",
            unit="s",
            budget=1.1,
            note="POST until a GET, asked every 50 ms, says COMPLETED. The bare Job is one"
            " container that runs both programs (`python -m notebook_job`) with the same"
            " image and S3: put of the input, create, until a watch shows Complete.",
        )
    ]


def _through_us(lab: Lab) -> float:
    began = time.perf_counter()
    job = ended(lab.ours, create(lab.ours, "trivial.ipynb", output_formats=_FORMATS))
    if job["status"] != "COMPLETED":
        raise RuntimeError(f"The job is {job['status']}: {job.get('status_message')}")
    taken = time.perf_counter() - began
    time.sleep(0.5)
    return taken


def _bare(lab: Lab) -> float:
    settings = lab.administrator
    namespace = settings["K8S_NAMESPACE"]
    # Its functions have no annotations, or take more than theirs say.
    new_client: Any = config.new_client_from_config
    api: Any = client.BatchV1Api(new_client(settings["KUBECONFIG"]))
    name = f"bench-{uuid.uuid4()}"
    prefix = f"jobs/{name}/"
    content = notebook("1 + 1").encode()

    began = time.perf_counter()
    bucket = lab.bucket
    key = f"{prefix}input/trivial.ipynb"
    bucket.client.put_object(bucket.name, key, io.BytesIO(content), len(content))
    made = api.create_namespaced_job(namespace, _manifest(lab.owner, name, prefix, settings))
    verdict = _verdict(api, namespace, name, made.metadata.resource_version)
    taken = time.perf_counter() - began

    for stored in bucket.keys(prefix):
        bucket.client.remove_object(bucket.name, stored)
    api.delete_namespaced_job(name, namespace, propagation_policy="Background")
    if verdict != "Complete":
        raise RuntimeError(f"The bare Job {name} is {verdict}.")
    time.sleep(0.5)
    return taken


def _verdict(api: Any, namespace: str, name: str, version: str) -> str:
    selector = f"metadata.name={name}"
    new_watch: Any = watch.Watch
    for event in new_watch().stream(
        api.list_namespaced_job,
        namespace,
        field_selector=selector,
        resource_version=version,
        timeout_seconds=120,
    ):
        for condition in event["object"].status.conditions or ():
            if condition.type in ("Complete", "Failed") and condition.status == "True":
                return str(condition.type)
    return "not ended"


def _manifest(owner: str, name: str, prefix: str, settings: Mapping[str, str]) -> dict[str, Any]:
    plain = {
        "S3_BUCKET": settings["S3_BUCKET"],
        "S3_ENDPOINT_URL": settings["S3_ENDPOINT_URL"],
        "AWS_REGION": settings.get("AWS_REGION", "us-east-1"),
        "S3_INPUT_PREFIX": f"{prefix}input/",
        "S3_OUTPUT_PREFIX": f"{prefix}outputs/",
        "NOTEBOOK_PATH": "trivial.ipynb",
        "OUTPUT_PATH": "output.ipynb",
        "OUTPUT_FORMATS": json.dumps(_FORMATS),
        **{key: settings[key] for key in _KEYS},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {"jupyter-scheduler.io/owner": owner}},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsUser": 1000,
                        "runAsGroup": 100,
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "notebook",
                            "image": settings["K8S_IMAGE"],
                            "imagePullPolicy": "IfNotPresent",
                            "command": ["python", "-m", "notebook_job"],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "env": [{"name": key, "value": plain[key]} for key in plain],
                        }
                    ],
                }
            },
        },
    }
