"""The mirror of CronJobs over HTTP: what somebody else writes, and what we do."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.fake_api import Answer, FakeApi
from faults.mirrored import Mirrored, job
from jupyter_scheduler_k8s.cluster import CRON_JOBS, ClusterClient


@pytest.fixture
def definitions(api: FakeApi, tmp_path: Path) -> Iterator[Mirrored]:
    made = Mirrored(api, api.kubeconfig(tmp_path), logging.getLogger("mirrored"), kind=CRON_JOBS)
    yield made
    for reflector in made.reflectors:
        reflector.stop(timeout=10)
        assert not reflector.alive


def test_one_list_and_one_watch_show_everything(api: FakeApi, definitions: Mirrored) -> None:
    api.put("cronjobs", job("a"))
    api.put("jobs", job("a run"))
    definitions.reflect()
    watch = api.watch(1)
    definitions.until(lambda: definitions.names() == ["a"])
    assert definitions.cache.synced
    assert (watch.asked.resource, api.kinds()) == ("cronjobs", ["list", "watch"])
    api.put("cronjobs", job("b"))
    definitions.until(lambda: definitions.names() == ["a", "b"])
    api.remove("cronjobs", "a")
    definitions.until(lambda: definitions.names() == ["b"])


def test_two_patches_of_ours_in_a_row_are_read_at_once(api: FakeApi, definitions: Mirrored) -> None:
    api.put("cronjobs", job("a"))
    definitions.reflect()
    api.watch(1)
    definitions.until(lambda: definitions.names() == ["a"])
    client = ClusterClient("space", connection=definitions.connection)
    for number, status in ((1, True), (2, False)):
        with definitions.cache.writing() as write:
            body = {"status": {"lastScheduleTime": f"{number}"}, "spec": {"suspend": True}}
            write.put(client.patch_cron_job("a", body, status=status))
        (made,) = api.things("cronjobs")
        record = definitions.cache.get("a")
        assert record is not None
        assert record.name == made["metadata"]["resourceVersion"]
    found = definitions.cache.objects("a")
    assert found is not None
    assert (found[0]["spec"], found[0]["status"]) == (
        {"suspend": True},
        {"lastScheduleTime": "1"},
    )


def test_a_missing_right_is_told(api: FakeApi, definitions: Mirrored) -> None:
    message = 'User "u" cannot list resource "cronjobs" in API group "batch"'
    api.fail("list", Answer(403, message, "Forbidden"))
    definitions.reflect()
    definitions.until(lambda: definitions.records.troubles != [])
    assert "may not watch cronjobs in the namespace space" in str(definitions.records.troubles[0])
    definitions.until(lambda: definitions.cache.synced and definitions.cache.problem() is None)
