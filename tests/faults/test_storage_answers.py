"""Storage against an S3 server that answers what a test wants, over a real connection.

It holds the texts of obstore that `storage/faults.py` reads against the obstore that
is installed, and searches all that is said and logged for what must stay secret.
"""

import asyncio
import logging
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_scheduler_k8s import errors
from jupyter_scheduler_k8s.storage import Credentials, Download, Storage

KEY, SECRET, TOKEN = "PLANTEDKEY", "PLANTEDSECRET", "PLANTEDTOKEN"
EMPTY_LIST = (
    b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>'
)

Respond = Callable[[str, str], bytes]


def answer(status: str, body: bytes = b"", *, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n"
        'ETag: "e"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n'
        "x-amz-request-id: PLANTEDREQUEST\r\n\r\n"
    )
    return head.encode() + body


def s3_error(status: str, code: str) -> bytes:
    return answer(
        status,
        f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>PLANTEDMESSAGE</Message>'
        f"<AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>PLANTEDSTRING</StringToSign>"
        "</Error>".encode(),
    )


class Session:
    """boto3's session, with one static key."""

    region_name = None
    method = "env"

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> "Session":
        return self

    def get_credentials(self) -> "Session":
        return self

    def get_frozen_credentials(self) -> Any:
        self.asked += 1
        return SimpleNamespace(access_key=KEY, secret_key=SECRET, token=TOKEN)


class Server:
    """Answers each request by `respond(method, target)`, and notes what was asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.respond: Respond = lambda method, target: answer("200 OK")
        self.session = Session()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                # As real servers answer to TLS on a plain port.
                if not line.endswith(b"HTTP/1.1\r\n"):
                    writer.write(answer("400 Bad Request"))
                    return
                method, target, _ = line.decode().split(" ", 2)
                length = 0
                while (header := await reader.readline()).strip():
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.split(b":")[1])
                await reader.readexactly(length)
                self.requests.append(f"{method} {target}")
                writer.write(self.respond(method, target))
                await writer.drain()
                if "cut" in target:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
            server.close()

    def storage(self, url: str, *, ca_bundle: str = "") -> Storage:
        return Storage(
            bucket="files",
            endpoint_url=url,
            ca_bundle=ca_bundle,
            credentials=Credentials(session=self.session),
        )


@pytest.fixture
def server() -> Server:
    return Server()


async def put(storage: Storage) -> None:
    await storage.put_bytes("jobs/a/x", b"1")


async def get(storage: Storage) -> None:
    await storage.get_bytes("jobs/a/x", limit=10)


async def listing(storage: Storage) -> None:
    await storage.list("jobs/a/")


async def check(storage: Storage) -> None:
    await storage.check_bucket()


@pytest.mark.parametrize("act", [put, get, listing, check])
@pytest.mark.parametrize(
    ("given", "kind", "part"),
    [
        (s3_error("403 Forbidden", "SignatureDoesNotMatch"), errors.StorageDenied,
         "AWS_ACCESS_KEY_ID"),
        (s3_error("403 Forbidden", "AccessDenied"), errors.StorageDenied, "(AccessDenied)"),
        (answer("403 Forbidden"), errors.StorageUnavailable, "(HTTP 403)"),
        (s3_error("400 Bad Request", "ExpiredToken"), errors.StorageDenied, "have expired"),
        (s3_error("404 Not Found", "NoSuchBucket"), errors.BucketMissing, "S3_BUCKET"),
        (s3_error("404 Not Found", "XAdminUserNotFound"), errors.StorageDenied, "doesn't accept"),
        (s3_error("301 Moved", "PermanentRedirect"), errors.ConfigurationError, "AWS_REGION"),
        (s3_error("400 Bad Request", "AuthorizationHeaderMalformed"), errors.ConfigurationError,
         "AWS_REGION"),
        (s3_error("400 Bad Request", "EntityTooLarge"), errors.StorageError, "(EntityTooLarge)"),
    ],
)  # fmt: skip
async def test_a_refusal_is_one_sentence_and_gives_nothing_away(
    server: Server,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[Storage], Any],
    given: bytes,
    kind: type[Exception],
    part: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    server.respond = lambda method, target: given
    async with server.listening() as url:
        with pytest.raises(errors.BackendError) as caught:
            await act(server.storage(url))
    assert type(caught.value) is kind
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "PLANTED" not in said
    assert "Signature=" not in said


async def test_a_server_that_stumbles_is_asked_again(server: Server) -> None:
    stumbles = [
        s3_error("503 Service Unavailable", "SlowDown"),
        answer("500 Oops"),
        answer("429 Slow"),
    ]

    def respond(method: str, target: str) -> bytes:
        return stumbles.pop() if stumbles else answer("200 OK")

    server.respond = respond
    async with server.listening() as url:
        await put(server.storage(url))
    assert server.requests == ["PUT /files/jobs/a/x"] * 4


async def test_a_deletion_is_one_request_an_object(server: Server) -> None:
    listing = (
        b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents>'
        b"<Key>jobs/a/x y%25</Key><LastModified>2024-01-01T00:00:00Z</LastModified><Size>1</Size>"
        b"</Contents></ListBucketResult>"
    )
    listed = iter([listing, EMPTY_LIST])

    def respond(method: str, target: str) -> bytes:
        return answer("200 OK", next(listed)) if method == "GET" else answer("204 No Content")

    server.respond = respond
    async with server.listening() as url:
        assert await server.storage(url).delete_prefix("jobs/a/") == 1
    assert server.requests[1] == "DELETE /files/jobs/a/x%20y%2525"


async def test_an_object_that_can_not_be_deleted_is_named(server: Server) -> None:
    listing = (
        b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents>'
        b"<Key>jobs/a/x</Key><LastModified>2024-01-01T00:00:00Z</LastModified><Size>1</Size>"
        b"</Contents></ListBucketResult>"
    )

    def respond(method: str, target: str) -> bytes:
        return answer("200 OK", listing) if method == "GET" else s3_error("403 No", "AccessDenied")

    server.respond = respond
    async with server.listening() as url:
        with pytest.raises(errors.StorageDenied, match="may not delete 'jobs/a/x'"):
            await server.storage(url).delete_prefix("jobs/a/")
    server.respond = lambda method, target: (
        answer("200 OK", listing) if method == "GET" else answer("204 No Content")
    )
    server.requests.clear()
    async with server.listening() as url:
        with pytest.raises(errors.StorageError, match="can't be deleted"):
            await server.storage(url).delete_prefix("jobs/a/")
    assert len(server.requests) == 7


async def test_credentials_are_asked_for_rarely_and_anew_after_a_refusal(server: Server) -> None:
    async with server.listening() as url:
        storage = server.storage(url)
        await asyncio.gather(*(put(storage) for _ in range(50)))
        few = server.session.asked
        assert few <= 4
        server.respond = lambda method, target: s3_error("403 Forbidden", "InvalidAccessKeyId")
        with pytest.raises(errors.StorageDenied):
            await put(storage)
        server.respond = lambda method, target: answer("200 OK")
        await put(storage)
        assert server.session.asked > few


async def test_an_answer_that_breaks_off_never_becomes_a_file(server: Server) -> None:
    class Sink:
        ended = ""

        def write(self, data: bytes) -> None: ...

        def finish(self) -> None:
            self.ended = "finished"

        def discard(self) -> None:
            self.ended = "discarded"

    sink = Sink()
    size = 3 * 1024 * 1024
    server.respond = lambda method, target: answer("200 OK", b"x" * (size // 2), length=size)
    async with server.listening() as url:
        with pytest.raises(errors.StorageError):
            await server.storage(url).download([Download("jobs/a/cut", size, lambda: sink)])
    assert sink.ended == "discarded"


async def test_nobody_listening_names_the_setting(server: Server) -> None:
    async with server.listening() as url:
        pass
    with pytest.raises(errors.StorageUnavailable, match=r"no connection\); check S3_ENDPOINT_URL"):
        await put(server.storage(url))


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """A private authority's certificate, and the context of a server that it vouches for."""
    openssl = ("openssl", "req", "-x509", "-days", "2")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")
    subprocess.run(
        (*openssl, *key, "ca.key", "-subj", "/CN=authority", "-out", "ca.pem"),
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    subprocess.run(
        (*openssl, *key, "s3.key", "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=s3", "-out",
         "s3.pem", "-addext", "subjectAltName=IP:127.0.0.1", "-addext",
         "basicConstraints=critical,CA:FALSE"),
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "s3.pem", tmp_path / "s3.key")
    return tmp_path / "ca.pem", context


async def test_a_private_authority_is_trusted_when_it_is_named(
    server: Server,
    certificates: tuple[Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, context = certificates
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    async with server.listening(context) as url:
        with pytest.raises(errors.StorageUnavailable, match="isn't trusted; set S3_CA_BUNDLE"):
            await put(server.storage(url))
        await put(server.storage(url, ca_bundle=str(authority)))
        other = server.storage(url.replace("127.0.0.1", "localhost"), ca_bundle=str(authority))
        with pytest.raises(errors.StorageUnavailable, match="is for another name"):
            await put(other)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        await put(server.storage(url))


async def test_https_to_a_server_without_tls_says_so(server: Server) -> None:
    async with server.listening() as url:
        with pytest.raises(errors.StorageUnavailable, match="must begin with http://"):
            await put(server.storage(url.replace("http:", "https:")))


async def test_certificates_that_are_none_name_the_setting(server: Server, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    with pytest.raises(errors.ConfigurationError, match="S3_CA_BUNDLE"):
        await put(server.storage("https://127.0.0.1:9", ca_bundle=str(bundle)))


async def test_the_environment_of_other_s3_programs_changes_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_BUCKET": "another",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_ALLOW_HTTP": "false",
        "AWS_S3_EXPRESS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    async with server.listening() as url:
        await put(server.storage(url))
    assert server.requests == ["PUT /files/jobs/a/x"]
