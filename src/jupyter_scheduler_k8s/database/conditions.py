"""Conditions on records, with SQL's meaning: every test is true, false or unknown.

Values are compared as SQLite would store them: a list of tags is its JSON text,
a boolean is 0 or 1. So a record and a row give the same answer by construction.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler_k8s.cluster.index import fold

Value = str | int | float | None
# Unknown is None, as in SQL: NULL compared with anything.
Test = Callable[[Any], bool | None]


@dataclass(frozen=True, slots=True)
class Field:
    """A column: the record's attribute, and how its value is stored."""

    name: str
    store: Callable[[Any], Value] | None = None

    def reader(self) -> Callable[[Any], Value]:
        """A function from a record to the stored value."""
        get: Callable[[Any], Value] = operator.attrgetter(self.name)
        store = self.store
        if store is None:
            return get
        return lambda record: store(get(record))


class Condition:
    """A test of a record."""

    __slots__ = ()

    def test(self) -> Test:
        """The condition as a function of a record."""
        raise NotImplementedError

    def fields(self) -> frozenset[str]:
        """The names of the attributes it looks at."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Truth(Condition):
    """True, false or unknown for every record."""

    value: bool | None

    def test(self) -> Test:
        return lambda _: self.value

    def fields(self) -> frozenset[str]:
        return frozenset()


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A field against a value, or against another field; unknown if either is NULL."""

    field: Field
    comparison: str
    value: Value | Field

    def test(self) -> Test:
        read = self.field.reader()
        compare = _COMPARISONS[self.comparison]
        if isinstance(self.value, Field):
            other = self.value.reader()

            def both(record: Any) -> bool | None:
                left, right = read(record), other(record)
                return None if left is None or right is None else compare(left, right)

            return both
        value = self.value
        if value is None:
            return lambda _: None

        def one(record: Any) -> bool | None:
            left = read(record)
            return None if left is None else compare(left, value)

        return one

    def fields(self) -> frozenset[str]:
        own = {self.field.name}
        return frozenset(own | {self.value.name} if isinstance(self.value, Field) else own)


@dataclass(frozen=True, slots=True)
class Same(Condition):
    """A field IS a value: NULL is a value like any other, and nothing is unknown."""

    field: Field
    value: Value

    def test(self) -> Test:
        read, value = self.field.reader(), self.value
        if value is None:
            return lambda record: read(record) is None

        return lambda record: read(record) == value

    def fields(self) -> frozenset[str]:
        return frozenset({self.field.name})


@dataclass(frozen=True, slots=True)
class OneOf(Condition):
    """A field IN a list of values."""

    field: Field
    values: tuple[Value, ...]

    def test(self) -> Test:
        read = self.field.reader()
        values = frozenset(value for value in self.values if value is not None)
        # Where the list holds NULL, a value that isn't in it might be.
        otherwise = None if None in self.values else False
        if not self.values:
            return lambda _: False

        def one_of(record: Any) -> bool | None:
            value = read(record)
            if value is None:
                return None
            return True if value in values else otherwise

        return one_of

    def fields(self) -> frozenset[str]:
        return frozenset({self.field.name})


@dataclass(frozen=True, slots=True)
class Like(Condition):
    """A field LIKE a pattern: SQLite's, blind to the case of ASCII letters."""

    field: Field
    pattern: str
    escape: str | None = None

    def test(self) -> Test:
        read, matches = self.field.reader(), like(self.pattern, self.escape)

        def match(record: Any) -> bool | None:
            value = read(record)
            return None if value is None else matches(str(value))

        return match

    def fields(self) -> frozenset[str]:
        return frozenset({self.field.name})

    def prefix(self) -> tuple[str, bool]:
        """The literal text in front, and whether it alone decides: `abc%`, nothing else."""
        pieces = _pieces(self.pattern, self.escape)
        text = ""
        for position, piece in enumerate(pieces):
            if piece is _ANY or piece is _ONE:
                rest = pieces[position:]
                return text, bool(rest) and all(found is _ANY for found in rest)
            text += piece
        return text, False


@dataclass(frozen=True, slots=True)
class Every(Condition):
    """AND."""

    parts: tuple[Condition, ...]

    def test(self) -> Test:
        tests = [part.test() for part in self.parts]
        if len(tests) == 1:
            return tests[0]

        def every(record: Any) -> bool | None:
            found: bool | None = True
            for test in tests:
                result = test(record)
                if result is False:
                    return False
                if result is None:
                    found = None
            return found

        return every

    def fields(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.fields() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Some(Condition):
    """OR."""

    parts: tuple[Condition, ...]

    def test(self) -> Test:
        tests = [part.test() for part in self.parts]

        def some(record: Any) -> bool | None:
            found: bool | None = False
            for test in tests:
                result = test(record)
                if result:
                    return True
                if result is None:
                    found = None
            return found

        return some

    def fields(self) -> frozenset[str]:
        return frozenset[str]().union(*(part.fields() for part in self.parts))


@dataclass(frozen=True, slots=True)
class Negated(Condition):
    """NOT; the opposite of unknown is unknown."""

    part: Condition

    def test(self) -> Test:
        test = self.part.test()

        def negated(record: Any) -> bool | None:
            found = test(record)
            return None if found is None else not found

        return negated

    def fields(self) -> frozenset[str]:
        return self.part.fields()


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that must all hold for this one to hold."""
    if isinstance(condition, Every):
        return tuple(found for part in condition.parts for found in conjuncts(part))
    return (condition,)


# The two wildcards of a pattern, told from characters by identity.
_ANY = "%%"
_ONE = "__"


def like(pattern: str, escape: str | None = None) -> Callable[[str], bool]:
    """SQLite's LIKE as a function, in time proportional to text times pattern.

    A translation into one regular expression would backtrack: a pattern with
    many `%`, which comes from the user, could stop the server for minutes.
    """
    pieces = _pieces(fold(pattern), None if escape is None else fold(escape))
    segments: list[list[str]] = [[]]
    for piece in pieces:
        if piece is _ANY:
            segments.append([])
        else:
            segments[-1].append(piece)
    expressions = [
        re.compile(
            "".join("." if piece is _ONE else re.escape(piece) for piece in segment), re.DOTALL
        )
        for segment in segments
    ]
    if len(segments) == 1:
        whole = expressions[0]
        return lambda text: whole.fullmatch(fold(text)) is not None
    first, *middle, last = expressions
    tail = len(segments[-1])

    def matches(text: str) -> bool:
        text = fold(text)
        found = first.match(text)
        if found is None:
            return False
        position = found.end()
        for expression in middle:
            found = expression.search(text, position)
            if found is None:
                return False
            position = found.end()
        # Every piece matches one character, so the last segment has one place only.
        start = len(text) - tail
        return start >= position and last.match(text, start) is not None

    return matches


def _pieces(pattern: str, escape: str | None) -> list[str]:
    """The pattern's characters; `_ANY` and `_ONE` stand for its wildcards."""
    pieces: list[str] = []
    literal = False
    for character in pattern:
        if literal:
            pieces.append(character)
            literal = False
        elif character == escape:
            literal = True
        elif character == "%":
            pieces.append(_ANY)
        elif character == "_":
            pieces.append(_ONE)
        else:
            pieces.append(character)
    return pieces
