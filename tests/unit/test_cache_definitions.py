"""A cache of CronJobs: the same mirror, without pods and without groups."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from jupyter_scheduler_k8s import names, records
from jupyter_scheduler_k8s.cluster import CRON_JOBS, RecordCache
from jupyter_scheduler_k8s.cluster.slim import slim_cron_job
from jupyter_scheduler_k8s.records import DefinitionRecord
from jupyter_scheduler_k8s.views import definition_record
from support.cached import Clock, fill

TEMPLATE = {"metadata": {"annotations": {"x": "x" * 1000}}, "spec": {"template": "x" * 1000}}


def cron_job(name: str, *, number: int = 1, version: str = "1", **more: Any) -> dict[str, Any]:
    """A CronJob of a definition whose id, unless it is given, is made of `number`."""
    asked = {"name": name, "input_filename": "a.ipynb", "runtime_environment_name": "e"}
    record = records.new_definition(
        {**asked, "schedule": "0 9 * * *", "timezone": "Etc/UTC"},
        definition_id=f"00000000-0000-4000-8000-{number:012}",
        owner="me",
        create_time=1000 * number,
        input_version="v",
    )
    return {
        "metadata": {
            "name": record.object_name,
            "uid": f"uid-{number}",
            "resourceVersion": version,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": records.labels(record),
            "annotations": {names.DEFINITION_DATA_ANNOTATION: records.definition_data(record)},
        },
        "spec": {"schedule": "0 9 * * *", "suspend": False, "jobTemplate": TEMPLATE, **more},
        "status": {"lastScheduleTime": "2026-01-02T09:00:00Z", "active": [{"name": "a run"}]},
    }


def cache_with(*cron_jobs: dict[str, Any]) -> RecordCache[DefinitionRecord]:
    clock = Clock()
    cache = RecordCache(
        definition_record,
        kind=CRON_JOBS,
        log=logging.getLogger("test"),
        clock=clock,
        wall_clock=clock,
    )
    fill(cache, cron_jobs)
    return cache


def test_it_is_synced_with_its_one_list() -> None:
    cache = RecordCache(definition_record, kind=CRON_JOBS, log=logging.getLogger("test"))
    assert list(cache.sinks) == ["cronjobs"]
    assert not cache.synced
    cache.records.contact()
    cache.records.replace([cron_job("a")], cache.records.begin())
    assert cache.synced
    assert cache.age() < 60
    cache.records.trouble("no CronJobs")
    assert cache.problem() == "no CronJobs"


def test_records_are_found_by_id_name_and_time() -> None:
    cache = cache_with(cron_job("Report", number=2), cron_job("report 2", number=1))
    found = cache.get("00000000-0000-4000-8000-000000000002")
    assert found is not None
    assert (found.name, found.schedule, found.active) == ("Report", "0 9 * * *", True)
    assert cache.get("another") is None
    with cache.reading() as view:
        assert [view.record(entry).name for entry in view.everything()] == ["report 2", "Report"]
        assert len(view.with_name_prefix("REPORT")) == 2
        assert len(view.with_name_prefix("report 2")) == 1


def test_what_we_wrote_is_read_at_once() -> None:
    cache = cache_with()
    assert cache.put(cron_job("a"))
    with cache.writing() as write:
        assert write.put(cron_job("b", version="2", suspend=True))
    (name,) = cache.names()
    record = cache.get("00000000-0000-4000-8000-000000000001")
    assert record is not None
    assert (record.name, record.active) == ("b", False)
    cache.forget(name, "uid-1")
    assert len(cache) == 0


def test_records_do_not_age() -> None:
    made: list[float] = []

    def counting(
        thing: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float
    ) -> DefinitionRecord:
        made.append(now)
        return definition_record(thing, pods, now)

    clock = Clock()
    cache = RecordCache(
        counting, kind=CRON_JOBS, log=logging.getLogger("test"), clock=clock, wall_clock=clock
    )
    fill(cache, [cron_job("a")])
    clock.advance(1000)
    with cache.reading() as view:
        view.refresh()
        assert view.record(view.everything()[0]).name == "a"
    assert len(made) == 1


def test_one_that_was_changed_by_hand_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broken, nameless = cron_job("broken", number=1), cron_job("nameless", number=2)
    broken["metadata"]["annotations"] = {names.DEFINITION_DATA_ANNOTATION: "{"}
    del nameless["metadata"]["uid"]
    cache = cache_with(broken, nameless, cron_job("good", number=3))
    assert len(cache) == 2
    found = cache.get("00000000-0000-4000-8000-000000000001")
    assert found is not None
    assert "The record of the CronJob" in found.name
    assert "The API sent a CronJob without a name, uid or version." in caplog.text


def test_one_that_makes_no_record_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    broken = cron_job("broken")
    del broken["metadata"]["annotations"]
    del broken["metadata"]["creationTimestamp"]
    cache = cache_with(broken)
    assert len(cache) == 0
    assert f"The record of the CronJob {broken['metadata']['name']} can't be read" in caplog.text


def test_cron_jobs_are_slim_and_hold_what_records_need() -> None:
    given = cron_job(
        "a",
        timeZone="Etc/UTC",
        concurrencyPolicy="Forbid",
        startingDeadlineSeconds=60,
        failedJobsHistoryLimit=5,
    )
    given["metadata"]["managedFields"] = ["x" * 1000]
    slim = slim_cron_job(given)
    assert definition_record(slim) == definition_record(given)
    del given["metadata"]["managedFields"]
    assert slim == {
        "metadata": given["metadata"],
        "spec": {
            "schedule": "0 9 * * *",
            "timeZone": "Etc/UTC",
            "suspend": False,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 60,
        },
        "status": {"lastScheduleTime": "2026-01-02T09:00:00Z"},
    }
