"""When the pods' credentials are written again."""

import logging
import threading
from typing import Any, cast

import pytest

from jupyter_scheduler_k8s.cluster import ClusterClient
from jupyter_scheduler_k8s.errors import ClusterUnavailable, StorageDenied
from jupyter_scheduler_k8s.provision import Provision
from jupyter_scheduler_k8s.renewal import Renewal

NOW = 1_000_000.0


class World:
    """Credentials, a cluster that keeps them, and a clock."""

    def __init__(self) -> None:
        self.expires_at: float | None = NOW + 3600
        self.secret: dict[str, Any] | None = {"stringData": {"AWS_SESSION_TOKEN": "1"}}
        self.trouble: list[Exception] = []
        self.needed = True
        self.written: list[Any] = []
        self.wrote = threading.Event()
        self.renewal = Renewal(
            cast("Provision", self),
            client=cast("ClusterClient", self),
            is_needed=lambda: self.needed,
            log=logging.getLogger("test"),
            wall_clock=lambda: NOW,
            random=lambda: 0.0,
        )

    async def credentials(self) -> tuple[dict[str, Any] | None, float | None]:
        if self.trouble:
            raise self.trouble.pop(0)
        return self.secret, self.expires_at

    def apply_secret(self, secret: Any) -> None:
        self.written.append(secret)
        self.wrote.set()


@pytest.fixture
def world() -> World:
    return World()


def test_they_are_written_at_once_and_again_ten_minutes_before_their_end(world: World) -> None:
    assert world.renewal.renew() == 3000
    assert world.written == [world.secret]


def test_keys_that_live_for_minutes_are_looked_at_each_minute(world: World) -> None:
    world.expires_at = NOW + 300
    assert world.renewal.renew() == 60
    world.expires_at = NOW - 5
    assert world.renewal.renew() == 60


def test_lasting_keys_are_written_once(world: World) -> None:
    world.expires_at = None
    assert world.renewal.renew() is None
    assert world.written == [world.secret]


def test_pods_with_an_identity_of_their_own_need_nothing(world: World) -> None:
    world.secret = world.expires_at = None
    assert world.renewal.renew() is None
    assert world.written == []


def test_who_has_nothing_that_may_run_gets_no_secret_but_may_later(world: World) -> None:
    world.needed = False
    assert world.renewal.renew() == 3000
    assert world.written == []
    world.needed = True
    world.renewal.renew()
    assert world.written == [world.secret]


def test_a_failure_is_told_once_and_tried_again_ever_more_rarely(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world.trouble = [StorageDenied("The AWS login has expired.") for _ in range(8)]

    waits = [world.renewal.renew() for _ in range(8)]

    assert waits == [15, 30, 60, 120, 240, 480, 600, 600]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "The AWS login has expired." in caplog.text

    caplog.clear()
    assert world.renewal.renew() == 3000
    assert caplog.messages == ["The pods' S3 credentials are renewed again."]
    world.trouble = [ClusterUnavailable("The API is away.")]
    assert world.renewal.renew() == 15
    assert "The API is away." in caplog.text


def test_another_reason_is_told_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.trouble = [StorageDenied("One."), ClusterUnavailable("Two."), ClusterUnavailable("Two.")]

    for _ in range(3):
        world.renewal.renew()

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_what_nobody_expected_ends_no_renewal(world: World) -> None:
    world.trouble = [TypeError("unhashable")]
    assert world.renewal.renew() == 15


def test_the_thread_writes_when_it_starts_and_sleeps_until_it_is_ended(world: World) -> None:
    world.renewal.start()
    assert world.wrote.wait(10)
    world.renewal.stop()
    world.renewal._thread.join(10)
    assert not world.renewal._thread.is_alive()
    assert len(world.written) == 1
