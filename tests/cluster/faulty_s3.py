"""An S3 endpoint between the pods and the real one, which fails as a test wants."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# What a request is answered with instead of the real answer: a status, or None to let it pass.
Fault = Callable[[str, str], int | None]

_BODY = "<Error><Code>{code}</Code><Message>planted</Message></Error>"
_CODES = {403: "AccessDenied", 503: "SlowDown"}


def no_fault(_method: str, _path: str) -> int | None:
    """Let every request pass."""
    return None


@dataclass
class FaultySource:
    """The endpoint. `seen` are the requests that were failed, in order."""

    url: str
    fault: Fault = no_fault
    seen: list[tuple[str, str]] = field(default_factory=list)
    failed: threading.Event = field(default_factory=threading.Event)


@contextmanager
def faulty_s3(real: str) -> Iterator[FaultySource]:
    """Serve the S3 server at `real` under another port of the same address."""
    target = urlsplit(real)
    assert target.hostname is not None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(size)
            status = source.fault(self.command, self.path)
            if status is not None:
                source.seen.append((self.command, self.path))
                source.failed.set()
                self.reply(status, [], _BODY.format(code=_CODES[status]).encode())
                return
            upstream = http.client.HTTPConnection(target.hostname or "", target.port or 80)
            # The signature covers the Host header, so it stays as the client wrote it.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            response = upstream.getresponse()
            headers = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in ("transfer-encoding", "connection", "content-length")
            ]
            self.reply(response.status, headers, response.read())
            upstream.close()

        def reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        # Many connections at once are not kept waiting.
        request_queue_size = 128

    server = Server((target.hostname, 0), Handler)
    source = FaultySource(f"http://{target.hostname}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
