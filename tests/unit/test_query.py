"""What K8sQuery refuses, what it writes, and what it asks the live API for."""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy
from jupyter_scheduler.models import DescribeJob, Status
from jupyter_scheduler.orm import Job, JobDefinition
from sqlalchemy import and_, asc, case, desc, func, literal, or_, select, text
from sqlalchemy.orm import Query

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.database import CacheSource, K8sDatabaseManager, K8sSession, LiveSource
from jupyter_scheduler_k8s.database.conditions import like
from jupyter_scheduler_k8s.errors import UnsupportedQuery
from support.cached import cache_of, job_object, pod_object, simple_record

ID = "0a0b0c0d-0000-4000-8000-00000000000{}"

# Their types don't allow what is tried here.
sql: Any = sqlalchemy


@pytest.fixture
def session() -> K8sSession:
    return K8sSession(CacheSource(cache_of([_job(number) for number in range(5)])))


def like_a_number() -> Any:
    with warnings.catch_warnings():
        # SQLAlchemy 2.1 warns, and does it.
        warnings.simplefilter("ignore")
        return Job.pid.like("1%")


UNSUPPORTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "function": (lambda s: s.query(Job).filter(func.lower(Job.name) == "a"), "lower(jobs.name)"),
    "regular expression": (lambda s: s.query(Job).filter(Job.name.regexp_match("a")), "jobs.name"),
    "match": (lambda s: s.query(Job).filter(Job.name.match("a")), "MATCH"),
    "concatenation": (lambda s: s.query(Job).filter(Job.name + "x" == "yx"), "jobs.name ||"),
    "arithmetic": (lambda s: s.query(Job).filter(Job.start_time + 1 > 5), "jobs.start_time +"),
    "collation": (lambda s: s.query(Job).filter(Job.name.collate("NOCASE") == "a"), "COLLATE"),
    "text": (lambda s: s.query(Job).filter(text("name = 'a'")), "name = 'a'"),
    "literal": (lambda s: s.query(Job).filter(literal(1) == 1), "BindParameter"),
    "number as condition": (lambda s: s.query(Job).filter(Job.pid), "jobs.pid"),
    "text as condition": (lambda s: s.query(Job).filter("name"), "name"),
    "subquery": (
        lambda s: s.query(Job).filter(Job.job_id.in_(select(JobDefinition.job_definition_id))),
        "SELECT",
    ),
    "exists": (lambda s: s.query(Job).filter(select(Job.job_id).exists()), "EXISTS"),
    "case": (lambda s: s.query(Job).filter(case((Job.pid == 1, True), else_=False)), "CASE"),
    "deep inside": (
        lambda s: s.query(Job).filter(
            or_(Job.pid == 1, and_(Job.pid == 2, sql.not_(func.lower(Job.name) == "a")))
        ),
        "lower(jobs.name)",
    ),
    "another table": (
        lambda s: s.query(Job).filter(JobDefinition.active == True),  # noqa: E712
        "job_definitions.active",
    ),
    "columns of different kinds": (lambda s: s.query(Job).filter(Job.name == Job.pid), "jobs.pid"),
    "text against number": (lambda s: s.query(Job).filter(Job.name == 5), "column name"),
    "number against text": (lambda s: s.query(Job).filter(Job.create_time >= "5"), "create_time"),
    "number in texts": (lambda s: s.query(Job).filter(Job.status.in_(["FAILED", 5])), "status"),
    "unknown boolean": (
        lambda s: s.query(Job).filter(Job.package_input_folder == "yes"),
        "package",
    ),
    "like on a number": (lambda s: s.query(Job).filter(like_a_number()), "jobs.pid LIKE"),
    "long escape": (lambda s: s.query(Job).filter(Job.name.like("a", escape="ab")), "LIKE"),
    "unstorable value": (lambda s: s.query(Job).filter(Job.tags == {1, 2}), "jobs.tags"),
    "symmetric between": (
        lambda s: s.query(Job).filter(Job.pid.between(2, 1, symmetric=True)),
        "BETWEEN SYMMETRIC",
    ),
    "order by function": (lambda s: s.query(Job).order_by(func.lower(Job.name)), "lower"),
    "order by text": (lambda s: s.query(Job).order_by(text("1")), "1"),
    "order by no column": (lambda s: s.query(Job).order_by(desc("nothing")), "nothing"),
    "order by a condition": (lambda s: s.query(Job).order_by(asc(Job.pid == 1)), "jobs.pid ="),
    "filter after limit": (lambda s: s.query(Job).limit(1).filter(Job.pid == 1), "filter()"),
    "order after offset": (lambda s: s.query(Job).offset(1).order_by(Job.pid), "order_by()"),
    "another function": (lambda s: s.query(func.max(Job.create_time)).scalar(), "max"),
    "count of an expression": (
        lambda s: s.query(sql.func.count(Job.pid + 1)).scalar(),
        "jobs.pid +",
    ),
    "count beside a column": (lambda s: s.query(Job.name, func.count(Job.job_id)).all(), "count"),
    "no entity": (lambda s: s.query(), "nothing"),
    "no model": (lambda s: s.query(int), "int"),
    "two tables": (lambda s: s.query(Job, JobDefinition), "Several tables"),
    "count of nothing": (lambda s: s.query(func.count()), "count"),
    "no column": (lambda s: s.query(Job).filter_by(nothing=1), "nothing"),
    "update without a writer": (lambda s: s.query(Job).update({"name": "a"}), "update()"),
    "delete without a writer": (lambda s: s.query(Job).delete(), "delete()"),
    "add without a writer": (lambda s: s.add(Job()), "Job"),
    "add of another thing": (lambda s: s.add(object()), "object"),
    "join": (lambda s: s.query(Job).join(JobDefinition), "join()"),
    "group by": (lambda s: s.query(Job).group_by(Job.status), "group_by()"),
    "distinct": (lambda s: s.query(Job).distinct(), "distinct()"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_named(session: K8sSession, name: str) -> None:
    ask, part = UNSUPPORTED[name]
    with pytest.raises(UnsupportedQuery) as caught:
        ask(session)
    assert part in str(caught.value)


def test_every_method_of_a_query_is_there_or_refused(session: K8sSession) -> None:
    query = session.query(Job)
    supported = {name for name in dir(type(query)) if not name.startswith("_")}
    for name in dir(Query):
        if name.startswith("_") or name in supported:
            continue
        with pytest.raises(UnsupportedQuery, match=rf"{name}\(\)"):
            getattr(query, name)
    with pytest.raises(AttributeError):
        query.no_such_thing  # noqa: B018


def test_queries_do_not_change(session: K8sSession) -> None:
    every = session.query(Job)
    some = every.filter(Job.status == Status.FAILED)
    assert every.count() == 5
    assert some.count() == 2
    assert some.filter().count() == 2
    assert every.where(Job.status == "FAILED").count() == 2
    assert every.limit(3).offset(1).count() == 3
    assert every.limit(3).offset(4).count() == 1
    assert len(every.limit(10**30).all()) == every.count()
    assert every.limit(10**30).offset(10**30).all() == []


def test_records_are_what_upstream_describes(session: K8sSession) -> None:
    found = session.query(Job).filter(Job.job_id == ID.format(3)).one()
    described = DescribeJob.from_orm(found)
    assert described.job_id == ID.format(3)
    assert described.status is Status.QUEUED


def test_definitions_are_empty_and_sessions_do_nothing_more(session: K8sSession) -> None:
    with session as entered:
        assert entered.query(JobDefinition).all() == []
        assert entered.query(JobDefinition).count() == 0
        assert entered.query(JobDefinition.schedule).scalar() is None
        entered.commit()
        entered.flush()
        entered.rollback()
        entered.refresh(object())
        entered.close()


class Writer:
    """What it was asked to write."""

    def __init__(self) -> None:
        self.added: list[Any] = []
        self.updated: list[tuple[str, Mapping[str, Any]]] = []
        self.deleted: list[str] = []
        self.checked: list[Mapping[str, Any]] = []
        self.gone = ""

    def add(self, instance: Any) -> None:
        self.added.append(instance)

    def check(self, values: Mapping[str, Any]) -> None:
        self.checked.append(values)

    def update(self, record: Any, values: Mapping[str, Any]) -> bool:
        self.updated.append((record.job_id, values))
        return bool(record.job_id != self.gone)

    def delete(self, record: Any) -> bool:
        self.deleted.append(record.job_id)
        return bool(record.job_id != self.gone)


def test_writes_go_to_the_writer_one_record_at_a_time() -> None:
    writer = Writer()
    manager = K8sDatabaseManager(
        jobs=CacheSource(cache_of([_job(number) for number in range(5)])), writer=writer
    )
    with manager.create_session("k8s://")() as session:
        failed = session.query(Job).filter(Job.status == Status.FAILED)
        assert failed.update({"status": Status.STOPPED, Job.name: "x"}) == 2
        assert failed.delete(synchronize_session=False) == 2
        assert session.query(Job).filter(Job.job_id == "x").update({"name": "y"}) == 0
        assert writer.checked == [{"status": Status.STOPPED, "name": "x"}, {"name": "y"}]
        job = Job(name="new")
        session.add(job)
        with pytest.raises(UnsupportedQuery, match="no column colour"):
            failed.update({"colour": "red"})
        with pytest.raises(UnsupportedQuery, match="can't follow limit"):
            session.query(Job).limit(1).delete()
        with pytest.raises(UnsupportedQuery, match="not possible"):
            session.query(func.count(Job.job_id)).delete()
    ids = [ID.format(number) for number in (1, 4)]
    assert writer.updated == [(one, {"status": Status.STOPPED, "name": "x"}) for one in ids]
    assert writer.deleted == ids
    assert writer.added == [job]


def test_records_that_went_meanwhile_are_not_counted() -> None:
    writer = Writer()
    writer.gone = ID.format(4)
    session = K8sSession(
        CacheSource(cache_of([_job(number) for number in range(5)])), writer=writer
    )
    assert session.query(Job).update({"name": "x"}) == 4
    assert session.query(Job).delete() == 4


class Lister:
    """An API that notes what it is asked for."""

    def __init__(self) -> None:
        self.jobs = [_job(number) for number in range(5)] + [job_object(name="nb-jobdef-1-29")]
        self.asked: list[tuple[str, str, str | None]] = []

    def list_jobs(self, label_selector: str, *, name: str | None = None) -> list[dict[str, Any]]:
        self.asked.append(("jobs", label_selector, name))
        wanted = dict(part.split("=") for part in label_selector.split(",") if "/" in part)
        return [
            job
            for job in self.jobs
            if name in (None, job["metadata"]["name"])
            and all(job["metadata"]["labels"].get(key) == wanted[key] for key in wanted)
        ]

    def list_pods(self, label_selector: str) -> list[dict[str, Any]]:
        self.asked.append(("pods", label_selector, None))
        return [
            pod_object(name="p-1", job="nb-job-1"),
            pod_object(name="p-2", job="nb-job-1", job_uid="an earlier one"),
        ]


def test_the_live_api_is_asked_by_labels_where_they_say_it() -> None:
    api = Lister()
    source = LiveSource(api, selector="owner=me", make_record=simple_record, wall_clock=lambda: 5.0)
    session = K8sSession(source)
    job_label, definition_label = names.JOB_ID_LABEL, names.DEFINITION_ID_LABEL

    found = session.query(Job).filter(Job.job_id == ID.format(1)).one()
    assert found.status_message == "1 pods at 5"
    by_id = f"owner=me,{job_label}={ID.format(1)}"
    assert api.asked == [("jobs", by_id, None), ("pods", by_id, None)]

    api.asked.clear()
    assert session.query(Job).filter(Job.job_definition_id == ID.format(9)).all() == []
    # Without Jobs there is no need for pods.
    assert api.asked == [("jobs", f"owner=me,{definition_label}={ID.format(9)}", None)]

    # A run of a schedule has its Job's name as its id, and no label with it.
    api.asked.clear()
    assert session.query(Job).filter(Job.job_id == "nb-jobdef-1-29").count() == 1
    pods = f"owner=me,{names.POD_JOB_NAME_LABEL}=nb-jobdef-1-29"
    assert api.asked == [("jobs", "owner=me", "nb-jobdef-1-29"), ("pods", pods, None)]

    # An `or` selects nothing by itself.
    api.asked.clear()
    either = or_(Job.job_id == ID.format(1), Job.job_id == ID.format(2))
    assert session.query(Job).filter(either).count() == 2
    assert api.asked[0] == ("jobs", "owner=me", None)
    assert session.query(Job).count() == 6
    times = [job.create_time for job in session.query(Job)]
    assert times == sorted(times)
    # What can't be a label is not put into a selector.
    api.asked.clear()
    assert session.query(Job).filter(Job.job_definition_id == "a,b=c").all() == []
    assert api.asked[0] == ("jobs", "owner=me", None)


@pytest.mark.parametrize(
    "pattern", ["%a" * 40 + "%b", "%" * 5000 + "b", "_%" * 60 + "b", "%a_%" * 40 + "b"]
)
def test_patterns_with_many_wildcards_take_no_time(pattern: str) -> None:
    began = time.process_time()
    assert not like(pattern)("a" * 5000)
    assert time.process_time() - began < 1


def _job(number: int) -> dict[str, Any]:
    return job_object(
        name=f"nb-job-{number}",
        labels={names.JOB_ID_LABEL: ID.format(number)},
        annotations={f"{names.GROUP}/time": str(number)},
        phase="FAILED" if number in (1, 4) else "QUEUED",
    )
