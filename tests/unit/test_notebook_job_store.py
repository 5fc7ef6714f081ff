"""S3 as it fails: what is tried again, what isn't, and what is said of it."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from notebook_job import store as module
from notebook_job.store import (
    AlreadyThere,
    Item,
    ObjectMissing,
    Patience,
    Store,
    StoreError,
    connect,
    without_secrets,
)

COPIED = '<CopyObjectResult><ETag>"1"</ETag></CopyObjectResult>'
KEY_ID, SECRET = "PLANTEDKEYID", "planted-secret"

Answer = tuple[int, str]


@dataclass
class Server:
    """An S3 server that holds objects, unless `fault` answers first."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    conditional: bool = True
    fault: Callable[[str, str], Answer | None] = lambda _method, _path: None


def error(code: str, message: str = "planted") -> str:
    """An S3 error's body, with what real servers repeat in it."""
    return (
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        f"<AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId></Error>"
    )


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine's loopback address."""
    held = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            held.requests.append((self.command, self.path))
            held.headers.append(dict(self.headers))
            failed = held.fault(self.command, self.path)
            if failed is not None:
                self.reply(failed[0], failed[1].encode())
            elif self.command == "PUT":
                if self.headers.get("If-None-Match") and held.conditional is False:
                    self.reply(501, error("NotImplemented").encode())
                else:
                    held.objects[self.path] = body
                    self.reply(200, b"")
            elif self.path in held.objects:
                self.reply(200, held.objects[self.path])
            else:
                self.reply(404, error("NoSuchKey").encode())

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield held
    serving.shutdown()
    serving.server_close()
    thread.join()


@pytest.fixture
def store(server: Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store on the server, which is not patient for long."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return at(server.url)


def at(url: str, ca_bundle: str = "") -> Store:
    """The bucket of the server at `url`."""
    bucket = connect(bucket="jobs", endpoint_url=url, ca_bundle=ca_bundle, environment={})
    return Store(bucket, bucket="jobs")


async def test_a_fault_that_passes_is_waited_out(server: Server, store: Store) -> None:
    answers = iter([(503, error("SlowDown"))] * 5)
    server.fault = lambda _method, _path: next(answers, None)

    await store.put("a/b.txt", b"content", Patience(60))

    assert server.objects == {"/jobs/a/b.txt": b"content"}
    assert await store.get("a/b.txt", Patience(60)) == b"content"


async def test_content_in_pieces_is_given_anew_to_each_attempt(
    server: Server, store: Store
) -> None:
    answers = iter([(500, error("InternalError"))] * 3)
    server.fault = lambda _method, _path: next(answers, None)

    await store.put("a", lambda: iter([b"one", b"two"]), Patience(60))

    assert server.objects == {"/jobs/a": b"onetwo"}


async def test_patience_ends(server: Server, store: Store) -> None:
    server.fault = lambda _method, _path: (503, error("SlowDown", "reduce your rate"))

    with pytest.raises(StoreError) as caught:
        await store.put("a", b"", Patience(0.05))

    assert str(caught.value) == ("Could not store a in bucket jobs: SlowDown (reduce your rate).")


async def test_a_refusal_is_not_asked_for_ever(server: Server, store: Store) -> None:
    server.fault = lambda _method, _path: (403, error("AccessDenied"))

    with pytest.raises(StoreError, match="AccessDenied"):
        await store.put("a", b"", Patience(600))

    assert len(server.requests) == 3


async def test_what_is_missing_is_not_asked_again(server: Server, store: Store) -> None:
    with pytest.raises(ObjectMissing, match="NoSuchKey"):
        await store.get("a", Patience(600))

    assert len(server.requests) == 1


async def test_a_wrong_request_is_not_sent_again(server: Server, store: Store) -> None:
    server.fault = lambda _method, _path: (400, error("InvalidRequest"))

    with pytest.raises(StoreError, match="InvalidRequest"):
        await store.put("a", b"", Patience(600))

    assert len(server.requests) == 1


async def test_credentials_are_not_repeated(server: Server, store: Store) -> None:
    server.fault = lambda _method, _path: (
        403,
        error("SignatureDoesNotMatch", f"{KEY_ID} signed with {SECRET}"),
    )

    with pytest.raises(StoreError) as caught:
        await store.put("a", b"", Patience(0))

    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__}"
    assert "SignatureDoesNotMatch" in shown
    assert KEY_ID not in shown
    assert SECRET not in shown


async def test_a_copy_is_made_within_s3(server: Server, store: Store) -> None:
    server.objects["/jobs/a"] = b"content"
    server.fault = lambda method, _path: (200, COPIED) if method == "PUT" else None

    await store.copy(Item("a", 7), "kept/a", Patience(60))

    assert server.requests == [("PUT", "/jobs/kept/a")]
    (headers,) = server.headers
    assert headers["x-amz-copy-source"] == "jobs/a"


async def test_a_copy_that_fails_after_its_answer_began_is_not_taken_for_done(
    server: Server, store: Store
) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    server.fault = lambda _method, _path: (200, error("InternalError"))

    with pytest.raises(StoreError, match="Could not copy a to kept/a in bucket jobs"):
        await store.copy(Item("a", 7), "kept/a", Patience(0))


def test_secrets_are_blacked_out() -> None:
    environment = {"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": ""}

    assert without_secrets(f"it was {SECRET}.", environment) == "it was ***."


async def test_nobody_answers(store: Store, server: Server) -> None:
    with pytest.raises(StoreError, match="the server does not answer"):
        await at("http://127.0.0.1:1").put("a", b"", Patience(0))


async def test_a_certificate_of_a_stranger_is_not_asked_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def put(*_: object, **__: object) -> None:
        asked.append(1)
        raise GenericError("Custom { error: InvalidCertificate(UnknownIssuer) }")

    monkeypatch.setattr("obstore.put_async", put)

    with pytest.raises(StoreError, match="the server's certificate is not trusted"):
        await store.put("a", b"", Patience(600))

    assert len(asked) == 1


async def test_a_new_object(server: Server, store: Store) -> None:
    await store.put_new("started", b"one", Patience(60))

    with pytest.raises(AlreadyThere):
        await store.put_new("started", b"two", Patience(60))
    assert server.objects == {"/jobs/started": b"one"}


async def test_a_new_object_whose_answer_was_lost(server: Server, store: Store) -> None:
    # It is there already, and it is ours.
    server.objects["/jobs/started"] = b"ours"

    await store.put_new("started", b"ours", Patience(60))

    assert server.objects == {"/jobs/started": b"ours"}


async def test_a_new_object_on_a_server_without_conditions(server: Server, store: Store) -> None:
    server.conditional = False

    await store.put_new("started", b"one", Patience(60))

    assert server.objects == {"/jobs/started": b"one"}


async def test_another_that_was_faster(server: Server, store: Store) -> None:
    def faster(method: str, path: str) -> Answer | None:
        if method == "PUT":
            server.objects[path] = b"another"
            return 412, error("PreconditionFailed")
        return None

    server.fault = faster

    with pytest.raises(AlreadyThere):
        await store.put_new("started", b"ours", Patience(60))


def test_the_file_of_an_authority_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        at("https://127.0.0.1:1", ca_bundle=str(tmp_path / "none.pem"))


def test_patience_is_a_time() -> None:
    now = 10.0

    def clock() -> float:
        return now

    patience = Patience(5, clock)
    now = 12.0

    assert patience.left == 3


async def test_a_session_token_is_sent(
    server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-token")

    await at(server.url).put("a", b"", Patience(60))

    assert server.headers[-1]["x-amz-security-token"] == "planted-token"


async def test_the_role_of_a_container(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text("pod's own")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    given = {
        "AccessKeyId": "ROLEKEY",
        "SecretAccessKey": "s",
        "Token": "role-token",
        "Expiration": "2126-01-01T00:00:00Z",
    }
    server.objects["/credentials"] = json.dumps(given).encode()

    await at(server.url).put("a", b"", Patience(60))

    assert server.headers[0]["authorization"] == "pod's own"
    assert server.headers[1]["x-amz-security-token"] == "role-token"
    assert "Credential=ROLEKEY/" in server.headers[1]["authorization"]
