"""Entries of the cache in the orders in which they are asked for."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from jupyter_scheduler_k8s.records import JobRecord


@dataclass(slots=True, eq=False)
class Entry:
    """One Job in the cache.

    Attributes:
        job: the slimmed Job, packed.
        record: what it says, None while it can't be read.
        made: when the record was made, in seconds of the cache's clock; None if not yet.
        seen: the number of the last change that the watch or a list made to it.
        put: the number of our own last write to it.
        pin: the version of that write, until the watch shows it: everything
            that the watch shows before it is older.
    """

    name: str
    uid: str
    version: str
    job: bytes = field(repr=False)
    record: JobRecord | None = None
    made: float | None = None
    seen: int = 0
    put: int = 0
    pin: str | None = None
    # Where the indexes have it; they are moved with the record.
    by_time: tuple[int, str] = (0, "")
    by_name: tuple[str, str] = ("", "")


def fold(text: str) -> str:
    """`text` with ASCII letters in lower case: what SQLite's LIKE ignores, and no more."""
    return text.lower() if text.isascii() else text.translate(_FOLDED)


_FOLDED = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


class Sorted:
    """Entries in ascending order of a key that is unique and doesn't change while they are in."""

    __slots__ = ("_key", "entries")

    def __init__(self, key: Callable[[Entry], tuple[Any, str]]) -> None:
        self._key = key
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Put one in."""
        insort(self.entries, entry, key=self._key)

    def fill(self, entries: Iterable[Entry]) -> None:
        """Hold these and no others."""
        self.entries = sorted(entries, key=self._key)

    def remove(self, entry: Entry) -> None:
        """Take out one that is in."""
        position = bisect_left(self.entries, self._key(entry), key=self._key)
        del self.entries[position]

    def beginning_with(self, prefix: str) -> list[Entry]:
        """Those whose key's first part is a text that begins with `prefix`."""
        size = len(prefix)

        def beginning(entry: Entry) -> str:
            found: str = self._key(entry)[0][:size]
            return found

        low = bisect_left(self.entries, prefix, key=beginning)
        high = bisect_right(self.entries, prefix, key=beginning)
        return self.entries[low:high]


class Indexes:
    """All orders of the cache's entries, kept together."""

    def __init__(self) -> None:
        self.by_time = Sorted(_by_time)
        self.by_name = Sorted(_by_name)
        self.by_status: dict[str, Sorted] = {}
        self.by_definition: dict[str, Sorted] = {}
        self.by_id: dict[str, list[Entry]] = {}

    def add(self, entry: Entry, record: JobRecord) -> None:
        """Put in an entry that isn't in yet, under what `record` says."""
        self._place(entry, record)
        self.by_time.add(entry)
        self.by_name.add(entry)
        self.by_status.setdefault(record.status, Sorted(_by_time)).add(entry)
        if record.job_definition_id is not None:
            group = self.by_definition.setdefault(record.job_definition_id, Sorted(_by_time))
            group.add(entry)
        self.by_id.setdefault(record.job_id, []).append(entry)

    def remove(self, entry: Entry) -> None:
        """Take out an entry that is in, under what its record says."""
        record = entry.record
        if record is None:
            return
        self.by_time.remove(entry)
        self.by_name.remove(entry)
        _remove(self.by_status, record.status, entry)
        if record.job_definition_id is not None:
            _remove(self.by_definition, record.job_definition_id, entry)
        same = self.by_id[record.job_id]
        same.remove(entry)
        if not same:
            del self.by_id[record.job_id]

    def fill(self, entries: Iterable[Entry]) -> None:
        """Hold the entries that have a record, and no others; faster than one by one."""
        found = [entry for entry in entries if entry.record is not None]
        by_status: dict[str, list[Entry]] = {}
        by_definition: dict[str, list[Entry]] = {}
        self.by_id = {}
        for entry in found:
            record = entry.record
            assert record is not None
            self._place(entry, record)
            by_status.setdefault(record.status, []).append(entry)
            if record.job_definition_id is not None:
                by_definition.setdefault(record.job_definition_id, []).append(entry)
            self.by_id.setdefault(record.job_id, []).append(entry)
        self.by_time.fill(found)
        self.by_name.fill(found)
        self.by_status = _sorted_groups(by_status)
        self.by_definition = _sorted_groups(by_definition)

    def _place(self, entry: Entry, record: JobRecord) -> None:
        entry.by_time = (record.create_time, entry.name)
        entry.by_name = (fold(record.name), entry.name)


def _by_time(entry: Entry) -> tuple[int, str]:
    return entry.by_time


def _by_name(entry: Entry) -> tuple[str, str]:
    return entry.by_name


def _sorted_groups(groups: dict[str, list[Entry]]) -> dict[str, Sorted]:
    found = {}
    for key, entries in groups.items():
        found[key] = Sorted(_by_time)
        found[key].fill(entries)
    return found


def _remove(groups: dict[str, Sorted], key: str, entry: Entry) -> None:
    group = groups[key]
    group.remove(entry)
    if not group.entries:
        del groups[key]
