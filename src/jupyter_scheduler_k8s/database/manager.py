"""The database manager: what makes sessions, and what stands in for creating tables."""

from collections.abc import Callable
from typing import Any

from jupyter_scheduler_k8s.database.query import RecordWriter
from jupyter_scheduler_k8s.database.session import K8sSession
from jupyter_scheduler_k8s.database.sources import RecordSource


class K8sDatabaseManager:
    """Sessions over Kubernetes Jobs, in the shape that jupyter-scheduler's proposed
    `DatabaseManager` has (its pull request 590): `create_tables`, `create_session`."""

    def __init__(
        self,
        *,
        jobs: RecordSource,
        definitions: RecordSource | None = None,
        writer: RecordWriter | None = None,
        ensure_namespace: Callable[[], None] | None = None,
    ) -> None:
        """`ensure_namespace` is `ClusterClient.ensure_namespace`; it blocks."""
        self._jobs = jobs
        self._definitions = definitions
        self._writer = writer
        self._ensure_namespace = ensure_namespace

    def create_tables(self, *_: Any, **__: Any) -> None:
        """Make sure that the namespace exists.

        What upstream hands over (a database URL, `drop_tables`, the tables) has
        no meaning here; nothing is ever dropped.
        """
        if self._ensure_namespace is not None:
            self._ensure_namespace()

    def create_session(self, *_: Any) -> Callable[[], K8sSession]:
        """What `Scheduler.db_session` is: called, it gives a session."""
        return lambda: K8sSession(self._jobs, definitions=self._definitions, writer=self._writer)
