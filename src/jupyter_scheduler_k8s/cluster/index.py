"""Entries of the cache in the orders in which they are asked for."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

Record = JobRecord | DefinitionRecord


@dataclass(slots=True, eq=False)
class Entry:
    """One object in the cache.

    Attributes:
        data: the slimmed object, packed.
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
    data: bytes = field(repr=False)
    record: Record | None = None
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

    def __init__(self, kind: Kind) -> None:
        self.by_time = Sorted(_by_time)
        self.by_name = Sorted(_by_name)
        # By attribute, then by its value.
        self.groups: dict[str, dict[str, Sorted]] = {attribute: {} for attribute in kind.groups}
        self.by_id: dict[str, list[Entry]] = {}
        self._group_of = {attribute: attrgetter(attribute) for attribute in kind.groups}
        self._id_of: Callable[[Record], str] = attrgetter(kind.id)

    def add(self, entry: Entry, record: Record) -> None:
        """Put in an entry that isn't in yet, under what `record` says."""
        self._place(entry, record)
        self.by_time.add(entry)
        self.by_name.add(entry)
        for attribute, groups in self.groups.items():
            value = self._group_of[attribute](record)
            if value is not None:
                groups.setdefault(value, Sorted(_by_time)).add(entry)
        self.by_id.setdefault(self._id_of(record), []).append(entry)

    def remove(self, entry: Entry) -> None:
        """Take out an entry that is in, under what its record says."""
        record = entry.record
        if record is None:
            return
        self.by_time.remove(entry)
        self.by_name.remove(entry)
        for attribute, groups in self.groups.items():
            value = self._group_of[attribute](record)
            if value is not None:
                _remove(groups, value, entry)
        record_id = self._id_of(record)
        same = self.by_id[record_id]
        same.remove(entry)
        if not same:
            del self.by_id[record_id]

    def fill(self, entries: Iterable[Entry]) -> None:
        """Hold the entries that have a record, and no others; faster than one by one."""
        found = [entry for entry in entries if entry.record is not None]
        grouped: dict[str, dict[str, list[Entry]]] = {attribute: {} for attribute in self.groups}
        self.by_id = {}
        for entry in found:
            record = entry.record
            assert record is not None
            self._place(entry, record)
            for attribute, groups in grouped.items():
                value = self._group_of[attribute](record)
                if value is not None:
                    groups.setdefault(value, []).append(entry)
            self.by_id.setdefault(self._id_of(record), []).append(entry)
        self.by_time.fill(found)
        self.by_name.fill(found)
        self.groups = {attribute: _sorted_groups(found) for attribute, found in grouped.items()}

    def _place(self, entry: Entry, record: Record) -> None:
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
