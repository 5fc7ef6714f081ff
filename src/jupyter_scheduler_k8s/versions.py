"""The versions of a definition's input files: which of them are still needed.

Every edit of a notebook stores its files anew, so that a run that has begun goes on
with what it began with. A run finds the version that it uses in its own manifest.
"""

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.errors import NotFound, RecordError
from jupyter_scheduler_k8s.records import parse_definition_data


class Client(Protocol):
    """What is asked of `ClusterClient`."""

    def get_cron_job(self, name: str) -> dict[str, Any]: ...

    def list_jobs(self, label_selector: str) -> list[dict[str, Any]]: ...


def in_use(client: Client, definition_id: str) -> frozenset[str]:
    """The versions that a definition's next run or one that hasn't ended may fetch. Blocking.

    Raises:
        RecordError: the CronJob doesn't say which version it has.
        ClusterError: the API doesn't answer.
    """
    found: set[str] = set()
    with contextlib.suppress(NotFound):
        found |= _current(client.get_cron_job(names.definition_name(definition_id)))
    jobs = client.list_jobs(f"{names.DEFINITION_ID_LABEL}={definition_id}")
    return frozenset(found.union(version for job in jobs if (version := _used_by(job))))


def _current(cron_job: Mapping[str, Any]) -> set[str]:
    """What the next run fetches: by the template for one of the schedule, else by the record."""
    found = set()
    template = (cron_job.get("spec") or {}).get("jobTemplate") or {}
    version = objects.annotations({"metadata": {}, **template}).get(names.INPUT_VERSION_ANNOTATION)
    if version:
        found.add(version)
    try:
        found.add(parse_definition_data(cron_job).input_version)
    except RecordError:
        if not found:
            raise
    return found


def _used_by(job: Mapping[str, Any]) -> str | None:
    if objects.condition(job, "Complete", "Failed"):
        return None
    return objects.annotations(job).get(names.INPUT_VERSION_ANNOTATION)
