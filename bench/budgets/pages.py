"""Pages of 25 jobs, as upstream's list gives them, over our cache and over stock's SQLite."""

import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyter_scheduler import orm
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.models import ListJobsQuery, Status
from jupyter_scheduler.orm import Job
from jupyter_scheduler.scheduler import Scheduler

from budgets import jobs
from budgets.repeated import interleaved, milliseconds
from budgets.table import Measurement
from jupyter_scheduler_k8s.database import CacheSource, K8sDatabaseManager
from jupyter_scheduler_k8s.scheduler import K8sScheduler
from jupyter_scheduler_k8s.views import job_record
from support.cached import cache_of

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


def _beside_stock(
    ours: List, stock: List, name: str, asked: dict[str, Any], budget: float
) -> Measurement:
    query = ListJobsQuery(max_items=_PAGE, **asked)
    mine, others = ([job.job_id for job in answer(query).jobs] for answer in (ours, stock))
    if mine != others or len(mine) != _PAGE:
        raise RuntimeError(f"The two pages {name} are not the same: {len(mine)}, {len(others)}.")
    mine_ms, others_ms = interleaved(
        lambda: milliseconds(lambda: ours(query)),
        lambda: milliseconds(lambda: stock(query)),
        times=_TIMES,
    )
    return Measurement(
        what=f"page of {_PAGE} of {_FEW:,}, {name}",
        ours=mine_ms,
        theirs=others_ms,
        against="stock, SQLite",
        unit="ms",
        budget=budget,
        note=""
        if asked
        else "list_jobs in one process, without HTTP; both answers are compared,"
        " and the records are equal ones.",
    )


def _ours(folder: Path, count: int) -> List:
    """Our scheduler's list, over a cache filled with Jobs."""
    cache = cache_of(tuple(jobs.objects(count)), make_record=job_record, clock=time.time)
    scheduler: Any = K8sScheduler(root_dir=str(folder), environments_manager=_environments())

    async def synced() -> None:
        """As it is once a server has its records."""

    # In place of the cached property, which would reach for a cluster.
    scheduler.__dict__["backend"] = SimpleNamespace(
        database=K8sDatabaseManager(jobs=CacheSource(cache)), synced=synced, staleness=lambda: None
    )
    return lambda query: _at_once(scheduler.list_jobs(query))


def _at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing: a loop's own work isn't measured."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("The page waited for something.")


def _stock(folder: Path, count: int) -> List:
    """Upstream's own scheduler's list, over SQLite."""
    url = f"sqlite:///{folder / 'pages.sqlite'}"
    _create_tables(url)
    columns = [column.key for column in Job.__table__.columns if column.key != "packaged_files"]
    with _create_session(url)() as session:
        session.add_all(
            Job(**{name: getattr(record, name) for name in columns})
            for record in map(jobs.record, range(count))
        )
        session.commit()
    scheduler = Scheduler(root_dir=str(folder), environments_manager=_environments(), db_url=url)
    return scheduler.list_jobs


def _environments() -> Any:
    # Upstream's annotations name classes where it takes instances.
    return StaticEnvironmentManager()
