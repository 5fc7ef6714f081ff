"""What upstream's code takes for a SQLAlchemy session."""

from functools import cache
from types import TracebackType
from typing import Any, Self

from jupyter_scheduler.orm import Job, JobDefinition

from jupyter_scheduler_k8s.database.expressions import Reader
from jupyter_scheduler_k8s.database.query import K8sQuery, Model, RecordWriter, query
from jupyter_scheduler_k8s.database.sources import EmptySource, RecordSource
from jupyter_scheduler_k8s.errors import UnsupportedQuery


class K8sSession:
    """A session whose changes are in the cluster as soon as they are made.

    There are no transactions: Kubernetes has none. So `commit` has nothing left
    to do, and `rollback` can't take back what was written.
    """

    def __init__(
        self,
        jobs: RecordSource,
        *,
        definitions: RecordSource | None = None,
        writer: RecordWriter | None = None,
        definition_writer: RecordWriter | None = None,
    ) -> None:
        """Without a writer, records can be read only; without a source, there are none."""
        self._models = {
            Job: Model(_reader(Job), jobs, writer),
            JobDefinition: Model(
                _reader(JobDefinition), definitions or EmptySource(), definition_writer
            ),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def query(self, *entities: Any) -> K8sQuery:
        """A query of a model, of columns, or of a count.

        Raises:
            UnsupportedQuery: these have no records here.
        """
        return query(self._models, entities)

    def get(self, model: type[Any], identity: Any) -> Any:
        """The record with this primary key, None if there is none."""
        return self.query(model).get(identity)

    def add(self, instance: Any) -> None:
        """Store a new instance of a model; it is in the cluster when this returns.

        Raises:
            UnsupportedQuery: there are no records of this model, or they can't be written.
        """
        model = self._models.get(type(instance))
        if model is None or model.writer is None:
            raise UnsupportedQuery(f"{type(instance).__name__} can't be stored here.")
        model.writer.add(instance)

    def commit(self) -> None:
        """Nothing: every change was made when it was asked for."""

    def flush(self) -> None:
        """Nothing; see `commit`."""

    def rollback(self) -> None:
        """Nothing: what was written stays written."""

    def refresh(self, instance: Any) -> None:
        """Nothing: records don't change, a new query gives new ones."""

    def close(self) -> None:
        """Nothing is held open."""


@cache
def _reader(model: type[Any]) -> Reader:
    """Sessions are made for each request, and a reader never changes."""
    return Reader(model)
