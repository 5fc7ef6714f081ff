"""Repetitions in turn, so that what else the machine does falls on both sides alike."""

import time
from collections.abc import Callable
from statistics import median


def interleaved(
    ours: Callable[[], float], theirs: Callable[[], float], *, times: int, warm_up: int = 1
) -> tuple[float, float]:
    """The medians of both, measured in turn.

    Args:
        ours, theirs: make one measurement each, and return its figure.
        times: how many of each count.
        warm_up: how many of each go before and don't.
    """
    pairs = [(ours(), theirs()) for _ in range(warm_up + times)][warm_up:]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000
