"""Where the S3 credentials come from: boto3's chain, refreshed by it.

obstore has a chain of its own, without profiles, SSO or assumed roles. boto3 is
imported at first use: the import takes half a second.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError, StorageDenied

if TYPE_CHECKING:
    from obstore.store import S3Credential

# botocore's names for its methods, in the words of a person who has to look there.
_KINDS = {
    "env": "the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "explicit": "the program",
    "shared-credentials-file": "the shared credentials file (~/.aws/credentials)",
    "config-file": "the AWS config file (~/.aws/config)",
    "boto-config": "the boto config file",
    "assume-role": "the role that the AWS profile assumes",
    "assume-role-with-web-identity": "the web identity of this server",
    "container-role": "the container role of this server",
    "iam-role": "the instance role of this machine",
    "sso": "the AWS SSO login",
    "login": "the AWS console login",
    "custom-process": "the credential process of the AWS profile",
}
# These belong to a place, not to a person: a pod has its own, or none.
_IDENTITIES = frozenset({"assume-role-with-web-identity", "container-role", "iam-role"})
# Files are read again after this many seconds: other programs renew what is in them.
_REREAD = 60.0
# obstore asks again when less than 5 minutes are left (object_store's TokenCache).
_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class PodCredentials:
    """What the pods' Secret holds.

    Attributes:
        data: environment variables and their values, not base64.
        expires_at: seconds since the epoch, None where they don't expire or don't say.
        kind: where they come from, in words.
    """

    data: dict[str, str] = field(repr=False)
    expires_at: float | None
    kind: str


class Credentials:
    """boto3's chain, resolved when first asked for. Thread-safe; every method may block.

    An instance is an obstore credential provider: calling it gives the current
    credentials. obstore calls it in a thread of its own.
    """

    def __init__(
        self,
        *,
        session: Callable[[], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            session: makes a `boto3.Session`; boto3's own by default.
            clock: seconds, for reading files again.
        """
        self._new_session = session or _boto3_session
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Any = None
        self._region = ""
        self._read_at = 0.0
        self._failure: BackendError | None = None

    @property
    def failure(self) -> BackendError | None:
        """Why the last call failed: obstore hides the exception that a provider raised."""
        return self._failure

    @property
    def kind(self) -> str:
        """Where the credentials come from, in words; never a value."""
        method = getattr(self._found, "method", "")
        return _KINDS.get(method, "the AWS configuration")

    def region(self) -> str:
        """The region that the environment or the profile names, or an empty string."""
        with self._lock:
            if self._found is None:
                self._resolve()
            return self._region

    def pod(self) -> PodCredentials | None:
        """What the pods get, or None where each pod has an identity of its own.

        Raises:
            StorageDenied: no credentials, or they can't be renewed.
            ConfigurationError: the AWS configuration can't be read.
        """
        with self._lock:
            frozen = self._frozen()
            if self._found.method in _IDENTITIES:
                return None
            data = {
                "AWS_ACCESS_KEY_ID": frozen.access_key,
                "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            }
            if frozen.token:
                data["AWS_SESSION_TOKEN"] = frozen.token
            end = self._end()
            expires_at = end.timestamp() if end is not None else None
            return PodCredentials(data=data, expires_at=expires_at, kind=self.kind)

    def forget(self) -> None:
        """Resolve the chain again at the next use: S3 refused what it gave."""
        with self._lock:
            self._found = None

    def __call__(self) -> "S3Credential":
        with self._lock:
            frozen = self._frozen()
            again = datetime.now(UTC) + _LIFETIME
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": min(again, self._end() or again),
            }

    def _end(self) -> datetime | None:
        """When the credentials expire, where they say so."""
        # Only botocore's refreshable credentials know it, and keep it private.
        end: datetime | None = getattr(self._found, "_expiry_time", None)
        return end

    def _frozen(self) -> Any:
        """botocore's ReadOnlyCredentials, renewed where they were about to end."""
        refreshes = hasattr(self._found, "refresh_needed")
        if self._found is None or (not refreshes and self._clock() - self._read_at > _REREAD):
            self._resolve()
        try:
            frozen = self._found.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - botocore's tree is wide, and quotes its input
            self._fail(_explain(error, self.kind))
        self._failure = None
        return frozen

    def _resolve(self) -> None:
        try:
            session = self._new_session()
            found = session.get_credentials()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(_explain(error, "the AWS configuration"))
        if found is None:
            self._fail(
                StorageDenied(
                    "There are no S3 credentials: set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, where the Jupyter server runs."
                )
            )
        self._found = found
        self._region = session.region_name or ""
        self._read_at = self._clock()

    def _fail(self, failure: BackendError) -> Any:
        self._failure = failure
        raise failure from None


def _boto3_session() -> Any:
    import boto3

    return boto3.Session()


def _explain(error: Exception, kind: str) -> BackendError:
    """One sentence by the exception's type: its text may quote what a program printed."""
    name = type(error).__name__
    if name == "ProfileNotFound":
        return ConfigurationError(
            "AWS_PROFILE names a profile that is in neither ~/.aws/config nor ~/.aws/credentials."
        )
    if name == "PartialCredentialsError":
        return ConfigurationError(
            "Half of the S3 credentials is missing: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY belong together."
        )
    if name in ("ConfigParseError", "ConfigNotFound"):
        return ConfigurationError("The AWS config file can't be read; correct it or move it away.")
    if "SSO" in name or name in ("TokenRetrievalError", "LoginRefreshTokenExpired"):
        return StorageDenied("The AWS login has expired: run `aws sso login` and try again.")
    return StorageDenied(f"The S3 credentials can't be had from {kind} ({name}).")
