"""The inputs: from S3 into the shared folder."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass

from notebook_job.paths import UnsafePath, check_path, unescape_path
from notebook_job.store import Item, Patience, Store, StoreError
from notebook_job.volume import Mark, Refused, Volume

_SMALL = 1 << 20
_SMALL_AT_ONCE = 48
_LARGE_AT_ONCE = 4
# Empty folders and executables, which keys can't say; no escaped path has this name.
_TREE = "%tree"


class InputsMissing(Exception):
    """The inputs can't be brought; the text is a sentence."""


@dataclass(frozen=True)
class Inputs:
    """What was brought: each file's mark, to tell later which the run changed."""

    marks: dict[str, Mark]
    size: int


async def keep(store: Store, *, prefix: str, kept: str, patience: Patience) -> None:
    """Copy all objects below the prefix `prefix` to the prefix `kept`, within S3.

    A second time does no harm. What runs is then fetched from there, so that it is what
    was kept.

    Raises:
        InputsMissing: S3 doesn't do it.
    """
    small, large = asyncio.Semaphore(_SMALL_AT_ONCE), asyncio.Semaphore(_LARGE_AT_ONCE)

    async def copy(item: Item) -> None:
        async with small if item.size <= _SMALL else large:
            await store.copy(item, kept + item.key[len(prefix) :], patience)

    try:
        items = await store.list(prefix, patience)
        await asyncio.gather(*(copy(item) for item in items if not item.key.endswith("/")))
    except StoreError as error:
        raise InputsMissing(f"The inputs cannot be kept. {error}") from None


async def fetch(
    store: Store, *, prefix: str, notebook: str, work: Volume, patience: Patience
) -> Inputs:
    """Bring all objects below `prefix` into `work`.

    Raises:
        InputsMissing: there are none, the notebook isn't among them, a name is
            refused, or S3 doesn't give them.
    """
    try:
        items = await store.list(prefix, patience)
    except StoreError as error:
        raise InputsMissing(f"The inputs cannot be fetched. {error}") from None
    trees = [item for item in items if item.key == prefix + _TREE]
    try:
        wanted = [
            (unescape_path(item.key[len(prefix) :]), item)
            for item in items
            if item.key != prefix + _TREE and not item.key.endswith("/")
        ]
    except UnsafePath as error:
        raise InputsMissing(f"The inputs cannot be fetched. {error}") from None
    if notebook not in {path for path, _ in wanted}:
        raise InputsMissing(f'The notebook "{notebook}" is not among the inputs in S3.')
    folders, executables = await _read_tree(store, trees, patience)
    small, large = asyncio.Semaphore(_SMALL_AT_ONCE), asyncio.Semaphore(_LARGE_AT_ONCE)

    async def bring(path: str, item: Item) -> None:
        async with small if item.size <= _SMALL else large:
            try:
                handle = work.create(path, executable=path in executables)
            except Refused as error:
                raise InputsMissing(f'The input "{path}" cannot be written: {error}.') from None
            try:
                await store.get_into(item, handle, patience)
            finally:
                os.close(handle)

    try:
        for folder in folders:
            work.make_folder(folder)
        await asyncio.gather(*(bring(path, item) for path, item in wanted))
    except StoreError as error:
        raise InputsMissing(f"The inputs cannot be fetched. {error}") from None
    except Refused as error:
        raise InputsMissing(f"The inputs' folders cannot be made: {error}.") from None
    except OSError as error:
        raise InputsMissing(f"The inputs cannot be written: {error.strerror}.") from None
    marks = {path: mark for path, _ in wanted if (mark := work.mark(path))}
    return Inputs(marks=marks, size=sum(item.size for _, item in wanted))


async def _read_tree(
    store: Store, trees: list[Item], patience: Patience
) -> tuple[list[str], frozenset[str]]:
    if not trees:
        return [], frozenset()
    try:
        tree = json.loads(await store.get(trees[0].key, patience))
        folders = [check_path(path) for path in tree.get("folders", [])]
        return folders, frozenset(tree.get("executables", []))
    except StoreError as error:
        raise InputsMissing(f"The inputs cannot be fetched. {error}") from None
    except (ValueError, TypeError, AttributeError, UnsafePath) as error:
        raise InputsMissing(f"The list of the inputs' folders is malformed: {error}.") from None
