"""A Job like those of notebooks, whose pod uses the bucket, says how that went, and is deleted."""

import copy
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.cluster import (
    ClusterClient,
    KubernetesTransport,
    RecordCache,
    Reflector,
)
from jupyter_scheduler_k8s.diagnosis import diagnose
from jupyter_scheduler_k8s.doctor.checks import skew
from jupyter_scheduler_k8s.doctor.report import Finding, ok, problem
from jupyter_scheduler_k8s.errors import BackendError, NotFound
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record
from jupyter_scheduler_k8s.waiting import event_reason, waiting_reason

SUBJECT = "pod"
# An image of usual size is pulled within this; the kubelet ends the pod then.
SECONDS = 120
# Should this program be killed, Kubernetes removes what it made.
_KEPT_SECONDS = 300
# Nothing that a pod waits for here comes by waiting longer.
_LASTING = ("ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError")


def check_job(manifest: Mapping[str, Any], check_id: str) -> dict[str, Any]:
    """The Job of a check, made of that of a notebook: same image, login and pod security.

    Its labels are none of a record's, so that no list shows it.
    """
    found = copy.deepcopy(dict(manifest))
    labels = {names.CHECK_LABEL: check_id}
    found["metadata"] = {
        "name": names.check_job_name(check_id),
        "namespace": manifest["metadata"]["namespace"],
        "labels": labels,
    }
    spec = found["spec"]
    spec.pop("podFailurePolicy", None)
    spec.update(
        backoffLimit=0, activeDeadlineSeconds=SECONDS, ttlSecondsAfterFinished=_KEPT_SECONDS
    )
    template = spec["template"]
    template["metadata"]["labels"] = labels
    (files,) = (
        container
        for container in template["spec"]["containers"]
        if container["name"] == names.FILES_CONTAINER
    )
    files["command"] = ["python", "-m", "notebook_job.check"]
    template["spec"]["containers"] = [files]
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return found


def verdict(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Finding | None:
    """What the check has shown so far; None while it may still show more."""
    for pod in objects.newest_first(pods):
        if ended := objects.terminated(pod, names.FILES_CONTAINER):
            return _ended(objects.image_of(pod, {"name": names.FILES_CONTAINER}), ended)
        waiting = {
            ((container.get("state") or {}).get("waiting") or {}).get("reason")
            for container in objects.container_statuses(pod)
        }
        if waiting & set(_LASTING) and (why := waiting_reason(pod)):
            return problem(SUBJECT, why.message)
    if objects.condition(job, "Failed"):
        return problem(SUBJECT, diagnose(job, pods).message)
    return None


def _ended(image: str, ended: Mapping[str, Any]) -> Finding:
    if ended.get("exitCode") == 0:
        return ok(SUBJECT, f"the image {image} started, and used the bucket from a pod.")
    if said := ended.get("message"):
        return problem(
            SUBJECT,
            f"A pod can't use the bucket. {said} Its address, login and certificates must work from"
            " inside the cluster, too.",
        )
    return problem(
        SUBJECT,
        f"The image {image} can't check the bucket (exit code {ended.get('exitCode')}): build it"
        " again from this release, and set K8S_IMAGE.",
    )


def run(client: ClusterClient, manifest: Mapping[str, Any], *, seconds: float = SECONDS) -> Finding:
    """Create the Job, wait for its word, and delete it whatever happens. Blocking.

    Raises:
        BackendError: the API refused or doesn't answer.
    """
    name = manifest["metadata"]["name"]
    selector = f"{names.CHECK_LABEL}={manifest['metadata']['labels'][names.CHECK_LABEL]}"
    cache = RecordCache(job_record, log=logging.getLogger(__name__))
    changed = threading.Event()
    cache.on_change(lambda _: changed.set())
    reflectors = [
        Reflector(
            KubernetesTransport(
                client.connection,
                namespace=client.namespace,
                resource=resource,
                label_selector=selector,
            ),
            sink,
            log=logging.getLogger(__name__),
        )
        for resource, sink in cache.sinks.items()
    ]
    try:
        job = client.create_job(manifest)
        made = objects.seconds(job["metadata"]["creationTimestamp"])
        if found := skew("The cluster's", made - time.time()):
            return problem(SUBJECT, found)
        for reflector in reflectors:
            reflector.start()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            changed.wait(left)
            changed.clear()
            seen = cache.objects(name)
            if seen and (finding := verdict(*seen)):
                return finding
        return _silence(client, cache, job, seconds)
    finally:
        for reflector in reflectors:
            reflector.stop()
        _delete(client, name)


def _silence(
    client: ClusterClient, cache: RecordCache[JobRecord], job: Mapping[str, Any], seconds: float
) -> Finding:
    _, pods = cache.objects(job["metadata"]["name"]) or (job, [])
    why = next((found for pod in pods if (found := waiting_reason(pod))), None)
    if why is None:
        silent = objects.newest_first(pods)[0] if pods else job
        why = event_reason(client.list_events(f"involvedObject.uid={silent['metadata']['uid']}"))
    if why is not None:
        return problem(SUBJECT, why.message)
    return problem(
        SUBJECT,
        f"A pod has not come to its end within {seconds:.0f} seconds, and Kubernetes doesn't say"
        " why: look at the namespace's events with kubectl get events.",
    )


def _delete(client: ClusterClient, name: str) -> None:
    try:
        client.delete_job(name)
    except NotFound:
        return
    except BackendError as error:
        logging.getLogger(__name__).warning("The Job %s is left: %s", name, error)
