"""A Kubernetes API server of a few hundred lines, with faults on request.

It keeps objects, numbers their versions, answers lists in pages and sends
watches, all over HTTP, so that the client under test is the one that ships,
down to its sockets. `fail` makes the next requests of a kind go wrong; open
watches are closed, cut or written to by the test.
"""

import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

Thing = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer instead of the real one."""

    status: int
    message: str = ""
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the connection ends. With `done`, the request has taken effect."""

    done: bool = False


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer, and the connection stays open. With `done`, the request has taken effect."""

    done: bool = False


Fault = Answer | Lost | Silent


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server got it. `kind`: list, watch, get, create, patch or delete."""

    kind: str
    resource: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


class OpenWatch:
    """A watch that a client has open."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.actions: queue.Queue[tuple[str, bytes]] = queue.Queue()

    def send(self, event: Any) -> None:
        """Send one event, or any bytes as a line."""
        line = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.actions.put(("send", line + b"\n"))

    def close(self) -> None:
        """End the stream as a server does whose time is up."""
        self.actions.put(("close", b""))

    def cut(self, beginning: bytes = b"") -> None:
        """End the connection in the middle of a line."""
        self.actions.put(("cut", beginning))


class FakeApi:
    """The server. It keeps its port over `stop` and `start`."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.asked: list[Asked] = []
        self.watches: list[OpenWatch] = []
        self._changed = threading.Condition()
        self._version = 100
        self._oldest = 100
        self._things: dict[tuple[str, str], Thing] = {}
        self._history: list[tuple[int, str, str, Thing, Thing | None]] = []
        self._pages: dict[str, tuple[list[Thing], int]] = {}
        self._faults: dict[str, deque[Fault | None]] = {}
        self._sockets: set[socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    # -- life ---------------------------------------------------------------

    def start(self) -> None:
        """Listen."""
        api = self

        class Handler(_Handler):
            fake = api

        server = _Server(("127.0.0.1", self.port), Handler)
        self._server = server
        self.port = server.server_address[1]
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def stop(self) -> None:
        """Refuse connections, and end those that are open."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for watch in self.watches:
            watch.cut()
        with self._changed:
            sockets, self._sockets = self._sockets, set()
        for connection in sockets:
            try:
                connection.shutdown(SHUT_RDWR)
            except OSError:
                continue

    @property
    def running(self) -> bool:
        return self._server is not None

    def kubeconfig(self, folder: Path, *, token: str = "one") -> str:
        """Write a kubeconfig file for this server, and return its path."""
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "fake",
                    "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "u"}}],
                    "clusters": [
                        {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
                    ],
                    "users": [{"name": "u", "user": {"token": token}}],
                }
            )
        )
        return str(path)

    # -- what the test does -------------------------------------------------

    def put(self, resource: str, thing: Thing) -> Thing:
        """Create or change an object, as somebody else would."""
        with self._changed:
            return self._write(resource, thing)

    def remove(self, resource: str, name: str) -> None:
        """Delete an object, as somebody else would."""
        with self._changed:
            self._delete(resource, name)

    def expire(self) -> None:
        """Forget all history and pages: what is older than now gets 410."""
        with self._changed:
            self._oldest = self._version
            self._history.clear()
            self._pages.clear()

    def fail(self, kind: str, *faults: Fault | None) -> None:
        """Let the next requests of this kind go wrong, one fault each; None is an answer."""
        with self._changed:
            self._faults.setdefault(kind, deque()).extend(faults)

    def heal(self) -> None:
        """Let no more requests go wrong."""
        with self._changed:
            self._faults.clear()

    def bookmark(self) -> None:
        """Send each open watch a bookmark of a new version."""
        with self._changed:
            self._version += 1
            thing = {"metadata": {"resourceVersion": str(self._version)}}
            for watch in self.watches:
                watch.send({"type": "BOOKMARK", "object": thing})

    def things(self, resource: str) -> list[Thing]:
        """The objects of a resource."""
        with self._changed:
            return [thing for (of, _), thing in self._things.items() if of == resource]

    def kinds(self) -> list[str]:
        """The kinds of all requests so far."""
        with self._changed:
            return [asked.kind for asked in self.asked]

    def watch(self, number: int, timeout: float = 10) -> OpenWatch:
        """The watch that was opened as the `number`th, from 1."""
        self.wait(lambda: len(self.watches) >= number, timeout)
        return self.watches[number - 1]

    def wait(self, condition: Callable[[], bool], timeout: float = 10) -> None:
        """Wait until requests have made this true."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"not within {timeout} s; asked: {self.asked[-5:]}")

    # -- the server's part --------------------------------------------------

    def note(self, asked: Asked) -> Fault | None:
        """A request has come in; returns how it is to go wrong."""
        with self._changed:
            self.asked.append(asked)
            faults = self._faults.get(asked.kind)
            fault = faults.popleft() if faults else None
            self._changed.notify_all()
            return fault

    def perform(self, asked: Asked) -> Answer:
        """Do what a request asks for."""
        with self._changed:
            match asked.kind:
                case "list":
                    return self._list(asked)
                case "create":
                    name = asked.body["metadata"]["name"]
                    if (asked.resource, name) in self._things:
                        return _refusal(
                            409, "AlreadyExists", f'{asked.resource} "{name}" already exists'
                        )
                    return _found(self._write(asked.resource, asked.body), 201)
                case "patch" if asked.headers.get("Content-Type") == "application/apply-patch+yaml":
                    return _found(self._write(asked.resource, asked.body))
            known = self._things.get((asked.resource, asked.name))
            if known is None:
                return _refusal(404, "NotFound", f'{asked.resource} "{asked.name}" not found')
            if asked.kind == "patch":
                version = (asked.body.get("metadata") or {}).get("resourceVersion")
                if version not in (None, known["metadata"]["resourceVersion"]):
                    return _refusal(409, "Conflict", "the object has been modified")
                return _found(self._write(asked.resource, _merge(known, asked.body)))
            if asked.kind == "delete":
                uid = ((asked.body or {}).get("preconditions") or {}).get("uid")
                if uid not in (None, known["metadata"]["uid"]):
                    return _refusal(409, "Conflict", "the UID in the precondition is another one")
                self._delete(asked.resource, asked.name)
            return _found(known)

    def open_watch(self, asked: Asked) -> OpenWatch | Answer:
        """Open a watch, with what has happened since its version."""
        with self._changed:
            version = int(asked.query["resourceVersion"])
            if version < self._oldest:
                return _refusal(410, "Expired", "too old resource version")
            watch = OpenWatch(asked)
            for number, resource, kind, thing, before in self._history:
                if number > version and resource == asked.resource:
                    _send(watch, kind, thing, before)
            self.watches.append(watch)
            self._changed.notify_all()
            return watch

    def connected(self, connection: socket) -> None:
        with self._changed:
            self._sockets.add(connection)

    def _write(self, resource: str, thing: Thing) -> Thing:
        name = thing["metadata"]["name"]
        before = self._things.get((resource, name))
        self._version += 1
        metadata = {**thing["metadata"], "resourceVersion": str(self._version)}
        if not metadata.get("uid"):
            known = before["metadata"]["uid"] if before else f"uid-{self._version}"
            metadata["uid"] = known
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        after = {**thing, "metadata": metadata}
        self._things[resource, name] = after
        self._emit(resource, "MODIFIED" if before else "ADDED", after, before)
        return after

    def _delete(self, resource: str, name: str) -> None:
        thing = self._things.pop((resource, name))
        self._version += 1
        gone = {**thing, "metadata": {**thing["metadata"], "resourceVersion": str(self._version)}}
        self._emit(resource, "DELETED", gone, thing)

    def _emit(self, resource: str, kind: str, thing: Thing, before: Thing | None) -> None:
        self._history.append((self._version, resource, kind, thing, before))
        for watch in self.watches:
            if watch.asked.resource == resource:
                _send(watch, kind, thing, before)

    def _list(self, asked: Asked) -> Answer:
        token = asked.query.get("continue")
        if token:
            if token not in self._pages:
                return _refusal(410, "Expired", "the provided continue parameter is too old")
            items, version = self._pages.pop(token)
        else:
            items = [
                thing
                for (resource, _), thing in sorted(self._things.items())
                if resource == asked.resource and _matches(thing, asked.query)
            ]
            version = self._version
        limit = int(asked.query.get("limit", len(items) or 1))
        rest = items[limit:]
        metadata = {"resourceVersion": str(version)}
        if rest:
            metadata["continue"] = f"token-{len(self.asked)}"
            self._pages[metadata["continue"]] = (rest, version)
        return _found({"metadata": metadata, "items": items[:limit]})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else an answer's second packet waits 40 ms for the client to confirm the first.
    disable_nagle_algorithm = True
    fake: FakeApi

    def setup(self) -> None:
        super().setup()
        self.fake.connected(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silence."""

    def _handle(self) -> None:
        asked = self._read()
        fault = self.fake.note(asked)
        if self.fake.token not in (None, asked.headers.get("Authorization", "")[7:]):
            self._answer(_refusal(401, "Unauthorized", "Unauthorized"))
            return
        match fault:
            case Answer():
                self._answer(fault)
                return
            case Lost() | Silent():
                if fault.done:
                    self.fake.perform(asked)
                if isinstance(fault, Silent):
                    # Until the client gives up and closes its side.
                    self.connection.recv(1)
                self.close_connection = True
                return
        if asked.kind == "watch":
            opened = self.fake.open_watch(asked)
            if isinstance(opened, OpenWatch):
                self._stream(opened)
            else:
                self._answer(opened)
            return
        self._answer(self.fake.perform(asked))

    do_GET = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _read(self) -> Asked:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        parts = url.path.strip("/").split("/")
        resource, name = "", ""
        if "namespaces" in parts:
            rest = parts[parts.index("namespaces") + 2 :]
            resource = rest[0] if rest else "namespaces"
            name = rest[1] if len(rest) > 1 else ""
        if resource == "namespaces":
            name = "".join(parts[parts.index("namespaces") + 1 :])
        kind = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}.get(self.command, "get")
        if kind == "get" and not name:
            kind = "watch" if query.get("watch") == "true" else "list"
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        return Asked(
            kind,
            resource,
            name,
            query,
            {key.title(): value for key, value in self.headers.items()},
            body,
        )

    def _answer(self, answer: Answer) -> None:
        body = answer.body
        if body is None:
            body = json.dumps(
                {"kind": "Status", "reason": answer.reason, "message": answer.message}
            ).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, watch: OpenWatch) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            action, data = watch.actions.get()
            if data:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            if action == "close":
                self.wfile.write(b"0\r\n\r\n")
                return
            if action == "cut":
                self.close_connection = True
                return


def _send(watch: OpenWatch, kind: str, thing: Thing, before: Thing | None) -> None:
    """One change as this watch sees it, through its selector."""
    is_in = kind != "DELETED" and _matches(thing, watch.asked.query)
    was_in = before is not None and _matches(before, watch.asked.query)
    if is_in:
        watch.send({"type": "MODIFIED" if was_in else "ADDED", "object": thing})
    elif was_in:
        # As the API server does it: the object as it was, under the new version.
        version = thing["metadata"]["resourceVersion"]
        metadata = {**(before or thing)["metadata"], "resourceVersion": version}
        watch.send({"type": "DELETED", "object": {**(before or thing), "metadata": metadata}})


def _matches(thing: Thing, query: Mapping[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, value = part.split("=")
        if labels.get(key) != value:
            return False
    path, _, wanted = query.get("fieldSelector", "").partition("=")
    found: Any = thing
    for part in filter(None, path.split(".")):
        found = found.get(part, {})
    return not path or bool(found == wanted)


def _merge(thing: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    found = dict(thing) if isinstance(thing, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _merge(found.get(key), value)
    return found


def _found(thing: Any, status: int = 200) -> Answer:
    return Answer(status, body=json.dumps(thing).encode())


def _refusal(status: int, reason: str, message: str) -> Answer:
    return Answer(status, message, reason)
