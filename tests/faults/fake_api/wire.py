"""HTTP: a request is read, and its answer, its fault or its watch is written."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from faults.fake_api.requests import Answer, Asked, Fault, Lost, Silent, refusal
from faults.fake_api.watches import OpenWatch


class Fake(Protocol):
    """What is behind the wire."""

    token: str | None

    def connected(self, connection: socket) -> None: ...

    def note(self, asked: Asked) -> Fault | None: ...

    def perform(self, asked: Asked) -> Answer: ...

    def open_watch(self, asked: Asked) -> OpenWatch | Answer: ...


def serve(fake: Fake, port: int) -> ThreadingHTTPServer:
    """A server on this port, 0 for any, that listens and answers what `fake` says."""
    handler = type("Handler", (_Handler,), {"fake": fake})
    return _Server(("127.0.0.1", port), handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else an answer's second packet waits 40 ms for the client to confirm the first.
    disable_nagle_algorithm = True
    fake: Fake

    def setup(self) -> None:
        super().setup()
        self.fake.connected(self.connection)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silence."""

    def _handle(self) -> None:
        asked = self._read()
        fault = self.fake.note(asked)
        if self.fake.token not in (None, asked.headers.get("Authorization", "")[7:]):
            self._answer(refusal(401, "Unauthorized", "Unauthorized"))
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
        resource, name, subresource = "", "", ""
        if "namespaces" in parts:
            rest = parts[parts.index("namespaces") + 2 :]
            resource = rest[0] if rest else "namespaces"
            name, subresource = [*rest[1:3], "", ""][:2]
        if resource == "namespaces":
            name = "".join(parts[parts.index("namespaces") + 1 :])
        elif "nodes" in parts:
            resource, name = "nodes", "".join(parts[parts.index("nodes") + 1 :])
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
            subresource,
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
