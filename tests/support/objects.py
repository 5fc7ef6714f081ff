"""Jobs and pods as Kubernetes shows them."""

import json
from typing import Any

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.objects import seconds

CREATED = "2026-03-01T12:00:00Z"
NOW = seconds(CREATED) + 10


def job(
    *conditions: str,
    annotations: dict[str, str] | None = None,
    reason: str = "",
    message: str = "",
    **status: Any,
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "nb-job-a",
            "creationTimestamp": CREATED,
            "annotations": annotations or {},
        },
        "spec": {"activeDeadlineSeconds": 3600},
        "status": {
            "startTime": CREATED,
            "conditions": [
                {
                    "type": condition,
                    "status": "True",
                    "reason": reason,
                    "message": message,
                    "lastTransitionTime": "2026-03-01T12:05:00Z",
                }
                for condition in conditions
            ],
            **status,
        },
    }


def pod(
    *,
    phase: str = "Running",
    notebook: dict[str, Any] | None = None,
    files: dict[str, Any] | None = None,
    conditions: list[dict[str, str]] | None = None,
    limits: dict[str, str] | None = None,
    created: str = CREATED,
    **status: Any,
) -> dict[str, Any]:
    states = {names.NOTEBOOK_CONTAINER: notebook, names.FILES_CONTAINER: files}
    return {
        "metadata": {"name": "nb-job-a-x", "creationTimestamp": created},
        "spec": {
            "containers": [
                {
                    "name": names.NOTEBOOK_CONTAINER,
                    "image": "registry.example/team/image:1",
                    "resources": {"limits": limits or {}},
                },
                {"name": names.FILES_CONTAINER, "image": "ours:1"},
            ]
        },
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": [
                {"name": name, "state": state} for name, state in states.items() if state
            ],
            **status,
        },
    }


def ended(code: int, reason: str = "Error", **summary: Any) -> dict[str, Any]:
    found = {"exitCode": code, "reason": reason, "startedAt": "2026-03-01T12:00:02Z"}
    return {"terminated": found | ({"message": json.dumps(summary)} if summary else {})}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNNING = {"running": {"startedAt": "2026-03-01T12:00:02Z"}}
