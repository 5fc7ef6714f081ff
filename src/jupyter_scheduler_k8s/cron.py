"""A schedule as JupyterLab sends it, in the words that a CronJob takes.

Upstream reads schedules with croniter, Kubernetes with the Go library robfig/cron, and
some texts mean another thing to each: `1-31` beside a weekday, or 7 for Sunday. So each
field is read by croniter, and written anew in what both read alike.
"""

import re
from collections.abc import Set
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple, NoReturn
from zoneinfo import available_timezones

from croniter.croniter import CroniterError, croniter

from jupyter_scheduler_k8s.errors import BackendError


class _Fields(NamedTuple):
    """The numbers of each field; all of them where it says "any"."""

    minutes: Set[int]
    hours: Set[int]
    days: Set[int]
    months: Set[int]
    # Sunday is 0.
    weekdays: Set[int]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a field may hold, and what of it a person may write."""

    name: str
    numbers: range
    written: str

    def text(self, values: Set[int]) -> str:
        """The field of a CronJob: a star, a step, or numbers and ranges."""
        if len(values) == len(self.numbers):
            return "*"
        found = sorted(values)
        step = found[1] - found[0] if len(found) > 2 else 0
        # A star in a field of days may decide on how it is combined with the other, so
        # there a step is spelt out.
        plain = self.name in ("minute", "hour", "month")
        if plain and step and found == list(self.numbers[::step]):
            return f"*/{step}"
        # Neighbours differ from their places in the list by the same number.
        runs: dict[int, list[int]] = {}
        for place, value in enumerate(found):
            runs.setdefault(value - place, []).append(value)
        return ",".join(
            f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run))
            for run in runs.values()
        )


_KINDS = (
    _Kind("minute", range(60), "0 to 59"),
    _Kind("hour", range(24), "0 to 23"),
    _Kind("day of the month", range(1, 32), "1 to 31"),
    _Kind("month", range(1, 13), "1 to 12 or jan to dec"),
    _Kind("day of the week", range(7), "0 to 7 or sun to sat"),
)

_NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

# Upstream's column has as many characters.
_LONGEST = 256

_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def for_kubernetes(schedule: str, timezone: str | None) -> tuple[str, str]:
    """The `schedule` and the `timeZone` of a CronJob.

    Args:
        schedule: five fields, or a name such as @daily, as upstream reads them.
        timezone: a name from the IANA database in any case; UTC where it is missing,
            as upstream has it. A CronJob without one would follow the controller's.

    Raises:
        BackendError: a CronJob can't have it, or it never comes; says what to write.
    """
    zone = _zone_name(timezone)
    fields = _read(schedule)
    if not _comes(fields):
        raise BackendError(
            f"The schedule {schedule[:40]!r} never comes: no such month has such a day; write a"
            " day that it has."
        )
    texts = (kind.text(values) for kind, values in zip(_KINDS, fields, strict=True))
    return " ".join(texts), zone


def _comes(fields: _Fields) -> bool:
    """Whether any month has such a day; 30 February doesn't come."""
    by_weekday = len(fields.weekdays) < 7 and len(fields.days) < 31
    longest = max(_LONGEST_MONTHS[month - 1] for month in fields.months)
    return by_weekday or min(fields.days) <= longest


# A page of definitions reads the same few again and again, in half a millisecond each.
@lru_cache(maxsize=1024)
def _read(schedule: str) -> _Fields:
    if len(schedule) > _LONGEST:
        raise BackendError(
            f"The schedule has {len(schedule)} characters; write at most {_LONGEST}."
        )
    text = schedule.strip().lower()
    if text.startswith(("tz=", "cron_tz=")):
        raise BackendError(
            f"The schedule {schedule[:40]!r} names a time zone; leave it out, and choose it as the"
            " job's time zone."
        )
    if text.startswith("@") and text not in _NAMED:
        raise BackendError(
            f"The schedule {schedule[:40]!r} is no time that Kubernetes knows; write five fields,"
            f" or one of {', '.join(_NAMED)}."
        )
    written = _NAMED.get(text, text).split()
    if len(written) != len(_KINDS):
        raise BackendError(
            f"The schedule {schedule[:40]!r} has {len(written)} fields; write five:"
            f" {', '.join(kind.name for kind in _KINDS)}."
        )
    return _Fields(*map(_numbers, range(len(_KINDS)), written))


def _numbers(place: int, written: str) -> Set[int]:
    kind = _KINDS[place]
    if "?" in written:
        _refuse(kind, written, "has a question mark; write * for any")
    if kind.name.startswith("day") and re.search("[l#]", written):
        _refuse(kind, written, "counts from a month's end or by weeks; write plain numbers")
    # croniter would choose one, each time that it reads it.
    if written.startswith(("h", "r")):
        _refuse(kind, written, "leaves the choice of a time open; write it")
    alone = ["*"] * len(_KINDS)
    alone[place] = written
    try:
        expanded, _ = croniter.expand(" ".join(alone))  # type: ignore[no-untyped-call]
    except CroniterError:
        for low, high in re.findall(r"\b(\d{1,2})-(\d{1,2})\b", written):
            last = kind.numbers[-1]
            if last >= int(low) > int(high) >= kind.numbers[0]:
                two = f"{low}-{last},{kind.numbers[0]}-{high}"
                _refuse(kind, written, f"has a range that ends before it begins; write {two}")
        _refuse(
            kind,
            written,
            f"can't be read; write *, numbers ({kind.written}), ranges such as 1-5, steps such as"
            " */2, or several of them with commas",
        )
    values = expanded[place]
    return frozenset(kind.numbers if "*" in values else values)


def _refuse(kind: _Kind, written: str, why: str) -> NoReturn:
    raise BackendError(f"The schedule's {kind.name} {written[:40]!r} {why}.")


def _zone_name(timezone: str | None) -> str:
    if not timezone:
        return "UTC"
    name = _zone_names().get(timezone.lower())
    if name is None:
        raise BackendError(
            f"The time zone {timezone[:40]!r} is unknown; write a name such as Europe/Berlin or"
            " UTC."
        )
    return name


@cache
def _zone_names() -> dict[str, str]:
    """All zones by their names in lower case: Kubernetes knows them only as they are spelt."""
    # The first is the controller's own, wherever that is; the second means that none was set.
    names = available_timezones() - {"localtime", "Factory"}
    return {name.lower(): name for name in names}
