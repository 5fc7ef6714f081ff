"""Ends and deletes runs. Every step may be repeated, and the record goes last."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from jupyter_scheduler_k8s import manifests, names, records
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.errors import NotFound
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.views import job_record

# So many requests are under way for the runs of a definition that is deleted.
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
        await self._delete(record, asyncio.Semaphore())

    async def delete_of_definition(self, definition_id: str) -> None:
        """Delete all runs of a definition of this owner that the cluster has, whoever began them.

        Raises:
            BackendError: one of them is still there, and why.
        """
        selector = records.selector(self._backend.config.owner)
        jobs = await asyncio.to_thread(
            self._backend.client.list_jobs,
            f"{selector},{names.DEFINITION_ID_LABEL}={definition_id}",
        )
        slots = asyncio.Semaphore(_AT_ONCE)
        # Without pods and time: whether a run has ended, and its id, its Job says alone.
        await _each([self._delete(job_record(job, (), 0), slots) for job in jobs])

    async def _delete(self, record: JobRecord, slots: asyncio.Semaphore) -> None:
        if not record.ended:
            with suppress(NotFound):
                async with slots:
                    await self.stop(record)
                # Without a slot: all that go on have their grace period at the same time.
                await self._backend.ended(record)
        async with slots:
            await self._backend.storage.delete_prefix(names.job_prefix(record.job_id))
            with suppress(NotFound):
                await asyncio.to_thread(self._backend.client.delete_job, record.object_name)
        self._backend.cache.forget(record.object_name)


async def _each(work: Sequence[Any]) -> None:
    """Run all of it to its end; raise the first failure afterwards."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for result in done:
        if isinstance(result, BaseException):
            raise result


def unknown(job_id: str) -> NotFound:
    """What is said of a job that isn't there."""
    return NotFound(f"There is no job {job_id}: it was deleted, or belongs to somebody else.")
