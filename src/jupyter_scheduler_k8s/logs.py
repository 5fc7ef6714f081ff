"""The end of a run's log: in S3 once the run has ended, in its pod until then."""

import asyncio
from collections.abc import Mapping
from typing import Any

from jupyter_scheduler_k8s import attempts, names, objects
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.errors import BackendError, NotFound, ObjectMissing
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.storage import Storage

# What a server keeps of a log in S3 is smaller: see supervisor.py.
_STORED_BYTES = 1 << 20
# What a page shows.
_LINES = 200
_CHARACTERS = 128 * 1024


async def end_of(backend: Backend, record: JobRecord) -> str:
    """The last lines that a run's notebook container wrote; empty where there are none.

    Raises:
        BackendError: S3, or the cluster, doesn't tell.
    """
    found = ""
    if record.ended:
        outputs = names.output_prefix(record.job_id)
        outputs = attempts.outputs_of(record.job_id, await backend.storage.list(outputs))
        found = (await stored(backend.storage, outputs)).decode("utf-8", "replace")
    found = found or await _in_pod(backend, record)
    return "\n".join(found.splitlines()[-_LINES:])[-_CHARACTERS:]


async def _in_pod(backend: Backend, record: JobRecord) -> str:
    """The log of the last attempt that has begun, while its pod is there."""
    _, pods = backend.cache.objects(record.object_name) or ({}, [])
    begun = [pod for pod in pods if objects.has_begun(pod, names.NOTEBOOK_CONTAINER)]
    for pod in objects.newest_first(begun)[:1]:
        try:
            return await asyncio.to_thread(
                backend.client.read_log,
                pod["metadata"]["name"],
                names.NOTEBOOK_CONTAINER,
                tail_lines=_LINES,
            )
        except NotFound:
            break
    return ""


async def stored(storage: Storage, outputs: str) -> bytes:
    """The end of a run's log: as the run stored it, or as a server kept it."""
    told = (await result(storage, outputs)).get("log_tail")
    if isinstance(told, str) and told:
        return told.encode()
    try:
        return await storage.get_bytes(outputs + names.LOG_KEY, limit=_STORED_BYTES)
    except ObjectMissing:
        return b""


async def result(storage: Storage, outputs: str) -> Mapping[str, Any]:
    """What a run told of itself; nothing where that isn't there or can't be read."""
    try:
        found = await storage.get_json(outputs + names.RESULT_KEY)
    except BackendError:
        return {}
    return found if isinstance(found, dict) else {}
