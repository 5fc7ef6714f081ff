"""Writes and one-shot reads of the objects that this package knows, by name of verb and kind."""

import random as random_module
import time
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_scheduler_k8s.cluster.api import DEADLINE_SECONDS, READ_SECONDS, Api
from jupyter_scheduler_k8s.cluster.connection import Connection
from jupyter_scheduler_k8s.cluster.failures import AlreadyExists
from jupyter_scheduler_k8s.errors import Forbidden, NotFound

_JOBS = "jobs"
_CRON_JOBS = "cronjobs"
_PODS = "pods"
_NODES = "nodes"

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
        self._api = Api(
            namespace,
            connection=connection,
            deadline_seconds=deadline_seconds,
            read_seconds=read_seconds,
            clock=clock,
            sleep=sleep,
            random=random,
        )
        self.namespace = namespace
        self.connection = self._api.connection

    def active_context(self) -> str | None:
        """The name of the kubeconfig context in use; None inside a cluster."""
        return self.connection.target().context

    def server_version(self) -> str:
        """The API server's version, such as "v1.34.4"."""
        return str(self._api.json("get", "version", "GET", "/version").get("gitVersion", ""))

    # -- the namespace ------------------------------------------------------

    def ensure_namespace(self) -> None:
        """Create the namespace if it isn't there.

        A server whose Role ends at its namespace may neither see nor create it;
        then it is taken to exist, and the first job says so if it doesn't.
        """
        if self.has_namespace() is not False:
            return
        manifest = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace},
        }
        try:
            self._api.create("namespaces", manifest, path="/api/v1/namespaces")
        except AlreadyExists:
            return

    def has_namespace(self) -> bool | None:
        """Whether the namespace exists; None where this server may not know."""
        path = f"/api/v1/namespaces/{self.namespace}"
        try:
            self._api.json("get", "namespaces", "GET", path, name=self.namespace)
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
        found = self._api.json("create", "selfsubjectaccessreviews", "POST", path, body=review)
        return bool((found.get("status") or {}).get("allowed"))

    # -- Jobs ---------------------------------------------------------------

    def create_job(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a Job and return it as the API has it.

        Raises:
            AlreadyExists: a Job of this name is there, perhaps from an attempt
                of this call whose answer was lost; its `live` tells.
        """
        return self._api.create(_JOBS, manifest)

    def check_job(self, manifest: Mapping[str, Any]) -> None:
        """Have the API judge a Job as if it were created, unknown fields included.

        Raises:
            Rejected: it would not be accepted, and why.
        """
        self._api.check(_JOBS, manifest)

    def get_job(self, name: str) -> dict[str, Any]:
        """The Job of this name. Raises: NotFound."""
        return self._api.get(_JOBS, name)

    def list_jobs(self, label_selector: str, *, name: str | None = None) -> list[dict[str, Any]]:
        """All Jobs that the selector matches; with `name`, only the one of that name."""
        return self._api.list_all(_JOBS, label_selector=label_selector, name=name)

    def patch_job(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge `body` into a Job and return the result.

        Raises:
            NotFound: there is no such Job.
            Conflict: `body` names a resourceVersion, and the Job has another by now.
        """
        return self._api.merge(_JOBS, name, body)

    def delete_job(self, name: str, *, uid: str | None = None) -> None:
        """Delete a Job and, in the background, its pods.

        With `uid`, only that very Job: another one of the same name stays.

        Raises:
            NotFound: there is no such Job (any more).
        """
        self._api.delete(_JOBS, name, uid=uid)

    # -- CronJobs -----------------------------------------------------------

    def create_cron_job(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Create a CronJob and return it as the API has it. Raises: AlreadyExists, as for Jobs."""
        return self._api.create(_CRON_JOBS, manifest)

    def check_cron_job(self, manifest: Mapping[str, Any]) -> None:
        """Have the API judge a CronJob as if it were created. Raises: Rejected, as for Jobs."""
        self._api.check(_CRON_JOBS, manifest)

    def get_cron_job(self, name: str) -> dict[str, Any]:
        """The CronJob of this name. Raises: NotFound."""
        return self._api.get(_CRON_JOBS, name)

    def list_cron_jobs(
        self, label_selector: str, *, name: str | None = None
    ) -> list[dict[str, Any]]:
        """All CronJobs that the selector matches; with `name`, only the one of that name."""
        return self._api.list_all(_CRON_JOBS, label_selector=label_selector, name=name)

    def patch_cron_job(
        self, name: str, body: Mapping[str, Any], *, status: bool = False
    ) -> dict[str, Any]:
        """Merge `body` into a CronJob and return the result.

        The API takes a `status` with `status` only, and then nothing of the `spec`.

        Raises:
            NotFound: there is no such CronJob.
            Conflict: `body` names a resourceVersion, and the CronJob has another by now.
        """
        return self._api.merge(_CRON_JOBS, name, body, subresource="status" if status else "")

    def delete_cron_job(
        self, name: str, *, uid: str | None = None, propagation: str = "Orphan"
    ) -> None:
        """Delete a CronJob, and by default leave the Jobs that it has made.

        With `uid`, only that very CronJob; for `propagation`, see `Api.delete`.

        Raises:
            NotFound: there is no such CronJob (any more).
        """
        self._api.delete(_CRON_JOBS, name, uid=uid, propagation=propagation)

    # -- pods, and what is around them --------------------------------------

    def list_pods(self, label_selector: str) -> list[dict[str, Any]]:
        """All pods that the selector matches."""
        return self._api.list_all(_PODS, label_selector=label_selector)

    def delete_pod(self, name: str, *, uid: str, force: bool = False) -> None:
        """Delete this very pod.

        With `force`, without waiting for its node to confirm the end: for a pod
        whose node is lost, since it may go on there otherwise.

        Raises:
            NotFound: there is no such pod (any more).
        """
        self._api.delete(_PODS, name, uid=uid, grace_seconds=0 if force else None)

    def read_log(self, pod: str, container: str, *, tail_lines: int) -> str:
        """The end of a container's log, 256 KiB at most. Raises: NotFound."""
        query = {
            "container": container,
            "tailLines": str(tail_lines),
            "limitBytes": str(_LOG_BYTES),
        }
        path = self._api.path(_PODS, pod) + "/log"
        return self._api.text("pods/log", path, name=pod, query=query)

    def apply_secret(self, manifest: Mapping[str, Any]) -> None:
        """Create a Secret, or make the one of this name equal to `manifest`."""
        name = str(manifest["metadata"]["name"])
        self._api.json(
            "patch",
            "secrets",
            "PATCH",
            self._api.path("secrets", name),
            name=name,
            query={"fieldManager": _FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=_APPLY,
        )

    def delete_secret(self, name: str) -> None:
        """Delete a Secret; one that isn't there is as good as deleted."""
        path = self._api.path("secrets", name)
        try:
            self._api.json("delete", "secrets", "DELETE", path, name=name)
        except NotFound:
            return

    def list_events(self, field_selector: str) -> list[dict[str, Any]]:
        """Events of the namespace, for example of `involvedObject.uid=<uid>`."""
        return self._api.list_all("events", field_selector=field_selector)

    def list_nodes(self) -> list[dict[str, Any]]:
        """The cluster's nodes, which only a ClusterRole opens."""
        return self._api.list_all(_NODES)

    def resource_quotas(self) -> list[dict[str, Any]]:
        """The namespace's quotas; empty where this server may not see them."""
        try:
            return self._api.list_all("resourcequotas")
        except Forbidden:
            return []
