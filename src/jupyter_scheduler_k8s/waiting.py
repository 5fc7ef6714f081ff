"""Why a run has not begun: pure functions of what its pod and its Job's events say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.reasons import Category, Diagnosis, refusal, sentence

_UNPULLABLE = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
    | {"RegistryUnavailable", "ImageInspectError"}
)
_UNSTARTABLE = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)


def waiting_reason(pod: Mapping[str, Any]) -> Diagnosis | None:
    """Why this pod has not begun, if it says so."""
    status = pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unschedulable(condition.get("message") or "")
    for container in objects.container_statuses(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _UNPULLABLE:
            return _unpullable(objects.image_of(pod, container), reason, message)
        if reason in _UNSTARTABLE:
            return _unstartable(objects.image_of(pod, container), message)
    return None


# The events of a Job without a pod, and of a pod whose containers can't be made.
_REFUSED = "FailedCreate"
_UNMADE = frozenset({"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})


def event_reason(events: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
    """Why a run has not begun, by the last word of its Job's or its pod's events.

    None where the last word is of something else: then it goes on.
    """
    last = max(events, key=_when, default={})
    said = str(last.get("message") or "")
    if last.get("reason") == _REFUSED:
        return _refused(re.sub(r'^Error creating: (pods "[^"]*" is forbidden: )?', "", said))
    if last.get("reason") in _UNMADE:
        return Diagnosis(
            Category.CONTAINER,
            f"The pod can't be set up on its node: {sentence(said)}",
            "Ask whoever runs the cluster, or correct the pod template.",
        )
    return None


def _when(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _refused(said: str) -> Diagnosis:
    if found := re.search(r'serviceaccount "([^"]+)" not found', said):
        return Diagnosis(
            Category.REFUSED,
            f"The service account {found[1]} is not in the namespace.",
            "Create it, or change K8S_SERVICE_ACCOUNT.",
        )
    return Diagnosis(Category.REFUSED, *refusal(said))


def is_silent(pod: Mapping[str, Any]) -> bool:
    """Whether this pod waits and doesn't say why: its events may."""
    return (
        (pod.get("status") or {}).get("phase") == "Pending"
        and waiting_reason(pod) is None
        and not any(
            {"running", "terminated"} & set(container.get("state") or {})
            for container in objects.container_statuses(pod)
        )
    )


def is_hopeless(pod: Mapping[str, Any]) -> bool:
    """Whether no amount of waiting could let this pod begin: an image's name that is none."""
    return any(
        ((container.get("state") or {}).get("waiting") or {}).get("reason") == "InvalidImageName"
        for container in objects.container_statuses(pod)
    )


def _unschedulable(message: str) -> Diagnosis:
    # The scheduler's sentence names every reason with the number of nodes; the
    # ones that a person can act on come first here.
    for pattern, text in (
        (r"Insufficient (\S*gpu|nvidia\.com/mig)", "No nodes with GPU available"),
        (r"Insufficient memory", "Insufficient memory available"),
        (r"Insufficient cpu", "Insufficient CPU available"),
        (r"Insufficient ephemeral-storage", "Insufficient disk space available"),
        (r"Too many pods", "All nodes are full"),
        (r"node affinity/selector", "No node matches the required labels"),
        (r"untolerated taint", "All nodes are reserved for other work (taints)"),
        (r"unschedulable", "All nodes are closed to new work"),
    ):
        if re.search(pattern, message):
            return Diagnosis(Category.UNSCHEDULABLE, f"Cannot schedule: {text}")
    return Diagnosis(Category.UNSCHEDULABLE, f"Cannot schedule: {sentence(message)}")


def _unpullable(image: str, reason: str, message: str) -> Diagnosis:
    if reason == "ErrImageNeverPull":
        return Diagnosis(
            Category.IMAGE,
            f"The image {image} is not on the node, and its pull policy is Never.",
            "Load it into the cluster, or set K8S_IMAGE_PULL_POLICY.",
        )
    # While it waits to try again, the kubelet puts its wait before the reason.
    said = re.sub(r'^Back-off pulling image "[^"]*"(: )?', "", message)
    detail = f": {sentence(said)}" if said else ""
    return Diagnosis(
        Category.IMAGE,
        f"The image {image} can't be pulled{detail or '.'}",
        "Check its name, and that the cluster may read it.",
    )


def _unstartable(image: str, message: str) -> Diagnosis:
    if "run as root" in message or "runAsNonRoot" in message:
        return Diagnosis(
            Category.CONTAINER,
            f"The image {image} runs as root, which this namespace doesn't allow.",
            "Use an image with a user of its own, such as the usual Jupyter images.",
        )
    if found := re.search(r'secret "([^"]+)" not found', message):
        if found[1].startswith(names.CREDENTIALS_PREFIX):
            return Diagnosis(
                Category.CONTAINER,
                f"The Secret {found[1]} with the S3 credentials is missing.",
                "Create any job to have it made again.",
            )
        return Diagnosis(
            Category.CONTAINER,
            f"The Secret {found[1]}, from which the notebook gets a variable, is missing.",
            "Create it in the namespace, or correct k8s_env.",
        )
    if found := re.search(r"couldn't find key (\S+) in Secret (?:\S+/)?([^\s/]+)", message):
        return Diagnosis(
            Category.CONTAINER,
            f"The Secret {found[2]}, from which the notebook gets a variable, has no key"
            f" {found[1]}.",
            "Add it to the Secret, or correct k8s_env.",
        )
    return Diagnosis(Category.CONTAINER, f"The container can't be started: {sentence(message)}")
