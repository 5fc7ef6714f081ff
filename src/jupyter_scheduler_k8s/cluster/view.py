"""What readers of the cache see of it at one moment."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from jupyter_scheduler_k8s.cluster.index import Entry, fold
from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.cluster.mirror import Mirror

R = TypeVar("R")

# For how long a record that isn't at its end is taken as current, in seconds.
_FRESH_SECONDS = 1.0


class View(Generic[R]):
    """One state of the cache; valid inside `RecordCache.reading` only."""

    def __init__(self, mirror: Mirror, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._clock = clock

    @property
    def kind(self) -> Kind:
        """What the records are made of."""
        return self._mirror.kind

    def everything(self) -> Sequence[Entry]:
        """All entries, oldest first."""
        return self._mirror.indexes.by_time.entries

    def with_value(self, attribute: str, value: str) -> Sequence[Entry]:
        """Those whose record has this value in one of its kind's `groups`, oldest first."""
        group = self._mirror.indexes.groups[attribute].get(value)
        return () if group is None else group.entries

    def with_id(self, record_id: str) -> Sequence[Entry]:
        """Those of one id: one, or none."""
        return self._mirror.indexes.by_id.get(record_id, ())

    def with_name_prefix(self, prefix: str) -> Sequence[Entry]:
        """Those whose name begins with `prefix`, whatever its ASCII letters' case; by name."""
        return self._mirror.indexes.by_name.beginning_with(fold(prefix))

    def record(self, entry: Entry) -> R:
        """The entry's record as of now."""
        known = entry.record
        if entry in self._mirror.active:
            self._refresh(entry)
        found = entry.record or known
        assert found is not None, "an indexed entry has a record"
        return cast("R", found)

    def refresh(self) -> None:
        """Bring all records up to date that depend on the time; before a filter looks at it."""
        for entry in list(self._mirror.active):
            self._refresh(entry)

    def _refresh(self, entry: Entry) -> None:
        if entry.made is None or self._clock() - entry.made >= _FRESH_SECONDS:
            self._mirror.make(entry)
