"""How long to wait before a request is repeated."""

from collections.abc import Callable


class Backoff:
    """Doubling, jittered delays up to a cap; a server's Retry-After overrules them."""

    def __init__(self, *, first: float, cap: float, random: Callable[[], float]) -> None:
        """`first` and `cap` in seconds; `random` gives numbers in [0, 1)."""
        self._first = first
        self._cap = cap
        self._random = random
        self._failures = 0

    def next(self, *, retry_after: float | None = None, cap: float | None = None) -> float:
        """Seconds to wait after one more failure.

        Jitter takes up to half of the delay away, so that servers that lost the
        API together don't come back together; to a Retry-After it adds, because
        coming early would be refused again.
        """
        limit = self._cap if cap is None else cap
        # 2 ** 30 is beyond every cap; the exponent is bounded to stay a number.
        delay = min(self._first * 2.0 ** min(self._failures, 30), limit)
        self._failures += 1
        if retry_after is not None:
            return retry_after + self._random() * self._first
        return delay * (1 - self._random() / 2)

    def reset(self) -> None:
        """Forget the failures: something has worked."""
        self._failures = 0
