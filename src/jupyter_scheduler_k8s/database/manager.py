"""The database manager: what makes sessions, and what stands in for creating tables."""

from collections.abc import Callable
from typing import Any

from jupyter_scheduler_k8s import records
from jupyter_scheduler_k8s.cluster.client import ClusterClient
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database.creator import DefinitionCreator, JobCreator
from jupyter_scheduler_k8s.database.definitions import DefinitionWriter
from jupyter_scheduler_k8s.database.query import RecordWriter
from jupyter_scheduler_k8s.database.session import K8sSession
from jupyter_scheduler_k8s.database.sources import LiveDefinitionSource, LiveSource, RecordSource
from jupyter_scheduler_k8s.database.writer import JobWriter
from jupyter_scheduler_k8s.provision import Provision
from jupyter_scheduler_k8s.storage import Storage
from jupyter_scheduler_k8s.views import definition_record, job_record


class K8sDatabaseManager:
    """Sessions over Kubernetes Jobs and CronJobs, in the shape that jupyter-scheduler's proposed
    `DatabaseManager` has (its pull request 590): `create_tables`, `create_session`.

    `K8sDatabaseManager()` reads and writes the live API, by the settings in the
    environment; a server hands in its cache. Either way, records are one owner's.
    """

    def __init__(
        self,
        *,
        config: K8sConfig | None = None,
        client: ClusterClient | None = None,
        jobs: RecordSource | None = None,
        definitions: RecordSource | None = None,
        writer: RecordWriter | None = None,
        definition_writer: RecordWriter | None = None,
    ) -> None:
        """Nothing is asked of the cluster yet.

        Args:
            config: the settings; those of the environment where there are none.
            client: how the API is reached; made from the settings where it is None.
            jobs: where jobs come from; the live API where it is None.
            definitions: where definitions come from, likewise.
            writer: what changes jobs; it writes to the API, too, where it is None.
            definition_writer: what changes definitions, likewise.

        Raises:
            ConfigurationError: a setting in the environment can't be what it is.
        """
        self._config = config or K8sConfig()
        self._client = client or ClusterClient(self._config.namespace)
        selector = records.selector(self._config.owner)
        self._jobs = jobs or LiveSource(self._client, selector=selector, make_record=job_record)
        self._definitions = definitions or LiveDefinitionSource(
            self._client, selector=selector, make_record=definition_record
        )
        provision = Provision(self._config, client=lambda: self._client, storage=self._storage)
        self._writer = writer or JobWriter(self._client, create=JobCreator(self._config, provision))
        self._definition_writer = definition_writer or DefinitionWriter(
            self._client, create=DefinitionCreator(self._config, provision)
        )

    def create_tables(self, *_: Any, **__: Any) -> None:
        """Make sure that the namespace exists. Blocking.

        What upstream hands over (a database URL, `drop_tables`, the tables) has
        no meaning here; nothing is ever dropped.
        """
        self._client.ensure_namespace()

    def _storage(self) -> Storage:
        return Storage(
            bucket=self._config.require_bucket(),
            endpoint_url=self._config.s3_endpoint_url,
            ca_bundle=self._config.s3_ca_bundle,
        )

    def create_session(self, *_: Any) -> Callable[[], K8sSession]:
        """What `Scheduler.db_session` is: called, it gives a session."""
        return lambda: K8sSession(
            self._jobs,
            definitions=self._definitions,
            writer=self._writer,
            definition_writer=self._definition_writer,
        )
