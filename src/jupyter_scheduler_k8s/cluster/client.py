"""Writes and one-shot reads of the objects that this package knows.

Every request may be repeated safely: names are chosen before the first attempt,
patches are merges, deletes name the object's uid. So whatever is transient (see
failures.py) is repeated until the deadline, and nothing else is.
"""

import json
import random as random_module
import time
from collections.abc import Callable, Iterator, Mapping
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
from jupyter_scheduler_k8s.errors import Forbidden, NotFound

T = TypeVar("T")

JOBS = "jobs"
PODS = "pods"
_PREFIXES = {JOBS: "/apis/batch/v1", "cronjobs": "/apis/batch/v1"}

# An answer takes milliseconds; a server that needs longer than this is ill.
READ_SECONDS = 10.0
# A page of 500 objects of 256 KiB, from a busy server.
LIST_SECONDS = 60.0
# How long a caller waits for an API that is away before it is told so.
DEADLINE_SECONDS = 20.0
PAGE = 500

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_FIELD_MANAGER = "jupyter-scheduler-k8s"
_LOG_BYTES = 256 * 1024


class ClusterClient:
    """The Kubernetes API of one namespace, as JSON objects. Synchronous; safe between threads.

    All methods raise `ClusterUnavailable`, `Forbidden` or `Rejected` where the
    API gives no answer or a refusal, and `ConfigurationError` where there is no
    cluster to ask; what else they raise is in their docstrings.
    """

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
        self.namespace = namespace
        self.connection = connection or Connection()
        self._deadline_seconds = deadline_seconds
        self._read_seconds = read_seconds
        self._clock = clock
        self._sleep = sleep
        self._random = random

    def active_context(self) -> str | None:
        """The name of the kubeconfig context in use; None inside a cluster."""
        return self.connection.target().context

    def server_version(self) -> str:
        """The API server's version, such as "v1.34.4"."""
        return str(self._json("get", "version", "GET", "/version").get("gitVersion", ""))

    def ensure_namespace(self) -> None:
        """Create the namespace if it isn't there.

        A server whose Role ends at its namespace may neither see nor create it;
        then it is taken to exist, and the first job says so if it doesn't.
        """
        path = f"/api/v1/namespaces/{self.namespace}"
        try:
            self._json("get", "namespaces", "GET", path, name=self.namespace)
        except Forbidden:
            return
        except NotFound:
            manifest = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace},
            }
            try:
                self._create("namespaces", "/api/v1/namespaces", path, manifest)
            except AlreadyExists:
                return

    def has_namespace(self) -> bool | None:
        """Whether the namespace exists; None where this server may not know."""
        path = f"/api/v1/namespaces/{self.namespace}"
        try:
            self._json("get", "namespaces", "GET", path, name=self.namespace)
        except Forbidden:
            return None
        except NotFound:
            return False
        return True

    def may(self, verb: str, group: str, resource: str) -> bool:
        """Whether this server has a right in the namespace."""
        resource, _, subresource = resource.partition("/")
        attributes = {
            "namespace": self.namespace,
            "verb": verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        found = self._json("create", "selfsubjectaccessreviews", "POST", path, body=review)
        return bool((found.get("status") or {}).get("allowed"))

    def create_job(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Job and return it as the API has it.

        Raises:
            AlreadyExists: a Job of this name is there, perhaps from an attempt
                of this call whose answer was lost; its `live` tells.
        """
        path = self._path(JOBS)
        return self._create(JOBS, path, f"{path}/{manifest['metadata']['name']}", manifest)

    def check_job(self, manifest: Mapping[str, Any]) -> None:
        """Have the API judge a Job as if it were created, unknown fields included.

        Raises:
            Rejected: it would not be accepted, and why.
        """
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        name = str(manifest["metadata"]["name"])
        self._json("create", JOBS, "POST", self._path(JOBS), name=name, query=query, body=manifest)

    def get_job(self, name: str) -> dict[str, Any]:
        """The Job of this name. Raises: NotFound."""
        return self._json("get", JOBS, "GET", self._path(JOBS, name), name=name)

    def list_jobs(self, label_selector: str, *, name: str | None = None) -> list[dict[str, Any]]:
        """All Jobs that the selector matches; with `name`, only the one of that name."""
        return list(self._list(JOBS, label_selector=label_selector, name=name))

    def patch_job(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `body` into a Job and return the result.

        Raises:
            NotFound: there is no such Job.
            Conflict: `body` names a resourceVersion, and the Job has another by now.
        """
        return self._json(
            "patch",
            JOBS,
            "PATCH",
            self._path(JOBS, name),
            name=name,
            body=body,
            content_type=_MERGE,
        )

    def delete_job(self, name: str, *, uid: str | None = None) -> None:
        """Delete a Job and, in the background, its pods.

        With `uid`, only that very Job: another one of the same name stays.

        Raises:
            NotFound: there is no such Job (any more).
        """
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        repeated = False

        def delete() -> bytes:
            nonlocal repeated
            try:
                return self._once("DELETE", self._path(JOBS, name), body=body)
            except ApiFailure as failure:
                if failure.status == 404 and repeated:
                    # The first attempt worked, and only its answer was lost.
                    return b"{}"
                if failure.status == 409 and uid is not None:
                    raise ApiFailure(404, reason="NotFound") from failure
                repeated = True
                raise

        self._repeat(delete, self._request("delete", JOBS, name))

    def apply_secret(self, manifest: Mapping[str, Any]) -> None:
        """Create a Secret, or make the one of this name equal to `manifest`."""
        name = str(manifest["metadata"]["name"])
        self._json(
            "patch",
            "secrets",
            "PATCH",
            self._path("secrets", name),
            name=name,
            query={"fieldManager": _FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )

    def delete_secret(self, name: str) -> None:
        """Delete a Secret; one that isn't there is as good as deleted."""
        try:
            self._json("delete", "secrets", "DELETE", self._path("secrets", name), name=name)
        except NotFound:
            return

    def list_pods(self, label_selector: str) -> list[dict[str, Any]]:
        """All pods that the selector matches."""
        return list(self._list(PODS, label_selector=label_selector))

    def list_events(self, field_selector: str) -> list[dict[str, Any]]:
        """Events of the namespace, for example of `involvedObject.uid=<uid>`."""
        return list(self._list("events", field_selector=field_selector))

    def resource_quotas(self) -> list[dict[str, Any]]:
        """The namespace's quotas; empty where this server may not see them."""
        try:
            return list(self._list("resourcequotas"))
        except Forbidden:
            return []

    def read_log(self, pod: str, container: str, *, tail_lines: int) -> str:
        """The end of a container's log, 256 KiB at most. Raises: NotFound."""
        query = {
            "container": container,
            "tailLines": str(tail_lines),
            "limitBytes": str(_LOG_BYTES),
        }
        data = self._repeat(
            lambda: self._once("GET", self._path(PODS, pod) + "/log", query=query),
            self._request("get", "pods/log", pod),
        )
        return data.decode("utf-8", "replace")

    def _create(
        self, resource: str, path: str, object_path: str, manifest: Mapping[str, Any]
    ) -> dict[str, Any]:
        name = str(manifest["metadata"]["name"])
        request = self._request("create", resource, name)

        def create() -> dict[str, Any]:
            try:
                return parse_object(self._once("POST", path, body=manifest))
            except ApiFailure as failure:
                if failure.status != 409 or failure.reason != "AlreadyExists":
                    raise
            try:
                live = parse_object(self._once("GET", object_path))
            except ApiFailure as failure:
                if failure.status != 404:
                    raise
                # Deleted between the two requests: the name is free again.
                raise ApiFailure(503, reason="Deleted", message="the name was in use") from failure
            raise AlreadyExists(
                f"There is a {noun(resource)} {name} already in the namespace {self.namespace}.",
                live,
            )

        return self._repeat(create, request)

    def _list(
        self,
        resource: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        name: str | None = None,
    ) -> Iterator[dict[str, Any]]:
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
                page = self._json("list", resource, "GET", self._path(resource), query=query)
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
                return iter(found)
            query["continue"] = token

    def _json(
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
        return self._repeat(
            lambda: parse_object(
                self._once(method, path, query=query, body=body, content_type=content_type)
            ),
            self._request(verb, resource, name),
        )

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

    def _path(self, resource: str, name: str = "") -> str:
        return resource_path(self.namespace, resource, name)


def resource_path(namespace: str, resource: str, name: str = "") -> str:
    """The path of a namespaced resource, or of one object of it."""
    prefix = _PREFIXES.get(resource, "/api/v1")
    path = f"{prefix}/namespaces/{quote(namespace, safe='')}/{resource}"
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
