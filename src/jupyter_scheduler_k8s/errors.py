"""Every exception this package raises on purpose.

    SchedulerError                    upstream's: its text reaches the user as it is
    └── BackendError                  ours: one sentence, what happened and what to do
        ├── ConfigurationError        a setting is missing, wrong or in the wrong place
        ├── RecordError               a job does not fit into its record, or a record is malformed
        ├── UnsafePath                a file name would leave its folder
        ├── UnsupportedQuery          a filter that K8sQuery can't express
        ├── ClusterError              the Kubernetes API said no, or nothing
        │   ├── ClusterUnavailable    no answer, within the time allowed
        │   ├── Forbidden             the Role doesn't allow it
        │   ├── NotFound
        │   ├── Conflict              the object exists already, or changed meanwhile
        │   └── Rejected              the API server refused the object
        └── StorageError              S3 said no, or nothing
            ├── StorageUnavailable
            ├── StorageDenied
            ├── BucketMissing
            └── ObjectMissing

Two of upstream's exceptions are raised unchanged, because its handlers know
them: InputUriError (no such input file) and IdempotencyTokenError (409).
"""

from jupyter_scheduler.exceptions import SchedulerError


class BackendError(SchedulerError):
    """What went wrong, in a sentence that the user reads."""


class ConfigurationError(BackendError):
    """A setting is missing, wrong, or in the wrong place."""


class RecordError(BackendError):
    """A job doesn't fit into its record, or a record can't be read."""


class UnsafePath(BackendError):
    """A file name would leave the folder it belongs to."""


class UnsupportedQuery(BackendError):
    """A query that this backend can't answer truthfully."""


class ClusterError(BackendError):
    """The Kubernetes API refused a request or didn't answer it."""


class ClusterUnavailable(ClusterError):
    """No answer from the Kubernetes API within the time allowed."""


class Forbidden(ClusterError):
    """The server's Role doesn't allow the request."""


class NotFound(ClusterError):
    """The object doesn't exist."""


class Conflict(ClusterError):
    """The object exists already, or was changed meanwhile."""


class Rejected(ClusterError):
    """The API server refused the object as invalid, or admission did."""


class StorageError(BackendError):
    """S3 refused a request or didn't answer it."""


class StorageUnavailable(StorageError):
    """No answer from S3 within the time allowed."""


class StorageDenied(StorageError):
    """S3 doesn't accept the credentials, or they don't allow the request."""


class BucketMissing(StorageError):
    """The configured bucket doesn't exist."""


class ObjectMissing(StorageError):
    """No object has this key."""
