"""What a job may ask for, and what the pod template adds, on the cluster: all jobs at once."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    notebook,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer, RequestFailed

StartServer = Callable[..., LabServer]

TEMPLATE = """\
metadata:
  labels: {team: research}
spec:
  tolerations:
    - {key: example.org/gpu, operator: Exists}
  nodeSelector: {kubernetes.io/os: linux}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: 200Mi}
  containers:
    - name: notebook
      env:
        - {name: FROM_TEMPLATE, value: "template"}
        - {name: MODE, value: "template"}
      volumeMounts:
        - {name: shm, mountPath: /dev/shm}
"""

# Fails unless an earlier attempt has left its mark, which is kept outside the run.
FAILS_ONCE = """\
import os, obstore
from obstore.store import S3Store
store = S3Store(
    os.environ["MARKS"], endpoint=os.environ["ENDPOINT"], region="us-east-1",
    access_key_id=os.environ["KEY"], secret_access_key=os.environ["SECRET"],
    client_options={"allow_http": True},
)
try:
    obstore.put(store, os.environ["MARK"], b"", mode="create")
except obstore.exceptions.AlreadyExistsError:
    print("the second attempt")
else:
    raise RuntimeError("the first attempt")
"""


def secret_key(name: str, key: str) -> dict[str, Any]:
    return {"secretKeyRef": {"name": name, "key": key}}


@pytest.fixture
def secret(kubectl: Kubectl, owner: str, cluster: dict[str, str]) -> Iterator[str]:
    """A Secret of a user's, with keys for the bucket."""
    name = f"{owner}-keys"
    data = {"key": cluster["AWS_ACCESS_KEY_ID"], "secret": cluster["AWS_SECRET_ACCESS_KEY"]}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
    )
    yield name
    kubectl.run("delete", "secret", name)


@pytest.fixture
def mark(bucket: Bucket) -> Iterator[str]:
    """A key outside every job's prefix."""
    key = f"test-marks/{secrets.token_hex(8)}"
    yield key
    bucket.client.remove_object(bucket.name, key)


def test_what_jobs_ask_for_and_what_the_template_adds(
    start_server: StartServer,
    kubectl: Kubectl,
    bucket: Bucket,
    cluster: dict[str, str],
    secret: str,
    mark: str,
    tmp_path: Path,
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    server = start_server(
        flags=("--K8sConfig.allowed_secrets=test-*",),
        changes={"K8S_POD_TEMPLATE": str(template), "K8S_SCHEDULING_TIMEOUT": "15"},
    )
    write(
        server,
        "env.ipynb",
        "import os, shutil\n"
        "names = 'PLAIN', 'KEY', 'MODE', 'FROM_TEMPLATE', 'S3_BUCKET'\n"
        "print([os.environ.get(name) for name in names])",
        "print(shutil.disk_usage('/dev/shm').total)",
    )
    write(server, "slow.ipynb", "print('first')", "import time\ntime.sleep(600)")
    write(server, "once.ipynb", FAILS_ONCE)
    foreign = notebook("1", kernel="ir").replace('"language": "python"', '"language": "R"')
    (server.root_dir / "foreign.ipynb").write_text(foreign)

    def start(path: str, *, env: Any = None, **asked: Any) -> str:
        if env is not None:
            asked["k8s_env"] = json.dumps(env)
        return create(
            server, path, runtime_environment_parameters=asked, package_input_folder=False
        )

    once = start(
        "once.ipynb",
        env={
            "MARKS": bucket.name,
            "MARK": mark,
            "ENDPOINT": cluster["S3_ENDPOINT_URL"],
            "KEY": secret_key(secret, "key"),
            "SECRET": secret_key(secret, "secret"),
        },
        k8s_max_retries="2",
    )
    slow = start("slow.ipynb", k8s_timeout_seconds=20)
    env = start(
        "env.ipynb", env={"PLAIN": "$(HOME) $5", "KEY": secret_key(secret, "key"), "MODE": "mine"}
    )
    hopeless = start("foreign.ipynb", k8s_max_retries=3)
    keyless = start("env.ipynb", env={"KEY": secret_key(secret, "no-such-key")})
    with pytest.raises(RequestFailed, match="names the Secret nb-s3-1, which jobs may not use"):
        start("env.ipynb", env={"KEY": secret_key("nb-s3-1", "AWS_SECRET_ACCESS_KEY")})

    def waiting() -> Any:
        job = server.request("GET", f"jobs/{once}")
        return job if "failed, and the next one follows" in (job["status_message"] or "") else None

    retried = until(waiting, seconds=90, what="the wait for the second attempt")
    assert retried["status"] == "QUEUED"
    assert retried["status_message"] == (
        "Attempt 1 of 3 failed, and the next one follows."
        " Cell 1 raised RuntimeError: the first attempt"
    )

    job = ended(server, env)
    assert job["status"] == "COMPLETED", job["status_message"]
    said, shared_memory = text_outputs(download(server, env)["ipynb"].read_text())
    assert said == (f"['$(HOME) $5', '{cluster['AWS_ACCESS_KEY_ID']}', 'mine', 'template', None]\n")
    assert int(shared_memory) == 200 << 20
    (pod,) = kubectl.pods(env)
    assert pod["metadata"]["labels"]["team"] == "research"
    assert {"key": "example.org/gpu", "operator": "Exists"} in pod["spec"]["tolerations"]
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}

    job = ended(server, slow)
    assert job["status"] == "FAILED"
    assert "longer than its time limit of 20 seconds" in job["status_message"]
    assert text_outputs(download(server, slow)["ipynb"].read_text())[0] == "first\n"

    job = ended(server, keyless)
    assert job["status"] == "FAILED"
    assert f"The Secret {secret}, from which" in job["status_message"]
    assert "has no key no-such-key" in job["status_message"]

    job = ended(server, hopeless)
    assert job["status"] == "FAILED"
    assert "kernel" in job["status_message"]
    assert len(kubectl.pods(hopeless)) == 1

    job = ended(server, once)
    assert job["status"] == "COMPLETED", job["status_message"]
    assert text_outputs(download(server, once)["ipynb"].read_text()) == ["the second attempt\n"]
    assert len(kubectl.pods(once)) == 2
    outputs = f"jobs/{once}/outputs/"
    attempts = {key.removeprefix(outputs).split("/")[0] for key in bucket.keys(outputs)}
    assert attempts == {pod["metadata"]["uid"] for pod in kubectl.pods(once)}

    server.request("DELETE", f"jobs/{once}")
    assert bucket.keys(f"jobs/{once}/") == []


def test_a_template_that_kubernetes_refuses_is_told_at_the_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec: {tolerations: [{kee: gpu}]}")

    server = start_server(changes={"K8S_POD_TEMPLATE": str(template)})

    def said() -> bool:
        return "Correct K8sConfig.pod_template" in server.log.read_text()

    until(said, seconds=30, what="a word on the template in the log")
    assert 'unknown field "spec.template.spec.tolerations[0].kee"' in server.log.read_text()


def test_a_template_that_would_change_the_run_is_told_by_every_page(
    start_server: StartServer, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("spec: {hostNetwork: true}")

    server = start_server(changes={"K8S_POD_TEMPLATE": str(template)})

    with pytest.raises(RequestFailed, match=r"The pod template's spec\.hostNetwork can't be set"):
        server.request("GET", "jobs")


def test_a_volume_that_is_missing_ends_the_job_and_is_named(
    start_server: Callable[..., LabServer], tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(
        "spec:\n"
        "  volumes: [{name: data, secret: {secretName: not-there}}]\n"
        "  containers: [{name: notebook, volumeMounts: [{name: data, mountPath: /data}]}]\n"
    )
    server = start_server(
        changes={"K8S_POD_TEMPLATE": str(template), "K8S_SCHEDULING_TIMEOUT": "8"}
    )
    write(server, "n.ipynb", "1")

    job = ended(server, create(server, "n.ipynb"))

    assert job["status"] == "FAILED"
    assert "The pod can't be set up on its node" in job["status_message"]
    assert "not-there" in job["status_message"]
