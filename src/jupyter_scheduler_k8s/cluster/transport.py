"""What the reflector asks of the API: pages of a list, a watch, one object."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_scheduler_k8s.cluster.api import (
    LIST_SECONDS,
    READ_SECONDS,
    parse_object,
    resource_path,
)
from jupyter_scheduler_k8s.cluster.connection import Connection
from jupyter_scheduler_k8s.cluster.failures import ApiFailure, Request, as_error

# The API server sends each watch a bookmark about once a minute
# (k8s.io/apiserver, defaultBookmarkFrequency). A connection that is silent for
# longer is open on this side only.
SILENCE_SECONDS = 70.0


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: its objects, the list's version, the next part's token ("" at the end)."""

    objects: list[dict[str, Any]] = field(repr=False)
    version: str
    token: str


class Watch(Protocol):
    """An open watch: its lines, each of them one event as JSON."""

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """End the iteration, from any thread."""


class Transport(Protocol):
    """One kind of object under one selector. Requests raise ApiFailure, and try once."""

    resource: str

    def list_page(self, *, limit: int | None, token: str) -> Page:
        """One page, or with `limit` None the whole list."""

    def watch(self, *, version: str, timeout_seconds: int) -> AbstractContextManager[Watch]:
        """Events after `version`; the server ends the watch after `timeout_seconds`."""

    def get(self, name: str) -> dict[str, Any] | None:
        """The object of this name as it is now, if it is there and under the selector."""

    def reload_credentials(self) -> None:
        """Log in again with the next request."""

    def sentence(self, failure: ApiFailure) -> str:
        """A failure as a person should read it."""


class KubernetesTransport:
    """`Transport` over a real connection."""

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str,
        resource: str,
        label_selector: str,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.resource = resource
        self._connection = connection
        self._namespace = namespace
        self._path = resource_path(namespace, resource)
        self._selection = {"labelSelector": label_selector}
        self._silence_seconds = silence_seconds

    def list_page(self, *, limit: int | None, token: str) -> Page:
        query = dict(self._selection)
        if limit is not None:
            query["limit"] = str(limit)
        if token:
            query["continue"] = token
        page = parse_object(
            self._connection.request("GET", self._path, query=query, read_seconds=LIST_SECONDS)
        )
        metadata = page.get("metadata") or {}
        return Page(
            objects=list(page.get("items") or []),
            version=str(metadata.get("resourceVersion") or ""),
            token=str(metadata.get("continue") or ""),
        )

    def watch(self, *, version: str, timeout_seconds: int) -> AbstractContextManager[Watch]:
        query = {
            **self._selection,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(timeout_seconds),
        }
        return self._connection.stream(
            self._path, query=query, silence_seconds=self._silence_seconds
        )

    def get(self, name: str) -> dict[str, Any] | None:
        query = {**self._selection, "fieldSelector": f"metadata.name={name}"}
        page = parse_object(
            self._connection.request("GET", self._path, query=query, read_seconds=READ_SECONDS)
        )
        for found in page.get("items") or []:
            return dict(found)
        return None

    def reload_credentials(self) -> None:
        self._connection.reload()

    def sentence(self, failure: ApiFailure) -> str:
        request = Request("watch", self.resource, "", self._namespace)
        return str(as_error(failure, request, self._connection.address))
