"""What was found, line by line."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a line begins."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is, in a word or two.
        verdict: how it is.
        text: a sentence: what is known, or what is wrong and what to do.
    """

    subject: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        return f"{self.verdict.value:<12} {self.subject}: {self.text}"


def ok(subject: str, text: str) -> Finding:
    """Something is as it must be."""
    return Finding(subject, Verdict.OK, text)


def warning(subject: str, text: str) -> Finding:
    """Something works today, and may not tomorrow."""
    return Finding(subject, Verdict.WARNING, text)


def problem(subject: str, text: str) -> Finding:
    """Something isn't."""
    return Finding(subject, Verdict.PROBLEM, text)


def not_checked(subject: str, because: str) -> Finding:
    """Something couldn't be looked at, for what another line tells."""
    return Finding(subject, Verdict.NOT_CHECKED, because)


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(found.verdict is not Verdict.PROBLEM for found in findings)
