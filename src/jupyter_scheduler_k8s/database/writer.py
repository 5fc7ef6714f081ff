"""Writes records: what `session.add`, `query.update` and `query.delete` do to Jobs.

All of it blocks until the cluster has the change, and is safe between threads.
Each write reads the Job live and names what it has read, so that nothing is
written over that somebody else has changed meanwhile.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from jupyter_scheduler.orm import Job

from jupyter_scheduler_k8s import manifests, names, records
from jupyter_scheduler_k8s.cluster.cache import RecordCache
from jupyter_scheduler_k8s.errors import Conflict, NotFound, UnsupportedQuery
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record

# What only describes a job, with the kinds of its values. The rest of what was asked
# for is in the pod already: changed here, the record would tell of another run.
_DESCRIBES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "tags": (list, type(None)),
    "output_filename_template": (str, type(None)),
    "update_time": (int,),
}
# Both end the run; which of them is shown until its pod is gone is the Job's to say.
_ENDS = frozenset({"STOPPING", "STOPPED"})

# The Job controller writes a Job a few times in a run, other people now and then.
_ATTEMPTS = 10


class JobClient(Protocol):
    """What a writer needs of `ClusterClient`."""

    def get_job(self, name: str) -> dict[str, Any]: ...

    def patch_job(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]: ...

    def delete_job(self, name: str, *, uid: str | None = None) -> None: ...


class JobWriter:
    """Creates, changes and deletes the Jobs that are records."""

    def __init__(
        self,
        client: JobClient,
        *,
        cache: RecordCache[JobRecord] | None = None,
        create: Callable[[Job], dict[str, Any]] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            client: how the API is reached.
            cache: what is written is put into it, where there is one.
            create: creates the Job of an instance, and returns it; a `JobCreator`.
            wall_clock: seconds since the epoch.
        """
        self._client = client
        self._cache = cache
        self._create = create
        self._wall_clock = wall_clock

    def add(self, instance: Any) -> None:
        """Create the Job of a new `orm.Job`, as `JobCreator` does.

        Raises:
            UnsupportedQuery: it is no job, or this writer creates none.
            BackendError: see `JobCreator`.
        """
        if self._create is None or not isinstance(instance, Job):
            raise UnsupportedQuery(f"{type(instance).__name__} can't be stored here.")
        if self._cache is None:
            self._create(instance)
            return
        with self._cache.writing() as write:
            write.put(self._create(instance))

    def check(self, values: Mapping[str, Any]) -> None:
        """
        Raises:
            UnsupportedQuery: a column can't be changed, or not to this; it is named.
        """
        for column, value in values.items():
            if column == "status":
                if _text(value) not in _ENDS:
                    raise UnsupportedQuery(
                        f"The status of a job can't be set to {_text(value)}, since its Job's own"
                        " status is shown: only STOPPED and STOPPING can be set, and end the run."
                    )
            elif column not in _DESCRIBES:
                raise UnsupportedQuery(
                    f"The column {column} can't be changed: it says what the run was started"
                    " with, or what became of it."
                )
            elif not _fits(column, value):
                raise UnsupportedQuery(f"The column {column} can't be set to {value!r}.")

    def update(self, record: JobRecord, values: Mapping[str, Any]) -> bool:
        """Change columns of a record, which `check` has seen; with a status, end its run.

        Returns:
            Whether the record was still there.

        Raises:
            UnsupportedQuery: the run has ended otherwise than it should be made to.
            Conflict: the Job was changed by others all the while.
            ClusterError: see `ClusterClient`.
        """
        for _ in range(_ATTEMPTS):
            live = self._live(record)
            if live is None:
                return False
            try:
                self._patch(record, self._change(live, values))
            except NotFound:
                return False
            except Conflict:
                continue
            return True
        raise Conflict(
            f"The job {record.job_id} is being changed by others all the time; try again."
        )

    def delete(self, record: JobRecord) -> bool:
        """Delete the Job, and with it the run if it goes on; its files in S3 stay.

        Returns:
            Whether the record was still there.
        """
        live = self._live(record)
        if live is None:
            return False
        uid = live["metadata"]["uid"]
        try:
            self._client.delete_job(record.object_name, uid=uid)
        except NotFound:
            return False
        if self._cache is not None:
            self._cache.forget(record.object_name, uid)
        return True

    def _live(self, record: JobRecord) -> dict[str, Any] | None:
        """The Job of this record, unless it is gone or its name is another's by now."""
        try:
            live = self._client.get_job(record.object_name)
        except NotFound:
            return None
        return live if job_record(live, (), 0).job_id == record.job_id else None

    def _change(self, live: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """The merge patch of a Job that makes its record have these values."""
        described = {column: value for column, value in values.items() if column != "status"}
        described.setdefault("update_time", int(self._wall_clock() * 1000))
        data = records.job_data(replace(records.parse_job_data(live), **described))
        body = self._end(live, values["status"]) if "status" in values else {"metadata": {}}
        annotations = {**body["metadata"].get("annotations", {}), names.JOB_DATA_ANNOTATION: data}
        version = live["metadata"]["resourceVersion"]
        return {**body, "metadata": {"annotations": annotations, "resourceVersion": version}}

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

    def _patch(self, record: JobRecord, body: Mapping[str, Any]) -> None:
        if self._cache is None:
            self._client.patch_job(record.object_name, body)
            return
        with self._cache.writing() as write:
            write.put(self._client.patch_job(record.object_name, body))


def _text(value: Any) -> str:
    """A status as it is stored: upstream's is an enumeration of texts."""
    return str(getattr(value, "value", value))


def _fits(column: str, value: Any) -> bool:
    if not isinstance(value, _DESCRIBES[column]) or isinstance(value, bool):
        return False
    return not isinstance(value, list) or all(isinstance(item, str) for item in value)
