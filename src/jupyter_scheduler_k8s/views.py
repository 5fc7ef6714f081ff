"""One job as it stands: what was asked for, from the record, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_scheduler_k8s import names, objects, status
from jupyter_scheduler_k8s.errors import RecordError
from jupyter_scheduler_k8s.records import JobRecord, parse_job_data


def job_record(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobRecord:
    """The record of this Job and its pods at `now` (seconds since the epoch).

    A Job under our labels whose annotation can't be read still has a record,
    whose message says what is wrong with it: nothing under a label is hidden.
    """
    metadata = job["metadata"]
    state = status.derive(job, pods, now)
    message = state.message
    try:
        asked = parse_job_data(job)
    except RecordError as error:
        message = str(error)
        asked = JobRecord(
            job_id=(metadata.get("labels") or {}).get(names.JOB_ID_LABEL) or metadata["name"],
            name=metadata["name"],
        )
    create_time = asked.create_time or objects.milliseconds(metadata["creationTimestamp"])
    # Kubernetes' times are whole seconds: a run must not seem to begin before
    # it was asked for.
    start_time = None if state.start_time is None else max(state.start_time, create_time)
    end_time = None if state.end_time is None else max(state.end_time, start_time or create_time)
    return replace(
        asked,
        status=state.status.value,
        status_message=message,
        create_time=create_time,
        update_time=max(asked.update_time, create_time, end_time or start_time or 0),
        start_time=start_time,
        end_time=end_time,
        url=f"/jobs/{asked.job_id}",
        object_name=metadata["name"],
    )
