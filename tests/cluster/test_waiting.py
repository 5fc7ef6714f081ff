"""Runs that can't begin say why, and are ended when their time is up."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.support import Kubectl, create, ended, until, write
from local_lab.server import LabServer

StartServer = Callable[..., LabServer]


def test_no_node_with_a_gpu_is_said_after_30_seconds_then_the_job_fails(
    start_server: StartServer, kubectl: Kubectl
) -> None:
    server = start_server(changes={"K8S_SCHEDULING_TIMEOUT": "36"})
    write(server, "gpu.ipynb", "1")
    job_id = create(server, "gpu.ipynb", runtime_environment_parameters={"k8s_gpu": "1"})

    def message() -> Any:
        return server.request("GET", f"jobs/{job_id}")["status_message"]

    assert message() is None
    said = until(message, seconds=45, what="a word on why it waits")
    assert said == "Cannot schedule: No nodes with GPU available"
    job = ended(server, job_id)
    assert (job["status"], job["status_message"]) == (
        "FAILED",
        "Cannot schedule: No nodes with GPU available",
    )
    (condition,) = (
        found for found in kubectl.job(job_id)["status"]["conditions"] if found["type"] == "Failed"
    )
    assert condition["reason"] == "DeadlineExceeded"


def test_an_image_that_is_nowhere_fails_the_job_and_is_named(start_server: StartServer) -> None:
    server = start_server(changes={"K8S_SCHEDULING_TIMEOUT": "5"})
    write(server, "n.ipynb", "1")
    image = "registry.invalid/team/none:1"

    job = ended(
        server, create(server, "n.ipynb", runtime_environment_parameters={"k8s_image": image})
    )

    assert job["status"] == "FAILED"
    assert f"The image {image} can't be pulled" in job["status_message"]


def test_a_gpu_is_used_where_a_node_has_one(server: LabServer, kubectl: Kubectl, gpu: None) -> None:
    write(server, "gpu.ipynb", "print('on a node with a GPU')")

    job = ended(server, create(server, "gpu.ipynb", runtime_environment_parameters={"k8s_gpu": 1}))

    assert job["status"] == "COMPLETED", job["status_message"]
    (pod,) = kubectl.pods(job["job_id"])
    limits = [container["resources"].get("limits", {}) for container in pod["spec"]["containers"]]
    assert [found.get("nvidia.com/gpu") for found in limits] == [None, "1"]


@pytest.fixture
def gpu(kubectl: Kubectl) -> Iterator[None]:
    """The node says that it has a GPU, as a device plugin would make it say."""
    (node,) = kubectl.get("nodes")
    name = node["metadata"]["name"]

    def patch(value: str | None) -> None:
        amounts = {"nvidia.com/gpu": value}
        body = {"status": {"capacity": amounts, "allocatable": amounts}}
        kubectl.run("patch", "node", name, "--subresource=status", "-p", json.dumps(body))

    patch("1")
    yield
    patch(None)


@pytest.fixture
def quota_namespace(
    kubectl: Kubectl, cluster: dict[str, str], tmp_path: Path
) -> Iterator[dict[str, str]]:
    """A namespace of its own, from deploy/ by an overlay, with a quota; a login for its server."""
    name = f"quota-{secrets.token_hex(4)}"
    deploy = Path(__file__).resolve().parents[2] / "deploy"
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "base").symlink_to(deploy)
    (overlay / "kustomization.yaml").write_text(f"namespace: {name}\nresources: [base]\n")
    there = Kubectl(cluster, name)
    there.run("apply", "-k", str(overlay))
    there.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "everything"},
            "spec": {
                "hard": {
                    "requests.cpu": "2",
                    "requests.memory": "4Gi",
                    "limits.cpu": "4",
                    "limits.memory": "6Gi",
                    "pods": "5",
                }
            },
        }
    )
    config = json.loads(there.run("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": there.run("create", "token", "jupyter-server")}
    kubeconfig = tmp_path / "quota.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    yield {"K8S_NAMESPACE": name, "KUBECONFIG": str(kubeconfig)}
    there.run("delete", "namespace", name, "--wait=false")


def test_a_namespace_with_a_quota_works(
    start_server: StartServer, quota_namespace: dict[str, str]
) -> None:
    server = start_server(changes=quota_namespace)
    write(server, "n.ipynb", "print('within the quota')")

    plain = ended(server, create(server, "n.ipynb"))
    asked = ended(
        server,
        create(server, "n.ipynb", runtime_environment_parameters={"k8s_memory": "256Mi"}),
    )

    assert [plain["status"], asked["status"]] == ["COMPLETED", "COMPLETED"]


def test_a_quota_that_is_used_up_is_named(
    start_server: StartServer, quota_namespace: dict[str, str], cluster: dict[str, str]
) -> None:
    there = Kubectl(cluster, quota_namespace["K8S_NAMESPACE"])
    there.run("patch", "quota", "everything", "-p", '{"spec": {"hard": {"pods": "0"}}}')
    server = start_server(changes=quota_namespace | {"K8S_SCHEDULING_TIMEOUT": "4"})
    write(server, "n.ipynb", "1")

    job = ended(server, create(server, "n.ipynb"))

    assert job["status"] == "FAILED"
    assert job["status_message"].startswith("The namespace's quota is used up: exceeded quota")


def test_a_pod_that_the_namespace_forbids_is_told(start_server: StartServer) -> None:
    server = start_server(
        flags=("--K8sConfig.run_as_user=0",), changes={"K8S_SCHEDULING_TIMEOUT": "4"}
    )
    write(server, "n.ipynb", "1")

    job = ended(server, create(server, "n.ipynb"))

    assert job["status"] == "FAILED"
    assert "Pod Security Standard doesn't allow this pod" in job["status_message"]
    assert "runAsUser=0" in job["status_message"]
