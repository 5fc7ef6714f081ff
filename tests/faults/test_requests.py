"""Single requests: what is repeated, what never is, and what the user reads."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.callers import Caller
from faults.fake_api import Answer, FakeApi, Fault, Lost, Silent
from jupyter_scheduler_k8s.cluster import AlreadyExists, ClusterClient, Connection
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ClusterUnavailable,
    ConfigurationError,
    Conflict,
    Forbidden,
    NotFound,
    Rejected,
)

MANIFEST = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "nb-job-1", "labels": {"owner": "me"}},
    "spec": {"template": {"spec": {"secret-in-manifest": "hunter2"}}},
}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "nb-s3-1"},
    "stringData": {"AWS_SECRET_ACCESS_KEY": "hunter2"},
}


# -- create -----------------------------------------------------------------


@pytest.mark.parametrize("lost", [Lost(done=True), Silent(done=True)], ids=["lost", "time-out"])
def test_a_create_whose_answer_was_lost_leaves_one_object(
    api: FakeApi, hasty: Caller, lost: Fault
) -> None:
    api.fail("create", lost)
    with pytest.raises(AlreadyExists) as caught:
        hasty.client.create_job(MANIFEST)
    # It is ours: the caller tells by its labels.
    assert caught.value.live["metadata"]["labels"] == {"owner": "me"}
    assert len(api.things("jobs")) == 1
    assert api.kinds() == ["create", "create", "get"]


@pytest.mark.parametrize("lost", [Lost(), Silent()], ids=["lost", "time-out"])
def test_a_create_that_did_not_arrive_is_sent_again(
    api: FakeApi, hasty: Caller, lost: Fault
) -> None:
    api.fail("create", lost)
    created = hasty.client.create_job(MANIFEST)
    assert [created] == api.things("jobs")
    assert api.kinds() == ["create", "create"]


def test_500_then_409_leaves_one_object(api: FakeApi, caller: Caller) -> None:
    api.put("jobs", {**MANIFEST, "metadata": {"name": "nb-job-1", "labels": {"owner": "other"}}})
    api.fail("create", Answer(500, "etcdserver: request timed out", "InternalError"))
    with pytest.raises(AlreadyExists) as caught:
        caller.client.create_job(MANIFEST)
    assert caught.value.live["metadata"]["labels"] == {"owner": "other"}
    assert len(api.things("jobs")) == 1
    assert api.kinds() == ["create", "create", "get"]


def test_a_name_that_comes_free_during_the_create_is_taken(api: FakeApi, caller: Caller) -> None:
    api.fail("create", Answer(409, 'jobs.batch "nb-job-1" already exists', "AlreadyExists"))
    assert caller.client.create_job(MANIFEST)["metadata"]["name"] == "nb-job-1"
    assert api.kinds() == ["create", "get", "create"]


def test_a_quota_that_is_being_counted_is_waited_for(api: FakeApi, caller: Caller) -> None:
    message = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
    api.fail("create", Answer(409, message, "Conflict"))
    caller.client.create_job(MANIFEST)
    assert api.kinds() == ["create", "create"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 415, 422])
def test_other_4xx_are_never_repeated(api: FakeApi, caller: Caller, status: int) -> None:
    api.fail("create", Answer(status, "no"))
    with pytest.raises((Rejected, NotFound)):
        caller.client.create_job(MANIFEST)
    assert api.kinds() == ["create"]
    assert api.things("jobs") == []


REFUSALS = {
    "quota": (
        403,
        'jobs.batch "nb-job-1" is forbidden: exceeded quota: q, requested: count/jobs.batch=1,'
        " used: count/jobs.batch=5, limited: count/jobs.batch=5",
        Rejected,
        ["quota is used up", "limited: count/jobs.batch=5", "delete jobs"],
    ),
    "quota that wants numbers": (
        403,
        'pods "x" is forbidden: failed quota: q: must specify limits.memory for: files',
        Rejected,
        ["state what it needs", "limits.memory", "CPU and memory"],
    ),
    "pod security": (
        403,
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        Rejected,
        ["Pod Security Standard", "runAsNonRoot"],
    ),
    "role": (
        403,
        'jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group "batch" in'
        ' the namespace "space"',
        Forbidden,
        ["may not create jobs in the namespace space", "Role"],
    ),
    "webhook": (
        403,
        'admission webhook "policy.example" denied the request: no latest tags',
        Rejected,
        ["no latest tags"],
    ),
    "invalid": (
        422,
        "Job.batch is invalid: spec.template.spec.containers[0].resources.limits: Invalid value",
        Rejected,
        ["refused to create the Job nb-job-1", "Invalid value"],
    ),
    "namespace": (404, 'namespaces "space" not found', NotFound, ["namespace space"]),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_say_what_to_do(api: FakeApi, caller: Caller, name: str) -> None:
    status, message, kind, parts = REFUSALS[name]
    api.fail("create", Answer(status, message, "Forbidden"))
    with pytest.raises(BackendError) as caught:
        caller.client.create_job(MANIFEST)
    assert type(caught.value) is kind
    for part in parts:
        assert part in str(caught.value)


def test_long_messages_are_shortened_and_bodies_stay_out(api: FakeApi, caller: Caller) -> None:
    api.fail("create", Answer(422, "word " * 500))
    with pytest.raises(Rejected) as caught:
        caller.client.create_job(MANIFEST)
    assert len(str(caught.value)) < 400
    api.fail("create", Answer(422, body=b"<html>" + b"x" * 2000))
    with pytest.raises(Rejected) as caught:
        caller.client.create_job(MANIFEST)
    assert "html" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


# -- waiting ----------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_transient_answers_are_repeated(api: FakeApi, caller: Caller, status: int) -> None:
    api.fail("get", *[Answer(status)] * 4)
    api.put("jobs", MANIFEST)
    assert caller.client.get_job("nb-job-1")["metadata"]["name"] == "nb-job-1"
    assert caller.slept == sorted(caller.slept)


def test_retry_after_is_kept_to(api: FakeApi, caller: Caller) -> None:
    api.put("jobs", MANIFEST)
    api.fail("get", Answer(429, headers={"Retry-After": "7"}))
    caller.client.get_job("nb-job-1")
    assert len(caller.slept) == 1
    assert 7 <= caller.slept[0] < 7.2


def test_a_retry_after_beyond_the_deadline_is_an_answer(api: FakeApi, caller: Caller) -> None:
    api.fail("get", Answer(429, "too many requests", headers={"Retry-After": "3600"}))
    with pytest.raises(ClusterUnavailable, match="too many requests"):
        caller.client.get_job("nb-job-1")
    assert caller.slept == []


def test_an_api_that_is_away_is_told_within_the_deadline(api: FakeApi, caller: Caller) -> None:
    api.stop()
    with pytest.raises(ClusterUnavailable) as caught:
        caller.client.get_job("nb-job-1")
    assert f"http://127.0.0.1:{api.port}" in str(caught.value)
    assert "connection refused" in str(caught.value)
    assert "KUBECONFIG" in str(caught.value)
    assert 10 < sum(caller.slept) <= 20


def test_a_short_absence_is_not_noticed(api: FakeApi, caller: Caller) -> None:
    api.put("jobs", MANIFEST)
    api.stop()

    def back() -> None:
        if sum(caller.slept) > 5 and not api.running:
            api.start()

    caller.when_sleeping = back
    assert caller.client.get_job("nb-job-1")["metadata"]["name"] == "nb-job-1"


def test_an_answer_that_is_no_json_is_a_proxys(api: FakeApi, caller: Caller) -> None:
    api.fail("get", *[Answer(200, body=b"<html>Please log in</html>")] * 100)
    with pytest.raises(ClusterUnavailable, match="the answer is no JSON"):
        caller.client.get_job("nb-job-1")


# -- logging in -------------------------------------------------------------


def test_401_loads_the_credentials_again_once(api: FakeApi, caller: Caller, tmp_path: Path) -> None:
    api.put("jobs", MANIFEST)
    caller.client.get_job("nb-job-1")
    api.token = "two"
    api.kubeconfig(tmp_path, token="two")
    caller.client.get_job("nb-job-1")
    assert api.kinds() == ["get"] * 3
    api.token = "three"
    with pytest.raises(Forbidden, match="log in to the cluster again") as caught:
        caller.client.get_job("nb-job-1")
    assert f"127.0.0.1:{api.port}" in str(caught.value)
    assert api.kinds() == ["get"] * 5


def test_no_kubeconfig_and_no_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    client = ClusterClient("space", connection=Connection(kubeconfig=str(tmp_path / "none")))
    with pytest.raises(ConfigurationError, match="set KUBECONFIG"):
        client.active_context()


@pytest.mark.parametrize("text", ["", "[]", "a: [", "{}", "current-context: x\ncontexts: []"])
def test_a_kubeconfig_file_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    client = ClusterClient("space", connection=Connection(kubeconfig=str(path)))
    with pytest.raises(ConfigurationError, match="can't be used"):
        client.active_context()


def test_the_kubeconfig_variable_and_its_context(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", api.kubeconfig(tmp_path))
    assert ClusterClient("space").active_context() == "fake"


# -- the other requests -----------------------------------------------------


def test_delete(api: FakeApi, caller: Caller) -> None:
    made = api.put("jobs", MANIFEST)
    with pytest.raises(NotFound):
        caller.client.delete_job("nb-job-1", uid="another")
    assert len(api.things("jobs")) == 1
    caller.client.delete_job("nb-job-1", uid=made["metadata"]["uid"])
    assert api.things("jobs") == []
    assert api.asked[-1].body["propagationPolicy"] == "Background"
    with pytest.raises(NotFound, match="There is no Job nb-job-1"):
        caller.client.delete_job("nb-job-1")


def test_a_delete_whose_answer_was_lost_has_worked(api: FakeApi, caller: Caller) -> None:
    api.put("jobs", MANIFEST)
    api.fail("delete", Lost(done=True))
    caller.client.delete_job("nb-job-1")
    assert api.kinds() == ["delete", "delete"]


def test_patch(api: FakeApi, caller: Caller) -> None:
    api.put("jobs", MANIFEST)
    patched = caller.client.patch_job("nb-job-1", {"spec": {"activeDeadlineSeconds": 1}})
    assert patched["spec"]["activeDeadlineSeconds"] == 1
    assert patched["metadata"]["labels"] == {"owner": "me"}
    api.fail("patch", Answer(409, "the object has been modified", "Conflict"))
    with pytest.raises(Conflict) as caught:
        caller.client.patch_job("nb-job-1", {"metadata": {"resourceVersion": "1"}})
    assert type(caught.value) is Conflict


def test_secrets_are_applied_in_one_request(api: FakeApi, caller: Caller) -> None:
    caller.client.apply_secret(SECRET)
    caller.client.apply_secret(SECRET)
    assert api.kinds() == ["patch", "patch"]
    assert len(api.things("secrets")) == 1
    caller.client.delete_secret("nb-s3-1")
    caller.client.delete_secret("nb-s3-1")
    assert api.things("secrets") == []
    api.fail("patch", Answer(422, "invalid"))
    with pytest.raises(Rejected) as caught:
        caller.client.apply_secret(SECRET)
    assert "hunter2" not in str(caught.value)


def test_lists_come_in_pages_and_in_one_piece_where_they_expire(
    api: FakeApi, caller: Caller
) -> None:
    for number in range(501):
        api.put("jobs", _named(number))
    assert len(caller.client.list_jobs("owner=me")) == 501
    assert len(caller.client.list_jobs("owner=other")) == 0
    assert len(caller.client.list_jobs("owner=me", name="job-7")) == 1
    asked = len(api.asked)
    api.fail("list", None, Answer(410, "token too old", "Expired"))
    assert len(caller.client.list_jobs("owner=me")) == 501
    assert [bool(request.query.get("limit")) for request in api.asked[asked:]] == [
        True,
        True,
        False,
    ]


def test_quotas_that_may_not_be_seen_are_none(api: FakeApi, caller: Caller) -> None:
    api.put("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5"}}})
    assert [quota["spec"]["hard"] for quota in caller.client.resource_quotas()] == [{"pods": "5"}]
    api.fail("list", Answer(403, 'User "u" cannot list resource "resourcequotas"'))
    assert caller.client.resource_quotas() == []


def test_the_namespace_is_made_where_that_is_possible(api: FakeApi, caller: Caller) -> None:
    caller.client.ensure_namespace()
    assert [thing["metadata"]["name"] for thing in api.things("namespaces")] == ["space"]
    caller.client.ensure_namespace()
    assert api.kinds() == ["get", "create", "get"]
    api.fail("get", Answer(403, 'User "u" cannot get resource "namespaces"'))
    caller.client.ensure_namespace()
    # Two servers at once.
    api.fail("get", Answer(404, "not found", "NotFound"))
    caller.client.ensure_namespace()
    assert len(api.things("namespaces")) == 1


def test_names_are_quoted_in_paths(api: FakeApi, caller: Caller) -> None:
    with pytest.raises(NotFound):
        caller.client.get_job("../pods/x?y")
    assert api.asked[0].resource == "jobs"


def _named(number: int) -> dict[str, Any]:
    return {**MANIFEST, "metadata": {"name": f"job-{number}", "labels": {"owner": "me"}}}


def test_an_exec_plugin_logs_in_and_logs_in_again(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import json, pathlib, sys\n"
        f"token = pathlib.Path({str(token)!r}).read_text()\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        "status = {'token': token}\n"
        "kind = 'ExecCredential'\n"
        "print(json.dumps({'apiVersion': version, 'kind': kind, 'status': status}))\n"
    )
    path = Path(api.kubeconfig(tmp_path))
    config = yaml.safe_load(path.read_text())
    config["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(plugin)],
            "interactiveMode": "Never",
        }
    }
    path.write_text(yaml.safe_dump(config))
    token.write_text("one")
    api.token = "one"
    api.put("jobs", MANIFEST)
    caller = Caller(str(path))
    caller.client.get_job("nb-job-1")
    assert api.asked[-1].headers["Authorization"] == "Bearer one"
    api.token = "two"
    token.write_text("two")
    caller.client.get_job("nb-job-1")
    assert api.asked[-1].headers["Authorization"] == "Bearer two"
