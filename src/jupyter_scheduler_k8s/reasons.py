"""The words in which a job says why it failed or waits."""

from dataclasses import dataclass
from enum import IntEnum


class Category(IntEnum):
    """Why a job failed or waits, in the order of what explains most."""

    STOPPED = 0
    UNSCHEDULABLE = 1
    IMAGE = 2
    CONTAINER = 3
    EVICTED = 4
    DISRUPTED = 5
    OUT_OF_MEMORY = 6
    DEADLINE = 7
    KERNEL_MISSING = 8
    NOTEBOOK_INVALID = 9
    CELL_ERROR = 10
    KERNEL_DIED = 11
    INPUTS = 12
    OUTPUTS = 13
    TERMINATED = 14
    ALREADY_STARTED = 15
    UNKNOWN = 16


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a job failed or waits: a sentence, and what to do, which may be empty."""

    category: Category
    summary: str
    hint: str = ""

    @property
    def message(self) -> str:
        """Both, as a person reads them."""
        return f"{self.summary} {self.hint}".strip()


def sentence(text: str) -> str:
    """What Kubernetes says, as one sentence of 300 characters at most."""
    short = " ".join(text.split())[:300].rstrip(" .")
    return f"{short}." if short else "no reason is given."
