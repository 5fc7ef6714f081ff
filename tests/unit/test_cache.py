"""What readers of the cache are given."""

import asyncio
import logging
import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.cache import TIME_DEPENDENT, RecordCache
from jupyter_scheduler_k8s.cluster.index import Entry, fold
from jupyter_scheduler_k8s.cluster.slim import pack, slim_job, slim_pod, unpack
from jupyter_scheduler_k8s.records import JobRecord, job_data
from jupyter_scheduler_k8s.views import job_record
from support.cached import Clock, cache_of, job_object, pod_object, simple_record

STATUSES = ["QUEUED", "IN_PROGRESS", "COMPLETED", "FAILED"]


def described(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobRecord:
    """A record that a Job's annotations describe in full."""
    told = job["metadata"]["annotations"]
    return JobRecord(
        job_id=told["jupyter-scheduler.io/id"],
        job_definition_id=told.get("jupyter-scheduler.io/definition"),
        name=told["jupyter-scheduler.io/name"],
        status=told["jupyter-scheduler.io/phase"],
        create_time=int(told["jupyter-scheduler.io/time"]),
        object_name=job["metadata"]["name"],
    )


def a_job(choose: random.Random, name: str, version: int) -> dict[str, Any]:
    annotations = {
        "jupyter-scheduler.io/id": choose.choice([f"id-of-{name}", "shared-id"]),
        "jupyter-scheduler.io/name": choose.choice(["Report", "report 2", "x", "ÄRGER"]),
        "jupyter-scheduler.io/time": str(choose.randrange(5)),
    }
    if choose.random() < 0.5:
        annotations["jupyter-scheduler.io/definition"] = choose.choice(["d1", "d2"])
    return job_object(
        name=name,
        version=str(version),
        annotations=annotations,
        phase=choose.choice(STATUSES),
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("number", [20, 700])
def test_the_indexes_agree_with_a_scan(seed: int, number: int) -> None:
    choose = random.Random(seed)
    jobs = [a_job(choose, f"job-{position}", position) for position in range(number)]
    cache = cache_of(jobs, make_record=described)
    for step in range(60):
        name = f"job-{choose.randrange(number + 5)}"
        if choose.random() < 0.3:
            cache.records.apply("DELETED", job_object(name=name, version=str(1000 + step)))
        else:
            cache.records.apply("MODIFIED", a_job(choose, name, 1000 + step))
        if step == 30:
            kept = [job for job in jobs if choose.random() < 0.5]
            cache.records.replace(kept, cache.records.begin())
    with cache.reading() as view:
        everything = list(view.everything())
        assert len(everything) == len(cache) == len(cache.names())
        keys = [(_record(entry).create_time, entry.name) for entry in everything]
        assert keys == sorted(keys)

        def scan(test: Any) -> list[str]:
            return [entry.name for entry in everything if test(_record(entry))]

        def found(entries: Sequence[Entry]) -> list[str]:
            return [entry.name for entry in entries]

        for status in [*STATUSES, "STOPPED"]:
            assert found(view.with_value("status", status)) == scan(
                lambda r, s=status: r.status == s
            )
        for definition in ["d1", "d2", "d3"]:
            assert found(view.with_value("job_definition_id", definition)) == scan(
                lambda r, d=definition: r.job_definition_id == d
            )
        for entry in everything:
            job_id = _record(entry).job_id
            assert sorted(found(view.with_id(job_id))) == sorted(
                scan(lambda r, i=job_id: r.job_id == i)
            )
        for prefix in ["r", "REPORT", "report 2", "Är", "är", "zz", ""]:
            assert sorted(found(view.with_name_prefix(prefix))) == sorted(
                scan(lambda r, p=prefix: fold(r.name).startswith(fold(p)))
            )


def test_what_depends_on_the_time_is_read_as_of_now() -> None:
    clock = Clock(100)
    cache = cache_of(
        [job_object(name="waits"), job_object(name="ended", phase="FAILED")], clock=clock
    )
    assert _message(cache, "waits") == "0 pods at 100"
    clock.advance(0.5)
    # Made less than a second ago.
    assert _message(cache, "waits") == "0 pods at 100"
    clock.advance(40)
    assert _message(cache, "waits") == "0 pods at 140"
    # What has ended doesn't change any more.
    assert _message(cache, "ended") == "0 pods at 100"


def test_only_the_message_depends_on_the_time() -> None:
    record = JobRecord(job_id="i", name="n", input_filename="a.ipynb", create_time=5)
    annotations = {names.JOB_DATA_ANNOTATION: job_data(record)}
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff"}}, "image": "i"}
    running = {"state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes are available: 1 Insufficient memory.",
    }
    complete = {
        "type": "Complete",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:01:00Z",
    }
    for job_status in ({}, {"conditions": [complete]}):
        for pod_status in (
            None,
            {},
            {"conditions": [unschedulable]},
            *(
                {"containerStatuses": [{"name": "notebook", **state}]}
                for state in (waiting, running)
            ),
        ):
            job = {**job_object(name="j", annotations=annotations), "status": job_status}
            pods = [] if pod_status is None else [pod_object(name="p", job="j", status=pod_status)]
            early, late = (job_record(job, pods, now) for now in (1767225600.0, 1767229200.0))
            differing = {
                field
                for field in JobRecord.__slots__
                if getattr(early, field) != getattr(late, field)
            }
            assert differing <= TIME_DEPENDENT


def test_one_object_that_makes_no_record_hides_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def picky(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobRecord:
        if job["metadata"]["name"] == "bad" and job["metadata"]["resourceVersion"] == "1":
            raise KeyError("x")
        return simple_record(job, pods, now)

    cache = cache_of([job_object(name="bad"), job_object(name="good")], make_record=picky)
    assert [name for name in ("bad", "good") if cache.get(name)] == ["good"]
    assert len(cache) == 1
    assert "The record of the Job bad can't be read" in caplog.text
    cache.records.apply("MODIFIED", job_object(name="bad", version="2"))
    assert cache.get("bad") is not None
    cache.records.apply("MODIFIED", job_object(name="bad", version="1"))
    assert cache.get("bad") is None
    cache.records.apply("DELETED", job_object(name="bad", version="1"))
    assert cache.names() == ["good"]


def test_many_objects_at_once_among_them_one_that_makes_no_record() -> None:
    def picky(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], now: float) -> JobRecord:
        if job["metadata"]["name"] == "job-7":
            raise KeyError("x")
        return simple_record(job, pods, now)

    jobs = [job_object(name=f"job-{number}") for number in range(600)]
    cache = cache_of(jobs, make_record=picky)
    assert len(cache) == 599
    assert cache.get("job-7") is None


def test_pods_belong_to_their_very_job() -> None:
    cache = cache_of(
        [job_object(name="a", uid="new")],
        [
            pod_object(name="a-1", job="a", job_uid="old"),
            pod_object(name="a-2", job="a", job_uid="new"),
            {"metadata": {"name": "stray", "labels": {}}},
        ],
    )
    found = cache.objects("a")
    assert found is not None
    assert [pod["metadata"]["name"] for pod in found[1]] == ["a-2"]
    assert cache.objects("b") is None


def test_a_relabelled_pod_moves() -> None:
    cache = cache_of([job_object(name="a"), job_object(name="b")])
    pod = pod_object(name="p", job="a")
    cache.pods.apply("ADDED", pod)
    assert _message(cache, "a").startswith("1 pods")
    pod["metadata"]["labels"][names.POD_JOB_NAME_LABEL] = "b"
    pod["metadata"]["ownerReferences"] = []
    cache.pods.apply("MODIFIED", pod)
    assert _message(cache, "a").startswith("0 pods")
    assert _message(cache, "b").startswith("1 pods")
    cache.pods.apply("DELETED", pod)
    cache.pods.apply("DELETED", pod)
    assert _message(cache, "b").startswith("0 pods")


def test_listeners_hear_of_each_change_when_it_can_be_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = cache_of([job_object(name="a")])
    heard: list[tuple[str, bool]] = []

    def fails(_: str) -> None:
        raise ZeroDivisionError

    cache.on_change(fails)
    cache.on_change(lambda name: heard.append((name, cache.get(name) is not None)))
    cache.records.apply("ADDED", job_object(name="b"))
    cache.pods.apply("ADDED", pod_object(name="a-1", job="a"))
    cache.records.apply("ADDED", job_object(name="b"))
    cache.forget("a")
    cache.put(job_object(name="c"))
    cache.records.replace([job_object(name="c", version="2")], cache.records.begin())
    assert heard == [
        ("b", True),
        ("a", True),
        ("a", False),
        ("c", True),
        *[("b", False), ("c", True)],
    ]
    assert "A listener failed on the change of b" in caplog.text


def test_age_and_problem() -> None:
    clock = Clock()
    cache = RecordCache(simple_record, log=logging.getLogger("test"), clock=clock)
    assert cache.age() == float("inf")
    assert not cache.synced
    cache.records.contact()
    cache.records.replace([], cache.records.begin())
    assert not cache.synced
    clock.advance(3)
    cache.pods.contact()
    cache.pods.replace([], cache.pods.begin())
    assert cache.synced
    # That of the watch which has been silent the longest.
    assert cache.age() == 3
    cache.records.contact()
    assert cache.age() == 0
    assert cache.problem() is None
    cache.pods.trouble("no pods")
    assert cache.problem() == "no pods"
    cache.records.trouble("no jobs")
    assert cache.problem() == "no jobs"
    cache.records.trouble(None)
    cache.pods.trouble(None)
    assert cache.problem() is None


def test_waiting_for_the_first_lists_in_a_thread() -> None:
    cache = RecordCache(simple_record, log=logging.getLogger("test"))
    assert not cache.wait_synced(0)
    found: list[bool] = []
    waiter = threading.Thread(target=lambda: found.append(cache.wait_synced(10)))
    waiter.start()
    cache.pods.replace([], cache.pods.begin())
    cache.records.replace([], cache.records.begin())
    waiter.join(10)
    assert found == [True]


async def test_waiting_for_the_first_lists_in_a_loop() -> None:
    cache = RecordCache(simple_record, log=logging.getLogger("test"))
    assert not await cache.when_synced(0)
    first, second = (asyncio.ensure_future(cache.when_synced(10)) for _ in range(2))
    await asyncio.sleep(0)
    # One who goes away takes nothing from the others.
    first.cancel()
    await asyncio.to_thread(cache.pods.replace, [], 0)
    await asyncio.to_thread(cache.records.replace, [], 0)
    assert await second
    assert first.cancelled()
    assert await cache.when_synced(0)


def test_what_is_created_before_the_first_lists_can_be_read() -> None:
    cache = RecordCache(simple_record, log=logging.getLogger("test"))
    cache.put(job_object(name="a"))
    assert cache.get("a") is not None
    cache.records.replace([job_object(name="a"), job_object(name="b")], cache.records.begin())
    cache.pods.replace([], cache.pods.begin())
    assert {name for name in ("a", "b") if cache.get(name)} == {"a", "b"}


def test_a_pod_listed_before_the_jobs_belongs_to_what_was_created_earlier() -> None:
    cache = RecordCache(simple_record, log=logging.getLogger("test"), clock=Clock())
    job = job_object(name="a")
    cache.put(job)
    said: list[str] = []
    cache.on_change(lambda name: said.append(_message(cache, name)))

    # The two lists come over connections of their own.
    cache.pods.replace([pod_object(name="p", job="a")], cache.pods.begin())
    cache.records.replace([job], cache.records.begin())

    assert _message(cache, "a").startswith("1 pods")
    assert said[-1].startswith("1 pods")


def test_objects_are_slim_and_hold_what_records_need() -> None:
    job = {
        "metadata": {
            "name": "j",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"a": "b"},
            "annotations": {names.JOB_DATA_ANNOTATION: "{}", "other": "x" * 1000},
            "managedFields": ["x" * 1000],
        },
        "spec": {"activeDeadlineSeconds": 5, "template": {"spec": "x" * 1000}},
        "status": {"conditions": [{"type": "Complete"}], "uncountedTerminatedPods": {}},
    }
    slim = slim_job(job)
    assert slim == {
        "metadata": {
            "name": "j",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"a": "b"},
            "annotations": {names.JOB_DATA_ANNOTATION: "{}"},
        },
        "spec": {"activeDeadlineSeconds": 5},
        "status": {"conditions": [{"type": "Complete"}]},
    }
    container = {"name": "notebook", "image": "i", "resources": {"limits": {"memory": "1Gi"}}}
    state = {"name": "notebook", "state": {"terminated": {"exitCode": 0}}}
    pod = {
        "metadata": {
            "name": "p",
            "managedFields": [],
            "ownerReferences": [{"uid": "u", "controller": True, "kind": "Job"}],
        },
        "spec": {"nodeName": "n", "containers": [{**container, "env": ["x"]}], "volumes": []},
        "status": {"phase": "Running", "containerStatuses": [{**state, "containerID": "x"}]},
    }
    assert slim_pod(pod) == {
        "metadata": {
            "name": "p",
            "annotations": {},
            "ownerReferences": [{"uid": "u", "controller": True}],
        },
        "spec": {"nodeName": "n", "containers": [container]},
        "status": {"phase": "Running", "containerStatuses": [state]},
    }
    strange = {"text": "é \ud800 \x00"}
    assert unpack(pack(strange)) == strange


def _record(entry: Entry) -> JobRecord:
    assert isinstance(entry.record, JobRecord)
    return entry.record


def _message(cache: RecordCache[JobRecord], name: str) -> str:
    record = cache.get(name)
    assert record is not None
    return str(record.status_message)
