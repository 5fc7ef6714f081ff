"""Queries of definitions against SQLAlchemy with SQLite and against K8sQuery: equal answers."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy
from jupyter_scheduler.models import DescribeJobDefinition
from jupyter_scheduler.orm import Base, JobDefinition
from sqlalchemy import asc, create_engine, desc, func
from sqlalchemy.orm import Session

from jupyter_scheduler_k8s.cluster import CRON_JOBS, RecordCache
from jupyter_scheduler_k8s.database import CacheSource, K8sDatabaseManager, K8sSession
from jupyter_scheduler_k8s.database.sources import ListSource
from jupyter_scheduler_k8s.records import DefinitionRecord
from support.cached import fill, job_object
from unit.test_query_equivalence import NAMES, TAGS

# Its functions take what upstream gives them, which their types don't allow.
sql: Any = sqlalchemy

ID = "00000000-0000-4000-8000-{:012}"
SCHEDULES = [None, "0 9 * * *", "0 9 * * MON-FRI", "*/5 * * * *", "@daily"]
ZONES = [None, "Europe/Berlin", "europe/berlin", "UTC"]


def random_definitions(seed: int, number: int) -> list[DefinitionRecord]:
    choose = random.Random(seed)
    create_times = sorted(choose.sample(range(1, 100_000), number))
    return [
        DefinitionRecord(
            job_definition_id=ID.format(position),
            name=choose.choice(NAMES),
            schedule=choose.choice(SCHEDULES),
            timezone=choose.choice(ZONES),
            active=choose.choice([True, False]),
            create_time=create_time,
            update_time=create_time + choose.randrange(3),
            url=f"/job_definitions/{ID.format(position)}",
            input_filename=choose.choice(["a.ipynb", "B.ipynb"]),
            runtime_environment_name="k8s",
            runtime_environment_parameters=choose.choice([None, {}, {"k8s_cpu": "2"}]),
            output_formats=choose.choice([[], ["ipynb"], ["ipynb", "html"]]),
            parameters=choose.choice([None, {"a": "b"}]),
            tags=choose.choice(TAGS),
            package_input_folder=choose.choice([None, True, False]),
            object_name=f"nb-jobdef-{ID.format(position)}",
        )
        for position, create_time in enumerate(create_times)
    ]


def as_row(record: DefinitionRecord) -> JobDefinition:
    columns = JobDefinition.__table__.columns.keys()
    return JobDefinition(**{name: getattr(record, name) for name in columns})


@dataclass(frozen=True, slots=True)
class Backends:
    """The same definitions three times."""

    sqlite: Session
    cache: K8sSession
    plain: K8sSession


@pytest.fixture(scope="module", params=[1, 2])
def backends(request: pytest.FixtureRequest) -> Iterator[Backends]:
    records = random_definitions(request.param, 80)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    by_name = {record.object_name: record for record in records}
    cache = RecordCache(
        lambda thing, _pods, _now: by_name[thing["metadata"]["name"]],
        kind=CRON_JOBS,
        log=logging.getLogger("test"),
    )
    fill(cache, [job_object(name=record.object_name) for record in records])

    def session_of(definitions: Any) -> K8sSession:
        return K8sDatabaseManager(definitions=definitions).create_session()()

    with Session(engine) as session:
        session.add_all([as_row(record) for record in records])
        session.commit()
        yield Backends(
            sqlite=session,
            cache=session_of(CacheSource(cache)),
            plain=session_of(ListSource(lambda _: records)),
        )
    engine.dispose()


FILTERS: dict[str, Callable[[], Any]] = {
    "id": lambda: JobDefinition.job_definition_id == ID.format(7),
    "no such id": lambda: JobDefinition.job_definition_id == "x",
    "other ids": lambda: JobDefinition.job_definition_id != ID.format(7),
    "ids": lambda: JobDefinition.job_definition_id.in_([ID.format(7), ID.format(9), "x"]),
    "schedule": lambda: JobDefinition.schedule == "0 9 * * *",
    "other schedules, with NULLs": lambda: JobDefinition.schedule != "0 9 * * *",
    "schedule like": lambda: JobDefinition.schedule.like("0 9 %"),
    "schedule like, other case": lambda: JobDefinition.schedule.like("%mon-fri"),
    "without a schedule": lambda: JobDefinition.schedule == None,  # noqa: E711
    "with a schedule": lambda: JobDefinition.schedule.is_not(None),
    "zone": lambda: JobDefinition.timezone == "Europe/Berlin",
    "zone like, other case": lambda: JobDefinition.timezone.like("europe%"),
    "zone or none": lambda: JobDefinition.timezone.is_not_distinct_from(None),
    "active": lambda: JobDefinition.active,
    "active equal": lambda: JobDefinition.active == True,  # noqa: E712
    "active as a number": lambda: JobDefinition.active == 1,
    "active above": lambda: JobDefinition.active > 0,
    "paused": lambda: ~JobDefinition.active,
    "paused equal": lambda: JobDefinition.active == False,  # noqa: E712
    "paused, is": lambda: JobDefinition.active.is_(False),
    "active or not": lambda: JobDefinition.active.in_([True, False]),
    "name like": lambda: JobDefinition.name.like("REP%"),
    "name like one": lambda: JobDefinition.name.like("rep_rt"),
    "name like everything": lambda: JobDefinition.name.like("%"),
    "since": lambda: JobDefinition.create_time >= 50_000,
    "changed": lambda: JobDefinition.update_time > JobDefinition.create_time,
    "tag": lambda: JobDefinition.tags.contains("a"),
    "tag in capitals": lambda: JobDefinition.tags.contains("B"),
    "two tags": lambda: sql.and_(JobDefinition.tags.contains(tag) for tag in ["ab", "b"]),
    "not the tag": lambda: ~JobDefinition.tags.contains("a"),
    "parameters": lambda: JobDefinition.parameters == {"a": "b"},
    "formats": lambda: JobDefinition.output_formats.contains("html"),
    "folder": lambda: JobDefinition.package_input_folder.is_not(True),
    "file": lambda: JobDefinition.input_filename.icontains("b"),
    "what fires": lambda: sql.and_(JobDefinition.active, JobDefinition.schedule.is_not(None)),
    "what doesn't": lambda: sql.not_(
        sql.and_(JobDefinition.active, JobDefinition.schedule.is_not(None))
    ),
}

ORDERS: dict[str, Callable[[], Sequence[Any]]] = {
    "newest first": lambda: [desc(JobDefinition.create_time)],
    "oldest first": lambda: [asc(JobDefinition.create_time)],
    "name, id": lambda: [asc(JobDefinition.name), desc(JobDefinition.job_definition_id)],
    "active, newest": lambda: [desc(JobDefinition.active), desc(JobDefinition.create_time)],
    "schedule, id": lambda: [asc(JobDefinition.schedule), JobDefinition.job_definition_id],
    "schedule down, id": lambda: [desc(JobDefinition.schedule), JobDefinition.job_definition_id],
    "zone, id": lambda: [JobDefinition.timezone, JobDefinition.job_definition_id],
    "tags, id": lambda: [desc(JobDefinition.tags), JobDefinition.job_definition_id],
    "file, id": lambda: [asc(JobDefinition.input_filename), JobDefinition.job_definition_id],
}


def ids(query: Any) -> list[str]:
    return [record.job_definition_id for record in query.all()]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FILTERS)
def test_filters_and_orders(backends: Backends, name: str, order: str) -> None:
    def ask(session: Any) -> Any:
        return session.query(JobDefinition).filter(FILTERS[name]()).order_by(*ORDERS[order]())

    wanted, page = ids(ask(backends.sqlite)), ids(ask(backends.sqlite).limit(7).offset(3))
    for session in (backends.cache, backends.plain):
        assert ids(ask(session)) == wanted
        assert ids(ask(session).limit(7).offset(3)) == page
        assert ask(session).count() == len(wanted)


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "get": lambda session: session.get(JobDefinition, ID.format(5)).name,
    "get of none": lambda session: session.get(JobDefinition, "x"),
    "schedule": lambda session: (
        session.query(JobDefinition.schedule)
        .filter(JobDefinition.job_definition_id == ID.format(3))
        .scalar()
    ),
    "active": lambda session: [
        tuple(row)
        for row in session.query(JobDefinition.active, JobDefinition.timezone).order_by(
            JobDefinition.create_time
        )
    ],
    "count of ids": lambda session: (
        session.query(func.count(JobDefinition.job_definition_id))
        .filter(JobDefinition.active)
        .scalar()
    ),
    "count of schedules": lambda session: session.query(
        func.count(JobDefinition.schedule)
    ).scalar(),
    "described": lambda session: [
        DescribeJobDefinition.from_orm(found).dict()
        for found in session.query(JobDefinition).order_by(JobDefinition.create_time)
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(backends: Backends, name: str) -> None:
    wanted = ANSWERS[name](backends.sqlite)
    assert ANSWERS[name](backends.cache) == wanted
    assert ANSWERS[name](backends.plain) == wanted


@pytest.mark.parametrize("seed", range(40))
def test_random_compositions(backends: Backends, seed: int) -> None:
    choose = random.Random(seed)

    def compose(depth: int) -> Any:
        if depth == 0:
            return FILTERS[choose.choice(list(FILTERS))]()
        parts = [compose(depth - 1) for _ in range(choose.randrange(1, 4))]
        joined = choose.choice([sql.and_, sql.or_])(*parts)
        return sql.not_(joined) if choose.random() < 0.3 else joined

    criterion = compose(choose.randrange(1, 3))
    order = ORDERS[choose.choice(list(ORDERS))]()

    def ask(session: Any) -> Any:
        return session.query(JobDefinition).filter(criterion).order_by(*order)

    wanted = ids(ask(backends.sqlite))
    for session in (backends.cache, backends.plain):
        assert ids(ask(session)) == wanted
        assert ask(session).count() == len(wanted)
