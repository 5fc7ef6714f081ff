"""`session.query(...)` over records: the part of SQLAlchemy's Query that upstream uses."""

from collections import namedtuple
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.orm import InstrumentedAttribute, Query

from jupyter_scheduler_k8s.database.conditions import Condition, Every, Negated, Same, Truth
from jupyter_scheduler_k8s.database.expressions import Reader
from jupyter_scheduler_k8s.database.sources import RecordSource, Selection
from jupyter_scheduler_k8s.errors import UnsupportedQuery


class RecordWriter(Protocol):
    """What changes records. Blocks until the cluster has the change; raises ClusterError."""

    def add(self, instance: Any, /) -> None:
        """Store a new instance of a model, such as `orm.Job`."""

    def check(self, values: Mapping[str, Any], /) -> None:
        """Raise UnsupportedQuery where no record could get these values."""

    def update(self, record: Any, values: Mapping[str, Any], /) -> bool:
        """Change columns of a record; False if it is gone."""

    def delete(self, record: Any, /) -> bool:
        """Delete a record; False if it is gone."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a session knows of one model: how its columns are read, and where its records are."""

    reader: Reader
    source: RecordSource
    writer: RecordWriter | None = None


@dataclass(frozen=True, slots=True, eq=False)
class K8sQuery:
    """A query on one model. Every method that narrows it returns a new one.

    Methods and their results are those of `sqlalchemy.orm.Query`; those it has
    and this doesn't raise UnsupportedQuery.
    """

    _model: Model = field(repr=False)
    # What is asked for: the model itself, columns of it, or one count.
    _entities: tuple[Any, ...]
    _selection: Selection = field(default_factory=Selection)

    def filter(self, *criteria: Any) -> Self:
        """Keep the records for which all criteria are true."""
        self._refuse_after_limit("filter")
        conditions = tuple(self._model.reader.condition(criterion) for criterion in criteria)
        if not conditions:
            return self
        where = self._selection.where
        parts = conditions if where == Truth(True) else (where, *conditions)
        return self._with(where=parts[0] if len(parts) == 1 else Every(parts))

    def where(self, *criteria: Any) -> Self:
        """The same as `filter`."""
        return self.filter(*criteria)

    def filter_by(self, **values: Any) -> Self:
        """Keep the records whose columns have these values."""
        columns = self._model.reader.model
        return self.filter(*(_column(columns, name) == value for name, value in values.items()))

    def order_by(self, *clauses: Any) -> Self:
        """Sort; a second call sorts what the first left equal, `None` forgets both."""
        self._refuse_after_limit("order_by")
        if len(clauses) == 1 and (clauses[0] is None or clauses[0] is False):
            return self._with(order=())
        orders = tuple(self._model.reader.order(clause) for clause in clauses)
        return self._with(order=self._selection.order + orders)

    def limit(self, limit: int | None) -> Self:
        """At most so many; as in SQLite, a negative number is no limit."""
        number = None if limit is None else int(limit)
        return self._with(limit=None if number is None or number < 0 else number)

    def offset(self, offset: int | None) -> Self:
        """Leave out so many in front."""
        return self._with(offset=max(int(offset or 0), 0))

    def count(self) -> int:
        """How many rows `all` would give."""
        if self._counts():
            return 1
        total = self._model.source.count(self._selection.where)
        rest = max(total - self._selection.offset, 0)
        limit = self._selection.limit
        return rest if limit is None else min(rest, limit)

    def all(self) -> list[Any]:
        """All rows: records, or tuples of what was asked for."""
        if self._counts():
            return [(self._count(),)][self._selection.offset :][: self._selection.limit]
        return self._rows(self._selection)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    def first(self) -> Any:
        """The first row, None if there is none."""
        rows = self._some(1)
        return rows[0] if rows else None

    def one(self) -> Any:
        """The only row.

        Raises:
            NoResultFound, MultipleResultsFound: SQLAlchemy's, as upstream expects.
        """
        rows = self._some(2)
        if not rows:
            raise NoResultFound("No row was found when one was required")
        if len(rows) > 1:
            raise MultipleResultsFound("Multiple rows were found when exactly one was required")
        return rows[0]

    def one_or_none(self) -> Any:
        """The only row, None if there is none. Raises: MultipleResultsFound."""
        try:
            return self.one()
        except NoResultFound:
            return None

    def scalar(self) -> Any:
        """The first column of the only row, None if there is none. Raises: MultipleResultsFound."""
        row = self.one_or_none()
        return row[0] if isinstance(row, tuple) else row

    def get(self, identity: Any) -> Any:
        """The record with this primary key, None if there is none."""
        (key,) = self._model.reader.model.__table__.primary_key.columns
        return self.filter(_column(self._model.reader.model, key.key) == identity).first()

    def update(self, values: Mapping[Any, Any], **_: Any) -> int:
        """Change columns of all records; returns their number.

        One record after the other: where one can't be written, those before it are.
        """
        writer = self._writer("update")
        named = {_key(self._model, column): value for column, value in values.items()}
        writer.check(named)
        return sum(
            writer.update(record, named) for record in self._model.source.select(self._selection)
        )

    def delete(self, **_: Any) -> int:
        """Delete all records, one after the other; returns their number."""
        writer = self._writer("delete")
        return sum(writer.delete(record) for record in self._model.source.select(self._selection))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Query, name):
            raise AttributeError(name)
        raise UnsupportedQuery(f"Records of Kubernetes Jobs can't be queried with {name}().")

    def _with(self, **changes: Any) -> Self:
        return replace(self, _selection=replace(self._selection, **changes))

    def _some(self, number: int) -> list[Any]:
        """At most `number` of the rows, for those who want to know no more."""
        if self._counts():
            return self.all()
        limit = self._selection.limit
        wanted = number if limit is None else min(limit, number)
        return self._rows(replace(self._selection, limit=wanted))

    def _rows(self, selection: Selection) -> list[Any]:
        model = self._model.reader.model
        records = self._model.source.select(selection)
        if len(self._entities) == 1 and self._entities[0] is model:
            return records
        names = [self._model.reader.field(column).name for column in self._entities]
        # SQLAlchemy's rows are tuples whose values have their columns' names, too.
        row = namedtuple("Row", names, rename=True)  # type: ignore[misc]
        return [row(*(getattr(record, name) for name in names)) for record in records]

    def _counts(self) -> bool:
        return not all(
            entity is self._model.reader.model or isinstance(entity, InstrumentedAttribute)
            for entity in self._entities
        )

    def _count(self) -> int:
        if len(self._entities) != 1:
            raise UnsupportedQuery("A count can't be queried together with other columns.")
        counted = self._model.reader.counted(self._entities[0])
        where: Condition = self._selection.where
        if counted is not None and counted.name not in _NEVER_NULL:
            where = Every((where, Negated(Same(counted, None))))
        return self._model.source.count(where)

    def _refuse_after_limit(self, name: str) -> None:
        if self._selection.limit is not None or self._selection.offset:
            raise UnsupportedQuery(f"{name}() can't follow limit() or offset().")

    def _writer(self, name: str) -> RecordWriter:
        self._refuse_after_limit(name)
        if self._counts() or self._model.writer is None:
            raise UnsupportedQuery(f"{name}() is not possible on this query.")
        return self._model.writer


# Counting these is counting the records, which the indexes can do.
_NEVER_NULL = frozenset({"job_id", "create_time", "status"})


def query(models: Mapping[type[Any], Model], entities: tuple[Any, ...]) -> K8sQuery:
    """A query of these entities: a model, columns of one model, or a count.

    Raises:
        UnsupportedQuery: they belong to no model that has records here, or to several.
    """
    found = {owner for entity in entities for owner in _owners(entity)}
    if len(found) > 1:
        raise UnsupportedQuery("Several tables can't be queried together.")
    for model in models.values():
        if found == {model.reader.model.__table__}:
            return K8sQuery(model, entities)
    asked = ", ".join(getattr(entity, "__name__", None) or str(entity) for entity in entities)
    raise UnsupportedQuery(f"There are no records of {asked or 'nothing'} in Kubernetes Jobs.")


def _owners(entity: Any) -> set[Any]:
    """The tables an entity is made of."""
    table = getattr(entity, "__table__", None)
    if table is not None:
        return {table}
    clause = entity.__clause_element__() if hasattr(entity, "__clause_element__") else entity
    return set(getattr(clause, "_from_objects", ()))


def _column(model: type[Any], name: str) -> Any:
    column = getattr(model, name, None)
    if not isinstance(column, InstrumentedAttribute):
        raise UnsupportedQuery(f"{model.__name__} has no column {name}.")
    return column


def _key(model: Model, column: Any) -> str:
    named = _column(model.reader.model, column) if isinstance(column, str) else column
    return model.reader.field(named).name
