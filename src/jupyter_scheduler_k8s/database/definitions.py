"""Writes definitions: what `query.update` and `query.delete` do to CronJobs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from jupyter_scheduler.orm import JobDefinition

from jupyter_scheduler_k8s import cron_manifest, names, objects, records
from jupyter_scheduler_k8s.cluster import RecordCache
from jupyter_scheduler_k8s.cron_manifest import Operation
from jupyter_scheduler_k8s.database.writing import Writer, unfit
from jupyter_scheduler_k8s.errors import UnsupportedQuery
from jupyter_scheduler_k8s.records import DefinitionRecord
from jupyter_scheduler_k8s.views import definition_record

# When a definition's runs begin, with the kinds of the values.
_WHEN: Mapping[str, tuple[type, ...]] = {
    "schedule": (str, type(None)),
    "timezone": (str, type(None)),
    "active": (bool,),
}


class CronJobClient(Protocol):
    """What a writer needs of `ClusterClient`."""

    def get_cron_job(self, name: str) -> dict[str, Any]: ...

    def patch_cron_job(
        self, name: str, body: Mapping[str, Any], *, status: bool = False
    ) -> dict[str, Any]: ...

    def delete_cron_job(self, name: str, *, uid: str | None = None) -> None: ...


class DefinitionWriter(Writer[DefinitionRecord]):
    """Describes, schedules, pauses, resumes and deletes the CronJobs that are definitions.

    Deleting one leaves its runs, as deleting a row does. What its runs begin with is
    `K8sScheduler.update_job_definition`'s to change, which makes their template anew.
    """

    model = JobDefinition
    noun = "job definition"

    def __init__(
        self,
        client: CronJobClient,
        *,
        cache: RecordCache[DefinitionRecord] | None = None,
        create: Callable[[JobDefinition], dict[str, Any]] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`client` is how the API is reached; see `Writer`."""
        super().__init__(cache=cache, create=create, wall_clock=wall_clock)
        self._client = client

    def _check(self, column: str, value: Any) -> None:
        kinds = _WHEN.get(column)
        if kinds is None:
            raise UnsupportedQuery(
                f"The column {column} of a job definition can't be changed by a session: use"
                " K8sScheduler.update_job_definition, or create another definition."
            )
        if not isinstance(value, kinds):
            raise unfit(column, value)

    def _patches(self, live: Mapping[str, Any], values: Mapping[str, Any]) -> Sequence[Operation]:
        known, when = definition_record(live), values.keys() & _WHEN.keys()
        changed = replace(
            records.parse_definition_data(live),
            # What somebody has changed by hand is not changed back.
            **{column: values.get(column, getattr(known, column)) for column in _WHEN},
            **self._described(values),
        )
        due: dict[str, Any] = {}
        if when - {"active"}:
            due = cron_manifest.times(changed)
        elif when and known.schedule:
            due = {"suspend": not changed.active}
        due = {key: value for key, value in due.items() if live["spec"].get(key) != value}
        # The name and the tags of the next runs are those of their definition.
        template = {names.JOB_DATA_ANNOTATION: records.job_data(records.run_of(changed))}
        data = {names.DEFINITION_DATA_ANNOTATION: records.definition_data(changed)}
        change = {
            "metadata": {"annotations": data},
            "spec": {**due, "jobTemplate": {"metadata": {"annotations": template}}},
        }
        patches = [Operation(body=change)]
        if due and not {**live["spec"], **due}.get("suspend"):
            # Before it: what was due until now would begin at once.
            now = objects.timestamp(self._wall_clock())
            patches.insert(0, cron_manifest.skip_past(now))
        return patches

    def _record(self, live: Mapping[str, Any]) -> DefinitionRecord:
        return definition_record(live)

    def _id(self, record: DefinitionRecord) -> str:
        return record.job_definition_id

    def _get(self, name: str) -> dict[str, Any]:
        return self._client.get_cron_job(name)

    def _send(self, name: str, patch: Operation) -> dict[str, Any]:
        return self._client.patch_cron_job(name, patch.body, status=patch.status)

    def _remove(self, name: str, uid: str) -> None:
        self._client.delete_cron_job(name, uid=uid)
