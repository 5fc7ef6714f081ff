"""SQLAlchemy's expression objects, read as conditions on records.

Upstream writes its queries with SQLAlchemy (`Job.status == x`); those objects
are interpreted here, without a database. Their kinds are few. Whatever is not
known raises UnsupportedQuery and names itself: an answer is right, or there is
none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy import Boolean, Integer, String
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import elements, functions, operators
from sqlalchemy.sql.schema import Column
from sqlalchemy.types import TypeDecorator, TypeEngine

from jupyter_scheduler_k8s.database.conditions import (
    Compare,
    Condition,
    Every,
    Field,
    Like,
    Negated,
    OneOf,
    Same,
    Some,
    Truth,
    Value,
)
from jupyter_scheduler_k8s.errors import UnsupportedQuery

_COMPARISONS: dict[Any, str] = {
    operators.eq: "==",
    operators.ne: "!=",
    operators.lt: "<",
    operators.le: "<=",
    operators.gt: ">",
    operators.ge: ">=",
}

# The operators of texts, each with the pattern it makes of its operand. SQLite's
# LIKE is blind to ASCII case already, so the variants with an `i` are the same.
_LIKES: dict[Any, str] = {
    operators.like_op: "{}",
    operators.ilike_op: "{}",
    operators.contains_op: "%{}%",
    operators.icontains_op: "%{}%",
    operators.startswith_op: "{}%",
    operators.istartswith_op: "{}%",
    operators.endswith_op: "%{}",
    operators.iendswith_op: "%{}",
}

_NEGATIONS: dict[Any, Any] = {
    operators.not_like_op: operators.like_op,
    operators.not_ilike_op: operators.ilike_op,
    operators.not_contains_op: operators.contains_op,
    operators.not_icontains_op: operators.icontains_op,
    operators.not_startswith_op: operators.startswith_op,
    operators.not_istartswith_op: operators.istartswith_op,
    operators.not_endswith_op: operators.endswith_op,
    operators.not_iendswith_op: operators.iendswith_op,
    operators.not_in_op: operators.in_op,
    operators.is_not: operators.is_,
    operators.is_distinct_from: operators.is_not_distinct_from,
    operators.not_between_op: operators.between_op,
}


@dataclass(frozen=True, slots=True)
class Order:
    """One ORDER BY: a field, its direction, and where NULLs go."""

    field: Field
    descending: bool = False
    nulls_last: bool = False


class Reader:
    """Reads expressions on the columns of one model (`orm.Job`, `orm.JobDefinition`)."""

    def __init__(self, model: type[Any]) -> None:
        self.model = model
        self._table = model.__table__
        # Stores values as SQLite's driver gets them; no database is behind it.
        self._dialect = sqlite.dialect()

    def condition(self, expression: Any) -> Condition:
        """A WHERE clause as a condition.

        Raises:
            UnsupportedQuery: a part of it has no equal here.
        """
        if isinstance(expression, bool):
            return Truth(expression)
        if isinstance(expression, InstrumentedAttribute):
            expression = expression.__clause_element__()
        match expression:
            case elements.True_():
                return Truth(True)
            case elements.False_():
                return Truth(False)
            case elements.Null():
                return Truth(None)
            case elements.BooleanClauseList():
                return self._list(expression)
            case elements.BinaryExpression():
                return self._binary(expression)
            case elements.Grouping():
                return self.condition(expression.element)
            case elements.AsBoolean():
                return self._boolean(expression)
            case elements.UnaryExpression() if expression.operator is operators.inv:
                return Negated(self.condition(expression.element))
            case Column() if isinstance(expression.type, Boolean):
                return Compare(self.field(expression), "==", 1)
        raise _unsupported(expression)

    def field(self, expression: Any) -> Field:
        """A column of the model as a field.

        Raises:
            UnsupportedQuery: it is no column, or one of another table.
        """
        if isinstance(expression, InstrumentedAttribute):
            expression = expression.__clause_element__()
        if isinstance(expression, elements.Grouping):
            expression = expression.element
        if not isinstance(expression, Column):
            raise _unsupported(expression)
        column = self._table.c.get(expression.key)
        if column is None or expression.table is not self._table:
            raise UnsupportedQuery(
                f"A query of {self._table.name} can't use {expression}: it is no column of it."
            )
        return Field(str(column.key), self._store(column.type))

    def order(self, expression: Any) -> Order:
        """An ORDER BY clause.

        Raises:
            UnsupportedQuery: it is something else than a column with a direction.
        """
        descending, nulls_last = False, None
        while isinstance(expression, elements.UnaryExpression):
            modifier = expression.modifier
            if modifier is operators.desc_op:
                descending = True
            elif modifier is operators.nulls_last_op:
                nulls_last = True
            elif modifier is operators.nulls_first_op:
                nulls_last = False
            elif modifier is not operators.asc_op:
                raise _unsupported(expression)
            expression = expression.element
        # `desc("name")` holds the name itself, for SQLAlchemy to find a column by.
        label = getattr(expression, "element", expression)
        if isinstance(label, str):
            expression = self._table.c.get(label)
            if expression is None:
                raise UnsupportedQuery(f"{self._table.name} has no column {label} to sort by.")
        # SQLite takes NULL for smaller than everything.
        last = descending if nulls_last is None else nulls_last
        return Order(self.field(expression), descending, last)

    def counted(self, expression: Any) -> Field | None:
        """What a `func.count(...)` counts: a column's values, or None for all rows.

        Raises:
            UnsupportedQuery: it is no count, or one of something else.
        """
        if not isinstance(expression, functions.count):
            raise _unsupported(expression)
        arguments = list(expression.clauses)
        if len(arguments) != 1:
            raise _unsupported(expression)
        if isinstance(arguments[0], elements.ColumnClause) and not isinstance(arguments[0], Column):
            # count() and count("*") hold a literal `*`.
            if str(arguments[0]) == "*":
                return None
            raise _unsupported(expression)
        return self.field(arguments[0])

    def _list(self, expression: elements.BooleanClauseList) -> Condition:
        parts = tuple(self.condition(part) for part in expression.clauses)
        if expression.operator is operators.and_:
            return Every(parts) if parts else Truth(True)
        if expression.operator is operators.or_:
            return Some(parts) if parts else Truth(True)
        raise _unsupported(expression)

    def _boolean(self, expression: elements.AsBoolean) -> Condition:
        # What a negation makes of a boolean column, and of a condition in brackets.
        condition = self.condition(expression.element)
        if expression.operator is operators.is_true:
            return condition
        if expression.operator is operators.is_false:
            return Negated(condition)
        raise _unsupported(expression)

    def _binary(self, expression: elements.BinaryExpression[Any]) -> Condition:
        operator = expression.operator
        if operator in _NEGATIONS:
            return Negated(self._test(expression, _NEGATIONS[operator]))
        return self._test(expression, operator)

    def _test(self, expression: elements.BinaryExpression[Any], operator: Any) -> Condition:
        field = self.field(expression.left)
        right = expression.right
        if operator in _COMPARISONS:
            if isinstance(right, Column):
                return self._fields(expression, field, _COMPARISONS[operator])
            return Compare(field, _COMPARISONS[operator], self._value(expression, right))
        if operator in (operators.is_, operators.is_not_distinct_from):
            return Same(field, self._value(expression, right))
        if operator is operators.in_op:
            return OneOf(field, self._values(expression, right))
        if operator is operators.between_op and not expression.modifiers.get("symmetric"):
            low, high = right.clauses
            return Every(
                (
                    Compare(field, ">=", self._value(expression, low)),
                    Compare(field, "<=", self._value(expression, high)),
                )
            )
        if operator in _LIKES:
            return self._like(expression, field, _LIKES[operator])
        raise _unsupported(expression)

    def _fields(
        self, expression: elements.BinaryExpression[Any], field: Field, comparison: str
    ) -> Condition:
        left, right = expression.left, expression.right
        if _kind(left.type) is not _kind(right.type):
            raise _unsupported(expression)
        return Compare(field, comparison, self.field(right))

    def _like(
        self, expression: elements.BinaryExpression[Any], field: Field, shape: str
    ) -> Condition:
        """LIKE, and `contains` on tags, which is one.

        A column of JSON is text to the database: `Job.tags.contains("x")` is
        `tags LIKE '%"x"%'`, because SQLAlchemy stores the operand as it stores
        the column. The quotes make it match whole elements; that its case and
        `_` in it don't count is stock behaviour, and kept, so that the same
        click gives the same list on both backends.
        """
        if _kind(expression.left.type) is not str:
            raise _unsupported(expression)
        pattern = self._value(expression, expression.right)
        if pattern is None:
            return Truth(None)
        escape = expression.modifiers.get("escape")
        if escape is not None and len(str(escape)) != 1:
            raise _unsupported(expression)
        return Like(field, shape.format(pattern), escape)

    def _value(self, expression: Any, operand: Any) -> Value:
        """The operand as it would be stored."""
        if isinstance(operand, elements.Grouping):
            operand = operand.element
        match operand:
            case elements.Null():
                return None
            case elements.True_():
                return 1
            case elements.False_():
                return 0
            case elements.BindParameter() if not operand.expanding:
                return self._bound(expression, operand.effective_value)
        raise _unsupported(expression)

    def _values(self, expression: Any, operand: Any) -> tuple[Value, ...]:
        if isinstance(operand, elements.BindParameter):
            listed = operand.effective_value
            if isinstance(listed, Sequence) and not isinstance(listed, str):
                return tuple(self._bound(expression, value) for value in listed)
        if isinstance(operand, elements.ClauseList):
            return tuple(self._value(expression, part) for part in operand.clauses)
        raise _unsupported(expression)

    def _bound(self, expression: Any, value: Any) -> Value:
        column = expression.left
        column_type = column.type
        try:
            store = self._store(column_type)
            stored = value if store is None else store(value)
        except (SQLAlchemyError, TypeError, ValueError) as error:
            raise _unsupported(expression) from error
        if isinstance(stored, Enum):
            stored = stored.value
        kind = _kind(column_type)
        fits = isinstance(stored, str) if kind is str else isinstance(stored, (int, float))
        # SQLite would convert, by rules of its own.
        if stored is not None and not fits:
            raise UnsupportedQuery(
                f"The column {column.key} can't be compared with"
                f" a value of type {type(value).__name__}."
            )
        found: Value = stored
        return found

    def _store(self, column_type: TypeEngine[Any]) -> Callable[[Any], Value] | None:
        """How values of this type are stored, None where they are as they are."""
        kind = _kind(column_type)
        if kind is None:
            raise UnsupportedQuery(f"Columns of the type {column_type!r} can't be queried.")
        store = column_type.dialect_impl(self._dialect).bind_processor(self._dialect)
        if isinstance(column_type, TypeDecorator) and store is not None:
            return _remembering(store)
        found: Callable[[Any], Value] | None = store
        return found


def _remembering(store: Callable[[Any], Value]) -> Callable[[Any], Value]:
    """`store`, which writes JSON, for columns whose lists are mostly the same few."""

    @lru_cache(maxsize=1024, typed=True)
    def stored(*items: Any) -> Value:
        return store(list(items))

    def remembered(value: Any) -> Value:
        if type(value) is list:
            try:
                return stored(*value)
            except TypeError:
                # It holds something that can't be a key.
                return store(value)
        return store(value)

    return remembered


def _kind(column_type: Any) -> type[str] | type[int] | None:
    """What a column holds once it is stored."""
    if isinstance(column_type, TypeDecorator):
        column_type = column_type.impl
    if isinstance(column_type, String):
        return str
    if isinstance(column_type, (Integer, Boolean)):
        return int
    return None


def _unsupported(expression: Any) -> UnsupportedQuery:
    """Names what was asked for: as SQL where it has such a form, else its type."""
    try:
        text = " ".join(str(expression).split())
    except SQLAlchemyError:
        text = type(expression).__name__
    return UnsupportedQuery(
        f"Records of Kubernetes Jobs can't be queried with {text[:200]}"
        f" ({type(expression).__name__})."
    )
