import datetime as dt
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import exceptions

from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError, StorageDenied
from jupyter_scheduler_k8s.storage import Credentials, Storage


class Found:
    """What botocore finds: static keys."""

    def __init__(self, method: str, key: str = "PLANTEDKEY", token: str | None = None) -> None:
        self.method = method
        self.key, self.token = key, token

    def get_frozen_credentials(self) -> Any:
        return SimpleNamespace(access_key=self.key, secret_key="PLANTEDSECRET", token=self.token)


class Renewed(Found):
    """What botocore finds: keys that it renews."""

    _expiry_time = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

    def refresh_needed(self) -> bool:
        return False


class Session:
    def __init__(self, *found: Any, region: str | None = None) -> None:
        self.found = [*found]
        self.region_name = region

    def __call__(self) -> "Session":
        return self

    def get_credentials(self) -> Any:
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        return found


def test_pods_get_static_keys() -> None:
    pod = Credentials(session=Session(Found("env"))).pod()
    assert pod is not None
    assert pod.data == {"AWS_ACCESS_KEY_ID": "PLANTEDKEY", "AWS_SECRET_ACCESS_KEY": "PLANTEDSECRET"}
    assert pod.expires_at is None
    assert "PLANTED" not in repr(pod)


@pytest.mark.parametrize("method", ["assume-role", "sso", "custom-process"])
def test_pods_get_a_persons_session_and_its_end(method: str) -> None:
    pod = Credentials(session=Session(Renewed(method, token="PLANTEDTOKEN"))).pod()
    assert pod is not None
    assert pod.data["AWS_SESSION_TOKEN"] == "PLANTEDTOKEN"
    assert pod.expires_at == 1893456000


@pytest.mark.parametrize("method", ["iam-role", "container-role", "assume-role-with-web-identity"])
def test_pods_get_nothing_of_a_place_identity(method: str) -> None:
    assert Credentials(session=Session(Renewed(method, token="t"))).pod() is None


async def test_pods_get_the_region_too() -> None:
    for region, expected in (("eu-west-1", "eu-west-1"), (None, "us-east-1")):
        credentials = Credentials(session=Session(Found("env"), region=region))
        pod = await Storage(bucket="files", credentials=credentials).pod_credentials()
        assert pod is not None
        assert pod.data["AWS_REGION"] == pod.data["AWS_DEFAULT_REGION"] == expected


def test_files_are_read_again_after_a_minute_and_after_a_refusal() -> None:
    now = 0.0
    session = Session(Found("env", "1"), Found("env", "2"), Found("env", "3"))
    credentials = Credentials(session=session, clock=lambda: now)
    assert credentials()["access_key_id"] == "1"
    now = 59
    assert credentials()["access_key_id"] == "1"
    now = 61
    assert credentials()["access_key_id"] == "2"
    credentials.forget()
    assert credentials()["access_key_id"] == "3"


def test_what_botocore_renews_is_asked_of_the_same_object() -> None:
    now = 0.0
    credentials = Credentials(
        session=Session(Renewed("sso", "1"), Renewed("sso", "2")), clock=lambda: now
    )
    now = 1e6
    assert [credentials()["access_key_id"] for _ in range(3)] == ["1", "1", "1"]


def test_obstore_is_told_to_ask_again_before_the_end() -> None:
    now = dt.datetime.now(dt.UTC)
    expires = Credentials(session=Session(Renewed("sso")))()["expires_at"]
    assert expires is not None
    assert dt.timedelta(minutes=5) < expires - now < dt.timedelta(minutes=11)
    soon = Renewed("custom-process")
    soon._expiry_time = now + dt.timedelta(minutes=2)
    assert Credentials(session=Session(soon))()["expires_at"] == soon._expiry_time


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (None, StorageDenied, "set AWS_ACCESS_KEY_ID"),
        (exceptions.ProfileNotFound(profile="PLANTED"), ConfigurationError, "AWS_PROFILE"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="PLANTED"),
         ConfigurationError, "belong together"),
        (exceptions.ConfigParseError(path="/PLANTED"), ConfigurationError, "config file"),
        (exceptions.UnauthorizedSSOTokenError(), StorageDenied, "aws sso login"),
        (exceptions.CredentialRetrievalError(provider="custom-process", error_msg="PLANTED"),
         StorageDenied, r"\(CredentialRetrievalError\)"),
    ],
)  # fmt: skip
def test_a_chain_that_fails_is_one_sentence(
    error: Exception | None, kind: type[BackendError], sentence: str
) -> None:
    credentials = Credentials(session=Session(error))
    with pytest.raises(kind, match=sentence) as caught:
        credentials.pod()
    assert "PLANTED" not in "".join(traceback.format_exception(caught.value))
    assert credentials.failure is caught.value


async def test_no_request_goes_out_without_credentials() -> None:
    storage = Storage(
        bucket="files",
        endpoint_url="http://127.0.0.1:9",
        credentials=Credentials(session=Session(None)),
    )
    with pytest.raises(StorageDenied, match="There are no S3 credentials"):
        await storage.check_bucket()


async def test_certificates_come_from_the_setting_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
    for name in ("ours.pem", "theirs.pem"):
        (tmp_path / name).write_text(pem + name)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    assert await Storage(bucket="files").ca_certificates() == ""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "theirs.pem"))
    assert (await Storage(bucket="files").ca_certificates()).endswith("theirs.pem")
    ours = Storage(bucket="files", ca_bundle=str(tmp_path / "ours.pem"))
    assert (await ours.ca_certificates()).endswith("ours.pem")
    plain = Storage(bucket="files", endpoint_url="http://s3.example")
    assert await plain.ca_certificates() == ""


@pytest.mark.parametrize("content", [None, b"no certificate", b"\xff\xfe"])
async def test_certificates_that_can_not_be_used_name_the_setting(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="S3_CA_BUNDLE must name a PEM file"):
        await Storage(bucket="files", ca_bundle=str(path)).ca_certificates()


@pytest.mark.parametrize(
    "url",
    [
        "minio:9000",
        "ftp://x",
        "https://",
        "https://user:PLANTED@x",
        "https://x?a=PLANTED",
        "x",
        "http://[x",
    ],
)
def test_an_address_that_is_none_names_the_setting_and_repeats_nothing(url: str) -> None:
    with pytest.raises(ConfigurationError, match="S3_ENDPOINT_URL") as caught:
        Storage(bucket="files", endpoint_url=url)
    assert "PLANTED" not in str(caught.value)
