"""A Kubernetes API server of a few hundred lines, with faults on request.

It keeps objects, numbers their versions, answers lists in pages and sends
watches, all over HTTP, so that the client under test is the one that ships,
down to its sockets. `fail` makes the next requests of a kind go wrong; open
watches are closed, cut or written to by the test.
"""

import threading
from collections import deque
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket

import yaml

from faults.fake_api.requests import Answer, Asked, Fault, found, refusal
from faults.fake_api.things import STATUSES, Thing, matches, merge
from faults.fake_api.watches import OpenWatch, send
from faults.fake_api.wire import serve


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
        self._server = server = serve(self, self.port)
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
                    return self._create(asked)
                case "patch" if asked.headers.get("Content-Type") == "application/apply-patch+yaml":
                    return found(self._write(asked.resource, asked.body))
            known = self._things.get((asked.resource, asked.name))
            if known is None:
                return refusal(404, "NotFound", f'{asked.resource} "{asked.name}" not found')
            if asked.kind == "patch":
                return self._patch(asked, known)
            if asked.kind == "delete":
                options = asked.body or {}
                uid = (options.get("preconditions") or {}).get("uid")
                if uid not in (None, known["metadata"]["uid"]):
                    return refusal(409, "Conflict", "the UID in the precondition is another one")
                self._delete(asked.resource, asked.name)
                if options.get("propagationPolicy") != "Orphan":
                    self._collect(known["metadata"]["uid"])
            return found(known)

    def open_watch(self, asked: Asked) -> OpenWatch | Answer:
        """Open a watch, with what has happened since its version."""
        with self._changed:
            version = int(asked.query["resourceVersion"])
            if version < self._oldest:
                return refusal(410, "Expired", "too old resource version")
            watch = OpenWatch(asked)
            for number, resource, kind, thing, before in self._history:
                if number > version and resource == asked.resource:
                    send(watch, kind, thing, before)
            self.watches.append(watch)
            self._changed.notify_all()
            return watch

    def connected(self, connection: socket) -> None:
        with self._changed:
            self._sockets.add(connection)

    def _create(self, asked: Asked) -> Answer:
        name = asked.body["metadata"]["name"]
        if (asked.resource, name) in self._things:
            return refusal(409, "AlreadyExists", f'{asked.resource} "{name}" already exists')
        thing = asked.body
        if asked.resource in STATUSES:
            # The status is not for who creates it to say.
            thing = {key: value for key, value in thing.items() if key != "status"}
        if asked.query.get("dryRun"):
            return found(thing, 201)
        return found(self._write(asked.resource, thing), 201)

    def _patch(self, asked: Asked, known: Thing) -> Answer:
        version = (asked.body.get("metadata") or {}).get("resourceVersion")
        if version not in (None, known["metadata"]["resourceVersion"]):
            return refusal(409, "Conflict", "the object has been modified")
        # Each of the two resources of such an object leaves out what is the other's.
        others = "spec" if asked.subresource == "status" else "status"
        body = asked.body
        if asked.resource in STATUSES:
            body = {key: value for key, value in body.items() if key != others}
        return found(self._write(asked.resource, merge(known, body)))

    def _collect(self, uid: str) -> None:
        """Delete what was owned by an object that is gone, as Kubernetes does soon after."""
        for (resource, name), thing in list(self._things.items()):
            owners = thing["metadata"].get("ownerReferences") or ()
            if any(owner["uid"] == uid for owner in owners):
                self._delete(resource, name)
                self._collect(thing["metadata"]["uid"])

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
                send(watch, kind, thing, before)

    def _list(self, asked: Asked) -> Answer:
        token = asked.query.get("continue")
        if token:
            if token not in self._pages:
                return refusal(410, "Expired", "the provided continue parameter is too old")
            items, version = self._pages.pop(token)
        else:
            items = [
                thing
                for (resource, _), thing in sorted(self._things.items())
                if resource == asked.resource and matches(thing, asked.query)
            ]
            version = self._version
        limit = int(asked.query.get("limit", len(items) or 1))
        rest = items[limit:]
        metadata = {"resourceVersion": str(version)}
        if rest:
            metadata["continue"] = f"token-{len(self.asked)}"
            self._pages[metadata["continue"]] = (rest, version)
        return found({"metadata": metadata, "items": items[:limit]})
