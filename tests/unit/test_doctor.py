"""What the doctor makes of what it sees."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from traitlets.config import Config

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.cluster.permissions import NEEDED
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.doctor import checks, probe
from jupyter_scheduler_k8s.doctor.report import Finding, Verdict, healthy, not_checked, ok, problem
from jupyter_scheduler_k8s.storage import Credentials, Storage

OURS = "jupyter_scheduler_k8s"


def test_a_release_that_is_too_old_is_named_with_what_to_install() -> None:
    installed = {"jupyter-scheduler-k8s": "1", "kubernetes": "31.0"}

    found = checks.versions(installed.__getitem__, lambda _: ["kubernetes>=33.1"])

    assert found.verdict is Verdict.PROBLEM
    assert found.text == (
        "kubernetes 31.0 is installed, and >=33.1 is needed: run pip install 'kubernetes>=33.1'."
    )


@pytest.mark.parametrize(
    ("config", "verdict", "said"),
    [
        ({"SchedulerApp": {"scheduler_class": f"{OURS}.K8sScheduler"}}, Verdict.OK, "K8sScheduler"),
        ({}, Verdict.OK, "none is set"),
        (
            {"Scheduler": {"database_manager_class": f"{OURS}.K8sDatabaseManager"}},
            Verdict.PROBLEM,
            "write SchedulerApp.database_manager_class",
        ),
        (
            {"SchedulerApp": {"execution_manager_class": f"{OURS}.K8sExecutionManager"}},
            Verdict.PROBLEM,
            "write Scheduler.execution_manager_class",
        ),
        ({"SchedulerApp": {"db_url": "k8s://jobs"}}, Verdict.PROBLEM, "remove SchedulerApp.db_url"),
    ],
)
def test_settings_of_classes_have_an_effect_or_are_named(
    config: dict[str, Any], verdict: Verdict, said: str
) -> None:
    found = checks.classes(Config(config))

    assert found.verdict is verdict
    assert said in found.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "minio.localhost"])
def test_an_address_that_only_works_here_is_told(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_BUCKET", "files")
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://{host}:9000")

    found = checks.settings(K8sConfig())

    assert found.verdict is Verdict.PROBLEM
    assert "set it to an address that both reach" in found.text


@pytest.mark.parametrize(
    ("seconds", "how"), [(61, "61 seconds ahead of"), (-3600, "3600 seconds behind")]
)
def test_a_clock_that_differs_is_told(seconds: float, how: str) -> None:
    assert how in checks.skew("S3's", seconds)
    assert checks.skew("S3's", seconds / 100) == ""


class Keys:
    """What boto3's chain gives."""

    method = "env"

    def __init__(self, token: str | None, expires: dt.datetime | None = None) -> None:
        self.token = token
        if expires is not None:
            self._expiry_time = expires
            self.method = "sso"

    def refresh_needed(self) -> bool:
        return False

    def get_frozen_credentials(self) -> Any:
        return SimpleNamespace(access_key="a", secret_key="b", token=self.token)


END = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("keys", "verdict", "said"),
    [
        (Keys(None), Verdict.OK, "lasting keys, from the environment variables"),
        (Keys("t", END), Verdict.WARNING, "from the AWS SSO login have a session token"),
        (Keys("t", END), Verdict.WARNING, "while a server of this owner lives, it renews them"),
        (Keys("t"), Verdict.WARNING, "only with the next job that is created"),
        (Keys("t"), Verdict.WARNING, "a role in place of keys"),
    ],
)
async def test_keys_that_expire_are_warned_of_with_what_to_do(
    keys: Keys, verdict: Verdict, said: str
) -> None:
    session = SimpleNamespace(get_credentials=lambda: keys, region_name=None)
    storage = Storage(bucket="files", credentials=Credentials(session=lambda: session))

    found = await checks.credentials(storage)

    assert found.verdict is verdict
    assert said in found.text
    assert healthy([found])


def test_one_problem_makes_the_whole_unhealthy() -> None:
    fine = [ok("a", "."), not_checked("b", ".")]

    assert healthy(fine)
    assert not healthy([*fine, problem("c", ".")])


def test_the_rights_that_are_looked_for_are_those_of_the_role() -> None:
    documents = yaml.safe_load_all((Path(__file__).parents[2] / "deploy/role.yaml").read_text())
    role = next(found for found in documents if found["kind"] == "Role")

    granted = {
        (group, resource): tuple(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }

    assert granted == dict(NEEDED)


MANIFEST: dict[str, Any] = {
    "metadata": {
        "name": "nb-job-1",
        "namespace": "space",
        "labels": {names.MANAGED_BY_LABEL: names.MANAGED_BY, names.JOB_ID_LABEL: "1"},
        "annotations": {names.JOB_DATA_ANNOTATION: "{}"},
    },
    "spec": {
        "backoffLimit": 3,
        "podFailurePolicy": {"rules": []},
        "template": {
            "metadata": {"labels": {names.JOB_ID_LABEL: "1"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True},
                "containers": [
                    {"name": "files", "image": "ours:1", "command": ["x"], "env": [{"name": "A"}]},
                    {"name": "notebook", "image": "theirs:1"},
                ],
            },
        },
    },
}


def test_the_check_is_a_pod_like_that_of_a_job_and_no_record() -> None:
    made = probe.check_job(MANIFEST, "7")

    pod = made["spec"]["template"]["spec"]
    assert pod["securityContext"] == {"runAsNonRoot": True}
    assert pod["containers"] == [
        {
            "name": "files",
            "image": "ours:1",
            "command": ["python", "-m", "notebook_job.check"],
            "env": [{"name": "A"}],
        }
    ]
    for thing in (made, made["spec"]["template"]):
        assert thing["metadata"]["labels"] == {names.CHECK_LABEL: "7"}
    assert "annotations" not in made["metadata"]
    assert (made["spec"]["backoffLimit"], MANIFEST["spec"]["backoffLimit"]) == (0, 3)


def pod(**state: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-03-01T12:00:00Z"},
        "spec": {"containers": [{"name": "files", "image": "ours:1"}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "files", "state": state}]},
    }


@pytest.mark.parametrize(
    ("state", "verdict", "said"),
    [
        ({"terminated": {"exitCode": 0}}, Verdict.OK, "ours:1 started"),
        (
            {"terminated": {"exitCode": 1, "message": "Could not store x: InvalidAccessKeyId."}},
            Verdict.PROBLEM,
            "A pod can't use the bucket. Could not store x: InvalidAccessKeyId.",
        ),
        ({"terminated": {"exitCode": 1}}, Verdict.PROBLEM, "build it again from this release"),
        (
            {"waiting": {"reason": "ErrImageNeverPull", "message": "x"}},
            Verdict.PROBLEM,
            "The image ours:1 is not on the node",
        ),
    ],
)
def test_the_pods_end_is_the_verdict(state: dict[str, Any], verdict: Verdict, said: str) -> None:
    found = probe.verdict({"metadata": {"name": "j"}, "status": {}}, [pod(**state)])

    assert isinstance(found, Finding)
    assert found.verdict is verdict
    assert said in found.text


def test_a_pod_that_may_still_begin_is_waited_for() -> None:
    pulling = pod(waiting={"reason": "ImagePullBackOff", "message": "Back-off"})

    assert probe.verdict({"metadata": {"name": "j"}, "status": {}}, [pulling]) is None
