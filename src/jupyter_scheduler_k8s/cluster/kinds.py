"""The kinds of objects that are records, and in what their mirrors differ."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler_k8s.cluster.slim import slim_cron_job, slim_job


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of them.

    Attributes:
        resource: its name in the API's paths.
        noun: one object of it, in a sentence.
        slim: makes an object what its record needs of it.
        id: the record's attribute that is its id.
        groups: the other attributes that records are found by.
        has_pods: whether there are pods that belong to its objects.
    """

    resource: str
    noun: str
    slim: Callable[[Mapping[str, Any]], dict[str, Any]]
    id: str
    groups: tuple[str, ...] = ()
    has_pods: bool = False


JOBS = Kind(
    resource="jobs",
    noun="Job",
    slim=slim_job,
    id="job_id",
    groups=("status", "job_definition_id"),
    has_pods=True,
)
CRON_JOBS = Kind(resource="cronjobs", noun="CronJob", slim=slim_cron_job, id="job_definition_id")
