"""Storage against the local S3 server, looked at with other clients."""

import asyncio
import io
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from cluster.support import Bucket, until
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.beneath import NewFile
from jupyter_scheduler_k8s.errors import BucketMissing, StorageDenied, StorageError
from jupyter_scheduler_k8s.staging import StagedTree, stage
from jupyter_scheduler_k8s.storage import Download, Storage, StoredObject

ODD_NAMES = (
    "a b.txt", "it's \"q\".txt", "x#1?y=2&z+.txt", "100%.txt", "%41%2F..", "line\nbreak",
    "back\\slash", "a\u0308.txt", "\u00e4.txt", "~x[1]{2}*|<>^`.txt", "日本 語/ü/😀.txt",
    " lead", "trail ", "...", "a:b;c,d=e@f!$g(h)", "x&amp;y", "\u2028\u200b", "\x7f\x01", "\ufffe",
)  # fmt: skip


@pytest.fixture
def credentials(cluster: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, cluster[name])
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return cluster


@pytest.fixture
def storage(credentials: Mapping[str, str]) -> Storage:
    return Storage(bucket=credentials["S3_BUCKET"], endpoint_url=credentials["S3_ENDPOINT_URL"])


@pytest.fixture
async def job(storage: Storage) -> AsyncIterator[str]:
    """The id of a job of which there is nothing but files."""
    job_id = str(uuid.uuid4())
    yield job_id
    await storage.delete_prefix(names.job_prefix(job_id))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "proj").mkdir(parents=True)
    (folder / "proj/nb.ipynb").write_text("{}")
    return folder


def tree_of(root: Path) -> StagedTree:
    return stage(str(root), "proj/nb.ipynb", package=True, output_directory="jobs")


def parts_left(cluster: Mapping[str, str], prefix: str) -> list[str]:
    """The keys of uploads in parts that were neither finished nor aborted."""
    client = boto3.client(
        "s3",
        endpoint_url=cluster["S3_ENDPOINT_URL"],
        aws_access_key_id=cluster["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cluster["AWS_SECRET_ACCESS_KEY"],
        region_name=cluster["AWS_REGION"],
    )
    found = client.list_multipart_uploads(Bucket=cluster["S3_BUCKET"], Prefix=prefix)
    return [upload["Key"] for upload in found.get("Uploads", [])]


async def test_odd_names_are_readable_keys_and_come_back(
    storage: Storage, bucket: Bucket, job: str, root: Path, tmp_path: Path
) -> None:
    prefix = names.input_prefix(job)
    for name in ODD_NAMES:
        path = root / "proj" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    await storage.upload_tree(prefix, tree_of(root))
    keys = {prefix + names.escape_path(name) for name in (*ODD_NAMES, "nb.ipynb")}
    assert set(bucket.keys(prefix)) == keys
    assert f"{prefix}x#1?y=2&z+.txt" in keys
    for name in ODD_NAMES:
        assert bucket.read(prefix + names.escape_path(name)).decode() == name

    listed = await storage.list(prefix)
    assert {found.key for found in listed} == keys
    out = tmp_path / "out"
    out.mkdir()
    await storage.download(download(found, prefix, out) for found in listed)
    for name in ODD_NAMES:
        assert (out / name).read_text(encoding="utf-8") == name
    assert await storage.delete_prefix(names.job_prefix(job)) == len(keys)
    assert bucket.keys(names.job_prefix(job)) == []


def download(found: StoredObject, prefix: str, out: Path) -> Download:
    path = names.unescape_path(found.key.removeprefix(prefix))
    return Download(found.key, found.size, lambda: NewFile(str(out), path))


async def test_a_thousand_files_and_a_large_one(
    storage: Storage, bucket: Bucket, job: str, root: Path, tmp_path: Path
) -> None:
    prefix = names.input_prefix(job)
    large = secrets.token_bytes(23 * 1024 * 1024 + 1)
    (root / "proj/large.bin").write_bytes(large)
    for number in range(1000):
        path = root / f"proj/d{number % 20}/{number}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(number.to_bytes(4096, "big"))
    await storage.upload_tree(prefix, tree_of(root))
    assert len(bucket.keys(prefix)) == 1002
    assert bucket.read(f"{prefix}large.bin") == large
    assert bucket.read(f"{prefix}d19/999.bin") == (999).to_bytes(4096, "big")

    out = tmp_path / "out"
    out.mkdir()
    await storage.download(download(found, prefix, out) for found in await storage.list(prefix))
    assert (out / "large.bin").read_bytes() == large
    for number in range(1000):
        assert (out / f"d{number % 20}/{number}.bin").read_bytes() == number.to_bytes(4096, "big")


async def test_deleting_one_job_leaves_its_neighbours(
    storage: Storage, bucket: Bucket, job: str
) -> None:
    neighbour = names.job_prefix(f"{job}0")
    await storage.put_bytes(f"{neighbour}input/x", b"1")
    await storage.put_bytes(f"{names.input_prefix(job)}x", b"1")
    assert await storage.delete_prefix(names.job_prefix(job)) == 1
    assert bucket.keys(neighbour) == [f"{neighbour}input/x"]
    assert await storage.delete_prefix(neighbour) == 1


async def test_a_large_upload_that_fails_leaves_nothing_not_even_parts(
    storage: Storage, bucket: Bucket, cluster: Mapping[str, str], job: str
) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= 15 * 1024 * 1024:
                raise OSError(5, "planted")
            return super().read(size)

    class Source:
        path = "large.bin"
        size = 30 * 1024 * 1024

        def open(self) -> Any:
            return Failing(bytes(self.size))

    with pytest.raises(Exception, match=r"'large\.bin' can't be read: planted"):
        await storage.upload_file(f"{names.input_prefix(job)}large.bin", Source())
    assert bucket.keys(names.job_prefix(job)) == []
    assert parts_left(cluster, names.job_prefix(job)) == []


@pytest.mark.parametrize("after", [0, 1, 60])
async def test_a_cancelled_upload_leaves_nothing_not_even_parts(
    storage: Storage,
    bucket: Bucket,
    cluster: Mapping[str, str],
    job: str,
    root: Path,
    after: int,
) -> None:
    (root / "proj/large.bin").write_bytes(bytes(80 * 1024 * 1024))
    for number in range(600):
        (root / f"proj/{number}").write_text("x")
    prefix = names.input_prefix(job)
    uploading = asyncio.create_task(storage.upload_tree(prefix, tree_of(root)))
    while len(await storage.list(prefix)) < after:
        assert not uploading.done()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert bucket.keys(prefix) == []
    assert parts_left(cluster, prefix) == []


async def test_settings_that_are_wrong_are_named(
    credentials: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = credentials["S3_ENDPOINT_URL"]
    with pytest.raises(BucketMissing, match=r"no bucket 'not-there' .* set S3_BUCKET"):
        await Storage(bucket="not-there", endpoint_url=url).check_bucket()
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.setenv(name, "PLANTEDVALUE")
        storage = Storage(bucket=credentials["S3_BUCKET"], endpoint_url=url)
        for attempt in (storage.check_bucket(), storage.put_bytes("jobs/x/y", b"1")):
            with pytest.raises(StorageDenied, match="environment variables AWS_ACCESS") as caught:
                await attempt
            assert "PLANTEDVALUE" not in str(caught.value)
            assert credentials["AWS_ACCESS_KEY_ID"] not in str(caught.value)
        monkeypatch.setenv(name, credentials[name])
        # The same storage works once the credentials do.
        await storage.check_bucket()


DOWNLOADER = """
    import asyncio, sys
    from types import SimpleNamespace
    from jupyter_scheduler_k8s.downloads import K8sJobFilesManager
    from jupyter_scheduler_k8s.storage import Storage

    job_id, root, bucket, url = sys.argv[1:]
    job = SimpleNamespace(
        job_id=job_id, input_filename="nb.ipynb", create_time=0, output_formats=["ipynb"],
        package_input_folder=True, status="COMPLETED",
    )
    scheduler = SimpleNamespace(
        root_dir=root,
        storage=Storage(bucket=bucket, endpoint_url=url),
        get_job=lambda job_id, files: job,
        get_job_filenames=lambda job: {"ipynb": "nb-dated.ipynb", "input": "nb.ipynb"},
        get_local_output_path=lambda job, root_dir_relative: f"{root}/jobs/nb-{job_id}",
    )
    asyncio.run(K8sJobFilesManager(scheduler).copy_from_staging(job_id, "false"))
"""


async def test_a_killed_download_leaves_no_half_file_and_the_next_completes_it(
    storage: Storage, cluster: Mapping[str, str], job: str, tmp_path: Path
) -> None:
    content = {f"files/d{number % 7}/{number}.bin": b"x" * 20_000 for number in range(400)}
    content |= {f"files/{number}.large": b"y" * 3_000_000 for number in range(10)}
    content["output.ipynb"] = b"executed"
    prefix = names.output_prefix(job)
    await asyncio.gather(
        *(storage.put_bytes(prefix + tail, data) for tail, data in content.items())
    )
    command = [sys.executable, "-c", textwrap.dedent(DOWNLOADER), job, str(tmp_path)]
    command += [cluster["S3_BUCKET"], cluster["S3_ENDPOINT_URL"]]
    folder = tmp_path / "jobs" / f"nb-{job}"

    def there() -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".nb-download-")
        }

    expected = {tail.removeprefix("files/"): data for tail, data in content.items()}
    expected["nb-dated.ipynb"] = expected.pop("output.ipynb")
    environment = {**os.environ, **{k: v for k, v in cluster.items() if k.startswith("AWS_")}}
    kill_midway(command, environment, lambda: len(there()) > 20)
    found = there()
    assert 20 < len(found) < len(expected)
    assert found.items() <= expected.items()
    run(command, environment)
    assert there() == expected
    assert not [*folder.rglob(".nb-download-*")]


def kill_midway(
    command: list[str], environment: Mapping[str, str], begun: Callable[[], bool]
) -> None:
    with subprocess.Popen(command, env=environment) as process:
        until(begun, seconds=30, what="the first files")
        process.send_signal(signal.SIGKILL)


def run(command: list[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, env=environment, check=True, timeout=60)


async def test_an_empty_answer_is_not_mistaken_for_an_object(storage: Storage, job: str) -> None:
    assert await storage.list(names.job_prefix(job)) == []
    with pytest.raises(StorageError, match="there is no such object"):
        await storage.get_json(f"{names.output_prefix(job)}result.json")
