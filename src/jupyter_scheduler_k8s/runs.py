"""Ends and deletes runs. Every step may be repeated, and the record goes last."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jupyter_scheduler_k8s import manifests, names
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.errors import NotFound
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record

# So many runs of a definition are deleted at once.
_AT_ONCE = 16


class Runs:
    """The runs of one owner, of a schedule or not."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def record(self, job_id: str) -> JobRecord:
        """
        Raises:
            NotFound: this server's owner has no such job.
        """
        await self._backend.synced()
        found = self._backend.cache.get(job_id)
        if found is None:
            raise unknown(job_id)
        return found

    async def stop(self, record: JobRecord) -> None:
        """End a run, with what it has computed kept. Nothing happens where it had ended."""
        if record.ended:
            return
        with self._backend.cache.writing() as write:
            try:
                patched = await asyncio.to_thread(
                    self._backend.client.patch_job,
                    record.object_name,
                    manifests.end_patch("stopped"),
                )
            except NotFound:
                raise unknown(record.job_id) from None
            write.put(patched)

    async def delete(self, record: JobRecord) -> None:
        """Delete a job: its run, its files, and at last its record, so that it can be repeated.

        One that somebody else deletes meanwhile is as good as deleted.

        Raises:
            ClusterError: its run goes on, or the API doesn't answer.
            StorageError: S3 didn't delete its files; the job is still listed.
        """
        if not record.ended:
            with suppress(NotFound):
                await self.stop(record)
                await self._backend.ended(record)
        await self._backend.storage.delete_prefix(names.job_prefix(record.job_id))
        with suppress(NotFound):
            await asyncio.to_thread(self._backend.client.delete_job, record.object_name)
        self._backend.cache.forget(record.object_name)

    async def delete_of_definition(self, definition_id: str) -> None:
        """Delete all runs of a definition that the cluster has, whoever began them.

        Raises:
            BackendError: one of them is still there, and why.
        """
        jobs = await asyncio.to_thread(
            self._backend.client.list_jobs, f"{names.DEFINITION_ID_LABEL}={definition_id}"
        )
        found = [job_record(job, (), 0) for job in jobs]
        slots = asyncio.Semaphore(_AT_ONCE)
        await _each([self._delete_one(record, slots) for record in found])

    async def _delete_one(self, record: JobRecord, slots: asyncio.Semaphore) -> None:
        async with slots:
            await self.delete(record)


async def _each(work: Sequence[Any]) -> None:
    """Run all of it to its end; raise the first failure afterwards."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result


def unknown(job_id: str) -> NotFound:
    """What is said of a job that isn't there."""
    return NotFound(f"There is no job {job_id}: it was deleted, or belongs to somebody else.")
