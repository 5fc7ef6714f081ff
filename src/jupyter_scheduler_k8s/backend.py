"""The parts of one server, put together: settings, API client, watch, S3.

Made when the server starts, at no cost; connected at first use.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from logging import Logger
from typing import Any
from uuid import uuid4

from jupyter_scheduler.models import Status

from jupyter_scheduler_k8s import attempts, catalog, manifests, names, objects, records
from jupyter_scheduler_k8s.cluster import (
    CRON_JOBS,
    ClusterClient,
    KubernetesTransport,
    RecordCache,
    Reflector,
)
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database import K8sDatabaseManager
from jupyter_scheduler_k8s.database.creator import DefinitionCreator, JobCreator
from jupyter_scheduler_k8s.database.definitions import DefinitionWriter
from jupyter_scheduler_k8s.database.sources import CacheSource
from jupyter_scheduler_k8s.database.writer import JobWriter
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterError,
    ClusterUnavailable,
    ConfigurationError,
    ObjectMissing,
    Rejected,
)
from jupyter_scheduler_k8s.manifests import GRACE_SECONDS, Placement
from jupyter_scheduler_k8s.nodes import KnownNodes
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.pending import PendingInputs
from jupyter_scheduler_k8s.provision import Provision
from jupyter_scheduler_k8s.records import ENDED, JobRecord
from jupyter_scheduler_k8s.renewal import Renewal
from jupyter_scheduler_k8s.resources import Resources
from jupyter_scheduler_k8s.storage import Storage
from jupyter_scheduler_k8s.supervisor import Supervisor
from jupyter_scheduler_k8s.tasks import Background, Ends
from jupyter_scheduler_k8s.views import definition_record, job_record

# How long a request waits for the first list of records: where it is known why
# there is none, and where it isn't.
_KNOWN_TROUBLE_SECONDS = 3
_FIRST_LIST_SECONDS = 20
# A watch that is well says something once a minute.
_STALE_SECONDS = 90
# A form doesn't wait longer for the nodes.
_NODES_SECONDS = 2
# The kubelet and the Job controller need some seconds around the grace period.
_END_SECONDS = GRACE_SECONDS + 30


class Backend:
    """What the scheduler, the downloads and the sessions of one server share."""

    def __init__(self, *, config: K8sConfig, log: Logger, selector: str = "") -> None:
        """`selector` selects, by labels, the records to mirror: by default, the owner's."""
        self._mirrors_all = not selector
        self.config = config
        self.log = log
        self.client = ClusterClient(config.namespace)
        self.nodes = KnownNodes(node_lister(self.client))
        self.cache = RecordCache(job_record, log=log)
        self.definitions = RecordCache(definition_record, kind=CRON_JOBS, log=log)
        # Who mirrors one job of another scheduler has no definitions.
        self._caches: list[RecordCache[Any]] = [self.cache]
        if self._mirrors_all:
            self._caches.append(self.definitions)
        self._provision = Provision(
            config, client=lambda: self.client, storage=lambda: self.storage
        )
        self.writer = JobWriter(self.client, cache=self.cache, create=self._create_added)
        self.database = K8sDatabaseManager(
            config=config,
            client=self.client,
            jobs=CacheSource(self.cache),
            definitions=CacheSource(self.definitions),
            writer=self.writer,
            definition_writer=DefinitionWriter(
                self.client, cache=self.definitions, create=self._create_defined
            ),
        )
        self._ends = Ends()
        self.cache.on_change(self._ends.changed)
        self._reflectors = [
            Reflector(
                KubernetesTransport(
                    self.client.connection,
                    namespace=config.namespace,
                    resource=resource,
                    label_selector=selector or records.selector(config.owner),
                ),
                sink,
                log=log,
            )
            for cache in self._caches
            for resource, sink in cache.sinks.items()
        ]

        self._supervisor = Supervisor(
            client=self.client,
            cache=self.cache,
            scheduling_timeout=config.scheduling_timeout,
            log=log,
            has_begun=self._has_begun,
            read_result=self._read_result,
            keep_log=self._keep_log,
            drop_log=self._drop_log,
        )
        self.pending = PendingInputs(
            client=self.client, storage=lambda: self.storage, owner=config.owner, log=log
        )
        self._renewal = Renewal(
            self._provision, client=self.client, is_needed=self._has_runs_to_come, log=log
        )
        self._shared: Mapping[str, Any] | None = None
        self._to_share_again = False
        self._background = Background()
        self._starting = threading.Lock()
        self._started = False

    @cached_property
    def storage(self) -> Storage:
        """The bucket.

        Raises:
            ConfigurationError: none is set, or its address is none.
        """
        return Storage(
            bucket=self.config.require_bucket(),
            endpoint_url=self.config.s3_endpoint_url,
            ca_bundle=self.config.s3_ca_bundle,
        )

    def start(self) -> None:
        """Start mirroring the records; cheap where that has begun."""
        with self._starting:
            if not self._started:
                self._started = True
                self._supervisor.start()
                if self._mirrors_all:
                    self.pending.start()
                    self._renewal.start()
        for reflector in self._reflectors:
            reflector.start()

    def close(self) -> None:
        """End the mirroring."""
        for reflector in self._reflectors:
            reflector.stop()
        self._supervisor.stop()
        self.pending.stop()
        self._renewal.stop()

    async def synced(self) -> None:
        """Wait until the records are there, which they are but for a server's first use.

        Raises:
            ClusterError: they are not, and why.
        """
        self.start()
        for seconds in (_KNOWN_TROUBLE_SECONDS, _FIRST_LIST_SECONDS - _KNOWN_TROUBLE_SECONDS):
            if await self._when_synced(seconds):
                return
            for cache in self._caches:
                if trouble := cache.problem():
                    raise ClusterUnavailable(trouble)
        raise ClusterUnavailable(
            f"The Kubernetes API has not answered within {_FIRST_LIST_SECONDS} seconds: check"
            " that the cluster runs and that KUBECONFIG names it."
        )

    async def _when_synced(self, seconds: float) -> bool:
        waiting = [cache for cache in self._caches if not cache.synced]
        return all(await asyncio.gather(*(cache.when_synced(seconds) for cache in waiting)))

    def staleness(self) -> str | None:
        """How old the records are, and why, as a sentence; None while they are current."""
        problem, age = self.cache.problem(), self.cache.age()
        if problem is None and age < _STALE_SECONDS:
            return None
        return f"This is how it was {age:.0f} seconds ago. {problem or ''}".strip()

    async def placement(self) -> Placement:
        """What manifests need to know of the cluster as it is now."""
        return await self._provision.placement()

    async def share_credentials(self) -> frozenset[str]:
        """Bring what opens S3 to where the pods read it.

        Written with every job: so it is there although somebody deleted it, and
        holds what is valid now. What this server has written before is left to
        `share_again`, which nobody waits for, as a pod waits for its Secret.

        Returns:
            The keys of the Secret; none where pods have an identity of their own
            and S3 has a public certificate.
        """
        secret = await self._provision.credentials_secret()
        if secret is None:
            return frozenset()
        if secret != self._shared:
            await asyncio.to_thread(self.client.apply_secret, secret)
        self._shared, self._to_share_again = secret, secret == self._shared
        return manifests.secret_keys(secret)

    def share_again(self) -> None:
        """Write, in the background, what `share_credentials` left to be written."""
        if self._to_share_again and self._shared is not None:
            self._background.run(self._write_again(self._shared))

    async def _write_again(self, secret: Mapping[str, Any]) -> None:
        try:
            await asyncio.to_thread(self.client.apply_secret, secret)
        except BackendError as error:
            self._shared = None
            self.log.warning("The pods' S3 credentials were not written again: %s", error)

    async def ended(self, record: JobRecord) -> None:
        """Wait until a run that is being ended has ended.

        Raises:
            ClusterError: it hasn't within its grace period.
        """
        if not await self._ends.wait(record.object_name, self._has_ended, seconds=_END_SECONDS):
            raise ClusterError(
                f"The run {record.job_id} is still being stopped: wait a minute, and try again."
            )

    def check_template(self) -> None:
        """Have Kubernetes judge a Job with the pod template, and one of each profile. Blocking.

        Raises:
            ConfigurationError: no such job could be created, and why.
        """
        asked = {"K8sConfig.pod_template": JobOptions()} if self.config.pod_template else {}
        for profile in catalog.profiles(self.config.profiles).values():
            asked[f"K8sConfig.profiles[{profile.name!r}]"] = JobOptions(
                resources=Resources.of(**profile.amounts), pod_template=profile.pod_template
            )
        for setting, options in asked.items():
            try:
                self._check_job(options)
            except Rejected as error:
                raise ConfigurationError(f"{error} Correct {setting}.") from error

    def _check_job(self, options: JobOptions) -> None:
        check_id = str(uuid4())
        record = JobRecord(
            job_id=check_id, owner=self.config.owner, object_name=names.check_job_name(check_id)
        )
        manifest = manifests.job_manifest(
            record,
            self.config,
            options=options,
            placement=Placement(context=self.client.active_context()),
            credentials=(),
        )
        self.client.check_job(manifest)

    def warm_up(self) -> None:
        """Load what the first request needs, in a thread; say early what will not work."""

        def load() -> None:
            for part in (
                self._find_cluster,
                self.nodes.look,
                self.database.create_tables,
                self._check_bucket,
                self.check_template,
                self._care_for_schedules,
            ):
                try:
                    part()
                except BackendError as error:
                    self.log.warning("%s", error)

        threading.Thread(target=load, name="warm-up", daemon=True).start()

    def _find_cluster(self) -> None:
        context = self.client.active_context() or "that of this pod"
        self.log.info(
            "The Kubernetes API is at %s, context %s.", self.client.connection.address, context
        )

    def _care_for_schedules(self) -> None:
        """Start without a request where runs begin without one: they may need this server."""
        if self.client.list_cron_jobs(records.selector(self.config.owner)):
            self.start()

    def _check_bucket(self) -> None:
        asyncio.run(self.storage.check_bucket())

    def _keep_log(self, job: Mapping[str, Any], pod: Mapping[str, Any], text: str) -> None:
        """Store the end of a pod's log beside the outputs of its run. Blocking."""
        key = _outputs_of(job, pod) + names.LOG_KEY
        asyncio.run(self.storage.put_bytes(key, text.encode()))

    def _drop_log(self, job: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
        """Remove what `_keep_log` stored. Blocking."""
        asyncio.run(self.storage.delete(_outputs_of(job, pod) + names.LOG_KEY))

    def _create_added(self, instance: Any) -> dict[str, Any]:
        """What `session.add` does in a server. Blocking."""
        job = JobCreator(self.config, self._provision)(instance)
        # A job is looked after though nobody opens a page.
        self.start()
        return job

    def _create_defined(self, instance: Any) -> dict[str, Any]:
        cron_job = DefinitionCreator(self.config, self._provision)(instance)
        self.start()
        return cron_job

    def _has_begun(self, job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
        """Whether the notebook of this Job has begun in this pod, by its marker. Blocking."""
        outputs = _outputs_of(job, pod)
        stored = asyncio.run(self.storage.list(outputs))
        return any(found.key == outputs + names.STARTED_KEY for found in stored)

    def _read_result(self, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the run of this Job left in S3 about itself. Blocking."""

        async def read() -> Any:
            outputs = names.output_prefix(_job_id(job))
            if objects.retries(job):
                outputs = attempts.outputs_of(_job_id(job), await self.storage.list(outputs))
            return await self.storage.get_json(outputs + names.RESULT_KEY)

        try:
            found = asyncio.run(read())
        except ObjectMissing:
            return None
        return found if isinstance(found, dict) else None

    def _has_runs_to_come(self) -> bool:
        """Whether pods may start that nobody asks this server for. Blocks until that is known."""
        for cache in self._caches:
            cache.wait_synced()
        if len(self.definitions):
            return True
        with self.cache.reading() as view:
            unended = (status for status in Status if status not in ENDED)
            return any(view.with_value("status", status.value) for status in unended)

    def _has_ended(self, name: str) -> bool:
        found = self.cache.objects(name)
        return found is None or job_record(*found, time.time()).ended


def _outputs_of(job: Mapping[str, Any], pod: Mapping[str, Any]) -> str:
    """The prefix that this pod of the Job stores below."""
    if objects.retries(job):
        return names.attempt_prefix(_job_id(job), pod["metadata"]["uid"])
    return names.output_prefix(_job_id(job))


def _job_id(job: Mapping[str, Any]) -> str:
    # The id of a schedule's run is its Job's name.
    metadata = job["metadata"]
    return str((metadata.get("labels") or {}).get(names.JOB_ID_LABEL) or metadata["name"])


def node_lister(client: ClusterClient) -> Callable[[], list[dict[str, Any]]]:
    """What lists the nodes for `KnownNodes`: soon, or not at all."""
    hasty = ClusterClient(
        client.namespace, connection=client.connection, deadline_seconds=_NODES_SECONDS
    )
    return hasty.list_nodes
