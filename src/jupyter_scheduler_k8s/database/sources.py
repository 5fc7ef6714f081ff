"""Where records come from: the cache in the server, the live API elsewhere."""

import heapq
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.cache import TIME_DEPENDENT, MakeRecord, RecordCache
from jupyter_scheduler_k8s.cluster.index import Entry
from jupyter_scheduler_k8s.cluster.slim import belongs_to
from jupyter_scheduler_k8s.cluster.view import View
from jupyter_scheduler_k8s.database.conditions import (
    Compare,
    Condition,
    Every,
    Like,
    Truth,
    conjuncts,
)
from jupyter_scheduler_k8s.database.expressions import Order
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a query asks for. Without an order, records come oldest first."""

    where: Condition = field(default_factory=lambda: Truth(True))
    order: tuple[Order, ...] = ()
    offset: int = 0
    limit: int | None = None


class RecordSource(Protocol):
    """A set of records of one model."""

    def select(self, selection: Selection, /) -> list[Any]:
        """The records, in order."""

    def count(self, where: Condition, /) -> int:
        """How many there are."""


class EmptySource:
    """A model without records."""

    def select(self, _: Selection) -> list[Any]:
        return []

    def count(self, _: Condition) -> int:
        return 0


class ListSource:
    """Records in a list, oldest first. The plain meaning of a selection."""

    def __init__(self, records: Callable[[Condition], Iterable[Any]]) -> None:
        """`records` gives them; it may leave out what the condition leaves out."""
        self._records = records

    def select(self, selection: Selection) -> list[Any]:
        found = list(self._matching(selection.where))
        sort(found, selection.order, lambda record: record)
        return _page(iter(found), selection)

    def count(self, where: Condition) -> int:
        return sum(1 for _ in self._matching(where))

    def _matching(self, where: Condition) -> Iterator[Any]:
        test = where.test()
        return (record for record in self._records(where) if test(record))


class JobLister(Protocol):
    """What a live source of jobs needs of `ClusterClient`."""

    def list_jobs(
        self, label_selector: str, *, name: str | None = None
    ) -> list[dict[str, Any]]: ...

    def list_pods(self, label_selector: str) -> list[dict[str, Any]]: ...


class LiveSource(ListSource):
    """Jobs straight from the API, for processes that live too short for a watch."""

    def __init__(
        self,
        client: JobLister,
        *,
        selector: str,
        make_record: MakeRecord[JobRecord],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(self._fetch)
        self._client = client
        self._selector = selector
        self._make_record = make_record
        self._wall_clock = wall_clock

    def _fetch(self, where: Condition) -> list[Any]:
        selector, name = self._pushed(where)
        pods: dict[str, list[dict[str, Any]]] = {}
        # Pods carry the labels of their Job, so one selector fits both; a
        # selection by the Job's name is a label of its pods.
        of_pods = selector if name is None else f"{selector},{names.POD_JOB_NAME_LABEL}={name}"
        jobs = self._client.list_jobs(selector, name=name)
        for pod in self._client.list_pods(of_pods) if jobs else ():
            job_name = (pod["metadata"].get("labels") or {}).get(names.POD_JOB_NAME_LABEL)
            pods.setdefault(str(job_name), []).append(pod)
        now = self._wall_clock()
        records = []
        for job in jobs:
            metadata = job["metadata"]
            own = [
                pod for pod in pods.get(metadata["name"], ()) if belongs_to(pod, metadata["uid"])
            ]
            records.append(self._make_record(job, own, now))
        return _oldest_first(records)

    def _pushed(self, where: Condition) -> tuple[str, str | None]:
        """What of the condition the API can select by: labels, and the Job's name."""
        # A run of a schedule has its Job's name as its id.
        selector, name = _by_id(self._selector, where, "job_id", names.JOB_ID_LABEL)
        # An id that is none is in no label, and no Job has a definition's name.
        selector, _ = _by_id(selector, where, "job_definition_id", names.DEFINITION_ID_LABEL)
        return selector, name


class CronJobLister(Protocol):
    """What a live source of definitions needs of `ClusterClient`."""

    def list_cron_jobs(
        self, label_selector: str, *, name: str | None = None
    ) -> list[dict[str, Any]]: ...


class LiveDefinitionSource(ListSource):
    """Definitions straight from the API."""

    def __init__(
        self, client: CronJobLister, *, selector: str, make_record: MakeRecord[DefinitionRecord]
    ) -> None:
        super().__init__(self._fetch)
        self._client = client
        self._selector = selector
        self._make_record = make_record

    def _fetch(self, where: Condition) -> list[Any]:
        # One that can't be read may have its CronJob's name as its id.
        selector, name = _by_id(
            self._selector, where, "job_definition_id", names.DEFINITION_ID_LABEL
        )
        found = self._client.list_cron_jobs(selector, name=name)
        return _oldest_first([self._make_record(cron_job, (), 0) for cron_job in found])


class CacheSource:
    """Records from the cache, by its indexes where they help."""

    def __init__(self, cache: RecordCache[Any]) -> None:
        self._cache = cache

    def select(self, selection: Selection) -> list[Any]:
        with self._cache.reading() as view:
            _refresh(view, selection.where, selection.order)
            return [view.record(entry) for entry in _select(view, selection)]

    def count(self, where: Condition) -> int:
        with self._cache.reading() as view:
            _refresh(view, where, ())
            plan = _plan(view, where)
            if plan.rest is None:
                return len(plan.entries)
            test = plan.rest.test()
            return sum(1 for entry in plan.entries if test(entry.record))


@dataclass(frozen=True, slots=True)
class _Plan:
    """The smallest set of entries that holds all matches, and what is left to test."""

    entries: Sequence[Entry]
    rest: Condition | None
    in_time_order: bool


def _refresh(view: View[Any], where: Condition, order: Sequence[Order]) -> None:
    used = where.fields() | {clause.field.name for clause in order}
    if used & TIME_DEPENDENT:
        view.refresh()


def _plan(view: View[Any], where: Condition) -> _Plan:
    parts = [part for part in conjuncts(where) if part != Truth(True)]
    everything = view.everything()
    best, covered, in_time_order = everything, None, True
    for part in parts:
        found = _indexed(view, part)
        if found is not None and (covered is None or len(found[0]) < len(best)):
            best, exact, in_time_order = found
            covered = part if exact else Truth(True)
    rest = tuple(part for part in parts if part is not covered)
    return _Plan(best, Every(rest) if rest else None, in_time_order)


def _indexed(view: View[Any], part: Condition) -> tuple[Sequence[Entry], bool, bool] | None:
    """What an index has for a condition, whether that is exact, and in the order of time."""
    if (value := _equals(part, view.kind.id)) is not None:
        return view.with_id(value), True, True
    for attribute in view.kind.groups:
        if (value := _equals(part, attribute)) is not None:
            return view.with_value(attribute, value), True, True
    if isinstance(part, Like) and part.field.name == "name":
        prefix, exact = part.prefix()
        if prefix:
            return view.with_name_prefix(prefix), exact, False
    return None


def _select(view: View[Any], selection: Selection) -> list[Entry]:
    plan = _plan(view, selection.where)
    newest_first = _by_time_only(selection.order)
    if newest_first is None:
        found = list(_filtered(plan.entries, plan.rest))
        if not plan.in_time_order:
            found.sort(key=_time)
        sort(found, selection.order, lambda entry: entry.record)
        return _page(iter(found), selection)
    if plan.in_time_order:
        ordered = reversed(plan.entries) if newest_first else iter(plan.entries)
        return _page(_filtered(ordered, plan.rest), selection)
    wanted = selection.limit and selection.offset + selection.limit
    everything = view.everything()
    found = plan.entries  # type: ignore[assignment]
    # Two ways to the newest of many entries that are sorted by name: walk
    # through all entries by time until enough have matched, or pick from these.
    if wanted and len(found) ** 2 > wanted * len(everything):
        walk = reversed(everything) if newest_first else iter(everything)
        return _page(_filtered(walk, selection.where), selection)
    matching = _filtered(found, plan.rest)
    if wanted:
        pick = heapq.nlargest if newest_first else heapq.nsmallest
        return _page(iter(pick(wanted, matching, key=_time)), selection)
    return _page(iter(sorted(matching, key=_time, reverse=newest_first)), selection)


def _by_time_only(order: Sequence[Order]) -> bool | None:
    """Whether the order is that of time, newest first (True) or oldest (False); else None."""
    if not order:
        return False
    clause = order[0]
    # No record is without a create time, so where NULLs go makes no difference,
    # and few share one, so further columns are only looked at elsewhere.
    if len(order) == 1 and clause.field.name == "create_time":
        return clause.descending
    return None


def _filtered(entries: Iterable[Entry], rest: Condition | None) -> Iterator[Entry]:
    if rest is None:
        return iter(entries)
    test = rest.test()
    return (entry for entry in entries if test(entry.record))


def _time(entry: Entry) -> tuple[int, str]:
    return entry.by_time


def _by_id(selector: str, where: Condition, name: str, label: str) -> tuple[str, str | None]:
    """What of a condition on an id the API can select by: its label, or the object's name."""
    object_name = None
    for part in conjuncts(where):
        value = _equals(part, name)
        if value is not None and _UUID.fullmatch(value):
            selector += f",{label}={value}"
        elif value is not None:
            object_name = value
    return selector, object_name


def _oldest_first(records: list[Any]) -> list[Any]:
    return sorted(records, key=lambda record: (record.create_time, record.object_name))


def _equals(part: Condition, name: str) -> str | None:
    """The text that a field must equal, if that is what the condition says."""
    if (
        isinstance(part, Compare)
        and part.comparison == "=="
        and part.field.name == name
        and isinstance(part.value, str)
    ):
        return part.value
    return None


def sort(things: list[Any], order: Sequence[Order], record: Callable[[Any], Any]) -> None:
    """Sort in place by `order`; what it leaves equal stays as it is."""
    for clause in reversed(order):
        read = clause.field.reader()
        valued = [(read(record(thing)), thing) for thing in things]
        nulls = [thing for value, thing in valued if value is None]
        rest = [pair for pair in valued if pair[0] is not None]
        rest.sort(key=itemgetter(0), reverse=clause.descending)
        found = [thing for _, thing in rest]
        things[:] = found + nulls if clause.nulls_last else nulls + found


def _page(found: Iterator[Any], selection: Selection) -> list[Any]:
    # A page's size and place are the client's: any number, and islice knows no larger ones.
    begin = min(selection.offset, sys.maxsize)
    stop = None if selection.limit is None else min(begin + selection.limit, sys.maxsize)
    return list(islice(found, begin, stop))
