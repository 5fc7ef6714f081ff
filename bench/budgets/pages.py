"""Pages of 25, as upstream's lists give them, over our caches and over stock's SQLite."""

import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyter_scheduler import orm
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.models import ListJobDefinitionsQuery, ListJobsQuery, Status
from jupyter_scheduler.orm import Job, JobDefinition
from jupyter_scheduler.scheduler import Scheduler

from budgets import jobs
from budgets.repeated import interleaved, milliseconds
from budgets.table import Measurement
from jupyter_scheduler_k8s.cluster import CRON_JOBS, RecordCache
from jupyter_scheduler_k8s.database import CacheSource, K8sDatabaseManager
from jupyter_scheduler_k8s.scheduler import K8sScheduler
from jupyter_scheduler_k8s.views import definition_record, job_record
from support.cached import cache_of, fill

_FEW, _MANY = 10_000, 100_000
_PAGE = 25
_TIMES = 31
_QUERIES: tuple[tuple[str, dict[str, Any], float], ...] = (
    ("newest first", {}, 0.2),
    ("by status", {"status": Status.FAILED}, 0.5),
    ("by definition", {"job_definition_id": "definition-7"}, 0.5),
    ("by name", {"name": "report 7"}, 0.5),
)
# Upstream's functions have no annotations.
_create_session: Any = orm.create_session
_create_tables: Any = orm.create_tables

List = Callable[[ListJobsQuery], Any]


def pages(folder: Path) -> list[Measurement]:
    """Pages out of 10,000, ours beside stock's; and ours out of 100,000 beside ours of 10,000."""
    few, stock = _ours(folder, _FEW), _stock(folder, _FEW)
    found = [_beside_stock(few, stock, *query) for query in _QUERIES]
    many = _ours(folder, _MANY)
    query = ListJobsQuery(max_items=_PAGE)
    ours, theirs = interleaved(
        lambda: milliseconds(lambda: many(query)),
        lambda: milliseconds(lambda: few(query)),
        times=_TIMES,
    )
    return [
        *found,
        Measurement(
            what=f"page of {_PAGE} of {_MANY:,}, newest first",
            ours=ours,
            theirs=theirs,
            against=f"ours at {_FEW:,}",
            unit="ms",
            budget=1.2,
        ),
    ]


def schedules(folder: Path) -> list[Measurement]:
    """Of 1,000 definitions with 10 runs each: pages of definitions, and one definition's runs."""
    ours = _scheduler(folder, jobs.SCHEDULED * 10, jobs.SCHEDULED)
    stock = _stock_scheduler(folder / "schedules.sqlite", jobs.SCHEDULED * 10, jobs.SCHEDULED)
    mine = lambda query: _at_once(ours.list_job_definitions(query)).job_definitions  # noqa: E731
    others = lambda query: stock.list_job_definitions(query).job_definitions  # noqa: E731
    what = f"page of {_PAGE} of {jobs.SCHEDULED:,} definitions"
    newest = ListJobDefinitionsQuery(max_items=_PAGE)
    named = ListJobDefinitionsQuery(max_items=_PAGE, name="report 7")
    runs = ListJobsQuery(max_items=_PAGE, job_definition_id="definition-7")
    return [
        _compared(f"{what}, newest first", mine, others, newest, budget=0.2, least=_PAGE),
        _compared(f"{what}, by name", mine, others, named, budget=0.5, least=_PAGE),
        _compared(
            "one definition's 10 runs of 10,000",
            lambda query: _at_once(ours.list_jobs(query)).jobs,
            lambda query: stock.list_jobs(query).jobs,
            runs,
            budget=0.5,
            least=10,
        ),
    ]


def _beside_stock(
    ours: List, stock: List, name: str, asked: dict[str, Any], budget: float
) -> Measurement:
    return _compared(
        f"page of {_PAGE} of {_FEW:,}, {name}",
        lambda query: ours(query).jobs,
        lambda query: stock(query).jobs,
        ListJobsQuery(max_items=_PAGE, **asked),
        budget=budget,
        least=_PAGE,
        note=""
        if asked
        else "list_jobs in one process, without HTTP; both answers are compared,"
        " and the records are equal ones.",
    )


def _compared(
    what: str,
    ours: Callable[[Any], list[Any]],
    stock: Callable[[Any], list[Any]],
    query: Any,
    *,
    budget: float,
    least: int,
    note: str = "",
) -> Measurement:
    """The time of both lists for a query that gives at least so many records, the same of both."""
    mine, others = ([one.dict(include=_IDS) for one in answer(query)] for answer in (ours, stock))
    if mine != others or len(mine) < least:
        raise RuntimeError(f"The two lists are not the same ({what}): {len(mine)}, {len(others)}.")
    mine_ms, others_ms = interleaved(
        lambda: milliseconds(lambda: ours(query)),
        lambda: milliseconds(lambda: stock(query)),
        times=_TIMES,
    )
    return Measurement(
        what=what,
        ours=mine_ms,
        theirs=others_ms,
        against="stock, SQLite",
        unit="ms",
        budget=budget,
        note=note,
    )


_IDS = {"job_id", "job_definition_id", "name", "create_time"}


def _ours(folder: Path, count: int) -> List:
    """Our scheduler's list, over a cache filled with Jobs."""
    scheduler = _scheduler(folder, count)
    return lambda query: _at_once(scheduler.list_jobs(query))


def _scheduler(folder: Path, count: int, definitions: int = 0) -> Any:
    """Our scheduler, over caches filled with Jobs and CronJobs."""
    found = tuple(jobs.objects(count, definitions or jobs.DEFINITIONS))
    cache = cache_of(found, make_record=job_record, clock=time.time)
    defined = RecordCache(
        definition_record, kind=CRON_JOBS, log=logging.getLogger("bench"), clock=time.time
    )
    fill(defined, tuple(jobs.definition_objects(definitions)))
    scheduler: Any = K8sScheduler(root_dir=str(folder), environments_manager=_environments())

    async def synced() -> None:
        """As it is once a server has its records."""

    # In place of the cached property, which would reach for a cluster.
    scheduler.__dict__["backend"] = SimpleNamespace(
        database=K8sDatabaseManager(jobs=CacheSource(cache), definitions=CacheSource(defined)),
        synced=synced,
        staleness=lambda: None,
    )
    return scheduler


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing: a loop's own work isn't measured."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("The page waited for something.")


def _stock(folder: Path, count: int) -> List:
    """Upstream's own scheduler's list, over SQLite."""
    scheduler = _stock_scheduler(folder / "pages.sqlite", count)
    return scheduler.list_jobs


def _stock_scheduler(file: Path, count: int, definitions: int = 0) -> Scheduler:
    url = f"sqlite:///{file}"
    _create_tables(url)
    with _create_session(url)() as session:
        session.add_all(
            _row(Job, jobs.record(number, definitions or jobs.DEFINITIONS))
            for number in range(count)
        )
        session.add_all(_row(JobDefinition, jobs.definition(n)) for n in range(definitions))
        session.commit()
    return Scheduler(root_dir=str(file.parent), environments_manager=_environments(), db_url=url)


def _row(model: Any, record: Any) -> Any:
    columns = [column.key for column in model.__table__.columns if column.key != "packaged_files"]
    return model(**{name: getattr(record, name) for name in columns})


def _environments() -> Any:
    # Upstream's annotations name classes where it takes instances.
    return StaticEnvironmentManager()
