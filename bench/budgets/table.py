"""What was measured, against which budget, as text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One line of the table.

    Attributes:
        what: what was measured.
        ours: our figure, in `unit`.
        unit: "ms", "s", "MB" and so on.
        budget: the most that is allowed: of ours / theirs, or, where `absolute`, of `ours`.
        against: what `theirs` is the figure of.
        theirs: in the same unit; None where there is nothing to compare with.
        absolute: the budget is one of `ours` itself.
        note: one line that says how it was measured.
    """

    what: str
    ours: float
    unit: str
    budget: float
    against: str = ""
    theirs: float | None = None
    absolute: bool = False
    note: str = ""

    @property
    def figure(self) -> float:
        """What the budget limits: the ratio, or our own figure.

        Raises:
            ValueError: a ratio to nothing.
        """
        if self.absolute:
            return self.ours
        if not self.theirs:
            raise ValueError(f"{self.what}: there is nothing to divide by.")
        return self.ours / self.theirs

    @property
    def met(self) -> bool:
        """Whether the budget is kept."""
        return self.figure <= self.budget


@dataclass(frozen=True, slots=True)
class Missing:
    """A measurement that could not be made, and why."""

    what: str
    why: str


_HEAD = ("what", "ours", "theirs", "figure", "budget", "")


def table(lines: Sequence[Measurement | Missing]) -> str:
    """The table, and below it a note for each line that has one."""
    rows = [_HEAD, *(_cells(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    text = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    text.insert(1, "  ".join("-" * width for width in widths).rstrip())
    notes = [
        f"{line.what}: {line.why if isinstance(line, Missing) else line.note}"
        for line in lines
        if isinstance(line, Missing) or line.note
    ]
    return "\n".join([*text, *([""] if notes else []), *notes])


def _cells(line: Measurement | Missing) -> tuple[str, ...]:
    if isinstance(line, Missing):
        return (line.what, "", "", "", "", "not measured")
    theirs = "" if line.theirs is None else f"{number(line.theirs)} {line.unit} ({line.against})"
    unit = f" {line.unit}" if line.absolute else ""
    return (
        line.what,
        f"{number(line.ours)} {line.unit}",
        theirs,
        f"{number(line.figure)}{unit}",
        f"<= {line.budget:g}{unit}",
        "met" if line.met else "MISSED",
    )


def number(value: float) -> str:
    """Three significant digits, never with an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}" if abs(value) >= 1e-3 else "0"
