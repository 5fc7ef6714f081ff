"""`K8sScheduler`: upstream's contract on one side, Kubernetes and S3 on the other.

Reading is upstream's own code, over `K8sQuery`. Writing is not: upstream's
writers copy files and start processes on the event loop, so each is replaced by
an `async` one whose blocking parts run in threads. docs/decisions.md has the
reason for each method that stands here.
"""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import cached_property
from typing import Any
from uuid import uuid4

from jupyter_scheduler.exceptions import IdempotencyTokenError, InputUriError
from jupyter_scheduler.models import (
    CountJobsQuery,
    CreateJob,
    CreateJobDefinition,
    CreateJobFromDefinition,
    DescribeJob,
    DescribeJobDefinition,
    JobFile,
    ListJobDefinitionsQuery,
    ListJobDefinitionsResponse,
    ListJobsQuery,
    ListJobsResponse,
    UpdateJob,
    UpdateJobDefinition,
)
from jupyter_scheduler.scheduler import Scheduler
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from traitlets import TraitError, Type

from jupyter_scheduler_k8s import combinations, manifests, names, notebooks, records, staging
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.backend import Backend, early
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database import K8sSession
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    ConfigurationError,
    NotFound,
    RecordError,
    Rejected,
    UnsupportedQuery,
)
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import ENDED, JobRecord
from jupyter_scheduler_k8s.storage import Storage

_COLUMNS = frozenset(column.name for column in fields(JobRecord))


class K8sScheduler(Scheduler):
    """Runs notebook jobs as Kubernetes Jobs, which are also their records."""

    execution_manager_class = Type(
        "jupyter_scheduler_k8s.executors.FullModeExecutionManager",
        klass="jupyter_scheduler.executors.ExecutionManager",
        config=True,
        help="The execution manager class, which says what jobs can do.",
    )

    # Not a setting any more: Kubernetes starts what is scheduled, and a task
    # runner that did so too would start it twice.
    task_runner_class = None

    def __init__(
        self,
        root_dir: str,
        environments_manager: Any,
        db_url: str = "",
        config: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root_dir=root_dir,
            environments_manager=environments_manager,
            db_url=db_url,
            config=config,
            **kwargs,
        )

    @cached_property
    def backend(self) -> Backend:
        """What reaches the cluster and the bucket; made when it is first asked for.

        So a server with a wrong setting starts, and its pages say which it is.

        Raises:
            ConfigurationError: a setting can't be what it is.
        """
        combinations.refuse_misplaced(self.config, full_mode=True)
        try:
            return Backend(config=K8sConfig(parent=self), log=self.log)
        except TraitError as error:
            raise ConfigurationError(f"A setting is wrong: {error}") from error

    @property
    def storage(self) -> Storage:
        """The bucket of the jobs' files.

        Raises:
            ConfigurationError: none is set.
        """
        return self.backend.storage

    @property
    def db_session(self) -> Callable[[], K8sSession]:
        """What upstream's readers open where stock opens its database."""
        return self.backend.database.create_session()

    # Reading.

    async def list_jobs(self, query: ListJobsQuery) -> ListJobsResponse:
        """A page of jobs. Waits, at a server's first use, until the records are there.

        Raises:
            UnsupportedQuery: the page or its order can't be what the query names.
        """
        for order in query.sort_by:
            if order.name not in _COLUMNS:
                raise UnsupportedQuery(f"Jobs can't be sorted by {order.name!r}.")
        if query.next_token and not query.next_token.isdecimal():
            raise UnsupportedQuery(f"{query.next_token!r} is no next_token of a list of jobs.")
        await self.backend.synced()
        found = super().list_jobs(query)
        for job in found.jobs:
            self._date(job)
        return found

    async def count_jobs(self, query: CountJobsQuery) -> int:
        """The number of jobs with a status."""
        await self.backend.synced()
        return int(super().count_jobs(query))

    async def get_job(self, job_id: str, job_files: bool | None = True) -> DescribeJob:
        """One job.

        Raises:
            NotFound: this server's owner has no such job.
            RecordError: more than one Job says that it is this job.
        """
        await self.backend.synced()
        try:
            found = super().get_job(job_id, job_files)
        except NoResultFound:
            raise _unknown(job_id) from None
        except MultipleResultsFound:
            raise RecordError(
                f"Two Jobs have the label of the job {job_id}: one is a copy; delete it with"
                " kubectl."
            ) from None
        self._date(found)
        return found

    def _date(self, job: DescribeJob) -> None:
        """Say of a job that may have changed since how old this is, where that is long."""
        if job.status not in ENDED and (remark := self.backend.staleness()):
            job.status_message = f"{job.status_message or ''} {remark}".strip()

    def add_job_files(self, model: DescribeJob) -> None:
        """Fill in which files of the job are in the output folder."""
        labels = self.environments_manager.output_formats_mapping()
        filenames = self.get_job_filenames(model)
        folder = self.get_local_output_path(model, root_dir_relative=True)
        wanted = [(labels.get(name, name), name) for name in model.output_formats or ()]
        files = []
        for label, file_format in [*wanted, ("Input", "input")]:
            path = os.path.join(folder, str(filenames[file_format]))  # noqa: PTH118
            files.append(_file(label, file_format, path if self.file_exists(path) else None))
        if model.package_input_folder:
            files.append(_file("Files", "files", folder if self.dir_exists(folder) else None))
        model.job_files = files
        model.downloaded = all(file.file_path for file in files)

    def get_staging_paths(self, model: DescribeJob) -> dict[str, str]:
        """Where the files of a job are in S3: names that hold no time and no user's text."""
        root = f"s3://{self.backend.config.s3_bucket}/"
        outputs = root + names.output_prefix(model.job_id)
        paths = {name: outputs + names.output_file(name) for name in model.output_formats or ()}
        paths["input"] = (
            root + names.input_prefix(model.job_id) + names.escape_path(model.input_filename)
        )
        return paths

    # Writing.

    async def create_job(self, model: CreateJob) -> str:
        """Store the inputs, then create the Job. No record exists before its inputs are safe.

        Returns:
            The job's id.

        Raises:
            InputUriError: there is no such input file.
            IdempotencyTokenError: a job with this token exists.
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        if not model.input_uri:
            raise InputUriError(model.input_uri)
        config = self.backend.config
        config.require_bucket()
        record = self._new_record(model)
        options = admit(record, config)
        with early(self.backend.placement()) as placement:
            tree = await asyncio.to_thread(self._stage, model)
            if model.idempotency_token:
                await self._refuse_known_token(record)
            async with self.backend.pending.noted(record) as note:
                await self.storage.upload_tree(names.input_prefix(record.job_id), tree)
                # After the upload, which has shown that they are right: all jobs use this Secret.
                credentials = await self.backend.share_credentials()
                manifest = manifests.job_manifest(
                    record,
                    config,
                    options=options,
                    placement=await placement,
                    credentials=credentials,
                )
                await note.before_create()
                await self._create(manifest, record, options)
        self.backend.share_again()
        # A job is looked after though nobody opens a page.
        self.backend.start()
        return record.job_id

    async def update_job(self, job_id: str, model: UpdateJob) -> None:
        """Change what the record says of a job: its name."""
        record = await self._record(job_id)
        changes = model.dict(exclude_none=True, exclude={"status"})
        changed = replace(record, update_time=_now(), **changes)
        body = {"metadata": {"annotations": {names.JOB_DATA_ANNOTATION: records.job_data(changed)}}}
        await self._patch(record, body)

    async def stop_job(self, job_id: str) -> None:
        """End a run, with what it has computed kept. Nothing happens where it had ended."""
        record = await self._record(job_id)
        if not record.ended:
            await self._patch(record, manifests.end_patch("stopped"))

    async def delete_job(self, job_id: str) -> None:
        """Delete a job: its run, its files, and at last its record, so that it can be repeated."""
        record = await self._record(job_id)
        if not record.ended:
            await self._patch(record, manifests.end_patch("stopped"))
            await self.backend.ended(record)
        await self.storage.delete_prefix(names.job_prefix(record.job_id))
        await asyncio.to_thread(self.backend.client.delete_job, record.object_name)
        self.backend.cache.forget(record.object_name)

    # Definitions, which are CronJobs, come with the schedules.

    async def create_job_definition(self, model: CreateJobDefinition) -> str:
        """Refused: this release runs jobs now, not on a schedule."""
        raise _no_schedules()

    async def update_job_definition(
        self, job_definition_id: str, model: UpdateJobDefinition
    ) -> None:
        """Refused, as `create_job_definition` is."""
        raise _no_schedules()

    async def delete_job_definition(self, job_definition_id: str) -> None:
        """Refused, as `create_job_definition` is."""
        raise _no_schedules()

    async def create_job_from_definition(
        self, job_definition_id: str, model: CreateJobFromDefinition
    ) -> str:
        """Refused, as `create_job_definition` is."""
        raise _no_schedules()

    async def get_job_definition(self, job_definition_id: str) -> DescribeJobDefinition:
        """Refused, as `create_job_definition` is."""
        raise _no_schedules()

    async def list_job_definitions(
        self, query: ListJobDefinitionsQuery
    ) -> ListJobDefinitionsResponse:
        """None, so that the page of definitions shows an empty list."""
        return ListJobDefinitionsResponse()

    def _new_record(self, model: CreateJob) -> JobRecord:
        created = _now()
        return records.new_record(
            model.dict(exclude_none=True, exclude={"input_uri"}),
            job_id=str(uuid4()),
            owner=self.backend.config.owner,
            create_time=created,
            update_time=created,
        )

    def _stage(self, model: CreateJob) -> staging.StagedTree:
        """The files to send for a job, once they are known to be a runnable notebook. Blocking."""
        tree = staging.stage(
            self.root_dir,
            model.input_uri,
            package=bool(model.package_input_folder),
            output_directory=self.output_directory,
        )
        if model.input_filename != tree.notebook:
            raise BackendError(
                f"input_filename must be the name of the input file, {tree.notebook!r}: leave it"
                " out."
            )
        for path, why in tree.skipped.items():
            self.log.warning("The file %s was left out of the job: %s", path, why)
        notebook = next(file for file in tree.files if file.path == tree.notebook)
        with notebook.open() as file:
            notebooks.check_notebook(tree.notebook, file.read())
        return tree

    async def _create(
        self, manifest: dict[str, Any], record: JobRecord, options: JobOptions
    ) -> None:
        """Create the Job, and show it."""
        try:
            with self.backend.cache.writing() as write:
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
            return self.backend.client.create_job(manifest)
        except AlreadyExists as found:
            if found.live["metadata"].get("labels", {}).get(names.JOB_ID_LABEL) == record.job_id:
                return dict(found.live)
            raise IdempotencyTokenError(record.idempotency_token or record.job_id) from None

    async def _refuse_known_token(self, record: JobRecord) -> None:
        # A live read: the cache may not have heard of the first request yet.
        try:
            await asyncio.to_thread(self.backend.client.get_job, record.object_name)
        except NotFound:
            return
        raise IdempotencyTokenError(record.idempotency_token or record.job_id)

    async def _record(self, job_id: str) -> JobRecord:
        await self.backend.synced()
        found = self.backend.cache.get(job_id)
        if found is None:
            raise _unknown(job_id)
        return found

    async def _patch(self, record: JobRecord, body: dict[str, Any]) -> None:
        with self.backend.cache.writing() as write:
            try:
                patched = await asyncio.to_thread(
                    self.backend.client.patch_job, record.object_name, body
                )
            except NotFound:
                raise _unknown(record.job_id) from None
            write.put(patched)


def _file(label: str, file_format: str, path: str | None) -> JobFile:
    # Checking our own texts would be half of the time that a page of jobs takes.
    return JobFile.construct(display_name=label, file_format=file_format, file_path=path)


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id}: it was deleted, or belongs to somebody else.")


def _no_schedules() -> BackendError:
    return BackendError(
        "Schedules are not supported by this release: create a job that runs now instead."
    )


def _now() -> int:
    return int(time.time() * 1000)
