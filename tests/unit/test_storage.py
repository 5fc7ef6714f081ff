"""Orchestration, over a store in memory. Real S3 servers: tests/cluster/test_storage.py."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from jupyter_scheduler_k8s.beneath import NewFile
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ConfigurationError,
    ObjectMissing,
    StorageError,
)
from jupyter_scheduler_k8s.staging import StagedTree, stage
from jupyter_scheduler_k8s.storage import Download, Storage

PREFIX = "jobs/a/input/"
LARGE = 6 * 1024 * 1024


class WatchedStore:
    """A MemoryStore that counts requests under way, and fails or waits where a test says so."""

    def __init__(self) -> None:
        self.memory = MemoryStore()
        self.now = 0
        self.most = 0
        self.before_put: Callable[[str], Any] = lambda key: None

    def keys(self) -> set[str]:
        return {meta["path"] for page in self.memory.list() for meta in page}

    async def put_async(self, key: str, data: Any, **options: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            waited = self.before_put(key)
            if waited is not None:
                await waited
            await self.memory.put_async(key, data, **options)
        finally:
            self.now -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)


@dataclass
class Buffer:
    """A sink in memory."""

    data: bytes = b""
    ended: list[str] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.data += data

    def finish(self) -> None:
        self.ended.append("finished")

    def discard(self) -> None:
        self.ended.append("discarded")


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def storage(store: WatchedStore) -> Storage:
    return Storage(bucket="files", store=store)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "nb.ipynb").write_text("{}")
    return folder


def tree_of(root: Path) -> StagedTree:
    return stage(str(root), "nb.ipynb", package=True, output_directory="jobs")


async def test_a_tree_is_stored_under_escaped_keys_and_comes_back(
    storage: Storage, store: WatchedStore, root: Path, tmp_path: Path
) -> None:
    (root / "d").mkdir()
    (root / "d/100%\n.csv").write_bytes(b"x" * 70_000)
    (root / "d/large").write_bytes(bytes(range(256)) * (LARGE // 256))
    (root / "empty").mkdir()
    await storage.upload_tree(PREFIX, tree_of(root))
    assert store.keys() == {
        PREFIX + tail for tail in ("nb.ipynb", "d/100%25%0A.csv", "d/large", "%tree")
    }
    tree = await storage.get_json(PREFIX + "%tree")
    assert tree == {"folders": ["empty"], "executables": []}
    out = tmp_path / "out"
    out.mkdir()
    wanted = {"d/large": "large", "d/100%25%0A.csv": "csv"}
    await storage.download(
        Download(PREFIX + tail, 0, lambda name=name: NewFile(str(out), name))  # type: ignore[misc]
        for tail, name in wanted.items()
    )
    assert (out / "large").read_bytes() == (root / "d/large").read_bytes()
    assert (out / "csv").read_bytes() == b"x" * 70_000
    assert sorted(path.name for path in out.iterdir()) == ["csv", "large"]


async def test_few_requests_are_under_way_at_a_time(
    storage: Storage, store: WatchedStore, root: Path
) -> None:
    for number in range(300):
        (root / f"{number}").write_text("x")
    store.before_put = lambda key: asyncio.sleep(0)
    await storage.upload_tree(PREFIX, tree_of(root))
    assert len(store.keys()) == 301
    assert 2 <= store.most <= 16


async def test_a_failed_upload_leaves_nothing_and_says_why(
    storage: Storage, store: WatchedStore, root: Path
) -> None:
    for number in range(100):
        (root / f"{number:03}").write_text("x")
    await storage.put_bytes("jobs/ab/input/nb.ipynb", b"another job's")

    def fail(key: str) -> None:
        if key.endswith("/050"):
            raise OSError("planted")

    store.before_put = fail
    with pytest.raises(StorageError, match="'050'"):
        await storage.upload_tree(PREFIX, tree_of(root))
    assert store.keys() == {"jobs/ab/input/nb.ipynb"}


async def test_a_file_that_can_not_be_read_leaves_nothing_and_is_named(
    storage: Storage, store: WatchedStore, root: Path
) -> None:
    (root / "data.csv").write_text("x")
    tree = tree_of(root)
    (root / "data.csv").unlink()
    with pytest.raises(BackendError, match=r"'data\.csv' vanished"):
        await storage.upload_tree(PREFIX, tree)
    assert store.keys() == set()


async def test_a_cancelled_upload_waits_for_what_is_under_way_then_leaves_nothing(
    storage: Storage, store: WatchedStore, root: Path
) -> None:
    for number in range(100):
        (root / f"{number:03}").write_text("x")
    begun, gate = asyncio.Event(), asyncio.Event()

    def wait(key: str) -> Any:
        begun.set()
        return gate.wait()

    store.before_put = wait
    uploading = asyncio.create_task(storage.upload_tree(PREFIX, tree_of(root)))
    await begun.wait()
    uploading.cancel()
    await asyncio.sleep(0)
    assert not uploading.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert store.keys() == set()
    assert store.now == 0


async def test_a_large_upload_is_given_up_between_two_parts(
    storage: Storage, store: WatchedStore, root: Path
) -> None:
    (root / "large").write_bytes(b"x" * LARGE)

    def fail(key: str) -> Any:
        if key.endswith("/nb.ipynb"):
            raise OSError("planted")

    store.before_put = fail
    with pytest.raises(StorageError, match=r"nb\.ipynb"):
        await storage.upload_tree(PREFIX, tree_of(root))
    assert store.keys() == set()


async def test_a_file_that_grew_since_the_walk_is_sent_whole(storage: Storage, root: Path) -> None:
    tree = tree_of(root)
    (root / "nb.ipynb").write_bytes(b"y" * LARGE)
    await storage.upload_tree(PREFIX, tree)
    assert await storage.get_bytes(PREFIX + "nb.ipynb", limit=LARGE) == b"y" * LARGE


async def test_deleting_a_prefix_touches_no_other(storage: Storage, store: WatchedStore) -> None:
    keys = ["jobs/a/input/x", "jobs/a/outputs/y", "jobs/ab/input/x", "jobs/a", "jobs/b/jobs/a/x"]
    for key in keys:
        await storage.put_bytes(key, b"1")
    assert await storage.delete_prefix("jobs/a/") == 2
    assert store.keys() == {"jobs/ab/input/x", "jobs/a", "jobs/b/jobs/a/x"}
    assert await storage.delete_prefix("jobs/a/") == 0


@pytest.mark.parametrize(
    "prefix", ["", "/", "jobs", "jobs/", "jobs/a", "jobs//", "jobs/../x/", "/a/"]
)
async def test_a_prefix_wider_than_one_job_is_refused(storage: Storage, prefix: str) -> None:
    with pytest.raises(ValueError, match="no prefix of one job"):
        await storage.delete_prefix(prefix)
    with pytest.raises(ValueError, match="no prefix of one job"):
        await storage.list(prefix)


async def test_reading_is_bounded(storage: Storage) -> None:
    await storage.put_bytes("jobs/a/x", b"12345")
    assert await storage.get_bytes("jobs/a/x", limit=5) == b"12345"
    with pytest.raises(StorageError, match="5 bytes, more than 4"):
        await storage.get_bytes("jobs/a/x", limit=4)


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_a_sentence(storage: Storage, data: bytes) -> None:
    await storage.put_bytes("jobs/a/x", data)
    with pytest.raises(StorageError, match="not valid JSON"):
        await storage.get_json("jobs/a/x")


async def test_an_object_that_is_not_there_is_a_sentence(storage: Storage) -> None:
    with pytest.raises(ObjectMissing, match="can't fetch 'jobs/a/x'"):
        await storage.get_json("jobs/a/x")
    with pytest.raises(ObjectMissing):
        await storage.download([Download("jobs/a/x", 0, Buffer)])


async def test_a_sink_that_fails_is_discarded(storage: Storage) -> None:
    class Full(Buffer):
        def write(self, data: bytes) -> None:
            raise BackendError("The disk is full.")

    for size in (10, LARGE):
        sink = Full()
        await storage.put_bytes("jobs/a/x", b"x" * size)
        with pytest.raises(BackendError, match="The disk is full"):
            await storage.download([Download("jobs/a/x", 0, lambda sink=sink: sink)])  # type: ignore[misc]
        assert sink.ended == ["discarded"]


def test_two_event_loops_may_use_one_storage(storage: Storage, root: Path) -> None:
    for name in ("a", "b"):
        (root / name).write_bytes(b"x" * LARGE)
    for job in ("jobs/a/", "jobs/b/"):
        asyncio.run(storage.upload_tree(job, tree_of(root)))
    assert len(asyncio.run(storage.list("jobs/b/"))) == 3


def test_no_bucket_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="S3_BUCKET"):
        Storage(bucket="")


@pytest.mark.parametrize(("times", "stored"), [(4, True), (5, False)])
async def test_a_folder_that_vanishes_meanwhile_is_made_again(times: int, stored: bool) -> None:
    # What versitygw answers while the folder's last other object is being deleted.
    left = [None] * times
    store = WatchedStore()

    def refuse(key: str) -> None:
        if left:
            left.pop()
            raise OSError("status code: 409 <Code>ExistingObjectIsDirectory</Code>")

    store.before_put = refuse
    storage = Storage(bucket="files", store=store)

    if not stored:
        with pytest.raises(StorageError, match="try again"):
            await storage.put_bytes("pending/a/b", b"")
    else:
        await storage.put_bytes("pending/a/b", b"")
    assert store.keys() == ({"pending/a/b"} if stored else set())
