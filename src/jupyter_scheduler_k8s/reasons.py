"""The words in which a job says why it failed or waits."""

from dataclasses import dataclass
from enum import IntEnum


class Category(IntEnum):
    """Why a job failed or waits, in the order of what explains most."""

    STOPPED = 0
    REPLACED = 1
    REFUSED = 2
    UNSCHEDULABLE = 3
    IMAGE = 4
    CONTAINER = 5
    EVICTED = 6
    DISRUPTED = 7
    OUT_OF_MEMORY = 8
    DEADLINE = 9
    KERNEL_MISSING = 10
    NOTEBOOK_INVALID = 11
    CELL_ERROR = 12
    KERNEL_DIED = 13
    INPUTS = 14
    OUTPUTS = 15
    TERMINATED = 16
    ALREADY_STARTED = 17
    UNKNOWN = 18


# A run that ended so was meant to end: it is stopped, not failed.
STOPS = frozenset({Category.STOPPED, Category.REPLACED})


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


def refusal(said: str) -> tuple[str, str]:
    """What an admission controller's refusal means, and what to do; `said` is its message."""
    text = sentence(said)
    if "exceeded quota" in said:
        return (
            f"The namespace's quota is used up: {text}",
            "Ask for less, delete jobs that are no longer needed, or have the quota raised.",
        )
    if "failed quota" in said:
        return (
            f"The namespace's quota wants every job to state what it needs: {text}",
            "Give the job CPU and memory.",
        )
    if "violates PodSecurity" in said:
        return (
            f"The namespace's Pod Security Standard doesn't allow this pod: {text}",
            "Change the pod's settings, or the namespace's standard.",
        )
    return f"Kubernetes refused the request: {text}", ""
