"""Inputs whose Job was never created leave S3; those of a Job stay: whoever died, and when."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from faults.fake_api import Answer, FakeApi
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.errors import ClusterError, ClusterUnavailable, StorageError
from jupyter_scheduler_k8s.pending import ABANDONED_SECONDS, PendingInputs
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.storage import Storage
from support.cached import Clock

RECORD = JobRecord(job_id="0c2f", object_name="nb-job-0c2f")


class AgeingStore(MemoryStore):
    """A store in memory whose notes are older than they are."""

    age = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.deleted = threading.Event()

    async def delete_async(self, paths: Any) -> None:
        await super().delete_async(paths)
        # The sweep at a thread's start takes away its own look at S3's clock.
        if not str(paths).endswith("/now"):
            self.deleted.set()

    def list(self, prefix: str | None = None, **options: Any) -> Any:
        return self._aged(super().list(prefix, **options))

    async def _aged(self, pages: Any) -> AsyncIterator[Any]:
        async for page in pages:
            for meta in page:
                if not meta["path"].endswith("/now"):
                    meta["last_modified"] -= timedelta(seconds=self.age)
            yield page


class Server:
    """What one server knows: a cluster, a bucket, an owner."""

    def __init__(
        self, api: FakeApi, folder: Path, *, owner: str = "ada", store: Any = None
    ) -> None:
        self.store = store or AgeingStore()
        self.storage = Storage(bucket="files", store=self.store)
        self.clock = Clock()
        self.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            read_seconds=0.3,
            clock=self.clock,
            sleep=self.clock.advance,
            random=lambda: 0.5,
        )
        self.pending = PendingInputs(
            client=self.client,
            storage=lambda: self.storage,
            owner=owner,
            log=logging.getLogger("test"),
            clock=self.clock,
        )

    def keys(self) -> list[str]:
        """All keys in the bucket, the notes' by their first part only."""

        async def look() -> list[str]:
            return [meta["path"] async for page in self.store.list() for meta in page]

        found = asyncio.run(look())
        return sorted("note" if key.startswith("pending/") else key for key in found)

    def store_inputs(self, *, then: BaseException | None = None, creating: bool = False) -> None:
        """What a create does before its Job exists; `then` ends it."""

        async def create() -> None:
            async with self.pending.noted(RECORD) as note:
                await self.storage.put_bytes("jobs/0c2f/input/n.ipynb", b"{}")
                if creating:
                    await note.before_create()
                if then:
                    raise then

        asyncio.run(create())

    def die_before_the_create(self) -> None:
        """Leave what a killed server leaves: nothing of its own runs after the upload."""
        with pytest.raises(KeyboardInterrupt):
            self.store_inputs(then=KeyboardInterrupt(), creating=True)


@pytest.fixture
def server(api: FakeApi, tmp_path: Path) -> Server:
    return Server(api, tmp_path)


def job(api: FakeApi, *, job_id: str = "0c2f") -> None:
    api.put("jobs", {"metadata": {"name": "nb-job-0c2f", "labels": {names.JOB_ID_LABEL: job_id}}})


def test_inputs_of_a_server_that_died_before_its_job_existed_are_removed(server: Server) -> None:
    server.die_before_the_create()
    assert server.keys() == ["jobs/0c2f/input/n.ipynb", "note"]

    server.store.age = ABANDONED_SECONDS + 1
    assert server.pending.sweep() is None

    assert server.keys() == []


def test_inputs_of_a_job_stay_although_its_server_died(server: Server, api: FakeApi) -> None:
    server.die_before_the_create()
    job(api)

    server.store.age = ABANDONED_SECONDS + 1
    server.pending.sweep()

    assert server.keys() == ["jobs/0c2f/input/n.ipynb"]


def test_another_job_with_the_same_token_is_not_taken_for_it(server: Server, api: FakeApi) -> None:
    server.die_before_the_create()
    job(api, job_id="another")

    server.store.age = ABANDONED_SECONDS + 1
    server.pending.sweep()

    assert server.keys() == []


def test_an_upload_that_may_still_be_under_way_is_left_alone(server: Server) -> None:
    server.die_before_the_create()

    server.store.age = ABANDONED_SECONDS - 100
    wait = server.pending.sweep()

    assert wait == pytest.approx(100, abs=5)
    assert server.keys() == ["jobs/0c2f/input/n.ipynb", "note"]


def test_nothing_is_removed_while_the_cluster_cannot_say_what_exists(
    server: Server, api: FakeApi
) -> None:
    server.die_before_the_create()
    server.store.age = ABANDONED_SECONDS + 1
    api.fail("get", *[Answer(503, "away")] * 60)

    with pytest.raises(ClusterError):
        server.pending.sweep()

    assert server.keys() == ["jobs/0c2f/input/n.ipynb", "note"]


def test_the_notes_of_others_in_the_same_bucket_are_not_looked_at(
    server: Server, api: FakeApi, tmp_path: Path
) -> None:
    server.die_before_the_create()
    server.store.age = ABANDONED_SECONDS + 1

    Server(api, tmp_path, owner="bob", store=server.store).pending.sweep()

    assert server.keys() == ["jobs/0c2f/input/n.ipynb", "note"]


def test_a_create_that_may_have_worked_keeps_its_inputs_until_it_is_known(server: Server) -> None:
    with pytest.raises(ClusterUnavailable):
        server.store_inputs(then=ClusterUnavailable("no answer"), creating=True)
    assert server.keys() == ["jobs/0c2f/input/n.ipynb", "note"]

    server.store.age = ABANDONED_SECONDS + 1
    server.pending.sweep()

    assert server.keys() == []


def test_a_job_that_exists_needs_no_note(server: Server) -> None:
    server.pending.start()

    server.store_inputs(creating=True)

    assert server.store.deleted.wait(10)
    server.pending.stop()
    assert server.keys() == ["jobs/0c2f/input/n.ipynb"]


def test_a_machine_that_slept_creates_no_job_whose_inputs_are_gone(server: Server) -> None:
    async def create() -> None:
        async with server.pending.noted(RECORD) as note:
            server.clock.advance(ABANDONED_SECONDS)
            await server.storage.delete_prefix(next(iter(await notes())).rpartition("/")[0] + "/")
            await note.before_create()

    async def notes() -> list[str]:
        return [meta["path"] async for page in server.store.list("pending/") for meta in page]

    with pytest.raises(StorageError, match="try again"):
        asyncio.run(create())
