"""What the cluster does to pods in their middle: told in the record, outputs kept, run once."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import machine
from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    first_output,
    text_outputs,
    until,
    write,
)
from jupyter_scheduler_k8s import objects
from jupyter_scheduler_k8s.cluster import ClusterClient, Connection, RecordCache
from jupyter_scheduler_k8s.supervisor import Supervisor
from jupyter_scheduler_k8s.views import job_record
from local_lab.environment import cluster_environment
from local_lab.server import LabServer

StartServer = Callable[..., LabServer]

WAITS = "import time\nprint('waiting', flush=True)\nwhile True: time.sleep(0.1)"
FILLS = "open('/scratch/large', 'wb').write(b'x' * (40 << 20))\n" + WAITS

TEMPLATE = """
spec:
  volumes:
    - name: scratch
      emptyDir: {sizeLimit: 10Mi}
  containers:
    - name: notebook
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
"""


def running_pod(kubectl: Kubectl, bucket: Bucket, job_id: str) -> str:
    """The name of a job's pod, once the first cell's output is stored."""
    first_output(bucket, job_id)
    (pod,) = kubectl.pods(job_id)
    return str(pod["metadata"]["name"])


def outputs(server: LabServer, job_id: str) -> list[str]:
    """What the job's cells had printed."""
    return text_outputs(download(server, job_id)["ipynb"].read_text())


def test_runs_that_the_cluster_ends_say_why_and_keep_what_they_had(
    start_server: StartServer, kubectl: Kubectl, bucket: Bucket, tmp_path: Path
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(TEMPLATE)
    server = start_server(
        flags=("--K8sConfig.allowed_secrets=test-*",),
        changes={"K8S_POD_TEMPLATE": str(template), "K8S_SCHEDULING_TIMEOUT": "40"},
    )
    write(server, "waits.ipynb", "print('kept')", WAITS, "print('never')")
    write(server, "fills.ipynb", "print('kept')", FILLS, "print('never')")
    write(server, "fails.ipynb", "1 / 0")
    evicted = create(server, "fills.ipynb")
    deleted, drained = create(server, "waits.ipynb"), create(server, "waits.ipynb")

    retried = create(server, "fails.ipynb", runtime_environment_parameters={"k8s_max_retries": "1"})
    none = {"KEY": {"secretKeyRef": {"name": "test-none", "key": "key"}}}
    keyless = create(
        server, "fails.ipynb", runtime_environment_parameters={"k8s_env": json.dumps(none)}
    )

    kubectl.run("delete", "pod", running_pod(kubectl, bucket, deleted), "--wait=false")
    pod = running_pod(kubectl, bucket, drained)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": kubectl.namespace},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/{pod}/eviction"
    kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))

    said = {}
    for job_id in (evicted, deleted, drained):
        job = ended(server, job_id)
        said[job_id] = job["status_message"]
        assert job["status"] == "FAILED"
        assert outputs(server, job_id) == ["kept\n", "waiting\n", ""]
    assert said[evicted].startswith("The run was evicted from its node: ")
    assert "scratch" in said[evicted]
    assert said[deleted].startswith("The run was ended from outside after 1 of 3 cells.")
    assert "so it was not started again" in said[drained]

    job = ended(server, retried)
    assert job["status"] == "FAILED"
    assert job["status_message"] == (
        "Attempt 2 of 2: Cell 1 raised ZeroDivisionError: division by zero"
    )
    assert len(kubectl.pods(retried)) == 2
    job = ended(server, keyless)
    assert job["status"] == "FAILED"
    assert "The Secret test-none, from which" in job["status_message"]
    assert bucket.keys(f"jobs/{keyless}/outputs/") == [f"jobs/{keyless}/outputs/result.json"]


@pytest.fixture
def restored(kubectl: Kubectl) -> Iterator[None]:
    """The cluster is whole again after the test."""
    yield
    machine.restore(kubectl)


def test_a_run_whose_node_is_lost_is_not_run_again(
    server: LabServer, kubectl: Kubectl, bucket: Bucket, restored: None
) -> None:
    write(server, "waits.ipynb", "print('kept')", WAITS, "print('never')")
    job_id = create(server, "waits.ipynb")
    lost = running_pod(kubectl, bucket, job_id)
    (node,) = kubectl.get("nodes")

    machine.lose_node()
    kubectl.run("delete", "node", node["metadata"]["name"])

    # Kubernetes' pod collector gives a node that is gone 40 s, and looks every 20 s.
    def others() -> Any:
        return [pod for pod in kubectl.pods(job_id) if pod["metadata"]["name"] != lost]

    until(others, seconds=90, what="another pod in the place of the lost one")
    assert server.request("GET", f"jobs/{job_id}")["status"] in ("IN_PROGRESS", "QUEUED")
    machine.restore(kubectl)

    job = ended(server, job_id)
    assert job["status"] == "FAILED"
    assert "so it was not started again" in job["status_message"]
    assert outputs(server, job_id)[:2] == ["kept\n", "waiting\n"]


def test_a_node_that_falls_silent_and_comes_back_has_kept_its_run(
    server: LabServer, kubectl: Kubectl, bucket: Bucket, taint: str
) -> None:
    write(server, "waits.ipynb", "print('kept')", WAITS, "print('never')")
    job_id = create(server, "waits.ipynb")
    silent = running_pod(kubectl, bucket, job_id)
    (node,) = kubectl.get("nodes")

    with machine.frozen("kubelet"):
        # As Kubernetes does with a node that has been silent for 5 minutes.
        kubectl.run("taint", "node", node["metadata"]["name"], f"{taint}:NoExecute")
        pod = until(
            lambda: [pod for pod in kubectl.pods(job_id) if "deletionTimestamp" in pod["metadata"]],
            seconds=20,
            what="the pod to be given up",
        )[0]
        (reason,) = (
            found["reason"]
            for found in pod["status"]["conditions"]
            if found["type"] == "DisruptionTarget"
        )
        assert reason == "DeletionByTaintManager"
        # Nobody knows better: what the node does is seen when it speaks again.
        assert server.request("GET", f"jobs/{job_id}")["status"] == "IN_PROGRESS"
        kubectl.run("taint", "node", node["metadata"]["name"], f"{taint}-")

    job = ended(server, job_id)
    assert job["status"] == "FAILED"
    assert "so it was not started again" in job["status_message"]
    assert outputs(server, job_id) == ["kept\n", "waiting\n", ""]
    assert silent not in [pod["metadata"]["name"] for pod in kubectl.pods(job_id)]


@pytest.fixture
def nobodys_node(kubectl: Kubectl, owner: str) -> Iterator[str]:
    """The name of a node that no machine speaks for; closed to the scheduler."""
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": owner},
            "spec": {"unschedulable": True},
        }
    )
    yield owner
    kubectl.run("delete", "node", owner)


def test_a_run_on_a_node_that_never_speaks_again_is_ended(
    kubectl: Kubectl, owner: str, nobodys_node: str
) -> None:
    name = f"nb-job-{owner}"
    labels = {
        "app.kubernetes.io/managed-by": "jupyter-scheduler-k8s",
        "jupyter-scheduler.io/job-id": owner,
        "jupyter-scheduler.io/owner": owner,
    }
    data = json.dumps({"schema": 1, "job_id": owner})
    kubectl.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {"jupyter-scheduler.io/job-data": data},
            },
            "spec": {
                "backoffLimit": 0,
                "podReplacementPolicy": "Failed",
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "nodeName": nobodys_node,
                        "restartPolicy": "Never",
                        "tolerations": [{"operator": "Exists"}],
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 1000,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [
                            {
                                "name": "notebook",
                                "image": "none",
                                "securityContext": {
                                    "allowPrivilegeEscalation": False,
                                    "capabilities": {"drop": ["ALL"]},
                                },
                            }
                        ],
                    },
                },
            },
        }
    )
    (pod,) = until(lambda: kubectl.pods(owner), seconds=20, what="the Job's pod")
    runs = {"status": {"phase": "Running"}}
    path = ("pod", pod["metadata"]["name"], "--subresource=status", "--type=merge")
    kubectl.run("patch", *path, "-p", json.dumps(runs))
    kubectl.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
    (pod,) = kubectl.pods(owner)
    given_up = objects.seconds(pod["metadata"]["deletionTimestamp"])

    log = logging.getLogger("test")
    client = ClusterClient(
        kubectl.namespace,
        connection=Connection(kubeconfig=cluster_environment()["KUBECONFIG"]),
    )
    cache = RecordCache(job_record, log=log)
    supervisor = Supervisor(
        client=client,
        cache=cache,
        scheduling_timeout=300,
        log=log,
        has_begun=lambda _job, _pod: True,
        read_result=lambda _job: None,
        keep_log=lambda _job, _pod, _text: None,
        drop_log=lambda _job, _pod: None,
        wall_clock=lambda: given_up + 300,
    )
    cache.put(kubectl.job(owner))
    cache.pods.apply("ADDED", pod)
    supervisor.look(name)

    def failed() -> Any:
        return objects.condition(kubectl.job(owner), "Failed")

    until(failed, seconds=30, what="the Job's end")
    record = job_record(kubectl.job(owner), [], given_up)
    assert record.status == "FAILED"
    assert str(record.status_message).startswith("The node of the run was lost")
    until(lambda: not kubectl.pods(owner), seconds=10, what="the pod's object to go")


@pytest.fixture
def taint(kubectl: Kubectl) -> Iterator[str]:
    """A taint's key; no node has it after the test."""
    key = "jupyter-scheduler.io/test-silent"
    yield key
    kubectl.run("taint", "nodes", "--all", f"{key}-", check=False)
