"""Updates and deletes through a session over HTTP: SQLite's results, or an error that says why."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.models import Status
from jupyter_scheduler.orm import Base, Job
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from faults.fake_api import FakeApi, Lost
from jupyter_scheduler_k8s import K8sDatabaseManager, names, records
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.database import CacheSource, JobWriter, K8sSession
from jupyter_scheduler_k8s.errors import ConfigurationError, Conflict, RecordError, UnsupportedQuery
from jupyter_scheduler_k8s.manifests import end_patch
from jupyter_scheduler_k8s.views import job_record
from support.cached import Clock, cache_of
from unit.test_query_equivalence import FILTERS, as_row, random_records

NOW = 1_900_000_000.0
WHEN = "2026-01-01T00:00:00Z"
CONDITIONS = {"COMPLETED": "Complete", "FAILED": "Failed", "STOPPED": "Failed"}


def job_of(record: records.JobRecord) -> dict[str, Any]:
    """The Job that has this record; of the statuses, those that a Job alone has."""
    annotations = {names.JOB_DATA_ANNOTATION: records.job_data(record)}
    if record.status in ("STOPPING", "STOPPED"):
        annotations |= end_patch("stopped")["metadata"]["annotations"]
    condition = CONDITIONS.get(record.status)
    found = {"type": condition, "status": "True", "lastTransitionTime": WHEN}
    return {
        "metadata": {
            "name": record.object_name,
            "labels": records.labels(record),
            "annotations": annotations,
            "creationTimestamp": WHEN,
        },
        "spec": {},
        "status": {"conditions": [found]} if condition else {},
    }


class Case:
    """The same records in SQLite and in the fake API, with a session on each."""

    def __init__(self, api: FakeApi, folder: Path) -> None:
        self.api = api
        config = K8sConfig(namespace="space", owner="me")
        clock = Clock(NOW)
        self.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=api.kubeconfig(folder)),
            read_seconds=2,
            clock=clock,
            sleep=clock.advance,
            random=lambda: 0.5,
        )
        for record in random_records(7, 14):
            api.put("jobs", job_of(_owned(record, "me")))
        api.put("jobs", job_of(_owned(random_records(8, 20)[-1], "another")))
        self.writer = JobWriter(self.client, wall_clock=lambda: NOW)
        self.manager = K8sDatabaseManager(config=config, client=self.client, writer=self.writer)
        self.ours = self.manager.create_session()()
        self.engine = create_engine("sqlite://")
        Base.metadata.create_all(self.engine)
        self.sqlite = Session(self.engine)
        self.sqlite.add_all([as_row(record) for record in self.ours.query(Job)])
        self.sqlite.commit()

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get_job(job_id)

    def of_status(self, status: str) -> str:
        return str(self.ours.query(Job).filter(Job.status == status).first().job_id)


def _owned(record: records.JobRecord, owner: str) -> records.JobRecord:
    # A run's id is a UUID in its label, or its Job's name.
    return replace(record, owner=owner, object_name=record.job_id)


@pytest.fixture
def case(api: FakeApi, tmp_path: Path) -> Iterator[Case]:
    made = Case(api, tmp_path)
    yield made
    made.sqlite.close()
    made.engine.dispose()


def rows(session: Any) -> list[tuple[Any, ...]]:
    found = session.query(Job).order_by(Job.job_id).all()
    return [
        (job.job_id, job.name, job.tags, job.status, job.output_filename_template, job.parameters)
        for job in found
    ]


@pytest.mark.parametrize("name", FILTERS)
def test_updates_and_deletes_do_what_they_do_in_sqlite(case: Case, name: str) -> None:
    def numbers(session: Any) -> list[Any]:
        matching = session.query(Job).filter(FILTERS[name]())
        changed = {"name": "changed", Job.tags: ["a", "é"], "output_filename_template": None}
        found = [matching.update(changed, synchronize_session=False), rows(session)]
        session.commit()
        return [*found, matching.delete(synchronize_session=False), rows(session)]

    assert numbers(case.ours) == numbers(case.sqlite)
    assert case.job("id-0019")["metadata"]["labels"][names.OWNER_LABEL] == "another"


UPDATES: dict[str, dict[Any, Any]] = {
    "one column": {"name": "b"},
    "by column": {Job.name: "b", Job.tags: None},
    "a time": {"update_time": 2_000_000_000_000},
    "a stop": {"status": Status.STOPPING},
    "a stop and a name": {"status": "STOPPING", "name": "b"},
}


@pytest.mark.parametrize("values", UPDATES.values(), ids=UPDATES)
def test_every_update_that_is_possible_does_what_it_does_in_sqlite(
    case: Case, values: dict[Any, Any]
) -> None:
    def numbers(session: Any) -> list[Any]:
        runs = session.query(Job).filter(Job.status.in_(["CREATED", "STOPPING"]))
        found = [runs.update(values, synchronize_session=False), rows(session)]
        if "update_time" in values:
            found.append([job.update_time for job in runs.order_by(Job.job_id)])
        return found

    assert numbers(case.ours) == numbers(case.sqlite)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a status": ({"status": Status.FAILED}, "set to FAILED"),
    "a status that is none": ({"status": "x"}, "set to x"),
    "what the run began with": ({"parameters": {"a": "b"}}, "column parameters"),
    "who it is": ({"job_id": "x"}, "column job_id"),
    "what became of it": ({"end_time": 5}, "column end_time"),
    "an expression": ({"name": Job.name + "x"}, "column name"),
    "another kind": ({"tags": "a"}, "column tags"),
    "a kind within": ({"tags": [1]}, "column tags"),
    "nothing": ({"name": None}, "column name"),
}


@pytest.mark.parametrize(("values", "part"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_named_and_nothing_is(
    case: Case, values: dict[str, Any], part: str
) -> None:
    before = case.api.things("jobs")
    with pytest.raises(UnsupportedQuery, match=part):
        case.ours.query(Job).update({"name": "changed", **values})
    assert case.api.things("jobs") == before


def test_a_stop_is_one_patch_that_ends_the_run(case: Case) -> None:
    job_id = case.of_status("CREATED")
    query = case.ours.query(Job).filter(Job.job_id == job_id)
    case.api.asked.clear()
    assert query.update({"status": Status.STOPPED, "name": "b"}) == 1
    assert case.api.kinds().count("patch") == 1
    live = case.job(job_id)
    assert live["spec"]["activeDeadlineSeconds"] == 1
    assert json.loads(live["metadata"]["annotations"][names.END_ANNOTATION])["reason"] == "stopped"
    assert (query.one().status, query.one().name) == ("STOPPING", "b")


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
def test_what_has_ended_is_not_stopped(case: Case, status: str) -> None:
    job_id = case.of_status(status)
    before = case.job(job_id)
    with pytest.raises(UnsupportedQuery, match=f"ended as {status}"):
        case.ours.query(Job).filter(Job.job_id == job_id).update({"status": "STOPPED"})
    assert case.job(job_id) == before


def test_what_is_stopped_already_stays_so(case: Case) -> None:
    query = case.ours.query(Job).filter(Job.job_id == case.of_status("STOPPED"))
    assert query.update({"status": "STOPPED"}) == 1
    assert query.one().status == "STOPPED"


class Meddler:
    """The API, where somebody else does something between a writer's two requests."""

    def __init__(self, client: ClusterClient, meddle: Callable[[], object]) -> None:
        self._client = client
        self._meddle = meddle

    def get_job(self, name: str) -> dict[str, Any]:
        found = self._client.get_job(name)
        self._meddle()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_what_others_write_at_the_same_time_is_kept(case: Case) -> None:
    record = case.ours.get(Job, case.of_status("CREATED"))
    waiting = [{"tags": ["theirs"]}]

    def meddle() -> None:
        if waiting:
            assert case.writer.update(record, waiting.pop())

    writer = JobWriter(Meddler(case.client, meddle))
    assert writer.update(record, {"name": "ours"})
    found = case.ours.get(Job, record.job_id)
    assert (found.name, found.tags) == ("ours", ["theirs"])


def test_a_record_that_never_stands_still_is_given_up(case: Case) -> None:
    record = case.ours.get(Job, case.of_status("CREATED"))
    writer = JobWriter(Meddler(case.client, lambda: case.writer.update(record, {"name": "theirs"})))
    with pytest.raises(Conflict, match="try again"):
        writer.update(record, {"name": "ours"})


WRITES: dict[str, Callable[[JobWriter, records.JobRecord], bool]] = {
    "update": lambda writer, record: writer.update(record, {"name": "ours"}),
    "delete": lambda writer, record: writer.delete(record),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_record_that_goes_meanwhile_is_not_counted(
    case: Case, write: Callable[[JobWriter, records.JobRecord], bool]
) -> None:
    record = case.ours.query(Job).first()
    assert not write(JobWriter(Meddler(case.client, lambda: case.writer.delete(record))), record)
    assert not write(case.writer, record)


def test_another_job_under_the_name_of_one_that_is_gone_is_left_alone(case: Case) -> None:
    record = case.ours.query(Job).first()
    case.writer.delete(record)
    case.api.put("jobs", job_of(_renamed(record)))
    before = case.job(record.object_name)
    assert not case.writer.update(record, {"name": "ours"})
    assert not case.writer.delete(record)
    assert case.job(record.object_name) == before


def _renamed(record: records.JobRecord) -> records.JobRecord:
    return replace(record, job_id="0a0b0c0d-0000-4000-8000-000000000001")


@pytest.mark.parametrize("kind", ["patch", "delete"])
def test_a_write_whose_answer_is_lost_is_made_once(case: Case, kind: str) -> None:
    record = case.ours.get(Job, case.of_status("CREATED"))
    case.api.fail(kind, Lost(done=True))
    if kind == "patch":
        assert case.writer.update(record, {"name": "ours"})
        assert case.ours.get(Job, record.job_id).name == "ours"
    else:
        assert case.writer.delete(record)
        assert case.ours.get(Job, record.job_id) is None


def test_a_damaged_record_is_not_written_over_and_can_be_deleted(case: Case) -> None:
    job_id = case.of_status("CREATED")
    case.client.patch_job(
        job_id, {"metadata": {"annotations": {names.JOB_DATA_ANNOTATION: "no JSON"}}}
    )
    query = case.ours.query(Job).filter(Job.job_id == job_id)
    with pytest.raises(RecordError, match="can't be read"):
        query.update({"name": "ours"})
    assert query.delete() == 1
    assert query.first() is None


def test_a_server_sees_its_own_writes_at_once(case: Case) -> None:
    cache = cache_of(case.api.things("jobs"), make_record=job_record)
    session = K8sSession(CacheSource(cache), writer=JobWriter(case.client, cache=cache))
    query = session.query(Job).filter(Job.status == "COMPLETED")
    number = query.count()
    assert number
    assert query.update({"name": "ours"}) == number
    assert {job.name for job in query} == {"ours"}
    assert query.delete() == number
    assert query.count() == 0


def test_a_program_of_ones_own_needs_the_environment_only(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    monkeypatch.setenv("K8S_NAMESPACE", "space")
    monkeypatch.setenv("JUPYTERHUB_USER", "me")
    api.put("jobs", job_of(_owned(random_records(7, 1)[0], "me")))
    api.put("jobs", job_of(_owned(random_records(8, 2)[1], "another")))
    manager = K8sDatabaseManager()
    manager.create_tables("k8s://", drop_tables=True)
    assert [space["metadata"]["name"] for space in api.things("namespaces")] == ["space"]
    with manager.create_session("k8s://")() as session:
        assert [job.job_id for job in session.query(Job)] == ["id-0000"]
    listed = [asked for asked in api.asked if asked.kind == "list"]
    assert {asked.query["labelSelector"] for asked in listed} == {records.selector("me")}

    monkeypatch.setenv("K8S_SCHEDULING_TIMEOUT", "-1")
    with pytest.raises(ConfigurationError, match="K8S_SCHEDULING_TIMEOUT"):
        K8sDatabaseManager()
