"""The same queries against SQLAlchemy with SQLite and against K8sQuery: equal answers.

The records are random, from values that make trouble: NULL, both cases,
wildcards, JSON that looks like other JSON, equal names. Create times are all
different, since SQL leaves the order of equal rows open.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy
from jupyter_scheduler.models import Status
from jupyter_scheduler.orm import Base, Job
from sqlalchemy import asc, create_engine, desc, false, func, nulls_first, true
from sqlalchemy.orm import Session

from jupyter_scheduler_k8s.database.conditions import Condition
from jupyter_scheduler_k8s.database.manager import K8sDatabaseManager
from jupyter_scheduler_k8s.database.session import K8sSession
from jupyter_scheduler_k8s.database.sources import CacheSource, ListSource
from jupyter_scheduler_k8s.records import JobRecord
from support.cached import cache_of, job_object

# Its functions take what upstream gives them, which their types don't allow.
sql: Any = sqlalchemy

NAMES = ["report", "Report", "REPORT 2", "rep_rt", "rep%", "räport", "RÄPORT", "a\\b", "", "x\ny"]
TAGS: list[list[str] | None] = [
    None,
    [],
    ["a"],
    ["A"],
    ["ab", "b"],
    ['say "a"'],
    ["a_b"],
    ["axb", "é"],
    ["a, b"],
]
STATUSES = [status.value for status in Status]
DEFINITIONS = [None, "def-1", "def-2"]


def random_records(seed: int, number: int) -> list[JobRecord]:
    choose = random.Random(seed)
    create_times = sorted(choose.sample(range(1, 100_000), number))
    return [
        JobRecord(
            job_id=f"id-{position:04}",
            job_definition_id=choose.choice(DEFINITIONS),
            name=choose.choice(NAMES),
            status=choose.choice(STATUSES),
            status_message=choose.choice([None, "", "Cannot schedule: x"]),
            create_time=create_time,
            update_time=create_time + choose.randrange(3),
            start_time=choose.choice([None, create_time, create_time + 5]),
            end_time=choose.choice([None, create_time + 9]),
            url=f"/jobs/id-{position:04}",
            idempotency_token=choose.choice([None, "t"]),
            input_filename=choose.choice(["a.ipynb", "B.ipynb", "b.ipynb"]),
            runtime_environment_name="k8s",
            runtime_environment_parameters=choose.choice([None, {}, {"k8s_cpu": "2"}]),
            output_formats=choose.choice([[], ["ipynb"], ["ipynb", "html"]]),
            tags=choose.choice(TAGS),
            package_input_folder=choose.choice([None, True, False]),
            object_name=f"nb-job-id-{position:04}",
        )
        for position, create_time in enumerate(create_times)
    ]


def as_row(record: JobRecord) -> Job:
    columns = Job.__table__.columns.keys()
    return Job(**{name: getattr(record, name) for name in columns})


@dataclass(frozen=True, slots=True)
class Backends:
    """The same records three times."""

    sqlite: Session
    cache: K8sSession
    plain: K8sSession


@pytest.fixture(scope="module", params=[1, 2, 3])
def backends(request: pytest.FixtureRequest) -> Iterator[Backends]:
    records = random_records(request.param, 120)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    by_name = {record.object_name: record for record in records}

    def everything(_: Condition) -> Sequence[JobRecord]:
        return records

    cache = cache_of(
        [job_object(name=record.object_name) for record in records],
        make_record=lambda job, _pods, _now: by_name[job["metadata"]["name"]],
    )
    with Session(engine) as session:
        session.add_all([as_row(record) for record in records])
        session.commit()
        yield Backends(
            sqlite=session,
            cache=K8sDatabaseManager(jobs=CacheSource(cache)).create_session()(),
            plain=K8sDatabaseManager(jobs=ListSource(everything)).create_session()(),
        )
    engine.dispose()


FILTERS: dict[str, Callable[[], Any]] = {
    "equal": lambda: Job.status == Status.FAILED,
    "equal text": lambda: Job.status == "FAILED",
    "equal to nothing known": lambda: Job.status == "GONE",
    "unequal": lambda: Job.status != Status.FAILED,
    "unequal with NULLs": lambda: Job.job_definition_id != "def-1",
    "id": lambda: Job.job_id == "id-0007",
    "definition": lambda: Job.job_definition_id == "def-1",
    "is NULL": lambda: Job.job_definition_id == None,  # noqa: E711
    "is not NULL": lambda: Job.job_definition_id.is_not(None),
    "less": lambda: Job.start_time < 50_000,
    "less or equal": lambda: Job.start_time <= 50_000,
    "greater": lambda: Job.start_time > 50_000,
    "greater or equal": lambda: Job.start_time >= 50_000,
    "not greater, with NULLs": lambda: sql.not_(Job.start_time >= 50_000),
    "against a fraction": lambda: Job.start_time >= 50_000.5,
    "turned round": lambda: Job.create_time > 50_000,
    "two columns": lambda: Job.start_time > Job.create_time,
    "between": lambda: Job.create_time.between(20_000, 60_000),
    "not between": lambda: ~Job.start_time.between(20_000, 60_000),
    "in": lambda: Job.status.in_([Status.FAILED, "STOPPED"]),
    "in nothing": lambda: Job.status.in_([]),
    "not in nothing": lambda: Job.job_definition_id.not_in([]),
    "not in": lambda: Job.job_definition_id.not_in(["def-1"]),
    "in with NULL": lambda: Job.job_definition_id.in_(["def-1", None]),
    "not in with NULL": lambda: Job.job_definition_id.not_in(["def-1", None]),
    "like prefix": lambda: Job.name.like("rep%"),
    "like prefix, other case": lambda: Job.name.like("REP%"),
    "like one character": lambda: Job.name.like("rep_rt"),
    "like everything": lambda: Job.name.like("%"),
    "like nothing": lambda: Job.name.like(""),
    "like in the middle": lambda: Job.name.like("%PO%"),
    "like end": lambda: Job.name.like("%t 2"),
    "like wildcards in front": lambda: Job.name.like("%%_rt"),
    "like of other letters": lambda: Job.name.like("r\xe4p%"),
    "like of other capitals": lambda: Job.name.like("R\xc4P%"),
    "like with line ends": lambda: Job.name.like("x_y"),
    "like escaped": lambda: Job.name.like("rep/%", escape="/"),
    "like escaped one": lambda: Job.name.like("rep/_rt", escape="/"),
    "like escape at the end": lambda: Job.name.like("rep/", escape="/"),
    "like escape of a letter": lambda: Job.name.like("/rep%", escape="/"),
    "like backslash": lambda: Job.name.like("a\\%"),
    "not like": lambda: Job.name.not_like("rep%"),
    "like on NULLs": lambda: Job.status_message.like("cannot%"),
    "not like on NULLs": lambda: Job.status_message.not_like("cannot%"),
    "ilike": lambda: Job.name.ilike("REP%"),
    "starts": lambda: Job.name.startswith("rep"),
    "starts, escaped": lambda: Job.name.startswith("rep%", autoescape=True),
    "ends": lambda: Job.name.endswith("T"),
    "text contains": lambda: Job.name.contains("po"),
    "text contains, other case": lambda: Job.name.icontains("PO"),
    "tag": lambda: Job.tags.contains("a"),
    "tag in capitals": lambda: Job.tags.contains("B"),
    "tag with wildcard": lambda: Job.tags.contains("a_b"),
    "tag with percent": lambda: Job.tags.contains("a%"),
    "tag with quotes": lambda: Job.tags.contains('say "a"'),
    "tag not of ASCII": lambda: Job.tags.contains("\xe9"),
    "no such tag": lambda: Job.tags.contains("zz"),
    "not the tag": lambda: ~Job.tags.contains("a"),
    "two tags": lambda: sql.and_(Job.tags.contains(tag) for tag in ["ab", "b"]),
    "all tags": lambda: Job.tags == ["ab", "b"],
    "tags below": lambda: Job.tags < ["ab"],
    "parameters": lambda: Job.runtime_environment_parameters == {"k8s_cpu": "2"},
    "formats": lambda: Job.output_formats.contains("html"),
    "boolean column": lambda: Job.package_input_folder,
    "no boolean": lambda: ~Job.package_input_folder,
    "boolean equal": lambda: Job.package_input_folder == True,  # noqa: E712
    "boolean is": lambda: Job.package_input_folder.is_(True),
    "boolean is not": lambda: Job.package_input_folder.is_not(True),
    "boolean unequal": lambda: Job.package_input_folder != False,  # noqa: E712
    "is value": lambda: Job.start_time.is_not_distinct_from(5),
    "is distinct": lambda: Job.job_definition_id.is_distinct_from("def-1"),
    "and": lambda: sql.and_(Job.status == "FAILED", Job.name.like("rep%")),
    "and of indexed": lambda: sql.and_(Job.status == "FAILED", Job.job_definition_id == "def-1"),
    "or": lambda: sql.or_(Job.status == "FAILED", Job.name == "rep%"),
    "or with NULL": lambda: sql.or_(Job.start_time > 5, Job.job_definition_id == "def-1"),
    "not or with NULL": lambda: sql.not_(
        sql.or_(Job.start_time > 5, Job.job_definition_id == "def-1")
    ),
    "not and with NULL": lambda: sql.not_(
        sql.and_(Job.start_time > 5, Job.job_definition_id == "def-1")
    ),
    "nested": lambda: sql.and_(
        sql.or_(Job.name.like("r%"), sql.not_(Job.tags.contains("a"))),
        Job.end_time != None,  # noqa: E711
    ),
    "true": lambda: true(),
    "false": lambda: false(),
    "and true": lambda: sql.and_(True, Job.status == "FAILED"),
    "or false": lambda: sql.or_(False, Job.status == "FAILED"),
}

ORDERS: dict[str, Callable[[], Sequence[Any]]] = {
    "newest first": lambda: [desc(Job.create_time)],
    "oldest first": lambda: [asc(Job.create_time)],
    "newest first by method": lambda: [Job.create_time.desc()],
    "column alone": lambda: [Job.create_time],
    "by its name": lambda: [desc("create_time")],
    "name, then time": lambda: [asc(Job.name), desc(Job.create_time)],
    "status, name, id": lambda: [desc(Job.status), Job.name, Job.job_id],
    "NULLs first by themselves": lambda: [asc(Job.start_time), asc(Job.job_id)],
    "NULLs last by themselves": lambda: [desc(Job.end_time), asc(Job.job_id)],
    "NULLs moved to the end": lambda: [Job.end_time.asc().nulls_last(), Job.job_id],
    "NULLs moved to the front": lambda: [nulls_first(Job.start_time.desc()), Job.job_id],
    "JSON": lambda: [asc(Job.tags), desc(Job.job_id)],
    "boolean": lambda: [desc(Job.package_input_folder), Job.job_id],
    "time, then name": lambda: [desc(Job.create_time), asc(Job.name)],
}

PAGES = [(None, None), (25, 0), (5, 3), (0, 0), (10, 115), (10, 500), (-1, 4), (5, -2)]


def ids(query: Any) -> list[str]:
    return [record.job_id for record in query.all()]


@pytest.mark.parametrize("name", FILTERS)
def test_filters(backends: Backends, name: str) -> None:
    def ask(session: Any) -> Any:
        return session.query(Job).filter(FILTERS[name]())

    wanted = ids(ask(backends.sqlite).order_by(desc(Job.create_time)))
    for session in (backends.cache, backends.plain):
        assert ids(ask(session).order_by(desc(Job.create_time))) == wanted
        assert ids(ask(session).order_by(asc(Job.name), Job.job_id)) == ids(
            ask(backends.sqlite).order_by(asc(Job.name), Job.job_id)
        )
        assert ask(session).count() == len(wanted)
        assert [record.job_id for record in ask(session)] == list(reversed(wanted))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("page", PAGES)
def test_orders_and_pages(
    backends: Backends, order: str, page: tuple[int | None, int | None]
) -> None:
    def ask(session: Any) -> Any:
        query = session.query(Job).order_by(*ORDERS[order]())
        return query if page == (None, None) else query.limit(page[0]).offset(page[1])

    wanted = ids(ask(backends.sqlite))
    for session in (backends.cache, backends.plain):
        assert ids(ask(session)) == wanted
        assert ask(session).count() == len(wanted)


@pytest.mark.parametrize("seed", range(60))
def test_random_compositions(backends: Backends, seed: int) -> None:
    choose = random.Random(seed)

    def compose(depth: int) -> Any:
        if depth == 0:
            found = FILTERS[choose.choice(simple)]()
            return sql.not_(found) if choose.random() < 0.3 else found
        parts = [compose(depth - 1) for _ in range(choose.randrange(1, 4))]
        joined = choose.choice([sql.and_, sql.or_])(*parts)
        return sql.not_(joined) if choose.random() < 0.3 else joined

    simple = [name for name in FILTERS if name not in ("true", "false")]
    criteria = [compose(choose.randrange(3)) for _ in range(choose.randrange(1, 4))]
    order = ORDERS[choose.choice(sorted(set(ORDERS) - {"by its name"}))]()
    limit, offset = choose.randrange(1, 40), choose.randrange(10)

    def ask(session: Any) -> Any:
        query = session.query(Job)
        for criterion in criteria:
            query = query.filter(criterion)
        return query.order_by(*order)

    wanted = ids(ask(backends.sqlite).limit(limit).offset(offset))
    total = ask(backends.sqlite).count()
    for session in (backends.cache, backends.plain):
        assert ids(ask(session).limit(limit).offset(offset)) == wanted
        assert ask(session).count() == total


ANSWERS: dict[str, Callable[[Any], Any]] = {
    "first": lambda session: ids_of(session.query(Job).order_by(Job.create_time).first()),
    "first of none": lambda session: session.query(Job).filter(Job.job_id == "x").first(),
    "first after offset": lambda session: ids_of(
        session.query(Job).order_by(Job.create_time).offset(3).first()
    ),
    "one": lambda session: ids_of(session.query(Job).filter(Job.job_id == "id-0003").one()),
    "one of none": lambda session: session.query(Job).filter(Job.job_id == "x").one(),
    "one of many": lambda session: session.query(Job).one(),
    "one or none": lambda session: session.query(Job).filter(Job.job_id == "x").one_or_none(),
    "one or none of many": lambda session: session.query(Job).one_or_none(),
    "filter by": lambda session: sorted(
        job.job_id for job in session.query(Job).filter_by(status="FAILED", name="report")
    ),
    "column": lambda session: session.query(Job.tags).filter(Job.job_id == "id-0003").scalar(),
    "column of none": lambda session: session.query(Job.tags).filter(Job.job_id == "x").scalar(),
    "column of many": lambda session: session.query(Job.tags).scalar(),
    "columns": lambda session: [
        tuple(row) for row in session.query(Job.job_id, Job.name).order_by(Job.create_time).limit(4)
    ],
    "count of ids": lambda session: (
        session.query(func.count(Job.job_id)).filter(Job.status == "FAILED").scalar()
    ),
    "count of what may be NULL": lambda session: session.query(func.count(Job.start_time)).scalar(),
    "count of rows": lambda session: (
        session.query(func.count()).select_from(Job).scalar()
        if isinstance(session, Session)
        else session.query(Job).count()
    ),
    "count of no rows": lambda session: (
        session.query(func.count(Job.job_id)).filter(Job.job_id == "x").scalar()
    ),
    "rows of a count": lambda session: session.query(func.count(Job.job_id)).count(),
    "get": lambda session: ids_of(session.get(Job, "id-0005")),
    "get of none": lambda session: session.get(Job, "x"),
    "two orders": lambda session: ids(
        session.query(Job).order_by(Job.name).order_by(Job.job_id).limit(9)
    ),
    "order forgotten": lambda session: ids(
        session.query(Job).order_by(Job.name).order_by(None).order_by(Job.job_id).limit(9)
    ),
    "limit, then a larger one": lambda session: ids(
        session.query(Job).order_by(Job.job_id).limit(2).limit(4)
    ),
    "limit taken back": lambda session: len(session.query(Job).limit(2).limit(None).all()),
}


def ids_of(record: Any) -> str:
    found: str = record.job_id
    return found


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(backends: Backends, name: str) -> None:
    def answer(session: Any) -> Any:
        try:
            return ANSWERS[name](session)
        except Exception as error:  # noqa: BLE001
            return type(error)

    wanted = answer(backends.sqlite)
    assert answer(backends.cache) == wanted
    assert answer(backends.plain) == wanted
