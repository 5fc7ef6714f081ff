"""`jupyter scheduler-k8s doctor` finds what is wrong, says what to do, and leaves nothing."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.support import Bucket, Kubectl

OURS = "jupyter_scheduler_k8s"
# What is changed of a healthy environment, or given as a flag; and what must be said of what.
CASES: dict[str, tuple[dict[str, str], tuple[str, ...], str, str]] = {
    "no bucket": ({"S3_BUCKET": ""}, (), "settings", "set the environment variable S3_BUCKET"),
    "bucket missing": ({"S3_BUCKET": "not-there"}, (), "bucket", "not-there"),
    "wrong S3 login": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, (), "bucket", "AWS_SECRET_ACCESS_KEY"),
    "S3 away": ({"S3_ENDPOINT_URL": "http://10.255.255.1:1"}, (), "bucket", "10.255.255.1:1"),
    "localhost": ({"S3_ENDPOINT_URL": "http://localhost:9000"}, (), "settings", "both reach"),
    "image missing": ({"K8S_IMAGE": "nowhere/none:1"}, (), "pod", "nowhere/none:1 is not on"),
    "namespace missing": ({"K8S_NAMESPACE": "nothing"}, (), "permissions", "may not get jobs"),
    "no cluster named": ({"KUBECONFIG": "/nowhere"}, (), "cluster", "set KUBECONFIG"),
    "wrong number": (
        {"K8S_SCHEDULING_TIMEOUT": "soon"},
        (),
        "settings",
        "K8S_SCHEDULING_TIMEOUT must be a number",
    ),
    "misplaced class": (
        {},
        (f"--Scheduler.database_manager_class={OURS}.K8sDatabaseManager",),
        "classes",
        "write SchedulerApp.database_manager_class",
    ),
    "k8s url": ({}, ("--SchedulerApp.db_url=k8s://x",), "classes", "remove SchedulerApp.db_url"),
}


def doctor(environment: dict[str, str], *flags: str) -> tuple[int, list[str]]:
    """The exit code and the lines of one call."""
    done = subprocess.run(
        (str(Path(sys.executable).with_name("jupyter")), "scheduler-k8s", "doctor", *flags),
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert environment["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.splitlines()


def test_a_healthy_environment_is_called_so_and_left_as_it_was(
    environment: dict[str, str], kubectl: Kubectl, bucket: Bucket
) -> None:
    before = bucket.keys("jobs/")

    code, lines = doctor(environment)

    assert [line.partition(" ")[0] for line in lines] == ["ok"] * len(lines), lines
    assert code == 0
    assert [line.split(":")[0].split()[-1] for line in lines] == [
        "versions", "classes", "settings", "cluster", "namespace", "permissions", "bucket",
        "credentials", "pod",
    ]  # fmt: skip
    assert bucket.keys("jobs/") == before
    assert kubectl.get("jobs", "-l", "jupyter-scheduler.io/check") == []


def test_each_fault_is_named_with_what_to_do(
    environment: dict[str, str], kubectl: Kubectl, tmp_path: Path
) -> None:
    stranger = json.loads(kubectl.run("config", "view", "--raw", "-o", "json"))
    stranger["users"][0]["user"] = {"token": kubectl.run("create", "token", "notebook-job")}
    away = json.loads(kubectl.run("config", "view", "--raw", "-o", "json"))
    away["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    for name, config in (("stranger", stranger), ("away", away)):
        (tmp_path / name).write_text(json.dumps(config))
    template = tmp_path / "template.yaml"
    template.write_text("spec: {tolerations: [{kee: gpu}]}")
    cases = CASES | {
        "no permission": (
            {"KUBECONFIG": str(tmp_path / "stranger")},
            (),
            "permissions",
            "bind the Role",
        ),
        "pod template": (
            {"K8S_POD_TEMPLATE": str(template)},
            (),
            "pod template",
            'unknown field "spec.template.spec.tolerations[0].kee"',
        ),
        "cluster away": ({"KUBECONFIG": str(tmp_path / "away")}, (), "cluster", "not answer"),
    }

    def call(case: str) -> tuple[int, list[str]]:
        changes, flags, _, _ = cases[case]
        return doctor({**environment, **changes}, *flags)

    with ThreadPoolExecutor(4) as pool:
        answers = dict(zip(cases, pool.map(call, cases), strict=True))

    for case, (code, lines) in answers.items():
        _, _, subject, said = cases[case]
        problems = [line for line in lines if line.startswith("problem")]
        assert code == 1, (case, lines)
        assert any(subject in line.split(":")[0] and said in line for line in problems), (
            case,
            lines,
        )


@pytest.fixture(autouse=True)
def no_configuration(environment: dict[str, str], tmp_path: Path) -> None:
    """The files of whoever runs the tests are not read."""
    environment["JUPYTER_CONFIG_DIR"] = str(tmp_path / "config")
