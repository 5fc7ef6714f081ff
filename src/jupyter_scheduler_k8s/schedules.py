"""Definitions: CronJobs that are created, changed and deleted, and runs by hand."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from logging import Logger
from typing import Any
from uuid import uuid4

from jupyter_scheduler.exceptions import InputUriError
from jupyter_scheduler.models import CreateJobDefinition, UpdateJobDefinition

from jupyter_scheduler_k8s import cron_manifest, names, objects, records, versions
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.cron_manifest import Operation
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    Conflict,
    NotFound,
    Rejected,
)
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord
from jupyter_scheduler_k8s.runs import Runs
from jupyter_scheduler_k8s.staging import StagedTree
from jupyter_scheduler_k8s.submission import Submission
from jupyter_scheduler_k8s.tasks import early
from jupyter_scheduler_k8s.views import as_defined, definition_record

# The controller writes a CronJob at each of its slots, other people now and then.
_ATTEMPTS = 10


class Schedules:
    """The definitions of one owner."""

    def __init__(
        self, backend: Backend, *, submission: Submission, runs: Runs, log: Logger
    ) -> None:
        self._backend = backend
        self._submission = submission
        self._runs = runs
        self._log = log

    async def record(self, definition_id: str) -> DefinitionRecord:
        """
        Raises:
            NotFound: this server's owner has no such definition.
        """
        await self._backend.synced()
        found = self._backend.definitions.get(definition_id)
        if found is None:
            raise unknown(definition_id)
        return found

    async def create(self, model: CreateJobDefinition) -> str:
        """Store the inputs of a definition, then create its CronJob.

        Returns:
            The definition's id.

        Raises:
            InputUriError: there is no such input file.
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        backend = self._backend
        if not model.input_uri:
            raise InputUriError(model.input_uri)
        backend.config.require_bucket()
        record = records.new_definition(
            model.dict(exclude_none=True, exclude={"input_uri"}),
            definition_id=str(uuid4()),
            owner=backend.config.owner,
            create_time=int(time.time() * 1000),
            input_version=_new_version(),
        )
        options = admit(record, backend.config)
        # Refuses what Kubernetes doesn't know before anything is stored.
        cron_manifest.times(record)
        with early(backend.placement()) as placement:
            tree = await self._submission.stage(
                model.input_uri,
                named=model.input_filename,
                package=bool(model.package_input_folder),
            )
            async with backend.pending.noted(record) as note:
                await self._upload(record, tree)
                manifest = cron_manifest.cron_job_manifest(
                    record,
                    backend.config,
                    options=options,
                    placement=await placement,
                    credentials=await backend.share_credentials(),
                )
                await note.before_create()
                await self._create(manifest, record, options)
        backend.share_again()
        backend.start()
        self._log.info("Created the CronJob %s: %s.", record.object_name, _described(manifest))
        return record.job_definition_id

    async def update(self, definition_id: str, model: UpdateJobDefinition) -> None:
        """Change a definition, from its next run on.

        Raises:
            NotFound: there is no such definition.
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        known = await self.record(definition_id)
        changes = model.dict(exclude_none=True, exclude_unset=True, exclude={"input_uri", "url"})
        if not model.input_uri:
            await self._change(known, changes)
            return
        try:
            tree = await self._submission.stage(
                model.input_uri, package=bool(known.package_input_folder)
            )
        except InputUriError as error:
            # Upstream's handler of edits, unlike that of creations, hides what this one says.
            raise BackendError(str(error)) from None
        changes |= {"input_filename": tree.notebook, "input_version": _new_version()}
        async with self._backend.pending.noted(replace(known, **records.as_read(changes))) as note:
            await self._upload(replace(known, **records.as_read(changes)), tree)
            await note.before_create()
            former = await self._change(known, changes)
        await self._forget_versions(definition_id, keep={*former, changes["input_version"]})

    async def delete(self, definition_id: str) -> None:
        """Delete a definition with its runs, and at last its CronJob, so that it can be repeated.

        Raises:
            NotFound: there is no such definition.
            BackendError: something of it is still there, and why.
        """
        record = await self.record(definition_id)
        name = record.object_name
        # No run may begin any more. Where somebody has deleted the CronJob, the rest is left.
        with contextlib.suppress(NotFound):
            await self._write(name, [Operation(body={"spec": {"suspend": True}})], version=None)
        await self._delete_all_of(record)
        with contextlib.suppress(NotFound):
            await asyncio.to_thread(self._backend.client.delete_cron_job, name)
        self._backend.definitions.forget(name)
        # The controller may have begun one just before it heard of the end.
        await self._delete_all_of(record)
        self._log.info("Deleted the CronJob %s and its runs.", name)

    async def run_now(self, definition_id: str, parameters: dict[str, str] | None) -> str:
        """Run a definition once, now.

        Returns:
            The job's id.

        Raises:
            NotFound: there is no such definition.
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        # As it is now: another server may have changed it, and removed the files before.
        live = await self._live(await self.record(definition_id))
        as_defined(live)
        return await self._submission.run_definition(definition_record(live), parameters)

    async def _live(self, known: DefinitionRecord) -> dict[str, Any]:
        try:
            return await asyncio.to_thread(self._backend.client.get_cron_job, known.object_name)
        except NotFound:
            raise unknown(known.job_definition_id) from None

    async def _delete_all_of(self, record: DefinitionRecord) -> None:
        definition_id = record.job_definition_id
        # A copy that somebody made of a CronJob has no runs and no files of its own.
        if record.object_name == names.definition_name(definition_id):
            await self._runs.delete_of_definition(definition_id)
            await self._backend.storage.delete_prefix(names.definition_prefix(definition_id))

    async def _upload(self, record: DefinitionRecord, tree: StagedTree) -> None:
        prefix = names.definition_input_prefix(record.job_definition_id, record.input_version)
        await self._backend.storage.upload_tree(prefix, tree)

    async def _create(
        self, manifest: dict[str, Any], record: DefinitionRecord, options: JobOptions
    ) -> None:
        try:
            with self._backend.definitions.writing() as write:
                write.put(await asyncio.to_thread(self._create_once, manifest))
        except ClusterUnavailable as error:
            raise ClusterUnavailable(
                f"{error} The definition {record.name!r} may have been created: look for it in the"
                " list before you try again."
            ) from error
        except Rejected as error:
            raise Rejected(f"{error} {options.described()}".strip()) from error

    def _create_once(self, manifest: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._backend.client.create_cron_job(manifest)
        except AlreadyExists as found:
            # Its name is made of a new id: it is that of an attempt whose answer was lost.
            return dict(found.live)

    async def _change(self, known: DefinitionRecord, changes: Mapping[str, Any]) -> set[str]:
        """Write the changes onto the CronJob as it is.

        Returns:
            The versions of input files that it had meanwhile, the first one among them: an
            attempt whose answer was lost may have worked, and left the next one nothing to do.
        """
        backend = self._backend
        former = set()
        placement = await backend.placement()
        credentials = await backend.share_credentials()
        for _ in range(_ATTEMPTS):
            live = await self._live(known)
            # Refuses what can't be read: it would be written over.
            as_defined(live)
            before = definition_record(live)
            former.add(before.input_version)
            changed = replace(
                before, **records.as_read(changes), update_time=int(time.time() * 1000)
            )
            options = admit(changed, backend.config)
            manifest = cron_manifest.cron_job_manifest(
                changed,
                backend.config,
                options=options,
                placement=placement,
                credentials=credentials,
            )
            operations = cron_manifest.edit_operations(
                live, manifest, objects.timestamp(time.time())
            )
            try:
                await self._write(
                    known.object_name, operations, version=live["metadata"]["resourceVersion"]
                )
            except Conflict:
                continue
            except NotFound:
                raise unknown(known.job_definition_id) from None
            except Rejected as error:
                raise Rejected(f"{error} {options.described()}".strip()) from error
            backend.share_again()
            self._log.info("Changed the CronJob %s: %s.", known.object_name, _described(manifest))
            return former
        raise Conflict(
            f"The definition {known.name!r} is being changed by others all the time; try again."
        )

    async def _write(self, name: str, operations: list[Operation], *, version: str | None) -> None:
        """Apply patches in their order, each to what the one before left."""
        for operation in operations:
            body = dict(operation.body)
            if version is not None:
                body["metadata"] = {**body.get("metadata", {}), "resourceVersion": version}
            with self._backend.definitions.writing() as write:
                written = await asyncio.to_thread(
                    self._backend.client.patch_cron_job, name, body, status=operation.status
                )
                write.put(written)
            version = version and written["metadata"]["resourceVersion"]

    async def _forget_versions(self, definition_id: str, *, keep: set[str]) -> None:
        """Remove input files that no run can ask for any more.

        The version before the current one stays: the controller may not have heard of
        the change when it begins the next run.
        """
        storage, prefix = self._backend.storage, names.versions_prefix(definition_id)
        try:
            stored = {
                found.key.removeprefix(prefix).partition("/")[0]
                for found in await storage.list(prefix)
            }
            # In this order: another server strikes off its note when the CronJob has its version.
            pending = await self._backend.pending.versions(definition_id)
            used = await asyncio.to_thread(versions.in_use, self._backend.client, definition_id)
            for version in stored - used - pending - keep:
                await storage.delete_prefix(names.version_prefix(definition_id, version))
        except BackendError as error:
            # They take space and harm nothing; the next edit looks again.
            self._log.warning("Former input files remain in S3 at %s: %s", prefix, error)


def _described(manifest: Mapping[str, Any]) -> str:
    spec = manifest["spec"]
    if spec["suspend"]:
        return "it begins no runs"
    return f"{spec['schedule']} in {spec['timeZone']}"


def _new_version() -> str:
    return uuid4().hex


def unknown(definition_id: str) -> NotFound:
    """What is said of a definition that isn't there."""
    return NotFound(
        f"There is no job definition {definition_id}: it was deleted, or belongs to somebody else."
    )
