"""Creates the Job of an `orm.Job`, the CronJob of an `orm.JobDefinition`: what `session.add` does.

All of it blocks.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

from jupyter_scheduler.models import CreateJob, CreateJobDefinition
from jupyter_scheduler.pydantic_v1 import ValidationError

from jupyter_scheduler_k8s import cron_manifest, manifests, names, records
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    Conflict,
    Rejected,
    UnsupportedQuery,
)
from jupyter_scheduler_k8s.manifests import Placement
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.provision import Provision
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

M = TypeVar("M", CreateJob, CreateJobDefinition)

# The version of the input files of a definition that a session has added.
ADDED = "added"

# What a run tells of itself, which nobody can say before it began.
_TOLD = ("status_message", "start_time", "end_time", "pid")


class _Creator:
    """What both have; a session has no files of its own, so inputs are stored by others."""

    def __init__(
        self,
        config: K8sConfig,
        provision: Provision,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._provision = provision
        self._wall_clock = wall_clock

    def _fill(self, instance: Any, id_column: str) -> None:
        """Give an instance what the database would: its id and its times, where it has none."""
        found = getattr(instance, id_column)
        if found is None:
            setattr(instance, id_column, str(uuid4()))
        elif not _is_id(found):
            raise UnsupportedQuery(
                f"The {id_column} {found!r} is no UUID in lower case: leave it out, or use"
                " str(uuid.uuid4())."
            )
        now = int(self._wall_clock() * 1000)
        instance.create_time = now if instance.create_time is None else instance.create_time
        if instance.update_time is None:
            instance.update_time = instance.create_time
        for name in ("create_time", "update_time"):
            if type(getattr(instance, name)) is not int:
                raise UnsupportedQuery(f"{name} must be a whole number of milliseconds.")

    async def _around(self) -> tuple[Placement, Collection[str]]:
        """What a manifest needs to know, once the credentials are where pods read them."""
        placement = await self._provision.placement()
        secret = await self._provision.credentials_secret()
        if secret is not None:
            await asyncio.to_thread(self._provision.client().apply_secret, secret)
        return placement, manifests.secret_keys(secret)


class JobCreator(_Creator):
    """Creates Jobs whose inputs are stored already."""

    def __call__(self, instance: Any) -> dict[str, Any]:
        """Create the Job of `instance`, which gets its id and its times as columns.

        An instance whose creation was not confirmed may be handed in again: it
        is one Job all the same.

        Returns:
            The Job, as the API has it.

        Raises:
            UnsupportedQuery: a column can't be stored, or the thread runs an event loop.
            BackendError: the inputs aren't stored, or what `K8sScheduler.create_job`
                refuses.
            Conflict: another job has the id or the token.
        """
        _refuse_event_loop()
        model = _job_model(instance)
        self._fill(instance, "job_id")
        record = records.new_record(
            model.dict(exclude_none=True, exclude={"input_uri"}),
            job_id=instance.job_id,
            owner=self._config.owner,
            create_time=instance.create_time,
            update_time=instance.update_time,
        )
        options = admit(record, self._config)
        manifest = asyncio.run(self._manifest(record, options))
        job = self._create(manifest, record, options)
        kept = records.parse_job_data(job)
        instance.create_time, instance.update_time = kept.create_time, kept.update_time
        return job

    async def _manifest(self, record: JobRecord, options: JobOptions) -> dict[str, Any]:
        """The manifest, once the inputs are there and the credentials are where pods read them."""
        prefix = names.input_prefix(record.job_id)
        notebook = prefix + names.escape_path(record.input_filename)
        stored = await self._provision.storage().list(prefix)
        if not any(found.key == notebook for found in stored):
            raise BackendError(
                f"The bucket {self._config.s3_bucket} has no object {notebook}: the inputs of a"
                " job must be stored before it is added; or create it with"
                " K8sScheduler.create_job, which stores them."
            )
        placement, credentials = await self._around()
        return manifests.job_manifest(
            record, self._config, options=options, placement=placement, credentials=credentials
        )

    def _create(
        self, manifest: Mapping[str, Any], record: JobRecord, options: JobOptions
    ) -> dict[str, Any]:
        try:
            return self._provision.client().create_job(manifest)
        except AlreadyExists as found:
            # An earlier attempt's, unless the owner is another: ids are anybody's to choose.
            ours, labels = records.labels(record), found.live["metadata"].get("labels", {})
            same = (names.JOB_ID_LABEL, names.OWNER_LABEL)
            if all(labels.get(name) == ours[name] for name in same):
                return dict(found.live)
            what = "idempotency_token" if record.idempotency_token else "job_id"
            raise Conflict(
                f"Another job has the {what} {getattr(record, what)} already: choose another."
            ) from None
        except ClusterUnavailable as error:
            raise ClusterUnavailable(
                f"{error} The job {record.job_id} may have been created: add the same instance"
                " again, which creates it once."
            ) from error
        except Rejected as error:
            raise Rejected(f"{error} {options.described()}".strip()) from error


class DefinitionCreator(_Creator):
    """Creates CronJobs; a run whose inputs aren't stored by then fails, and says so."""

    def __call__(self, instance: Any) -> dict[str, Any]:
        """Create the CronJob of `instance`, which gets its id and its times as columns.

        Its input files belong below `names.definition_input_prefix(id, ADDED)`. An
        instance whose creation was not confirmed may be handed in again.

        Returns:
            The CronJob, as the API has it.

        Raises:
            UnsupportedQuery: a column can't be stored, or the thread runs an event loop.
            BackendError: what `K8sScheduler.create_job_definition` refuses.
            Conflict: another definition has the id.
        """
        _refuse_event_loop()
        model = _model(instance, CreateJobDefinition, "job definition")
        self._fill(instance, "job_definition_id")
        record = replace(
            records.new_definition(
                model.dict(exclude_none=True, exclude_unset=True, exclude={"input_uri"}),
                definition_id=instance.job_definition_id,
                owner=self._config.owner,
                create_time=instance.create_time,
                input_version=ADDED,
            ),
            update_time=instance.update_time,
            active=instance.active is not False,
        )
        options = admit(record, self._config)
        # Refuses what Kubernetes doesn't know before the credentials are written.
        cron_manifest.times(record)
        placement, credentials = asyncio.run(self._around())
        manifest = cron_manifest.cron_job_manifest(
            record, self._config, options=options, placement=placement, credentials=credentials
        )
        instance.active = record.active
        return self._create(manifest, record, options)

    def _create(
        self, manifest: Mapping[str, Any], record: DefinitionRecord, options: JobOptions
    ) -> dict[str, Any]:
        try:
            return self._provision.client().create_cron_job(manifest)
        except AlreadyExists as found:
            # An earlier attempt's, unless the owner is another: ids are anybody's to choose.
            labels = found.live["metadata"].get("labels") or {}
            if labels.get(names.OWNER_LABEL) == names.owner_label(record.owner):
                return dict(found.live)
            raise Conflict(
                f"Another definition has the job_definition_id {record.job_definition_id} already:"
                " choose another."
            ) from None
        except Rejected as error:
            raise Rejected(f"{error} {options.described()}".strip()) from error


def _job_model(instance: Any) -> CreateJob:
    """What an instance asks for, read as a POST's body is."""
    for name in _TOLD:
        if getattr(instance, name) is not None:
            raise UnsupportedQuery(f"The column {name} can't be set: it says what became of a run.")
    status = instance.status
    if status is not None and getattr(status, "value", status) != "CREATED":
        raise UnsupportedQuery("The status of a new job can only be CREATED: it is to run.")
    return _model(instance, CreateJob, "job")


def _model(instance: Any, model: type[M], what: str) -> M:
    columns = [name for name in model.__fields__ if name != "input_uri"]
    asked = {name: getattr(instance, name) for name in columns}
    asked = {name: value for name, value in asked.items() if value is not None}
    wrong = set() if isinstance(instance.input_filename, str) else {"input_filename"}
    try:
        found = model(**{"input_filename": "-", **asked}, input_uri="-")
    except ValidationError as error:
        wrong |= {str(found["loc"][0]) for found in error.errors()}
    except KeyError:
        # Upstream's own check of the file name, which has been refused before it.
        wrong.add("input_filename")
    if wrong:
        raise UnsupportedQuery(
            f"These columns of the {what} are missing, or can't be what they are:"
            f" {', '.join(sorted(wrong))}."
        )
    return found


def _is_id(job_id: object) -> bool:
    try:
        return isinstance(job_id, str) and str(UUID(job_id)) == job_id
    except ValueError:
        return False


def _refuse_event_loop() -> None:
    """A loop must not be blocked, and none can be run inside another."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UnsupportedQuery(
        "Nothing can be added in a thread that runs an event loop: use"
        " await asyncio.to_thread(session.add, instance), or K8sScheduler's own methods."
    )
