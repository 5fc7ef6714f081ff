"""One run of a job whose record is in jupyter-scheduler's database.

From its local files to S3, through its Job, and back to its local files. What the
cluster knows is read from a watch of this one Job, as in a server of its own.
"""

import asyncio
import contextlib
import queue
import random
import time
from collections.abc import Callable, Mapping
from logging import Logger
from pathlib import Path
from typing import Any, TypeVar

from jupyter_scheduler.models import DescribeJob

from jupyter_scheduler_k8s import (
    diagnosis,
    manifests,
    names,
    notebooks,
    objects,
    records,
    staging,
)
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.cluster.backoff import Backoff
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    ConfigurationError,
    NotFound,
    Rejected,
    StorageUnavailable,
)
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.stock import stopping
from jupyter_scheduler_k8s.stock.outputs import fetch_outputs

T = TypeVar("T")

# A record that waits depends on the time of day, too: it is looked at again, in
# memory, after so many seconds.
_LOOK_SECONDS = 10.0
# The reason of a failure is waited for; without an API it stays what it is.
_EXPLAIN_SECONDS = 20.0
# Outputs are in S3 and safe there: as long as the pod itself would try to store them.
_FETCH_SECONDS = 900.0


class StockRun:
    """One run. Blocking: for a process, or a thread, of its own."""

    def __init__(
        self,
        record: JobRecord,
        *,
        staging_paths: Mapping[str, str],
        backend: Backend,
        told: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """
        Args:
            record: what was asked for; `record_of` makes it.
            staging_paths: upstream's: where its local files are and go.
            backend: what reaches the cluster and the bucket; `backend_for` makes it.
            told: called with what there is to say while the run goes on, or None.

        Raises:
            ConfigurationError: the settings don't suffice.
        """
        if {"tar", "tar.gz"} & set(staging_paths):
            raise ConfigurationError(
                "K8sExecutionManager makes no archives: set SchedulerApp.scheduler_class to"
                " jupyter_scheduler.scheduler.Scheduler, or leave it out."
            )
        self.record = record
        self._paths = staging_paths
        self._config = backend.config
        self._log = backend.log
        self._told = told
        self._said = record.status_message
        self._backend = backend
        self._changed: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._backend.cache.on_change(self._changed.put)
        self._unexplained_until = float("inf")
        # Whether there may be a Job although its creation was not confirmed.
        self.is_uncertain = False

    # -- to the cluster -----------------------------------------------------

    def start(self) -> None:
        """Store the inputs, then create the Job. What is refused leaves nothing.

        Raises:
            BackendError: in a sentence.
        """
        options = admit(self.record, self._config)
        tree = self._inputs()
        asyncio.run(self._backend.storage.upload_tree(names.input_prefix(self.record.job_id), tree))
        try:
            deadline = time.monotonic() + self._config.scheduling_timeout
            placement = self._patiently(
                lambda: asyncio.run(self._backend.placement()), deadline=deadline
            )
            credentials = self._patiently(
                lambda: asyncio.run(self._backend.share_credentials()), deadline=deadline
            )
            manifest = manifests.job_manifest(
                self.record,
                self._config,
                options=options,
                placement=placement,
                credentials=credentials,
            )
            try:
                self._create(manifest, deadline=deadline)
            except Rejected as error:
                raise Rejected(f"{error} {options.described()}".strip()) from error
        except BaseException:
            if not self.is_uncertain:
                self._discard()
            raise

    def attach(self) -> None:
        """Find the Job that an earlier process created.

        Raises:
            NotFound: there is none. It is not created again: it may have run, and
                been deleted.
            ClusterError: whether there is one can't be said.
        """
        deadline = time.monotonic() + self._config.scheduling_timeout
        try:
            job = self._patiently(self._appearing, deadline=deadline)
        except ClusterUnavailable:
            self.is_uncertain = True
            raise
        except NotFound:
            raise NotFound(
                "The Jupyter server ended before this job had reached the cluster, or its Job was"
                " deleted there since: run it again if that is safe."
            ) from None
        with self._backend.cache.writing() as write:
            write.put(job)

    def _appearing(self) -> dict[str, Any]:
        """The Job, which may be about to be created by a request of a process that is dead."""
        until = time.monotonic() + stopping.APPEARS_SECONDS
        while True:
            try:
                return self._backend.client.get_job(self.record.object_name)
            except NotFound:
                if time.monotonic() > until:
                    raise
            time.sleep(1)

    def _inputs(self) -> staging.StagedTree:
        """What upstream's scheduler has copied for this job."""
        tree = staging.stage(
            str(Path(self._paths["input"]).parent.resolve()),
            self.record.input_filename,
            package=bool(self.record.package_input_folder),
            output_directory="",
        )
        notebook = next(file for file in tree.files if file.path == tree.notebook)
        with notebook.open() as file:
            notebooks.check_notebook(tree.notebook, file.read())
        return tree

    def _create(self, manifest: dict[str, Any], *, deadline: float) -> None:
        client = self._backend.client
        self.is_uncertain = True
        with self._backend.cache.writing() as write:
            try:
                job = self._patiently(lambda: client.create_job(manifest), deadline=deadline)
            except AlreadyExists as found:
                # From an attempt whose answer was lost: nobody else knows this id.
                job = found.live
            except ClusterUnavailable:
                raise
            except BackendError:
                self.is_uncertain = False
                raise
            write.put(job)
        self.is_uncertain = False

    def _discard(self) -> None:
        try:
            self.delete_files()
        except BackendError as error:
            self._log.warning(
                "The files of the refused job %s remain in S3: %s", self.record.job_id, error
            )

    # -- meanwhile ----------------------------------------------------------

    def wait(self, seconds: float = float("inf")) -> JobRecord:
        """The record of the run once it has ended, however long that takes.

        Raises:
            NotFound: its Job was deleted.
            ClusterUnavailable: it hasn't ended within `seconds`.
        """
        deadline = time.monotonic() + seconds
        self._backend.start()
        try:
            while True:
                found = self._backend.cache.get(self.record.job_id)
                if found is None and self._backend.cache.synced:
                    self._must_exist()
                elif found is not None and found.ended and self._is_explained():
                    return found
                else:
                    self._say((found and found.status_message) or self._backend.cache.problem())
                if time.monotonic() > deadline:
                    raise ClusterUnavailable(
                        f"The run {self.record.job_id} has not ended within {seconds:.0f} s."
                    )
                self._until_changed()
        finally:
            self._backend.close()

    def stop(self) -> Mapping[str, Any] | None:
        """Make the run end as a person's stop does; its Job, or None where there is none.

        Raises:
            ClusterError: it can't be ended.
        """
        client, name = self._backend.client, self.record.object_name
        stopping.end_job(client, name, patience=0)
        try:
            return client.get_job(name)
        except NotFound:
            return None

    def delete_job(self, uid: str) -> None:
        """Delete the Job; one that isn't there is as good as deleted."""
        with contextlib.suppress(NotFound):
            self._backend.client.delete_job(self.record.object_name, uid=uid)

    def _is_explained(self) -> bool:
        """Whether the reason of a failure is as good as it gets.

        The supervisor looks for it where the mirror can't, and writes it onto the Job.
        """
        found = self._backend.cache.objects(self.record.object_name)
        if found is None or self._unexplained_until < time.monotonic():
            return True
        failed = objects.condition(found[0], "Failed")
        if not failed or diagnosis.is_kept(found[0]):
            return True
        if self._unexplained_until == float("inf"):
            self._unexplained_until = time.monotonic() + _EXPLAIN_SECONDS
        return False

    def _until_changed(self) -> None:
        try:
            self._changed.get(timeout=_LOOK_SECONDS)
            while True:
                self._changed.get_nowait()
        except queue.Empty:
            return

    def _must_exist(self) -> None:
        try:
            self._backend.client.get_job(self.record.object_name)
        except NotFound:
            raise NotFound(
                "The Job of this run was deleted in the cluster, and with it what is known of"
                " the run."
            ) from None
        except ClusterUnavailable:
            return

    def _patiently(self, call: Callable[[], T], *, deadline: float) -> T:
        """What `call` returns, once the Kubernetes API answers."""
        while True:
            try:
                found = call()
            # The client has waited and repeated already.
            except ClusterUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                self._say(str(error))
            else:
                self._say(None)
                return found

    def _say(self, message: str | None) -> None:
        if message != self._said:
            self._said = message
            self._told(message)

    # -- back ---------------------------------------------------------------

    def fetch(self) -> list[str]:
        """Bring what the run has stored to its local paths; the files that it made, relative.

        Raises:
            BackendError: S3 stays away, or the file system refuses.
        """
        backoff = Backoff(first=1, cap=30, random=random.random)
        deadline = time.monotonic() + _FETCH_SECONDS
        while True:
            try:
                return asyncio.run(fetch_outputs(self._backend.storage, self.record, self._paths))
            except StorageUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                self._say(str(error))
                time.sleep(backoff.next())

    def delete_files(self) -> None:
        """Delete what the run has in S3.

        Raises:
            BackendError: something is left.
        """
        prefix = names.job_prefix(self.record.job_id)
        asyncio.run(self._backend.storage.delete_prefix(prefix))


def backend_for(job_id: str, *, config: K8sConfig, log: Logger) -> Backend:
    """What reaches the cluster, for one run only, and the bucket.

    Raises:
        ConfigurationError: there is no bucket.
    """
    config.require_bucket()
    return Backend(config=config, log=log, selector=f"{names.JOB_ID_LABEL}={job_id}")


def record_of(job: DescribeJob, owner: str) -> JobRecord:
    """What the record of upstream's database asks for."""
    asked = job.dict(exclude_none=True)
    return JobRecord(
        **{name: asked[name] for name in records.ASKED if name in asked},
        status_message=job.status_message,
        owner=owner,
        object_name=names.job_name(job.job_id),
    )
