"""Where a job stands: a pure function of its Job, its pods and the time.

The Job's own conditions decide on the status; counters do not, and neither does
an annotation, except that it tells a stop from a failure; so does a run itself that
was replaced by the next one of its schedule. diagnosis.py says why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler.models import Status

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.diagnosis import FINAL_CODES, diagnose, end_reason, kept_waiting, remark
from jupyter_scheduler_k8s.reasons import STOPS, Category
from jupyter_scheduler_k8s.waiting import is_silent, waiting_reason

# Nothing is said of a pod that waits until it has waited this long: most are
# placed, and their images there, within seconds.
PATIENCE_SECONDS = 30

# Jobs and pods come over two watches. For this long a failure waits for the pods
# that say why, where those that are known seem to run still.
_PODS_LAG_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """Where a job stands. Times are milliseconds since the epoch."""

    status: Status
    message: str | None = None
    start_time: int | None = None
    end_time: int | None = None


def derive(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobState:
    """Where the job of this Job and these pods stands at `now` (seconds since the epoch)."""
    status = job.get("status") or {}
    conditions = {
        condition["type"]: condition
        for condition in status.get("conditions") or ()
        if condition.get("status") == "True"
    }
    stopped = end_reason(job) == "stopped"
    start_time = _start_time(status, pods)
    if complete := conditions.get("Complete"):
        return JobState(
            status=Status.COMPLETED,
            message=remark(job, pods),
            start_time=start_time,
            end_time=_optional_milliseconds(
                status.get("completionTime") or complete.get("lastTransitionTime")
            ),
        )
    if failed := conditions.get("Failed"):
        why = diagnose(job, pods)
        lag = now - objects.seconds(failed["lastTransitionTime"])
        if why.category is Category.UNKNOWN and _any_runs(pods) and lag < _PODS_LAG_SECONDS:
            return JobState(status=Status.IN_PROGRESS, start_time=start_time)
        return JobState(
            status=Status.STOPPED if stopped or why.category in STOPS else Status.FAILED,
            message=why.message,
            start_time=start_time,
            end_time=_optional_milliseconds(failed.get("lastTransitionTime")),
        )
    if stopped:
        return JobState(status=Status.STOPPING, start_time=start_time)
    waiting = objects.newest_first(pods)
    if waiting and objects.retries(job):
        return _of_attempts(job, waiting, start_time, now)
    if any(objects.has_begun(pod, names.NOTEBOOK_CONTAINER) for pod in pods):
        return JobState(status=Status.IN_PROGRESS, start_time=start_time)
    if not waiting:
        refused = kept_waiting(job)
        return JobState(
            status=Status.QUEUED if refused else Status.CREATED,
            message=refused.message if refused else None,
        )
    return JobState(status=Status.QUEUED, message=_waiting_message(job, waiting[0], now))


def _of_attempts(
    job: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    start_time: int | None,
    now: float,
) -> JobState:
    """Where a job stands that may be tried again and hasn't ended; its newest pod comes first."""
    newest, most = pods[0], objects.retries(job) + 1
    number = min(max(objects.failed_pods(job) + (not _failed(newest)), 1), most)
    if _waits_for_retry(job, newest, number, most):
        why = diagnose(job, [newest])
        return JobState(
            status=Status.QUEUED,
            message=f"Attempt {number} of {most} failed, and the next one follows. {why.summary}",
            start_time=start_time,
        )
    if objects.has_begun(newest, names.NOTEBOOK_CONTAINER):
        message = f"Attempt {number} of {most}." if number > 1 else None
        return JobState(status=Status.IN_PROGRESS, message=message, start_time=start_time)
    return JobState(
        status=Status.QUEUED, message=_waiting_message(job, newest, now), start_time=start_time
    )


def _waits_for_retry(
    job: Mapping[str, Any], newest: Mapping[str, Any], number: int, most: int
) -> bool:
    final = any(
        objects.terminated(newest, container).get("exitCode") in codes
        for container, codes in FINAL_CODES.items()
    )
    ending = objects.condition(job, "FailureTarget") or end_reason(job)
    return _failed(newest) and number < most and not final and not ending


def _failed(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Failed"


def _waiting_message(job: Mapping[str, Any], pod: Mapping[str, Any], now: float) -> str | None:
    found = waiting_reason(pod) or (kept_waiting(job) if is_silent(pod) else None)
    patient = now - objects.seconds(pod["metadata"]["creationTimestamp"]) < PATIENCE_SECONDS
    return found.message if found and not patient else None


def _any_runs(pods: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        "running" in (container.get("state") or {})
        for pod in pods
        for container in objects.container_statuses(pod)
    )


def _start_time(status: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> int | None:
    for pod in reversed(objects.newest_first(pods)):
        for container in objects.container_statuses(pod):
            if container.get("name") == names.NOTEBOOK_CONTAINER:
                state = container.get("state") or {}
                running = state.get("running") or state.get("terminated") or {}
                if running.get("startedAt"):
                    return _optional_milliseconds(running["startedAt"])
    ended = any(
        condition.get("status") == "True" and condition["type"] in ("Complete", "Failed")
        for condition in status.get("conditions") or ()
    )
    return _optional_milliseconds(status.get("startTime")) if ended else None


def _optional_milliseconds(timestamp: str | None) -> int | None:
    return None if timestamp is None else objects.milliseconds(timestamp)
