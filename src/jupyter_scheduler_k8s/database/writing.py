"""How records are written through a session, whatever they are made of.

All of it blocks until the cluster has the change, and is safe between threads.
Each write reads the object live and names what it has read, so that nothing is
written over that somebody else has changed meanwhile.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Generic, TypeVar

from jupyter_scheduler_k8s.cluster import RecordCache
from jupyter_scheduler_k8s.cron_manifest import Operation
from jupyter_scheduler_k8s.errors import Conflict, NotFound, UnsupportedQuery
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

R = TypeVar("R", bound=JobRecord | DefinitionRecord)

# What only describes a job or a definition, with the kinds of its values.
_DESCRIBES: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "tags": (list, type(None)),
    "output_filename_template": (str, type(None)),
    "update_time": (int,),
}

# The controllers write an object a few times in a run, other people now and then.
_ATTEMPTS = 10


class Writer(Generic[R]):
    """Creates, changes and deletes the objects of one kind that are records."""

    model: ClassVar[type[Any]]
    noun: ClassVar[str]

    def __init__(
        self,
        *,
        cache: RecordCache[R] | None,
        create: Callable[[Any], dict[str, Any]] | None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            cache: what is written is put into it, where there is one.
            create: creates the object of a new instance, and returns it.
            wall_clock: seconds since the epoch.
        """
        self._cache = cache
        self._create = create
        self._wall_clock = wall_clock

    def add(self, instance: Any) -> None:
        """Create the object of a new instance of the model.

        Raises:
            UnsupportedQuery: it is none, or this writer creates none.
            BackendError: what `create` raises.
        """
        create = self._create
        if create is None or not isinstance(instance, self.model):
            raise UnsupportedQuery(f"{type(instance).__name__} can't be stored here.")
        self._putting(lambda: create(instance))

    def check(self, values: Mapping[str, Any]) -> None:
        """
        Raises:
            UnsupportedQuery: a column can't be changed, or not to this; it is named.
        """
        for column, value in values.items():
            if column not in _DESCRIBES:
                self._check(column, value)
            elif not _fits(column, value):
                raise unfit(column, value)

    def update(self, record: R, values: Mapping[str, Any]) -> bool:
        """Change columns of a record, which `check` has seen.

        Returns:
            Whether the record was still there.

        Raises:
            UnsupportedQuery: the record is in a state in which it can't be made so.
            RecordError: the record can't be read, or would be too large.
            Conflict: the object was changed by others all the while.
            ClusterError: see `ClusterClient`.
        """
        for _ in range(_ATTEMPTS):
            live = self._live(record)
            if live is None:
                return False
            version = live["metadata"]["resourceVersion"]
            try:
                for patch in self._patches(live, values):
                    version = self._patch(record.object_name, patch, version)
            except NotFound:
                return False
            except Conflict:
                continue
            return True
        raise Conflict(
            f"The {self.noun} {self._id(record)} is being changed by others all the time;"
            " try again."
        )

    def delete(self, record: R) -> bool:
        """Delete the object of a record; its files in S3 stay.

        Returns:
            Whether the record was still there.
        """
        live = self._live(record)
        if live is None:
            return False
        uid = live["metadata"]["uid"]
        try:
            self._remove(record.object_name, uid)
        except NotFound:
            return False
        if self._cache is not None:
            self._cache.forget(record.object_name, uid)
        return True

    # -- what each kind has of its own ---------------------------------------

    def _check(self, column: str, value: Any) -> None:
        """Raise UnsupportedQuery where a column that doesn't only describe can't get a value."""
        raise NotImplementedError

    def _patches(self, live: Mapping[str, Any], values: Mapping[str, Any]) -> Sequence[Operation]:
        """What makes the record of a live object have these values, in this order."""
        raise NotImplementedError

    def _record(self, live: Mapping[str, Any]) -> R:
        raise NotImplementedError

    def _id(self, record: R) -> str:
        raise NotImplementedError

    def _get(self, name: str) -> dict[str, Any]:
        raise NotImplementedError

    def _send(self, name: str, patch: Operation) -> dict[str, Any]:
        raise NotImplementedError

    def _remove(self, name: str, uid: str) -> None:
        raise NotImplementedError

    # -- inside ---------------------------------------------------------------

    def _described(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the values that only describe; the time of the change is one of them."""
        found = {column: value for column, value in values.items() if column in _DESCRIBES}
        found.setdefault("update_time", int(self._wall_clock() * 1000))
        return found

    def _live(self, record: R) -> dict[str, Any] | None:
        """The object of this record, unless it is gone or its name is another's by now."""
        try:
            live = self._get(record.object_name)
        except NotFound:
            return None
        return live if self._id(self._record(live)) == self._id(record) else None

    def _patch(self, name: str, patch: Operation, version: str) -> str:
        """Send one patch of what has this version. Returns: the version that it has then."""
        metadata = {**patch.body.get("metadata", {}), "resourceVersion": version}
        sent = replace(patch, body={**patch.body, "metadata": metadata})
        found = self._putting(lambda: self._send(name, sent))
        return str(found["metadata"]["resourceVersion"])

    def _putting(self, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Write, and put the answer into the cache."""
        if self._cache is None:
            return write()
        with self._cache.writing() as own:
            answer = write()
            own.put(answer)
        return answer


def unfit(column: str, value: Any) -> UnsupportedQuery:
    """What is said of a value that a column can't have."""
    return UnsupportedQuery(f"The column {column} can't be set to {value!r}.")


def _fits(column: str, value: Any) -> bool:
    if not isinstance(value, _DESCRIBES[column]) or isinstance(value, bool):
        return False
    return not isinstance(value, list) or all(isinstance(item, str) for item in value)
