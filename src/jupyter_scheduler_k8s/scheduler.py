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
from functools import cached_property
from typing import Any

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
    SortDirection,
    UpdateJob,
    UpdateJobDefinition,
)
from jupyter_scheduler.orm import Job, JobDefinition
from jupyter_scheduler.scheduler import Scheduler
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from traitlets import TraitError, Type

from jupyter_scheduler_k8s import combinations, logs, names
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database import K8sSession
from jupyter_scheduler_k8s.errors import ConfigurationError, RecordError, UnsupportedQuery
from jupyter_scheduler_k8s.records import ENDED, DefinitionRecord
from jupyter_scheduler_k8s.runs import Runs, unknown
from jupyter_scheduler_k8s.schedules import Schedules
from jupyter_scheduler_k8s.storage import Storage
from jupyter_scheduler_k8s.submission import Submission

_COLUMNS = frozenset(Job.__table__.columns.keys())
_DEFINITION_COLUMNS = frozenset(JobDefinition.__table__.columns.keys())
# More than any list needs, and fewer than Python reads as a number.
_TOKEN_DIGITS = 18


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

    @cached_property
    def submission(self) -> Submission:
        """What creates jobs."""
        return Submission(
            self.backend,
            root_dir=self.root_dir,
            output_directory=self.output_directory,
            log=self.log,
            wall_clock=_now,
        )

    @cached_property
    def runs(self) -> Runs:
        """What ends and deletes jobs."""
        return Runs(self.backend)

    @cached_property
    def schedules(self) -> Schedules:
        """What creates, changes and deletes definitions."""
        return Schedules(self.backend, submission=self.submission, runs=self.runs, log=self.log)

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
        _check_page(query, "jobs", _COLUMNS)
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
            raise unknown(job_id) from None
        except MultipleResultsFound:
            raise RecordError(
                f"Two Jobs have the label of the job {job_id}: one is a copy; delete it with"
                " kubectl."
            ) from None
        self._date(found)
        return found

    async def log_of(self, job_id: str) -> str:
        """The end of a job's log; empty where there is none (yet).

        Raises:
            NotFound: this server's owner has no such job.
        """
        return await logs.end_of(self.backend, await self.runs.record(job_id))

    def _date(self, job: DescribeJob) -> None:
        """Say of a job that may have changed since how old this is, where that is long."""
        if job.status not in ENDED and (remark := self.backend.staleness()):
            job.status_message = f"{job.status_message or ''} {remark}".strip()

    def add_job_files(self, model: DescribeJob) -> None:
        """Fill in which files of the job are in the output folder."""
        labels = self.environments_manager.output_formats_mapping()
        filenames = self.get_job_filenames(model)
        folder = self.get_local_output_path(model, root_dir_relative=True)
        formats = dict.fromkeys(model.output_formats or ())
        wanted = [(labels.get(name, name), name) for name in formats]
        files = []
        for label, file_format in [*wanted, ("Input", "input")]:
            path = os.path.join(folder, str(filenames[file_format]))  # noqa: PTH118
            files.append(_file(label, file_format, path if self.file_exists(path) else None))
        if model.package_input_folder:
            files.append(_file("Files", "files", folder if self.dir_exists(folder) else None))
        model.job_files = files
        model.downloaded = all(file.file_path for file in files)

    def get_staging_paths(self, model: DescribeJob | DescribeJobDefinition) -> dict[str, str]:
        """Where the files of a job are in S3: names that hold no time and no user's text.

        A definition has an input only, which lies with it in a version of its own.
        """
        root = f"s3://{self.backend.config.s3_bucket}/"
        notebook = names.escape_path(model.input_filename)
        if isinstance(model, DescribeJobDefinition):
            record = self.backend.definitions.get(model.job_definition_id)
            version = record.input_version if record else ""
            prefix = names.definition_input_prefix(model.job_definition_id, version)
            return {"input": root + prefix + notebook}
        outputs = root + names.output_prefix(model.job_id)
        paths = {name: outputs + names.output_file(name) for name in model.output_formats or ()}
        paths["input"] = root + names.input_prefix(model.job_id) + notebook
        return paths

    async def list_job_definitions(
        self, query: ListJobDefinitionsQuery
    ) -> ListJobDefinitionsResponse:
        """A page of definitions.

        Raises:
            UnsupportedQuery: the page or its order can't be what the query names.
        """
        _check_page(query, "job definitions", _DEFINITION_COLUMNS)
        await self.backend.synced()
        with self.db_session() as session:
            found = session.query(JobDefinition)
        if query.create_time:
            found = found.filter(JobDefinition.create_time >= query.create_time)
        if query.name:
            found = found.filter(JobDefinition.name.like(f"{query.name}%"))
        found = found.filter(*(JobDefinition.tags.contains(tag) for tag in query.tags or ()))
        total = found.count()
        for order in query.sort_by:
            column = getattr(JobDefinition, order.name)
            found = found.order_by(
                column.desc() if order.direction is SortDirection.desc else column.asc()
            )
        begin = int(query.next_token or 0)
        page = found.limit(query.max_items).offset(begin).all()
        end = begin + len(page)
        return ListJobDefinitionsResponse(
            job_definitions=[_described(record) for record in page],
            next_token=str(end) if end < total else None,
            total_count=total,
        )

    async def get_job_definition(self, job_definition_id: str) -> DescribeJobDefinition:
        """One definition.

        Raises:
            NotFound: this server's owner has no such definition.
        """
        return _described(await self.schedules.record(job_definition_id))

    # Writing.

    async def create_job(self, model: CreateJob) -> str:
        """Create a job, and return its id; see `Submission.create_job`."""
        return await self.submission.create_job(model)

    async def update_job(self, job_id: str, model: UpdateJob) -> None:
        """Change what the record says of a job; the status STOPPED ends its run.

        Raises:
            UnsupportedQuery: something can't be changed; it is named.
        """
        record = await self.runs.record(job_id)
        values = model.dict(exclude_none=True)
        self.backend.writer.check(values)
        if not await asyncio.to_thread(self.backend.writer.update, record, values):
            raise unknown(job_id)

    async def stop_job(self, job_id: str) -> None:
        """End a run, with what it has computed kept. Nothing happens where it had ended."""
        await self.runs.stop(await self.runs.record(job_id))

    async def delete_job(self, job_id: str) -> None:
        """Delete a job: its run, its files and its record; see `Runs.delete`."""
        await self.runs.delete(await self.runs.record(job_id))

    async def create_job_definition(self, model: CreateJobDefinition) -> str:
        """Create a definition, and return its id; see `Schedules.create`."""
        return await self.schedules.create(model)

    async def update_job_definition(
        self, job_definition_id: str, model: UpdateJobDefinition
    ) -> None:
        """Change a definition, from its next run on; see `Schedules.update`."""
        await self.schedules.update(job_definition_id, model)

    async def delete_job_definition(self, job_definition_id: str) -> None:
        """Delete a definition with its runs; see `Schedules.delete`."""
        await self.schedules.delete(job_definition_id)

    async def create_job_from_definition(
        self, job_definition_id: str, model: CreateJobFromDefinition
    ) -> str:
        """Run a definition once, now, and return the job's id."""
        return await self.schedules.run_now(job_definition_id, model.parameters)


def _check_page(
    query: ListJobsQuery | ListJobDefinitionsQuery, what: str, columns: frozenset[str]
) -> None:
    for order in query.sort_by:
        if order.name not in columns:
            raise UnsupportedQuery(f"{what.capitalize()} can't be sorted by {order.name!r}.")
    token = query.next_token
    if token and not (token.isdecimal() and len(token) <= _TOKEN_DIGITS):
        raise UnsupportedQuery(f"{query.next_token!r} is no next_token of a list of {what}.")


def _described(record: DefinitionRecord) -> DescribeJobDefinition:
    # Its types were checked when it was read; checking again would be most of a page's time.
    fields = DescribeJobDefinition.__fields__
    return DescribeJobDefinition.construct(**{name: getattr(record, name) for name in fields})


def _file(label: str, file_format: str, path: str | None) -> JobFile:
    # Checking our own texts would be half of the time that a page of jobs takes.
    return JobFile.construct(display_name=label, file_format=file_format, file_path=path)


def _now() -> int:
    return int(time.time() * 1000)
