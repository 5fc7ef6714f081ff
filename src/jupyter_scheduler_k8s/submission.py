"""From a request to a run: the inputs are stored, then the Job is created.

No record exists before its inputs are safe, and no inputs stay without a record.
"""

import asyncio
from collections.abc import Callable
from logging import Logger
from typing import Any
from uuid import uuid4

from jupyter_scheduler.exceptions import IdempotencyTokenError, InputUriError
from jupyter_scheduler.models import CreateJob

from jupyter_scheduler_k8s import manifests, names, notebooks, records, staging
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.errors import BackendError, ClusterUnavailable, NotFound, Rejected
from jupyter_scheduler_k8s.manifests import Definition
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord
from jupyter_scheduler_k8s.tasks import early


class Submission:
    """Creates jobs, of a notebook or of a definition."""

    def __init__(
        self,
        backend: Backend,
        *,
        root_dir: str,
        output_directory: str,
        log: Logger,
        wall_clock: Callable[[], int],
    ) -> None:
        """
        Args:
            backend: the cluster and the bucket.
            root_dir: the folder that JupyterLab shows, which inputs lie in.
            output_directory: the folder of downloads in it, which is never sent.
            log: where files that were left out are named.
            wall_clock: milliseconds since the epoch.
        """
        self._backend = backend
        self._root_dir = root_dir
        self._output_directory = output_directory
        self._log = log
        self._wall_clock = wall_clock

    async def create_job(self, model: CreateJob) -> str:
        """Store the inputs of a job, then create it.

        Returns:
            The job's id.

        Raises:
            InputUriError: there is no such input file.
            IdempotencyTokenError: a job with this token exists.
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        backend = self._backend
        if not model.input_uri:
            raise InputUriError(model.input_uri)
        backend.config.require_bucket()
        now = self._wall_clock()
        record = records.new_record(
            model.dict(exclude_none=True, exclude={"input_uri"}),
            job_id=str(uuid4()),
            owner=backend.config.owner,
            create_time=now,
            update_time=now,
        )
        # Refuses what can't be before anything is stored.
        options = admit(record, backend.config)
        with early(backend.placement()) as placement:
            tree = await self.stage(
                model.input_uri,
                named=model.input_filename,
                package=bool(model.package_input_folder),
            )
            if model.idempotency_token:
                await self._refuse_known_token(record)
            async with backend.pending.noted(record) as note:
                await backend.storage.upload_tree(names.input_prefix(record.job_id), tree)
                # After the upload, which has shown that they are right: all jobs use this Secret.
                credentials = await backend.share_credentials()
                manifest = manifests.job_manifest(
                    record,
                    backend.config,
                    options=options,
                    placement=await placement,
                    credentials=credentials,
                )
                await note.before_create()
                await self._create(manifest, record, options)
        backend.share_again()
        # A job is looked after though nobody opens a page.
        backend.start()
        return record.job_id

    async def run_definition(
        self, definition: DefinitionRecord, parameters: dict[str, str] | None
    ) -> str:
        """Run a definition once, now, with its files as they are; it keeps a copy of them.

        Returns:
            The job's id.

        Raises:
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        backend = self._backend
        backend.config.require_bucket()
        now = self._wall_clock()
        asked = records.run_of(definition)
        record = records.by_hand(
            asked,
            job_id=str(uuid4()),
            create_time=now,
            parameters=asked.parameters if parameters is None else parameters,
        )
        options = admit(record, backend.config)
        with early(backend.placement()) as placement:
            credentials = await backend.share_credentials()
            manifest = manifests.job_manifest(
                record,
                backend.config,
                options=options,
                placement=await placement,
                credentials=credentials,
                definition=Definition(
                    definition_id=definition.job_definition_id,
                    input_version=definition.input_version,
                ),
            )
        await self._create(manifest, record, options)
        backend.share_again()
        backend.start()
        return record.job_id

    async def stage(
        self, input_uri: str, *, named: str | None = None, package: bool
    ) -> staging.StagedTree:
        """The files to send, once they are known to be a runnable notebook.

        Args:
            input_uri: the notebook's path in the folder that JupyterLab shows.
            named: the file's name, where the request gives one.
            package: whether the notebook's folder is sent with it.

        Raises:
            InputUriError: there is no such input file.
            BackendError: it can't be sent or run, and why.
        """
        return await asyncio.to_thread(self._stage, input_uri, named, package)

    def _stage(self, input_uri: str, named: str | None, package: bool) -> staging.StagedTree:
        if named is not None:
            staging.check_filename(named)
        tree = staging.stage(
            self._root_dir, input_uri, package=package, output_directory=self._output_directory
        )
        if named is not None and named != tree.notebook:
            raise BackendError(
                f"input_filename must be the name of the input file, {tree.notebook!r}: leave it"
                " out."
            )
        for path, why in tree.skipped.items():
            self._log.warning("The file %s was left out of the job: %s", path, why)
        notebook = next(file for file in tree.files if file.path == tree.notebook)
        with notebook.open() as file:
            notebooks.check_notebook(tree.notebook, file.read())
        return tree

    async def _create(
        self, manifest: dict[str, Any], record: JobRecord, options: JobOptions
    ) -> None:
        """Create the Job, and show it."""
        try:
            with self._backend.cache.writing() as write:
                write.put(await asyncio.to_thread(self._create_once, manifest, record))
        except ClusterUnavailable as error:
            raise ClusterUnavailable(
                f"{error} The job may have been created: look for it in the list before you try"
                " again."
            ) from error
        except Rejected as error:
            raise Rejected(f"{error} {options.described()}".strip()) from error

    def _create_once(self, manifest: dict[str, Any], record: JobRecord) -> dict[str, Any]:
        """Create the Job. Blocking.

        A create that timed out may have taken effect, so one that finds the Job
        there is a success where it is our own.
        """
        try:
            return self._backend.client.create_job(manifest)
        except AlreadyExists as found:
            if found.live["metadata"].get("labels", {}).get(names.JOB_ID_LABEL) == record.job_id:
                return dict(found.live)
            raise IdempotencyTokenError(record.idempotency_token or record.job_id) from None

    async def _refuse_known_token(self, record: JobRecord) -> None:
        # A live read: the cache may not have heard of the first request yet.
        try:
            await asyncio.to_thread(self._backend.client.get_job, record.object_name)
        except NotFound:
            return
        raise IdempotencyTokenError(record.idempotency_token or record.job_id)
