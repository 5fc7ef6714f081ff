"""Which jobs of a database run on Kubernetes, and how far their records have got.

A table of ours in jupyter-scheduler's database. Its rows outlive the rows of
upstream's table: a job that has a row here and none there was deleted, so its
Job and its files may go. Nothing else tells that: a Job without a record may
belong to another database. A copy of a database therefore touches only what
that database ran before it was copied.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler.models import DescribeJob, Status
from jupyter_scheduler.orm import Job
from sqlalchemy import (
    Boolean,
    Column,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

# SQLite lets one writer in at a time; the others wait for so many seconds.
_LOCK_SECONDS = 30
# The width of upstream's column; SQLite does not hold to it, others do.
_MESSAGE_LENGTH = 1024

_RUNS = Table(
    "k8s_runs",
    MetaData(),
    Column("job_id", String(36), primary_key=True),
    # Where the run is, once it is on its way there.
    Column("namespace", String(253), nullable=False, default=""),
    Column("bucket", String(255), nullable=False, default=""),
    # Whether the record, and the files beside it, say all that became of the run.
    Column("settled", Boolean, nullable=False, default=False),
)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is not settled, or whose record is gone.

    Attributes:
        job_id: the job's id.
        namespace: where its Job is, "" where there is none yet.
        bucket: where its files are, "" where there are none yet.
        status: that of its record; None where that is gone.
        create_time: that of its record, in milliseconds since the epoch.
        start_time: when a process began to stand for it; None where none has yet.
    """

    job_id: str
    namespace: str
    bucket: str
    status: str | None
    create_time: int | None
    start_time: int | None

    def is_at(self, namespace: str, bucket: str) -> bool:
        """Whether it is there, or nowhere yet."""
        return (self.namespace or namespace, self.bucket or bucket) == (namespace, bucket)


class Ledger:
    """The table, and what we change in upstream's. Blocking; errors are SQLAlchemy's."""

    def __init__(self, db_url: str) -> None:
        """`db_url` is upstream's `SchedulerApp.db_url`."""
        is_sqlite = make_url(db_url).get_backend_name() == "sqlite"
        waits = {"timeout": _LOCK_SECONDS} if is_sqlite else {}
        self._engine = create_engine(db_url, connect_args=waits)

    def create_table(self) -> None:
        """Make the table, unless it is there."""
        with self._engine.begin() as connection:
            connection.execute(CreateTable(_RUNS, if_not_exists=True))

    def begin(self, job_id: str) -> None:
        """Note, in one step, that a job is on its way and that it is one of ours; once."""
        self.create_table()
        with Session(self._engine) as session:
            known = session.scalars(select(_RUNS.c.job_id).where(_RUNS.c.job_id == job_id))
            if known.first() is None:
                session.execute(insert(_RUNS).values(job_id=job_id))
                self._update(session, job_id, status=Status.IN_PROGRESS)
                session.commit()

    def stand_for(self, job_id: str, pid: int, *, start_time: int | None = None) -> None:
        """Note which process of this machine stands for a run: it is the one to be killed."""
        columns = {"pid": pid} if start_time is None else {"pid": pid, "start_time": start_time}
        with Session(self._engine) as session:
            self._update(session, job_id, **columns)
            session.commit()

    def place(self, job_id: str, namespace: str, bucket: str) -> None:
        """Note where a run will be; before anything of it is there."""
        with Session(self._engine) as session:
            session.execute(
                update(_RUNS)
                .where(_RUNS.c.job_id == job_id)
                .values(namespace=namespace, bucket=bucket)
            )
            session.commit()

    def say(self, job_id: str, message: str | None) -> None:
        """Write what there is to say of a run that goes on."""
        with Session(self._engine) as session:
            self._update(session, job_id, status_message=_shortened(message))
            session.commit()

    def end(
        self, job_id: str, *, settled: bool, made: Collection[str] = (), **columns: Any
    ) -> None:
        """Write, in one step, what became of a run.

        Args:
            job_id: the job's id.
            settled: whether that is all, and its files are here.
            made: files that the run made, relative to the notebook's folder.
            columns: of upstream's table.
        """
        if "status_message" in columns:
            columns["status_message"] = _shortened(columns["status_message"])
        with Session(self._engine) as session:
            if made:
                found: Any = session.query(Job.packaged_files).filter(Job.job_id == job_id)
                known: Collection[str] = found.scalar() or []
                columns["packaged_files"] = sorted({*known, *made})
            if columns:
                self._update(session, job_id, **columns)
            session.execute(update(_RUNS).where(_RUNS.c.job_id == job_id).values(settled=settled))
            session.commit()

    def forget(self, job_id: str) -> None:
        """Remove the row of a job that was deleted; nothing of it may be left."""
        with Session(self._engine) as session:
            session.execute(delete(_RUNS).where(_RUNS.c.job_id == job_id))
            session.commit()

    def job(self, job_id: str) -> DescribeJob | None:
        """The record of a job; None where it is gone."""
        with Session(self._engine) as session:
            found = session.query(Job).filter(Job.job_id == job_id).first()
            return None if found is None else DescribeJob.from_orm(found)

    def open_runs(self) -> Sequence[OpenRun]:
        """The runs that need somebody, by id."""
        query = (
            select(
                _RUNS.c.job_id,
                _RUNS.c.namespace,
                _RUNS.c.bucket,
                Job.status,
                Job.create_time,
                Job.start_time,
            )
            .join_from(_RUNS, Job, Job.job_id == _RUNS.c.job_id, isouter=True)
            .where(or_(Job.job_id.is_(None), _RUNS.c.settled.is_(False)))
            .order_by(_RUNS.c.job_id)
        )
        with Session(self._engine) as session:
            return [OpenRun(*row) for row in session.execute(query)]

    def pids(self, among: Collection[int]) -> set[int]:
        """Those of some processes of this machine that stand for a job."""
        with Session(self._engine) as session:
            return set(session.scalars(select(Job.pid).where(Job.pid.in_(among))))

    def _update(self, session: Session, job_id: str, **columns: Any) -> None:
        changes: Mapping[Any, Any] = columns
        session.query(Job).filter(Job.job_id == job_id).update(dict(changes))


def _shortened(message: str | None) -> str | None:
    return None if message is None else message[:_MESSAGE_LENGTH]
