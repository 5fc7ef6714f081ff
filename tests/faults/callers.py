"""A client on a clock that only its own waits move."""

from collections.abc import Callable

from jupyter_scheduler_k8s.cluster import ClusterClient, Connection
from support.cached import Clock


class Caller:
    """A client of the namespace `space`, and what it waited."""

    def __init__(self, kubeconfig: str, *, read_seconds: float = 10) -> None:
        self.clock = Clock()
        self.slept: list[float] = []
        self.when_sleeping: Callable[[], None] = lambda: None
        self.client = ClusterClient(
            "space",
            connection=Connection(kubeconfig=kubeconfig),
            read_seconds=read_seconds,
            clock=self.clock,
            sleep=self._sleep,
            random=lambda: 0.5,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        self.when_sleeping()
