"""`python -m budgets.page_server COUNT`: the Jobs of a namespace, in pages made beforehand.

It speaks as much of the Kubernetes API as a list and a silent watch need; it
prints its port, and ends with its standard input.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from budgets import jobs


def _list(items: list[bytes], token: str) -> bytes:
    head = json.dumps({"resourceVersion": "1", "continue": token})
    kind = b'{"kind":"JobList","apiVersion":"batch/v1","metadata":'
    return kind + head.encode() + b',"items":[' + b",".join(items) + b"]}"


class Pages:
    """All answers, made once for each size of page."""

    def __init__(self, count: int) -> None:
        self._items = [json.dumps(job).encode() for job in jobs.objects(count)]
        self._made: dict[tuple[int, int], bytes] = {}
        self.answer(0, 0)
        for start in range(0, count, 500):
            self.answer(start, 500)

    def answer(self, start: int, limit: int) -> bytes:
        """The objects from `start` on, at most `limit`; 0 is all of them."""
        if (start, limit) not in self._made:
            end = start + limit if limit else len(self._items)
            token = str(end) if end < len(self._items) else ""
            self._made[start, limit] = _list(self._items[start:end], token)
        return self._made[start, limit]


def serve(count: int) -> ThreadingHTTPServer:
    """A server on a free port, not yet running."""
    pages = Pages(count)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(asked.query).items()}
            if query.get("watch") in ("1", "true"):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                ended.wait()
                return
            of_jobs = asked.path.endswith("/jobs")
            start, limit = int(query.get("continue", "0")), int(query.get("limit", "0"))
            body = pages.answer(start, limit) if of_jobs else _list([], "")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: standard error is the measuring program's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    made = serve(int(sys.argv[1]))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    print(made.server_port, flush=True)
    sys.stdin.read()
