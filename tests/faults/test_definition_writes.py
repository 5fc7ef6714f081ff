"""Definitions through a session over HTTP: SQLite's results, and no slot fired by a resume."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.orm import Base, JobDefinition
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from faults.fake_api import Answer, FakeApi, Fault, Lost, Silent
from jupyter_scheduler_k8s import K8sDatabaseManager, cron_manifest, names, records
from jupyter_scheduler_k8s.cluster import CRON_JOBS, ClusterClient, Connection, RecordCache
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database import CacheSource, DefinitionWriter, K8sSession
from jupyter_scheduler_k8s.errors import (
    BackendError,
    Conflict,
    Forbidden,
    RecordError,
    UnsupportedQuery,
)
from jupyter_scheduler_k8s.records import DefinitionRecord
from jupyter_scheduler_k8s.views import definition_record
from support.cached import Clock, fill
from unit.test_query_equivalence_definitions import FILTERS, ID, as_row, random_definitions

NOW = 1_900_000_000.0
NOW_TEXT = "2030-03-17T17:46:40Z"
WHEN = "2026-01-01T00:00:00Z"


def cron_job_of(record: DefinitionRecord) -> dict[str, Any]:
    """A CronJob that has this record."""
    times = cron_manifest.times(record)
    annotations = {names.DEFINITION_DATA_ANNOTATION: records.definition_data(record)}
    run = {names.JOB_DATA_ANNOTATION: records.job_data(records.run_of(record))}
    return {
        "metadata": {
            "name": record.object_name,
            "labels": records.labels(record),
            "annotations": annotations,
            "creationTimestamp": WHEN,
        },
        "spec": {
            **times,
            "jobTemplate": {
                "metadata": {"annotations": {**run, "theirs": "kept"}},
                "spec": {"template": {"spec": {"containers": []}}},
            },
        },
        "status": {"lastScheduleTime": WHEN},
    }


def owned(record: DefinitionRecord, owner: str = "me") -> DefinitionRecord:
    return replace(record, owner=owner)


class Case:
    """The same definitions in SQLite and in the fake API, with a session on each."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        clock = Clock(NOW)
        self.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            read_seconds=0.5,
            clock=clock,
            sleep=clock.advance,
            random=lambda: 0.5,
        )
        for record in random_definitions(7, 14):
            api.put("cronjobs", cron_job_of(owned(record)))
        api.put("cronjobs", cron_job_of(owned(random_definitions(8, 20)[-1], "another")))
        self.writer = DefinitionWriter(self.client, wall_clock=lambda: NOW)
        self.ours = K8sDatabaseManager(
            config=K8sConfig(namespace="space", owner="me"),
            client=self.client,
            definition_writer=self.writer,
        ).create_session()()
        self.engine = create_engine("sqlite://")
        Base.metadata.create_all(self.engine)
        self.sqlite = Session(self.engine)
        self.sqlite.add_all([as_row(record) for record in self.ours.query(JobDefinition)])
        self.sqlite.commit()

    def add(self, number: int = 90, **columns: Any) -> DefinitionRecord:
        """One more definition; its record as a session gives it."""
        record = replace(
            random_definitions(9, 1)[0],
            **{"schedule": "0 9 * * *", "active": True, **columns},
            job_definition_id=ID.format(number),
            object_name=names.definition_name(ID.format(number)),
            owner="me",
        )
        self.api.put("cronjobs", cron_job_of(record))
        self.api.asked.clear()
        return self.read(record)

    def read(self, record: DefinitionRecord) -> DefinitionRecord:
        """A definition as it is now."""
        return definition_record(self.live(record))

    def live(self, record: DefinitionRecord) -> dict[str, Any]:
        (found,) = (
            thing
            for thing in self.api.things("cronjobs")
            if thing["metadata"]["name"] == record.object_name
        )
        return found

    def patches(self) -> list[tuple[str, list[str]]]:
        """The patches so far: of which subresource, and what of it beside the metadata."""
        return [
            (asked.subresource, sorted(asked.body.get("spec", asked.body.get("status", {}))))
            for asked in self.api.asked
            if asked.kind == "patch"
        ]


@pytest.fixture
def case(api: FakeApi, tmp_path: Path) -> Iterator[Case]:
    made = Case(api, tmp_path)
    yield made
    made.sqlite.close()
    made.engine.dispose()


def rows(session: Any) -> list[tuple[Any, ...]]:
    found = session.query(JobDefinition).order_by(JobDefinition.job_definition_id).all()
    return [
        (one.job_definition_id, one.name, one.tags, one.active, one.schedule, one.timezone)
        for one in found
    ]


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "resume": {"active": True},
    "pause": {"active": False},
    "when": {"schedule": "30 7 * * 1", "timezone": "America/New_York"},
    "never": {"schedule": None, "active": True},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", FILTERS)
def test_updates_and_deletes_do_what_they_do_in_sqlite(
    case: Case, name: str, change: dict[str, Any]
) -> None:
    def numbers(session: Any) -> list[Any]:
        matching = session.query(JobDefinition).filter(FILTERS[name]())
        changed: dict[Any, Any] = {"output_filename_template": "x"}
        changed |= {getattr(JobDefinition, column): value for column, value in change.items()}
        # A time that stays what it is, for the filters that look at it.
        found = [matching.update({**changed, "update_time": 5}, synchronize_session=False)]
        found.append(rows(session))
        session.commit()
        return [*found, matching.delete(synchronize_session=False), rows(session)]

    assert numbers(case.ours) == numbers(case.sqlite)
    assert len(case.ours.query(JobDefinition).all()) + 1 == len(case.api.things("cronjobs"))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "what": (
        {"input_filename": "b.ipynb"},
        "column input_filename .* K8sScheduler.update_job_definition",
    ),
    "when": ({"schedule": 5}, "column schedule can't be set to 5"),
    "where": ({"timezone": 5}, "column timezone can't be set to 5"),
    "with what": ({"parameters": {"a": "b"}}, "column parameters"),
    "who it is": ({"job_definition_id": "x"}, "column job_definition_id"),
    "another kind": ({"active": 1}, "column active can't be set to 1"),
    "nothing": ({"active": None}, "column active can't be set to None"),
    "an expression": ({"name": JobDefinition.name + "x"}, "column name"),
}


@pytest.mark.parametrize(("values", "part"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_named_and_nothing_is(
    case: Case, values: dict[str, Any], part: str
) -> None:
    before = case.api.things("cronjobs")
    with pytest.raises(UnsupportedQuery, match=part):
        case.ours.query(JobDefinition).update({"name": "changed", **values})
    assert case.api.things("cronjobs") == before


def test_a_pause_is_one_patch(case: Case) -> None:
    record = case.add()
    assert case.writer.update(record, {"active": False})
    assert case.patches() == [("", ["jobTemplate", "suspend"])]
    live = case.live(record)
    assert live["spec"]["suspend"] is True
    assert live["status"] == {"lastScheduleTime": WHEN}
    assert case.read(record).active is False


def test_a_resume_says_first_that_nothing_is_due(case: Case) -> None:
    record = case.add(active=False)
    assert case.writer.update(record, {"active": True})
    assert case.patches() == [("status", ["lastScheduleTime"]), ("", ["jobTemplate", "suspend"])]
    live = case.live(record)
    assert (live["spec"]["suspend"], live["status"]) == (False, {"lastScheduleTime": NOW_TEXT})
    assert case.read(record).update_time == NOW * 1000


@pytest.mark.parametrize(
    ("values", "times"),
    [
        ({"schedule": "30 7 * * *"}, ["schedule"]),
        ({"timezone": "Asia/Tokyo"}, ["timeZone"]),
        ({"schedule": "30 7 * * *", "active": True}, ["schedule"]),
    ],
    ids=["schedule", "zone", "schedule, active"],
)
def test_another_schedule_says_first_that_nothing_is_due(
    case: Case, values: dict[str, Any], times: list[str]
) -> None:
    record = case.add()
    assert case.writer.update(record, values)
    assert case.patches() == [
        ("status", ["lastScheduleTime"]),
        ("", ["jobTemplate", *times]),
    ]
    found = case.read(record)
    assert {column: getattr(found, column) for column in values} == values
    # While it is paused, nothing can fire.
    case.writer.update(record, {"active": False})
    case.api.asked.clear()
    assert case.writer.update(record, {"schedule": "0 1 * * *"})
    assert case.patches() == [("", ["jobTemplate", "schedule"])]


def test_a_schedule_that_kubernetes_does_not_know_is_refused(case: Case) -> None:
    record = case.add()
    before = case.live(record)
    for values in ({"schedule": "every day"}, {"timezone": "Nowhere/X"}):
        with pytest.raises(BackendError, match=re.escape(*values.values())):
            case.writer.update(record, values)
    assert case.live(record) == before


def test_what_was_changed_by_hand_is_not_changed_back(case: Case) -> None:
    record = case.add()
    case.client.patch_cron_job(record.object_name, {"spec": {"schedule": "5 5 * * *"}})
    assert case.writer.update(record, {"active": False, "name": "n"})
    found = case.read(record)
    assert (found.schedule, found.active, found.name) == ("5 5 * * *", False, "n")
    assert case.writer.update(record, {"timezone": "Asia/Tokyo"})
    assert case.live(record)["spec"]["schedule"] == "5 5 * * *"


@pytest.mark.parametrize(
    ("columns", "active"),
    [
        ({}, True),
        ({"active": False}, False),
        # One without a schedule never fires, whatever is said of it.
        ({"schedule": None, "active": False}, True),
        ({"schedule": None}, False),
    ],
    ids=["resumed already", "paused already", "no schedule", "no schedule, paused"],
)
def test_what_begins_no_firing_writes_no_status(
    case: Case, columns: dict[str, Any], active: bool
) -> None:
    record = case.add(**columns)
    suspended = case.live(record)["spec"]["suspend"]
    assert case.writer.update(record, {"active": active})
    assert case.patches() == [("", ["jobTemplate"])]
    assert case.live(record)["spec"]["suspend"] == suspended
    assert case.read(record).active == active


def test_the_next_runs_have_the_new_name(case: Case) -> None:
    record = case.add(parameters={"a": "b"})
    assert case.writer.update(record, {"name": "new", "tags": ["é"]})
    annotations = case.live(record)["spec"]["jobTemplate"]["metadata"]["annotations"]
    data = json.loads(annotations.pop(names.JOB_DATA_ANNOTATION))
    assert (data["name"], data["tags"], data["parameters"]) == ("new", ["é"], {"a": "b"})
    assert "job_id" not in data
    assert annotations == {"theirs": "kept"}
    assert case.live(record)["spec"]["jobTemplate"]["spec"] == {
        "template": {"spec": {"containers": []}}
    }


class Meddler:
    """The API, where somebody else does something before a writer's patch is sent."""

    def __init__(self, client: ClusterClient, meddle: Callable[[bool], object]) -> None:
        self._client = client
        self._meddle = meddle

    def patch_cron_job(self, name: str, body: Any, *, status: bool = False) -> dict[str, Any]:
        self._meddle(status)
        return self._client.patch_cron_job(name, body, status=status)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.mark.parametrize("before_status", [True, False])
def test_what_others_write_at_the_same_time_is_kept(case: Case, before_status: bool) -> None:
    record = case.add(active=False)
    waiting = [{"tags": ["theirs"]}]

    def meddle(status: bool) -> None:
        if status is before_status and waiting:
            assert case.writer.update(record, waiting.pop())

    writer = DefinitionWriter(Meddler(case.client, meddle), wall_clock=lambda: NOW)
    assert writer.update(record, {"active": True})
    found = case.read(record)
    assert (found.active, found.tags) == (True, ["theirs"])
    # Whatever came in between, the schedule is resumed after it was said that nothing is due.
    assert case.patches()[-2:] == [
        ("status", ["lastScheduleTime"]),
        ("", ["jobTemplate", "suspend"]),
    ]


def test_one_that_never_stands_still_is_given_up(case: Case) -> None:
    record = case.add()
    meddle = Meddler(case.client, lambda _: case.writer.update(record, {"name": "theirs"}))
    with pytest.raises(Conflict, match="is being changed by others all the time"):
        DefinitionWriter(meddle).update(record, {"name": "ours"})


@pytest.mark.parametrize("number", [0, 1], ids=["status", "spec"])
@pytest.mark.parametrize(
    "fault", [Lost(done=True), Silent(done=True), Lost(), Answer(500, "etcd")], ids=repr
)
def test_a_resume_without_an_answer_is_made(case: Case, fault: Fault, number: int) -> None:
    record = case.add(active=False)
    case.api.fail("patch", *[None] * number, fault)
    assert case.writer.update(record, {"active": True})
    live = case.live(record)
    assert (live["spec"]["suspend"], live["status"]) == (False, {"lastScheduleTime": NOW_TEXT})


def test_without_the_right_to_write_the_status_nothing_is_resumed(case: Case) -> None:
    record = case.add(active=False)
    message = 'User "u" cannot patch resource "cronjobs/status" in API group "batch"'
    case.api.fail("patch", Answer(403, message, "Forbidden"))
    with pytest.raises(Forbidden, match="may not patch cronjobs/status"):
        case.writer.update(record, {"active": True})
    assert case.live(record)["spec"]["suspend"] is True


def test_a_deletion_leaves_the_runs_and_other_definitions(case: Case) -> None:
    record, other = case.add(90), case.add(91)
    uid = case.live(record)["metadata"]["uid"]
    run = {"name": f"{record.object_name}-1", "ownerReferences": [{"uid": uid}]}
    case.api.put("jobs", {"metadata": run})
    query = case.ours.query(JobDefinition)
    assert query.filter(JobDefinition.job_definition_id == record.job_definition_id).delete() == 1
    assert case.ours.get(JobDefinition, record.job_definition_id) is None
    assert case.ours.get(JobDefinition, other.job_definition_id) is not None
    assert len(case.api.things("jobs")) == 1
    assert not case.writer.delete(record)
    assert not case.writer.update(record, {"active": False})


def test_another_one_under_its_name_is_left_alone(case: Case) -> None:
    record = case.add()
    another = replace(record, job_definition_id=ID.format(99), object_name=record.object_name)
    case.api.put("cronjobs", cron_job_of(another))
    before = case.live(record)
    assert not case.writer.update(record, {"active": False})
    assert not case.writer.delete(record)
    assert case.live(record) == before


def test_a_damaged_one_is_not_written_over_and_can_be_deleted(case: Case) -> None:
    record = case.add()
    broken = {"metadata": {"annotations": {names.DEFINITION_DATA_ANNOTATION: "no JSON"}}}
    case.client.patch_cron_job(record.object_name, broken)
    query = case.ours.query(JobDefinition).filter(
        JobDefinition.job_definition_id == record.job_definition_id
    )
    with pytest.raises(RecordError, match="can't be read"):
        query.update({"active": False})
    assert query.delete() == 1
    assert query.first() is None


def test_a_server_sees_its_own_writes_at_once(case: Case) -> None:
    cache = RecordCache(definition_record, kind=CRON_JOBS, log=logging.getLogger("test"))
    fill(cache, case.api.things("cronjobs"))
    session = K8sSession(
        CacheSource(cache),
        definitions=CacheSource(cache),
        definition_writer=DefinitionWriter(case.client, cache=cache),
    )
    query = session.query(JobDefinition)
    number = query.filter(JobDefinition.schedule.is_not(None)).count()
    assert query.update({"active": False, "name": "ours"}) == query.count()
    assert {(one.active, one.name) for one in query} == {(False, "ours")}
    assert query.update({"active": True}) == query.count()
    assert all(one.active for one in query)
    live = [thing["spec"]["suspend"] for thing in case.api.things("cronjobs")]
    assert live.count(False) == number
    assert query.delete() == len(live)
    assert query.count() == 0


def test_the_api_is_asked_by_id_where_that_is_possible(case: Case) -> None:
    record = case.add()
    case.api.asked.clear()
    assert case.ours.get(JobDefinition, record.job_definition_id).name == record.name
    assert case.ours.get(JobDefinition, record.object_name) is None
    asked = [(one.resource, one.query.get("fieldSelector")) for one in case.api.asked]
    assert asked == [
        ("cronjobs", None),
        ("cronjobs", f"metadata.name={record.object_name}"),
    ]
    mine = records.selector("me")
    label = f"{names.DEFINITION_ID_LABEL}={record.job_definition_id}"
    assert [one.query["labelSelector"] for one in case.api.asked] == [f"{mine},{label}", mine]
