"""Requests about CronJobs and lost pods: what is repeated, and what the user reads."""

from typing import Any

import pytest

from faults.callers import Caller
from faults.fake_api import Answer, FakeApi, Fault, Lost, Silent
from jupyter_scheduler_k8s.cluster import AlreadyExists
from jupyter_scheduler_k8s.errors import Conflict, Forbidden, NotFound, Rejected

NAME = "nb-jobdef-1"
SPEC = {"schedule": "0 9 * * *", "timeZone": "Etc/UTC", "suspend": False}
MANIFEST: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "CronJob",
    "metadata": {"name": NAME, "labels": {"owner": "me"}},
    "spec": SPEC,
}
LATE = {"status": {"lastScheduleTime": "2026-03-01T12:00:00Z"}}


def test_create_get_and_list(api: FakeApi, caller: Caller) -> None:
    created = caller.client.create_cron_job({**MANIFEST, "status": {"active": []}})
    assert "status" not in created
    assert caller.client.get_cron_job(NAME) == created
    assert caller.client.list_cron_jobs("owner=me") == [created]
    assert caller.client.list_cron_jobs("owner=me", name="nb-jobdef-2") == []
    assert caller.client.list_cron_jobs("owner=other") == []
    assert {asked.resource for asked in api.asked} == {"cronjobs"}


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True)], ids=["lost", "time-out"])
def test_a_create_whose_answer_was_lost_leaves_one_cron_job(
    api: FakeApi, hasty: Caller, lost: Fault
) -> None:
    api.fail("create", lost)
    with pytest.raises(AlreadyExists, match=f"There is a CronJob {NAME} already") as caught:
        hasty.client.create_cron_job(MANIFEST)
    assert [caught.value.live] == api.things("cronjobs")
    assert api.kinds() == ["create", "create", "get"]


def test_a_check_creates_nothing_and_names_what_is_wrong(api: FakeApi, caller: Caller) -> None:
    caller.client.check_cron_job(MANIFEST)
    assert api.things("cronjobs") == []
    assert api.asked[0].query == {"dryRun": "All", "fieldValidation": "Strict"}
    api.fail("create", Answer(422, "spec.timeZone: Invalid value: unknown time zone", "Invalid"))
    with pytest.raises(Rejected, match="refused to create the CronJob nb-jobdef-1: spec"):
        caller.client.check_cron_job(MANIFEST)


def test_spec_and_status_are_patched_apart(api: FakeApi, caller: Caller) -> None:
    api.put("cronjobs", MANIFEST)
    caller.client.patch_cron_job(NAME, LATE | {"spec": {"suspend": True}}, status=True)
    (thing,) = api.things("cronjobs")
    assert (thing["spec"], thing["status"]) == (SPEC, LATE["status"])
    assert [asked.subresource for asked in api.asked] == ["status"]
    patched = caller.client.patch_cron_job(
        NAME, {"spec": {"suspend": True}, "status": {"lastScheduleTime": None}}
    )
    assert patched["spec"] == {**SPEC, "suspend": True}
    assert patched["status"] == LATE["status"]


@pytest.mark.parametrize("status", [False, True])
def test_a_patch_of_another_version_is_a_conflict(
    api: FakeApi, caller: Caller, status: bool
) -> None:
    made = api.put("cronjobs", MANIFEST)
    body = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, **LATE}
    caller.client.patch_cron_job(NAME, body, status=status)
    with pytest.raises(Conflict, match="The CronJob nb-jobdef-1 was changed meanwhile"):
        caller.client.patch_cron_job(NAME, body, status=status)


@pytest.mark.parametrize("status", [False, True])
@pytest.mark.parametrize(
    "fault",
    [Lost(done=True), Silent(done=True), Answer(500, "etcd")],
    ids=["lost", "silent", "500"],
)
def test_a_patch_without_an_answer_is_sent_again(
    api: FakeApi, hasty: Caller, fault: Fault, status: bool
) -> None:
    api.put("cronjobs", MANIFEST)
    api.fail("patch", fault)
    hasty.client.patch_cron_job(NAME, {**LATE, "spec": {"suspend": True}}, status=status)
    assert api.kinds() == ["patch", "patch"]
    (thing,) = api.things("cronjobs")
    assert thing["spec"]["suspend"] is not status
    assert thing.get("status") == (LATE["status"] if status else None)


def test_a_patch_of_nothing(caller: Caller) -> None:
    with pytest.raises(NotFound, match="There is no CronJob nb-jobdef-1 in the namespace space"):
        caller.client.patch_cron_job(NAME, LATE, status=True)


@pytest.mark.parametrize(("status", "resource"), [(False, "cronjobs"), (True, "cronjobs/status")])
def test_a_missing_right_is_named(
    api: FakeApi, caller: Caller, status: bool, resource: str
) -> None:
    message = f'User "u" cannot patch resource "{resource}" in API group "batch"'
    api.fail("patch", Answer(403, message, "Forbidden"))
    with pytest.raises(Forbidden) as caught:
        caller.client.patch_cron_job(NAME, LATE, status=status)
    assert f"may not patch {resource} in the namespace space; bind the Role" in str(caught.value)
    assert api.kinds() == ["patch"]


@pytest.mark.parametrize(("propagation", "left"), [("Orphan", 1), ("Background", 0)])
def test_a_deletion_leaves_the_jobs_unless_told_otherwise(
    api: FakeApi, caller: Caller, propagation: str, left: int
) -> None:
    made = api.put("cronjobs", MANIFEST)
    uid = made["metadata"]["uid"]
    api.put("jobs", {"metadata": {"name": f"{NAME}-1", "ownerReferences": [{"uid": uid}]}})
    with pytest.raises(NotFound):
        caller.client.delete_cron_job(NAME, uid="another")
    caller.client.delete_cron_job(NAME, uid=uid, propagation=propagation)
    assert (len(api.things("cronjobs")), len(api.things("jobs"))) == (0, left)
    with pytest.raises(NotFound):
        caller.client.delete_cron_job(NAME)


def test_jobs_are_left_by_default(api: FakeApi, caller: Caller) -> None:
    api.put("cronjobs", MANIFEST)
    caller.client.delete_cron_job(NAME)
    assert api.asked[-1].body["propagationPolicy"] == "Orphan"


def test_a_deletion_whose_answer_was_lost_has_worked(api: FakeApi, hasty: Caller) -> None:
    api.put("cronjobs", MANIFEST)
    api.fail("delete", Silent(done=True))
    hasty.client.delete_cron_job(NAME)
    assert api.kinds() == ["delete", "delete"]


@pytest.mark.parametrize(("force", "grace"), [(False, None), (True, 0)])
def test_a_lost_pod_is_deleted_at_once(
    api: FakeApi, caller: Caller, force: bool, grace: int | None
) -> None:
    made = api.put("pods", {"metadata": {"name": "p"}})
    with pytest.raises(NotFound):
        caller.client.delete_pod("p", uid="another", force=force)
    api.fail("delete", Lost(done=True))
    caller.client.delete_pod("p", uid=made["metadata"]["uid"], force=force)
    assert api.things("pods") == []
    assert api.asked[-1].body.get("gracePeriodSeconds") == grace
