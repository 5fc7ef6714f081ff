"""What can go wrong with a request, what of it is worth repeating, and how it is told.

An `ApiFailure` is one attempt that failed, for the code in this folder. What
leaves the folder is the `ClusterError` tree, in sentences that say what to do;
they carry the API's own message, shortened, never a body or a manifest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from jupyter_scheduler_k8s.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
)
from jupyter_scheduler_k8s.reasons import refusal

# Every status after which the same request may succeed unchanged. 500 is among
# them: the API server answers it when etcd or a webhook has a bad moment, and
# all requests of this package may safely be repeated.
TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

# A Retry-After beyond this is taken as this: nobody waits an hour for a list.
LONGEST_RETRY_AFTER = 60.0

_MESSAGE_LENGTH = 300
_NOUNS = {
    "jobs": "Job",
    "cronjobs": "CronJob",
    "cronjobs/status": "CronJob",
    "pods": "pod",
    "pods/log": "log of the pod",
    "secrets": "Secret",
    "namespaces": "namespace",
}
_RBAC = re.compile(r"cannot \w+ resource ")


class AlreadyExists(Conflict):
    """An object of this name exists; `live` is what the API has under it."""

    def __init__(self, message: str, live: dict[str, Any]) -> None:
        super().__init__(message)
        self.live = live


class ApiFailure(Exception):
    """One attempt that failed.

    Attributes:
        status: the HTTP status, None where there was no answer.
        reason: Kubernetes' reason ("AlreadyExists"), or the kind of network error.
        message: the API's message, or the network error's.
        retry_after: seconds that the server asked for, None if it didn't.
        permanent: a failure without an answer that repeating can't cure
            (a certificate that isn't trusted).
    """

    def __init__(
        self,
        status: int | None,
        *,
        reason: str = "",
        message: str = "",
        retry_after: float | None = None,
        permanent: bool = False,
    ) -> None:
        super().__init__(f"{status or 'no answer'} {reason}: {shorten(message)}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.permanent = permanent

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed when it is repeated."""
        if self.status is None:
            return not self.permanent
        # Without AlreadyExists, a 409 to a create comes from a quota that was
        # being counted at the same moment.
        counting = self.status == 409 and "resourcequotas" in self.message
        return self.status in TRANSIENT_STATUSES or counting


@dataclass(frozen=True, slots=True)
class Request:
    """What was attempted, in words for messages: verb, resource, object name, namespace."""

    verb: str
    resource: str
    name: str
    namespace: str


def shorten(text: str) -> str:
    """One line of at most 300 characters, without a full stop at its end."""
    line = " ".join(text.split())
    if len(line) > _MESSAGE_LENGTH:
        line = line[:_MESSAGE_LENGTH].rsplit(" ", 1)[0] + " …"
    return line.rstrip(" .")


def noun(resource: str) -> str:
    """One object of a resource, in a sentence: "Job" for "jobs"."""
    return _NOUNS.get(resource, resource)


def parse_retry_after(value: str | None, now: Callable[[], datetime]) -> float | None:
    """Seconds to wait by a Retry-After header: a number of seconds, or a date (RFC 9110)."""
    if value is None:
        return None
    text = value.strip()
    if text.isdecimal():
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max((date - now()).total_seconds(), 0.0), LONGEST_RETRY_AFTER)


def as_error(failure: ApiFailure, request: Request, address: str) -> ClusterError:
    """The exception that the rest of the package and the user see; `address` is the API's URL."""
    said = shorten(failure.message) or failure.reason or "no reason is given"
    what = f"{noun(request.resource)} {request.name}".strip()
    match failure.status:
        case None if failure.permanent:
            return ClusterUnavailable(
                f"The Kubernetes API at {address} is not trusted ({said}); check the"
                " cluster's certificate authority in the kubeconfig file."
            )
        case None:
            return ClusterUnavailable(
                f"The Kubernetes API at {address} does not answer ({said}); check that"
                " the cluster runs and that KUBECONFIG and its current context point to it."
            )
        case 401:
            return Forbidden(
                f"The Kubernetes API at {address} does not accept this server's"
                " credentials; log in to the cluster again, or renew the token in KUBECONFIG."
            )
        case 403 if _RBAC.search(failure.message):
            return Forbidden(
                f"This server may not {request.verb} {request.resource} in the namespace"
                f" {request.namespace}; bind the Role of this project's deploy folder to its"
                f" account ({said})."
            )
        case 403:
            return Rejected(" ".join(refusal(said)).strip())
        case 404 | 410:
            return NotFound(f"There is no {what} in the namespace {request.namespace}.")
        case 409:
            return Conflict(f"The {what} was changed meanwhile; try again ({said}).")
        case status if failure.transient:
            return ClusterUnavailable(
                f"The Kubernetes API at {address} can't answer now"
                f" (status {status}: {said}); try again in a minute."
            )
        case _:
            return Rejected(f"Kubernetes refused to {request.verb} the {what}: {said}.")
