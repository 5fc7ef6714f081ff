"""Everything that talks to the Kubernetes API: the only importer of `kubernetes`.

client      writes and one-shot reads, by kind
api         how each of them is asked: repeated, or refused with a sentence
reflector   a list and a watch of one kind, for ever
cache       what reflectors feed and readers ask: the records of one of the kinds
transport, connection, failures, backoff   what the three are made of
"""

from jupyter_scheduler_k8s.cluster.cache import RecordCache
from jupyter_scheduler_k8s.cluster.client import ClusterClient
from jupyter_scheduler_k8s.cluster.connection import Connection
from jupyter_scheduler_k8s.cluster.failures import AlreadyExists
from jupyter_scheduler_k8s.cluster.kinds import CRON_JOBS, JOBS
from jupyter_scheduler_k8s.cluster.reflector import Reflector
from jupyter_scheduler_k8s.cluster.transport import KubernetesTransport

__all__ = [
    "CRON_JOBS",
    "JOBS",
    "AlreadyExists",
    "ClusterClient",
    "Connection",
    "KubernetesTransport",
    "RecordCache",
    "Reflector",
]
