"""The listener that cells tell of their execution."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Of one run: which cells each execution reached.
Marks = Mapping[str, frozenset[int]]


class Listener:
    """Remembers who told what. `address` is reached from pods and from this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._told: dict[int, dict[str, set[int]]] = {}

    def note(self, path: str) -> None:
        """Remember `/<run>/<execution>/<cell>`."""
        run, execution, cell = path.strip("/").split("/")
        with self._lock:
            self._told.setdefault(int(run), {}).setdefault(execution, set()).add(int(cell))

    def marks(self, run: int) -> Marks:
        """What the executions of a run told."""
        with self._lock:
            found = self._told.get(run, {})
            return {name: frozenset(cells) for name, cells in found.items()}


@contextmanager
def listening(host: str) -> Iterator[Listener]:
    """A listener on a free port of `host`, which pods reach, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listener.note(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    listener = Listener(f"http://{host}:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
