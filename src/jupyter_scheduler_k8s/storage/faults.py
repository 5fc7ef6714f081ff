"""obstore's exceptions as ours.

Their texts quote the request's address and the server's answer, and an answer to
a bad signature holds the access key and the string that was signed. So nothing of
a text is passed on but the S3 error code and the HTTP status, which are matched
by patterns that fit nothing else.
"""

import re
from dataclasses import dataclass

from jupyter_scheduler_k8s.errors import (
    BackendError,
    BucketMissing,
    ConfigurationError,
    ObjectMissing,
    StorageDenied,
    StorageError,
    StorageUnavailable,
)

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})\b")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; XAdmin… is versitygw's.
_UNKNOWN_KEY = frozenset(
    {"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity", "XAdminUserNotFound"}
)
_EXPIRED = frozenset({"ExpiredToken", "TokenRefreshRequired", "InvalidToken"})
_OTHER_REGION = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
# versitygw's, of a key whose folder was removed while it was stored.
_FOLDER_GONE = "ExistingObjectIsDirectory"
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "StorageFull"})
# rustls' words in obstore's text, and what to do about each.
_TLS = (
    ("NotValidForName", "is for another name; S3_ENDPOINT_URL must have the name that it is for"),
    ("Expired", "has expired; renew it"),
    ("NotValidYet", "isn't valid yet; check this machine's clock"),
    (
        "CaUsedAsEndEntity",
        "is an authority's (CA:TRUE); give the server one of its own, signed by that authority",
    ),
    (
        "InvalidCertificate",
        "isn't trusted; set S3_CA_BUNDLE to a PEM file with its authority's certificate",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a sentence about a failed request may name.

    Attributes:
        bucket: its name.
        endpoint: the server's address.
        credentials: where the credentials come from, in words.
    """

    bucket: str
    endpoint: str
    credentials: str


class FolderGone(StorageError):
    """The server keeps keys as files, and removed the key's folder meanwhile: try again."""


def explain(error: Exception, *, action: str, place: Place) -> BackendError:
    """The exception to raise in place of `error`, which obstore raised.

    Args:
        action: what was tried, as it goes after "can't": "write 'a.txt'".
    """
    text = str(error)
    code = _first(_CODE, text)
    status = _first(_STATUS, text)
    denied = _denied(code, status, action=action, place=place)
    if denied is not None:
        return denied
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return BucketMissing(
            f"There is no bucket '{place.bucket}' at {place.endpoint}; "
            "set S3_BUCKET to one that exists, or create it."
        )
    if code in _OTHER_REGION or status == "301" or "redirect without LOCATION" in text:
        return ConfigurationError(
            f"The bucket '{place.bucket}' is in another region; set AWS_REGION to the bucket's."
        )
    if status in ("403", "404", "405") and not code:
        return StorageUnavailable(
            f"What answers at {place.endpoint} refuses to {action} (HTTP {status}) and gives "
            "no reason, as S3 would; check S3_ENDPOINT_URL and proxies on the way."
        )
    if code == "NoSuchKey" or isinstance(error, FileNotFoundError):
        return ObjectMissing(f"S3 can't {action}: there is no such object.")
    if code in _FULL or status == "507":
        return StorageError(f"S3 can't {action}: it has no room left ({code or status}).")
    if status in ("429", "500", "502", "503", "504") or (not status and "RetryError" in text):
        return _unavailable(text, code, status, place=place)
    if code == _FOLDER_GONE:
        return FolderGone(f"S3 at {place.endpoint} refused to {action} ({code}); try again.")
    known = code or (f"HTTP {status}" if status else type(error).__name__)
    return StorageError(f"S3 at {place.endpoint} refused to {action} ({known}).")


def _denied(
    code: str, status: str, *, action: str, place: Place
) -> StorageDenied | ConfigurationError | None:
    if code in _UNKNOWN_KEY:
        return StorageDenied(
            f"S3 at {place.endpoint} doesn't accept the credentials from {place.credentials} "
            f"({code}); check them, and that they belong to this server."
        )
    if code in _EXPIRED:
        return StorageDenied(
            f"The S3 credentials from {place.credentials} have expired ({code}); renew them."
        )
    if code == "RequestTimeTooSkewed":
        return StorageDenied(
            f"The clocks of this machine and of S3 at {place.endpoint} differ too much "
            f"({code}); set this machine's."
        )
    if code and status in ("401", "403"):
        return StorageDenied(
            f"The S3 credentials from {place.credentials} may not {action} in the bucket "
            f"'{place.bucket}' ({code}); give them that right, or use others."
        )
    return None


def _unavailable(text: str, code: str, status: str, *, place: Place) -> StorageUnavailable:
    if status:
        return StorageUnavailable(
            f"S3 at {place.endpoint} can't answer now ({code or f'HTTP {status}'}); "
            "try again later."
        )
    for word, remedy in _TLS:
        if word in text:
            return StorageUnavailable(f"The certificate of S3 at {place.endpoint} {remedy}.")
    if "InvalidContentType" in text:
        return StorageUnavailable(
            f"S3 at {place.endpoint} doesn't speak TLS; S3_ENDPOINT_URL must begin with http://."
        )
    why = "no answer in time" if "TimedOut" in text or "Timeout" in text else "no connection"
    return StorageUnavailable(
        f"S3 at {place.endpoint} doesn't answer ({why}); check S3_ENDPOINT_URL and the network."
    )


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
