"""Writes jobs: what `session.add`, `query.update` and `query.delete` do to Jobs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from jupyter_scheduler.orm import Job

from jupyter_scheduler_k8s import manifests, names, records
from jupyter_scheduler_k8s.cluster import RecordCache
from jupyter_scheduler_k8s.cron_manifest import Operation
from jupyter_scheduler_k8s.database.writing import Writer
from jupyter_scheduler_k8s.errors import UnsupportedQuery
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record

# Both end the run; which of them is shown until its pod is gone is the Job's to say.
_ENDS = frozenset({"STOPPING", "STOPPED"})


class JobClient(Protocol):
    """What a writer needs of `ClusterClient`."""

    def get_job(self, name: str) -> dict[str, Any]: ...

    def patch_job(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]: ...

    def delete_job(self, name: str, *, uid: str | None = None) -> None: ...


class JobWriter(Writer[JobRecord]):
    """Creates, changes and deletes the Jobs that are records.

    Deleting a Job ends its run. What a job was started with is in its pod already:
    changed here, the record would tell of another run.
    """

    model = Job
    noun = "job"

    def __init__(
        self,
        client: JobClient,
        *,
        cache: RecordCache[JobRecord] | None = None,
        create: Callable[[Job], dict[str, Any]] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`client` is how the API is reached, `create` a `JobCreator`; see `Writer`."""
        super().__init__(cache=cache, create=create, wall_clock=wall_clock)
        self._client = client

    def _check(self, column: str, value: Any) -> None:
        if column != "status":
            raise UnsupportedQuery(
                f"The column {column} can't be changed: it says what the run was started"
                " with, or what became of it."
            )
        if _text(value) not in _ENDS:
            raise UnsupportedQuery(
                f"The status of a job can't be set to {_text(value)}, since its Job's own"
                " status is shown: only STOPPED and STOPPING can be set, and end the run."
            )

    def _patches(self, live: Mapping[str, Any], values: Mapping[str, Any]) -> Sequence[Operation]:
        data = records.job_data(replace(records.parse_job_data(live), **self._described(values)))
        body = self._end(live, values["status"]) if "status" in values else {"metadata": {}}
        annotations = {**body["metadata"].get("annotations", {}), names.JOB_DATA_ANNOTATION: data}
        return [Operation(body={**body, "metadata": {"annotations": annotations}})]

    def _end(self, live: Mapping[str, Any], status: Any) -> dict[str, Any]:
        # Whether a run has ended is in its Job alone, so its pods aren't asked for.
        known = job_record(live, (), self._wall_clock())
        if not known.ended:
            return manifests.end_patch("stopped")
        if known.status == _text(status):
            return {"metadata": {}}
        raise UnsupportedQuery(
            f"The run of the job {known.job_id} has ended as {known.status}; that can't be changed"
            f" to {_text(status)}."
        )

    def _record(self, live: Mapping[str, Any]) -> JobRecord:
        return job_record(live, (), 0)

    def _id(self, record: JobRecord) -> str:
        return record.job_id

    def _get(self, name: str) -> dict[str, Any]:
        return self._client.get_job(name)

    def _send(self, name: str, patch: Operation) -> dict[str, Any]:
        return self._client.patch_job(name, patch.body)

    def _remove(self, name: str, uid: str) -> None:
        self._client.delete_job(name, uid=uid)


def _text(value: Any) -> str:
    """A status as it is stored: upstream's is an enumeration of texts."""
    return str(getattr(value, "value", value))
