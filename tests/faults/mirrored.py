"""A cache that mirrors the fake API, on a clock that only back-off moves."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from faults.fake_api import FakeApi
from jupyter_scheduler_k8s.cluster import (
    JOBS,
    Connection,
    KubernetesTransport,
    RecordCache,
    Reflector,
)
from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.cluster.reflector import Sink
from support.cached import Clock, empty_cache, job_object, pod_object

SELECTOR = "owner=me"


class Told:
    """A sink that hands everything on, and wakes the test."""

    def __init__(self, sink: Sink, changed: threading.Condition) -> None:
        self._sink = sink
        self._changed = changed
        self.calls: list[str] = []
        self.troubles: list[str | None] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._sink, name)

        def call(*arguments: Any) -> Any:
            result = method(*arguments)
            with self._changed:
                self.calls.append(name)
                if name == "trouble":
                    self.troubles.append(arguments[0])
                self._changed.notify_all()
            return result

        return call


class Mirrored:
    """A cache that mirrors the fake API's objects, on a clock that only back-off moves."""

    def __init__(
        self, api: FakeApi, kubeconfig: str, log: logging.Logger, *, kind: Kind = JOBS
    ) -> None:
        self.api = api
        self.clock = Clock()
        self.slept: list[float] = []
        self.when_sleeping: Callable[[], None] = lambda: None
        self.connection = Connection(kubeconfig=kubeconfig)
        self.cache: RecordCache[Any] = empty_cache(kind, clock=self.clock, log=log)
        self.changed = threading.Condition()
        self.records = Told(self.cache.records, self.changed)
        self.pods = Told(self.cache.pods, self.changed)
        self._log = log
        self.reflectors: list[Reflector] = []

    def reflect(self, *, silence_seconds: float = 70, pods: bool = False) -> Reflector:
        """Start mirroring; with `pods`, pods too. The list of pods is empty otherwise."""
        for resource in self.cache.sinks:
            sink = self.pods if resource == "pods" else self.records
            if resource == "pods" and not pods:
                self.cache.pods.contact()
                self.cache.pods.replace([], 0)
                continue
            reflector = Reflector(
                KubernetesTransport(
                    self.connection,
                    namespace="space",
                    resource=resource,
                    label_selector=SELECTOR,
                    silence_seconds=silence_seconds,
                ),
                sink,
                log=self._log,
                clock=self.clock,
                sleep=self._sleep,
                random=lambda: 0.5,
            )
            self.reflectors.append(reflector)
            reflector.start()
        return self.reflectors[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what the sinks were told has made this true."""
        with self.changed:
            assert self.changed.wait_for(condition, 10), self.state()

    def names(self) -> list[str]:
        """The names of the mirrored objects."""
        return sorted(self.cache.names())

    def state(self) -> str:
        """Everything, for a test that failed."""
        return f"{self.names()} {self.records.troubles} {self.slept[-5:]} {self.api.kinds()[-9:]}"

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        self.when_sleeping()


def job(name: str, **more: Any) -> dict[str, Any]:
    """A Job under the mirror's selector, with no uid or version yet."""
    found = job_object(name=name, labels={"owner": "me"}, **more)
    del found["metadata"]["uid"]
    return found


def pod(name: str, *, of: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    """A pod of a Job that the API has."""
    found = pod_object(
        name=name,
        job=of["metadata"]["name"],
        job_uid=of["metadata"]["uid"],
        status={"phase": phase},
    )
    found["metadata"]["labels"]["owner"] = "me"
    return found
