"""One request to the Kubernetes API, with the official client's credentials and TLS.

The official client does what is hard to do well: kubeconfig files, exec
plugins, token files, proxies, certificate authorities. Its models are not used:
they are three times slower than the JSON they are made of. Its request methods
changed their shape between releases, so requests go through its connection
pool, which all releases since 33 have under the same name.
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from jupyter_scheduler_k8s.cluster.failures import ApiFailure, parse_retry_after
from jupyter_scheduler_k8s.errors import ConfigurationError

CONNECT_SECONDS = 5.0

# An object in etcd has 1.5 MiB at most; a line that is larger than this is no event.
LONGEST_LINE = 32 * 1024 * 1024
_CHUNK = 64 * 1024

_SERVICE_HOST = "KUBERNETES_SERVICE_HOST"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API is and how to log in, as loaded once."""

    address: str
    pool: Any
    configuration: Any
    context: str | None

    def headers(self) -> dict[str, str]:
        """Accept and authorization; the client's hook renews a token that expires."""
        found = {"Accept": "application/json", "User-Agent": "jupyter-scheduler-k8s"}
        for setting in self.configuration.auth_settings().values():
            if setting["in"] == "header" and setting["value"]:
                found[setting["key"]] = setting["value"]
        return found


class Connection:
    """Requests with the credentials of a kubeconfig file, or of the pod this runs in.

    Nothing is loaded before the first request: importing `kubernetes` takes
    0.6 s, and an exec plugin may take longer. Safe to share between threads.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`kubeconfig` and `context` default to KUBECONFIG and its current context."""
        self._kubeconfig = kubeconfig
        self._context = context
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._target: Target | None = None
        self._address = "an address that is not known yet"

    def target(self) -> Target:
        """Where the API is.

        Raises:
            ConfigurationError: there is no usable kubeconfig file and this is no pod.
        """
        with self._lock:
            if self._target is None:
                self._target = _load(self._kubeconfig, self._context)
                self._address = self._target.address
            return self._target

    @property
    def address(self) -> str:
        """The API's URL, once it is known, for messages."""
        return self._address

    def fingerprint(self) -> str:
        """What tells this cluster from others: its address and its certificate authority.

        The address alone is the same in many clusters, seen from their pods.

        Raises:
            ConfigurationError: see `target`.
        """
        target = self.target()
        authority = target.configuration.ssl_ca_cert
        try:
            known = Path(authority).read_bytes() if authority else b""
        except OSError:
            known = b""
        return hashlib.sha256(target.address.encode() + b"\0" + known).hexdigest()

    def reload(self) -> None:
        """Forget the credentials, so that the next request loads them again."""
        with self._lock:
            self._target = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        read_seconds: float,
    ) -> bytes:
        """The body of the answer to one attempt.

        Raises:
            ApiFailure: no answer, or one that isn't 2xx.
            ConfigurationError: see `target`.
        """
        response = self._open(
            method,
            path,
            query=query,
            body=body,
            content_type=content_type,
            read_seconds=read_seconds,
        )
        with _network_errors():
            try:
                data: bytes = response.read()
            except BaseException:
                response.close()
                raise
        response.release_conn()
        return data

    def stream(self, path: str, *, query: Mapping[str, str], silence_seconds: float) -> "Stream":
        """An open watch; it ends with ApiFailure when nothing comes for `silence_seconds`.

        Raises:
            ApiFailure, ConfigurationError: see `request`.
        """
        return Stream(self._open("GET", path, query=query, read_seconds=silence_seconds))

    def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        read_seconds: float,
        body: object = None,
        content_type: str = "application/json",
    ) -> Any:
        import urllib3

        target = self.target()
        headers = target.headers()
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        url = f"{target.address}{path}"
        if query:
            url += f"?{urlencode(query)}"
        with _network_errors():
            response = target.pool.request(
                method,
                url,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                preload_content=False,
                # Repeating is decided in one place, and it is not here.
                retries=False,
                redirect=False,
            )
        if not 200 <= response.status < 300:
            raise self._failure(response)
        return response

    def _failure(self, response: Any) -> ApiFailure:
        retry_after = parse_retry_after(response.headers.get("Retry-After"), self._wall_clock)
        try:
            with _network_errors():
                text = response.read(LONGEST_LINE).decode("utf-8", "replace")
        except ApiFailure:
            text = ""
        finally:
            response.close()
        reason, message = _status_object(text)
        return ApiFailure(
            response.status,
            reason=reason or str(response.reason or ""),
            message=message,
            retry_after=retry_after,
        )


class Stream:
    """The lines of a watch. Iterate in one thread; `close` may be called from any."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._closed = threading.Event()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._response.close()

    def __iter__(self) -> Iterator[bytes]:
        """Whole lines, without their ends; an unfinished last one is dropped."""
        parts: list[bytes] = []
        size = 0
        with _network_errors():
            for chunk in self._chunks():
                *lines, rest = chunk.split(b"\n")
                for line in lines:
                    parts.append(line)
                    whole = b"".join(parts)
                    parts, size = [], 0
                    if whole.strip():
                        yield whole
                if rest:
                    parts.append(rest)
                    size += len(rest)
                    if size > LONGEST_LINE:
                        raise ApiFailure(None, reason="LineTooLong", message="a line never ends")

    def close(self) -> None:
        """End the iteration in the other thread, which sees an ordinary end."""
        self._closed.set()
        try:
            self._response.shutdown()
        except (AttributeError, ValueError, RuntimeError, OSError):
            # Ended already, or a urllib3 without shutdown (before 2.3): the
            # silence limit ends it then, in a thread that nobody waits for.
            return

    def _chunks(self) -> Iterator[bytes]:
        try:
            # The API server sends a watch in chunks, one or more events each;
            # `stream` yields them as they come, in every release of urllib3.
            yield from self._response.stream(_CHUNK, decode_content=False)
        except Exception:
            if not self._closed.is_set():
                raise


class _network_errors:  # noqa: N801 - used as a statement
    """Turns what urllib3 and the socket raise into ApiFailure."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, ApiFailure):
            return
        import urllib3.exceptions as network

        if isinstance(error, network.SSLError) and "CERTIFICATE" in str(error).upper():
            raise ApiFailure(
                None, reason="CertificateError", message=str(error), permanent=True
            ) from error
        if isinstance(error, (network.HTTPError, OSError)):
            raise ApiFailure(None, reason=type(error).__name__, message=_told(error)) from error


def _told(error: BaseException) -> str:
    import urllib3.exceptions as network

    if isinstance(error, network.NewConnectionError):
        return "connection refused or host not found"
    if isinstance(error, network.TimeoutError):
        return "it took too long"
    # urllib3's texts begin with the object's address in memory.
    return str(error).rsplit(">: ", 1)[-1]


def _status_object(text: str) -> tuple[str, str]:
    """The reason and message of a Kubernetes Status, or of whatever a proxy answered."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    return str(found.get("reason") or ""), str(found.get("message") or "")


def _load(kubeconfig: str | None, context: str | None) -> Target:
    # Here and not above: the import takes 0.6 s.
    import yaml
    from kubernetes import client
    from kubernetes.config.config_exception import ConfigException

    config = _kubeconfig_module()

    # Where a library has set a default configuration, a plain call copies it.
    configuration = type.__call__(client.Configuration)
    files = kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    found = any(Path(file).is_file() for file in files.split(os.pathsep) if file)
    try:
        if found:
            config.load_kube_config(
                config_file=files, context=context, client_configuration=configuration
            )
            active: str | None = context or _current_context(files)
        elif os.environ.get(_SERVICE_HOST):
            config.load_incluster_config(client_configuration=configuration)
            active = None
        else:
            raise ConfigurationError(
                f"There is no kubeconfig file at {files}, and this is no pod of a cluster; set"
                " KUBECONFIG to the file with the cluster's address and login."
            )
    except (ConfigException, yaml.YAMLError, OSError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The kubeconfig file {files} can't be used ({error}); set KUBECONFIG, or choose a"
            " context with `kubectl config use-context`."
        ) from error
    pool = client.ApiClient(configuration).rest_client.pool_manager
    return Target(
        address=str(configuration.host).rstrip("/"),
        pool=pool,
        configuration=configuration,
        context=active,
    )


def _kubeconfig_module() -> Any:
    # Its functions have no types in some releases.
    from kubernetes import config

    return config


def _current_context(files: str) -> str:
    return str(_kubeconfig_module().list_kube_config_contexts(config_file=files)[1]["name"])
