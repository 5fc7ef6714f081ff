"""The words in which a job says why it failed or waits."""

from dataclasses import dataclass
from enum import IntEnum


class Category(IntEnum):
    """Why a job failed or waits, in the order of what explains most."""

    STOPPED = 0
    REFUSED = 1
    UNSCHEDULABLE = 2
    IMAGE = 3
    CONTAINER = 4
    EVICTED = 5
    DISRUPTED = 6
    OUT_OF_MEMORY = 7
    DEADLINE = 8
    KERNEL_MISSING = 9
    NOTEBOOK_INVALID = 10
    CELL_ERROR = 11
    KERNEL_DIED = 12
    INPUTS = 13
    OUTPUTS = 14
    TERMINATED = 15
    ALREADY_STARTED = 16
    UNKNOWN = 17


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
