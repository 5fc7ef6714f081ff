"""Definitions through REST, and their runs as kubectl shows them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from cluster.support import ENDED, Kubectl, until
from local_lab.server import LabServer

EVERY_MINUTE = "* * * * *"
NEVER_SOON = "0 0 1 1 *"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def define(server: LabServer, path: str, **asked: Any) -> str:
    """Create a definition through REST; its id."""
    body = {
        "name": path,
        "input_uri": path,
        "runtime_environment_name": "python3",
        "output_formats": ["ipynb"],
        "schedule": NEVER_SOON,
        "timezone": "UTC",
        **asked,
    }
    return str(server.request("POST", "job_definitions", body)["job_definition_id"])


def edit(server: LabServer, definition_id: str, **changes: Any) -> None:
    """Change a definition through REST."""
    server.request("PATCH", f"job_definitions/{definition_id}", changes)


def definition(server: LabServer, definition_id: str) -> dict[str, Any]:
    """A definition as REST shows it."""
    found: dict[str, Any] = server.request("GET", f"job_definitions/{definition_id}")
    return found


def definitions(server: LabServer) -> list[dict[str, Any]]:
    """All definitions as REST lists them."""
    found: list[dict[str, Any]] = server.request("GET", "job_definitions")["job_definitions"]
    return found


def runs(server: LabServer, definition_id: str) -> list[dict[str, Any]]:
    """The runs of a definition as REST lists them, oldest first."""
    found = server.request(
        "GET", f"jobs?job_definition_id={definition_id}&sort_by=asc(create_time)"
    )
    jobs: list[dict[str, Any]] = found["jobs"]
    return jobs


def some_runs(
    server: LabServer, definition_id: str, number: int, *, seconds: float = 150
) -> list[dict[str, Any]]:
    """The runs of a definition, once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        found = runs(server, definition_id)
        return found if len(found) >= number else None

    found = until(look, seconds=seconds, what=f"{number} runs of {definition_id}")
    assert found is not None
    return found


def ended_runs(
    server: LabServer, definition_id: str, number: int, *, seconds: float = 200
) -> list[dict[str, Any]]:
    """The runs of a definition that have ended, once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        found = [job for job in runs(server, definition_id) if job["status"] in ENDED]
        return found if len(found) >= number else None

    found = until(look, seconds=seconds, what=f"the end of {number} runs of {definition_id}")
    assert found is not None
    return found


def cron_job(kubectl: Kubectl, definition_id: str) -> Any:
    """The CronJob that is a definition."""
    return kubectl.get("cronjob", f"nb-jobdef-{definition_id}")


def jobs_of(kubectl: Kubectl, definition_id: str) -> list[Any]:
    """The Jobs of a definition, oldest slot first; those by hand are left out."""
    found = kubectl.get("jobs", "-l", f"jupyter-scheduler.io/job-definition-id={definition_id}")
    scheduled = [job for job in found if SCHEDULED in job["metadata"]["annotations"]]
    return sorted(scheduled, key=slot)


def slot(job: Any) -> int:
    """The time that a Job was due at, in milliseconds since the epoch."""
    text = job["metadata"]["annotations"][SCHEDULED]
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def missing_minutes(slots: Iterable[int]) -> list[int]:
    """The minutes between the first and the last slot that have none."""
    minutes = [found // 60_000 for found in slots]
    return sorted(set(range(min(minutes), max(minutes) + 1)) - set(minutes))


def seconds_into_minute() -> float:
    """How much of the present minute has passed."""
    now = datetime.now(UTC)
    return now.second + now.microsecond / 1e6
