"""Watches, lists and own writes in every order that a network allows.

A model of the API writes a log; the cache is shown it late, in pieces, with
lists in between and own writes whose answers come whenever they come. Then it
must have shown nothing twice, nothing backwards, nothing that had left, and in
the end exactly what the API has.
"""

import random
from typing import Any

import pytest

from jupyter_scheduler_k8s.cluster import CRON_JOBS, JOBS
from jupyter_scheduler_k8s.cluster.cache import RecordCache, Writing
from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.records import JobRecord
from support.cached import Clock, cache_of, empty_cache, fill, job_object

NAMES = ["a", "b", "c"]


class Model:
    """An API, the way to it, and a cache at the other end."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self.choose = random.Random(seed)
        self.cache = empty_cache(kind)
        fill(self.cache, [])
        self.things: dict[str, dict[str, Any]] = {}
        self.log: list[tuple[str, dict[str, Any]]] = []
        # Where the watch is in the log, or a list that is on its way instead.
        self.cursor = 0
        self.listing: int | None = None
        self.snapshot: list[dict[str, Any]] | None = None
        # Own writes: what was sent, and what the API has answered.
        self.sent: list[tuple[Writing, str]] = []
        self.answered: list[tuple[Writing, dict[str, Any]]] = []
        self.deleted: list[tuple[str, str]] = []
        self.shown: dict[str, int] = {}
        self.gone: set[str] = set()
        self.uids = 0
        self.ending = False

    # What can happen next, each on its own.

    def someone_creates(self) -> None:
        if free := sorted(set(NAMES) - set(self.things)):
            self._create(self.choose.choice(free))

    def someone_changes(self) -> None:
        if self.things:
            self._change(self.choose.choice(sorted(self.things)))

    def someone_deletes(self) -> None:
        if self.things:
            self._delete(self.choose.choice(sorted(self.things)))

    def we_send(self) -> None:
        with self.cache.writing() as write:
            self.sent.append((write, self.choose.choice(NAMES)))

    def api_performs(self) -> None:
        if self.sent:
            write, name = self.sent.pop(self.choose.randrange(len(self.sent)))
            thing = self._change(name) if name in self.things else self._create(name)
            self.answered.append((write, thing))

    def answer_arrives(self) -> None:
        if self.answered:
            write, thing = self.answered.pop(self.choose.randrange(len(self.answered)))
            created = thing["metadata"]["annotations"]["made"] == "create"
            if created and self.choose.random() < 0.5:
                self.cache.put(thing)
            else:
                write.put(thing)

    def we_delete(self) -> None:
        if self.things:
            name = self.choose.choice(sorted(self.things))
            self.deleted.append((name, self._delete(name)))

    def deletion_arrives(self) -> None:
        if self.deleted:
            name, uid = self.deleted.pop(0)
            self.cache.forget(name, uid)
            self.gone.add(uid)

    def watch_shows(self) -> None:
        if self.listing is None and not self.unsettled() and self.cursor < len(self.log):
            event, thing = self.log[self.cursor]
            self.cursor += 1
            self.cache.records.apply(event, thing)

    def list_begins(self) -> None:
        if self.listing is None:
            self.listing = self.cache.records.begin()
            self.snapshot = None

    def list_is_taken(self) -> None:
        if self.listing is not None and self.snapshot is None:
            self.snapshot = list(self.things.values())
            self.cursor = len(self.log)

    def list_arrives(self) -> None:
        if self.listing is not None and self.snapshot is not None:
            self.cache.records.replace(self.snapshot, self.listing)
            self.listing = None

    def open_name_is_asked_for(self) -> None:
        if self.listing is None and self.unsettled():
            name = self.choose.choice(self.unsettled())
            asked = self.cache.records.begin()
            live = self.things.get(name)
            if not self.ending and self.choose.random() < 0.3:
                # Something happens between the API's answer and its arrival.
                self.step()
                if self.listing is not None:
                    return
            self.cache.records.settle(name, live, asked)

    def unsettled(self) -> list[str]:
        return self.cache.records.unsettled()

    def step(self) -> None:
        action = self.choose.choice(ACTIONS)
        getattr(self, action)()
        self.check()

    def check(self) -> None:
        for name in self.cache.names():
            found = self.cache.objects(name)
            assert found is not None
            metadata = found[0]["metadata"]
            uid, version = metadata["uid"], int(metadata["resourceVersion"])
            assert uid not in self.gone, "what had left is shown again"
            assert version >= self.shown.get(uid, 0), "an object has gone backwards"
            self.shown[uid] = version
            record = self.cache.get(name)
            assert record is not None
            assert record.name == str(version), "a record is not that of its object"
        visible = {self.cache.objects(name)[0]["metadata"]["uid"] for name in self.cache.names()}  # type: ignore[index]
        self.gone |= set(self.shown) - visible

    def settle_down(self) -> None:
        """Let everything that is on its way arrive, and nothing else happen."""
        self.ending = True
        for action in (
            *("api_performs", "answer_arrives", "deletion_arrives") * 40,
            *("list_is_taken", "list_arrives"),
            *("open_name_is_asked_for",) * 40,
            *("watch_shows",) * 400,
        ):
            getattr(self, action)()
            self.check()

    def _create(self, name: str) -> dict[str, Any]:
        self.uids += 1
        return self._log("ADDED", name, f"uid-{self.uids}", "create")

    def _change(self, name: str) -> dict[str, Any]:
        return self._log("MODIFIED", name, self.things[name]["metadata"]["uid"], "patch")

    def _delete(self, name: str) -> str:
        thing = self.things.pop(name)
        uid: str = thing["metadata"]["uid"]
        version = str(len(self.log) + 1)
        gone = {**thing, "metadata": {**thing["metadata"], "resourceVersion": version}}
        self.log.append(("DELETED", gone))
        return uid

    def _log(self, event: str, name: str, uid: str, made: str) -> dict[str, Any]:
        thing = job_object(name=name, uid=uid, version=str(len(self.log) + 1))
        thing["metadata"]["annotations"]["made"] = made
        self.things[name] = thing
        self.log.append((event, thing))
        return thing


ACTIONS = [
    *("someone_creates", "someone_changes", "someone_deletes"),
    *("we_send", "api_performs", "answer_arrives") * 2,
    *("we_delete", "deletion_arrives"),
    *("watch_shows",) * 5,
    *("list_begins", "list_is_taken", "list_arrives", "open_name_is_asked_for"),
]


@pytest.mark.parametrize(
    ("kind", "seed"),
    [*((JOBS, seed) for seed in range(300)), *((CRON_JOBS, seed) for seed in range(50))],
    ids=lambda value: getattr(value, "resource", value),
)
def test_every_order_of_events_ends_with_what_the_api_has(kind: Kind, seed: int) -> None:
    model = Model(seed, kind)
    for _ in range(150):
        model.step()
    model.settle_down()
    assert model.cursor == len(model.log)
    found = {name: model.cache.objects(name) for name in model.cache.names()}
    assert {
        name: thing[0]["metadata"]["resourceVersion"] for name, thing in found.items() if thing
    } == {name: thing["metadata"]["resourceVersion"] for name, thing in model.things.items()}


def test_what_was_created_is_found_before_the_watch_shows_it() -> None:
    clock = Clock()
    cache = cache_of([], clock=clock)
    clock.advance(100)
    assert cache.put(job_object(name="a", version="7"))
    assert cache.get("a") is not None
    assert cache.records.unsettled() == []
    # A list that was asked for before the create, and came after it.
    number = cache.records.begin()
    cache.put(job_object(name="b", version="8"))
    cache.records.replace([], number)
    assert cache.names() == ["b"]
    assert cache.records.unsettled() == ["b"]
    cache.records.settle("b", job_object(name="b", version="8"), cache.records.begin())
    assert cache.records.unsettled() == []
    assert cache.names() == ["b"]
    cache.records.replace([], cache.records.begin())
    assert cache.names() == []


def test_an_unsettled_name_that_is_not_there_any_more_leaves() -> None:
    cache = cache_of([])
    number = cache.records.begin()
    cache.put(job_object(name="a", version="8"))
    cache.records.replace([], number)
    cache.records.settle("a", None, cache.records.begin())
    assert cache.names() == []
    assert not cache.put(job_object(name="a", version="8"))
    # The watch, which is behind, still shows how it came.
    cache.records.apply("ADDED", job_object(name="a", version="8"))
    assert cache.names() == []


def test_an_answer_that_a_list_has_overtaken_is_looked_at_live() -> None:
    cache = cache_of([])
    woken: list[bool] = []
    cache.records.on_unsettled(lambda: woken.append(True))
    with cache.writing() as write:
        cache.records.replace([], cache.records.begin())
        assert write.put(job_object(name="a", version="8"))
    assert woken
    assert cache.records.unsettled() == ["a"]
    # Shown by the watch after all: nothing is left to look at.
    cache.records.apply("ADDED", job_object(name="a", version="8"))
    assert cache.records.unsettled() == []


def test_a_list_that_began_after_the_write_settles_it() -> None:
    cache = cache_of([])
    number = cache.records.begin()
    cache.put(job_object(name="a", version="8"))
    cache.records.replace([], number)
    assert cache.records.unsettled() == ["a"]
    cache.records.replace([job_object(name="a", version="9")], cache.records.begin())
    assert cache.records.unsettled() == []
    assert _version(cache, "a") == "9"


def test_a_job_that_is_deleted_twice_is_hidden_no_longer_than_it_is_shown() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    cache.records.apply("DELETED", job_object(name="a", version="2"))
    # Our own deletion's answer comes after the watch has shown it.
    cache.forget("a", "uid-of-a")
    # Its labels had been changed only, and are changed back.
    cache.records.apply("ADDED", job_object(name="a", version="3"))
    assert cache.names() == ["a"]


def test_a_look_from_before_the_write_decides_nothing() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    number = cache.records.begin()
    with cache.writing() as write:
        write.put(job_object(name="a", version="2"))
    cache.records.replace([job_object(name="a", version="1")], number)
    assert cache.records.unsettled() == ["a"]
    asked = cache.records.begin()
    with cache.writing() as write:
        assert write.put(job_object(name="a", version="3"))
    cache.records.settle("a", job_object(name="a", version="2"), asked)
    assert _version(cache, "a") == "3"
    assert cache.records.unsettled() == ["a"]


def test_an_own_write_is_read_at_once_and_older_events_are_not() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    with cache.writing() as write:
        assert write.put(job_object(name="a", version="9"))
    assert _version(cache, "a") == "9"
    cache.records.apply("MODIFIED", job_object(name="a", version="5"))
    assert _version(cache, "a") == "9"
    cache.records.apply("MODIFIED", job_object(name="a", version="9"))
    cache.records.apply("MODIFIED", job_object(name="a", version="12"))
    assert _version(cache, "a") == "12"


def test_two_own_writes_in_a_row_are_read_at_once() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    with cache.writing() as write:
        write.put(job_object(name="a", version="5"))
    with cache.writing() as write:
        # Somebody else's from before the first, and the first itself: the watch is behind.
        cache.records.apply("MODIFIED", job_object(name="a", version="3"))
        cache.records.apply("MODIFIED", job_object(name="a", version="5"))
        assert write.put(job_object(name="a", version="6"))
    assert _version(cache, "a") == "6"
    cache.records.apply("MODIFIED", job_object(name="a", version="6"))
    cache.records.apply("MODIFIED", job_object(name="a", version="7"))
    assert _version(cache, "a") == "7"


def test_an_answer_that_the_watch_has_overtaken_is_dropped() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    with cache.writing() as write:
        cache.records.apply("MODIFIED", job_object(name="a", version="9"))
        cache.records.apply("MODIFIED", job_object(name="a", version="12"))
        assert not write.put(job_object(name="a", version="9"))
    assert _version(cache, "a") == "12"


def test_a_late_answer_does_not_resurrect() -> None:
    made = job_object(name="a", version="3")
    cache = cache_of([made])
    with cache.writing() as write:
        cache.records.apply("DELETED", job_object(name="a", version="4"))
        assert not write.put(job_object(name="a", version="3"))
    assert not cache.put(made)
    assert cache.get("a") is None


def test_what_we_deleted_stays_away_while_the_watch_still_shows_it() -> None:
    cache = cache_of([job_object(name="a", version="1")])
    cache.forget("a", "uid-of-a")
    cache.records.apply("MODIFIED", job_object(name="a", version="2"))
    assert cache.names() == []
    # It has finalizers, so lists still hold it.
    cache.records.replace([job_object(name="a", version="2")], cache.records.begin())
    assert cache.names() == []
    cache.records.apply("DELETED", job_object(name="a", version="3"))
    # A new one of the same name is another one.
    cache.records.apply("ADDED", job_object(name="a", uid="new", version="4"))
    assert cache.names() == ["a"]


def test_forget_means_that_very_job() -> None:
    cache = cache_of([job_object(name="a", uid="second", version="5")])
    cache.forget("a", "first")
    assert cache.names() == ["a"]
    cache.forget("nothing")
    cache.forget("a")
    assert cache.names() == []


def test_a_new_job_of_the_same_name_replaces_the_old_one() -> None:
    cache = cache_of([job_object(name="a", uid="old", version="1")])
    with cache.writing() as write:
        assert write.put(job_object(name="a", uid="new", version="5"))
    # The watch is still at the old one.
    cache.records.apply("MODIFIED", job_object(name="a", uid="old", version="2"))
    assert _version(cache, "a") == "5"
    cache.records.apply("DELETED", job_object(name="a", uid="old", version="3"))
    assert _version(cache, "a") == "5"
    assert len(cache) == 1


def _version(cache: RecordCache[JobRecord], name: str) -> str:
    found = cache.objects(name)
    assert found is not None
    version: str = found[0]["metadata"]["resourceVersion"]
    record = cache.get(name)
    assert record is not None
    # The record follows its Job.
    assert record.name == version
    return version
