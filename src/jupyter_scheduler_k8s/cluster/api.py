"""Single requests to the API: repeated while that may help, and refused in sentences.

Every request may be repeated safely: names are chosen before the first attempt,
patches are merges, deletes name the object's uid. So whatever is transient (see
failures.py) is repeated until the deadline, and nothing else is.
"""

import json
import random as random_module
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from jupyter_scheduler_k8s.cluster.backoff import Backoff
from jupyter_scheduler_k8s.cluster.connection import Connection
from jupyter_scheduler_k8s.cluster.failures import (
    AlreadyExists,
    ApiFailure,
    Request,
    as_error,
    noun,
)
from jupyter_scheduler_k8s.errors import NotFound

T = TypeVar("T")

# Belong to no namespace.
_OF_THE_CLUSTER = ("nodes",)
_PREFIXES = {"jobs": "/apis/batch/v1", "cronjobs": "/apis/batch/v1"}

# An answer takes milliseconds; a server that needs longer than this is ill.
READ_SECONDS = 10.0
# A page of 500 objects of 256 KiB, from a busy server.
LIST_SECONDS = 60.0
# How long a caller waits for an API that is away before it is told so.
DEADLINE_SECONDS = 20.0
PAGE = 500

_MERGE = "application/merge-patch+json"


class Api:
    """Requests to one namespace. All methods raise what `ClusterClient` says of its own."""

    def __init__(
        self,
        namespace: str,
        *,
        connection: Connection | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        read_seconds: float = READ_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        """A request takes `deadline_seconds` at most, each attempt `read_seconds`."""
        self.namespace = namespace
        self.connection = connection or Connection()
        self._deadline_seconds = deadline_seconds
        self._read_seconds = read_seconds
        self._clock = clock
        self._sleep = sleep
        self._random = random

    def path(self, resource: str, name: str = "") -> str:
        """The path of a resource of the namespace, or of one object of it."""
        return resource_path(self.namespace, resource, name)

    def json(
        self,
        verb: str,
        resource: str,
        method: str,
        path: str,
        *,
        name: str = "",
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """The object that the API answers with; `verb`, `resource` and `name` are for messages."""
        return self._repeat(
            lambda: parse_object(
                self._once(method, path, query=query, body=body, content_type=content_type)
            ),
            self._request(verb, resource, name),
        )

    def text(self, resource: str, path: str, *, name: str, query: Mapping[str, str]) -> str:
        """What the API has at a path that is no object."""
        data = self._repeat(
            lambda: self._once("GET", path, query=query), self._request("get", resource, name)
        )
        return data.decode("utf-8", "replace")

    def get(self, resource: str, name: str) -> dict[str, Any]:
        """The object of this name. Raises: NotFound."""
        return self.json("get", resource, "GET", self.path(resource, name), name=name)

    def list_all(
        self,
        resource: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        name: str | None = None,
    ) -> list[dict[str, Any]]:
        """All objects that the selectors match; with `name`, only the one of that name."""
        query = {"limit": str(PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        if name is not None:
            field_selector = f"metadata.name={name}"
        if field_selector:
            query["fieldSelector"] = field_selector
        found: list[dict[str, Any]] = []
        while True:
            try:
                page = self.json("list", resource, "GET", self.path(resource), query=query)
            except NotFound:
                # The pages' snapshot has expired: once more, in one piece.
                if "continue" not in query:
                    raise
                query = {k: v for k, v in query.items() if k not in ("continue", "limit")}
                found = []
                continue
            found.extend(page.get("items") or [])
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return found
            query["continue"] = token

    def create(
        self, resource: str, manifest: Mapping[str, Any], *, path: str | None = None
    ) -> dict[str, Any]:
        """Create an object and return it as the API has it; `path` is that of its resource.

        Raises:
            AlreadyExists: one of this name is there, perhaps from an attempt of
                this call whose answer was lost; its `live` tells.
        """
        name = str(manifest["metadata"]["name"])
        path = path or self.path(resource)

        def create() -> dict[str, Any]:
            try:
                return parse_object(self._once("POST", path, body=manifest))
            except ApiFailure as failure:
                if failure.status != 409 or failure.reason != "AlreadyExists":
                    raise
            try:
                live = parse_object(self._once("GET", f"{path}/{quote(name, safe='')}"))
            except ApiFailure as failure:
                if failure.status != 404:
                    raise
                # Deleted between the two requests: the name is free again.
                raise ApiFailure(503, reason="Deleted", message="the name was in use") from failure
            raise AlreadyExists(
                f"There is a {noun(resource)} {name} already in the namespace {self.namespace}.",
                live,
            )

        return self._repeat(create, self._request("create", resource, name))

    def check(self, resource: str, manifest: Mapping[str, Any]) -> None:
        """Have the API judge an object as if it were created, unknown fields included.

        Raises:
            Rejected: it would not be accepted, and why.
        """
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        name = str(manifest["metadata"]["name"])
        path = self.path(resource)
        self.json("create", resource, "POST", path, name=name, query=query, body=manifest)

    def merge(
        self, resource: str, name: str, body: Mapping[str, Any], *, subresource: str = ""
    ) -> dict[str, Any]:
        """Merge `body` into an object, or into a part of it that is its own resource.

        Raises:
            NotFound: there is no such object.
            Conflict: `body` names a resourceVersion, and the object has another by now.
        """
        path = self.path(resource, name)
        if subresource:
            path, resource = f"{path}/{subresource}", f"{resource}/{subresource}"
        return self.json(
            "patch", resource, "PATCH", path, name=name, body=body, content_type=_MERGE
        )

    def delete(
        self,
        resource: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; with `uid`, only that very one: another of the same name stays.

        Args:
            resource: its resource.
            name: its name.
            uid: which one of this name is meant.
            propagation: what becomes of what it owns: deleted afterwards (Background),
                before it (Foreground), or left (Orphan).
            grace_seconds: what a pod has for its end, if not what it asks for.

        Raises:
            NotFound: there is no such object (any more).
        """
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
        }
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        repeated = False

        def delete() -> bytes:
            nonlocal repeated
            try:
                return self._once("DELETE", self.path(resource, name), body=body)
            except ApiFailure as failure:
                if failure.status == 404 and repeated:
                    # The first attempt worked, and only its answer was lost.
                    return b"{}"
                if failure.status == 409 and uid is not None:
                    raise ApiFailure(404, reason="NotFound") from failure
                repeated = True
                raise

        self._repeat(delete, self._request("delete", resource, name))

    def _once(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        return self.connection.request(
            method,
            path,
            query=query,
            body=body,
            content_type=content_type,
            read_seconds=LIST_SECONDS if query and "limit" in query else self._read_seconds,
        )

    def _repeat(self, attempt: Callable[[], T], request: Request) -> T:
        """Run `attempt` until it succeeds, fails for good, or the deadline has passed."""
        deadline = self._clock() + self._deadline_seconds
        backoff = Backoff(first=0.1, cap=4.0, random=self._random)
        renewed = False
        while True:
            try:
                return attempt()
            except ApiFailure as failure:
                if failure.status == 401 and not renewed:
                    renewed = True
                    self.connection.reload()
                    continue
                delay = backoff.next(retry_after=failure.retry_after)
                if not failure.transient or self._clock() + delay > deadline:
                    raise as_error(failure, request, self.connection.address) from failure
                self._sleep(delay)

    def _request(self, verb: str, resource: str, name: str) -> Request:
        return Request(verb, resource, name, self.namespace)


def resource_path(namespace: str, resource: str, name: str = "") -> str:
    """The path of a resource, or of one object of it."""
    path = _PREFIXES.get(resource, "/api/v1")
    if resource not in _OF_THE_CLUSTER:
        path = f"{path}/namespaces/{quote(namespace, safe='')}"
    path = f"{path}/{resource}"
    return f"{path}/{quote(name, safe='')}" if name else path


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
        ApiFailure: it is something else, which a proxy on the way has sent.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ApiFailure(None, reason="NoJSON", message="the answer is no JSON") from error
    if not isinstance(found, dict):
        raise ApiFailure(None, reason="NoObject", message="the answer is no object")
    return found
