"""S3: what the rest of the package knows of it.

    client       Storage: one bucket, its objects by their keys
    transfers    many files up and down, in bounded memory
    work         several transfers at a time, none of them cancelled half-way
    connection   obstore's clients, made at the first request
    credentials  boto3's chain, and what of it the pods get
    endpoint     the address, the region and the certificates
    faults       obstore's exceptions as ours, without what they quote

Nothing else imports obstore or boto3.
"""

from jupyter_scheduler_k8s.storage.client import Storage, StoredObject
from jupyter_scheduler_k8s.storage.credentials import Credentials, PodCredentials
from jupyter_scheduler_k8s.storage.transfers import Download, Sink, Source

__all__ = [
    "Credentials",
    "Download",
    "PodCredentials",
    "Sink",
    "Source",
    "Storage",
    "StoredObject",
]
