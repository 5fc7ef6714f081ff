"""Whether a container can use the bucket, in a sentence."""

import pytest
from obstore.store import MemoryStore

from notebook_job.check import check, problem
from notebook_job.store import Patience, Store, StoreError


async def test_a_bucket_that_works_is_left_as_it_was() -> None:
    memory = MemoryStore()

    await check(Store(memory, bucket="files"), "jobs/1/outputs/")

    assert [meta for page in memory.list() for meta in page] == []


async def test_a_bucket_that_returns_something_else_is_told() -> None:
    class Confused(Store):
        async def get(self, key: str, patience: Patience) -> bytes:
            return b"something else"

    memory = MemoryStore()
    with pytest.raises(StoreError, match="Another object"):
        await check(Confused(memory, bucket="files"), "jobs/1/outputs/")

    assert [meta for page in memory.list() for meta in page] == []


def test_a_missing_variable_is_named() -> None:
    assert "is missing" in problem({})
