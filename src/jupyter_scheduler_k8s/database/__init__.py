"""The SQLAlchemy-shaped face of the records: manager, session, query, and their sources."""

from jupyter_scheduler_k8s.database.creator import JobCreator
from jupyter_scheduler_k8s.database.definitions import DefinitionWriter
from jupyter_scheduler_k8s.database.manager import K8sDatabaseManager
from jupyter_scheduler_k8s.database.query import K8sQuery, RecordWriter
from jupyter_scheduler_k8s.database.session import K8sSession
from jupyter_scheduler_k8s.database.sources import (
    CacheSource,
    LiveDefinitionSource,
    LiveSource,
    RecordSource,
)
from jupyter_scheduler_k8s.database.writer import JobWriter

__all__ = [
    "CacheSource",
    "DefinitionWriter",
    "JobCreator",
    "JobWriter",
    "K8sDatabaseManager",
    "K8sQuery",
    "K8sSession",
    "LiveDefinitionSource",
    "LiveSource",
    "RecordSource",
    "RecordWriter",
]
