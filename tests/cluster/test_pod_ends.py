"""How a run ends that does not end well, and what is kept of it."""

import json
from collections.abc import Iterator

import pytest

from cluster.faulty_s3 import FaultySource, faulty_s3
from cluster.pods import JsonObject, PodJob, Pods, container, exit_codes, is_running, verdict
from cluster.support import notebook, text_outputs, until
from jupyter_scheduler_k8s.manifests import BOOTSTRAP
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.resources import Resources

WAITS = "import time\nprint('waiting', flush=True)\nwhile True: time.sleep(0.1)"


def cells(job: PodJob) -> list[str]:
    """What the stored notebook's cells printed."""
    return text_outputs(job.output("output.ipynb"))


def waiting(job: PodJob) -> JsonObject:
    """The pod, once the cell `WAITS` runs."""
    pod = job.watch("pod", lambda pod: is_running(pod, "notebook"))
    job.printed("notebook", "Cell 1 ")
    return pod


def test_a_failing_cell(pods: Pods) -> None:
    job = pods.start(
        {"n.ipynb": notebook("print('kept')", "open('no such file')", "print('never')")},
        output_formats=["ipynb", "html"],
    )

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 20}
    assert verdict(job.finished()) == "Failed"
    assert cells(job) == ["kept\n", "", ""]
    result = job.result()
    assert result["outcome"] == "cell-error"
    assert result["error"] == {
        "name": "FileNotFoundError",
        "value": "[Errno 2] No such file or directory: 'no such file'",
        "cell": 2,
    }
    assert result["cells"] == {"total": 3, "finished": 1}
    assert b"FileNotFoundError" in job.output("output.html")
    assert "FileNotFoundError" in result["log_tail"]


def test_the_kernel_is_killed_for_memory(pods: Pods) -> None:
    job = pods.start(
        {"n.ipynb": notebook("print('kept')", "held = bytearray(2 << 30)")},
        options=JobOptions(resources=Resources(memory="300Mi")),
    )

    pod = job.ended()

    assert exit_codes(pod)["files"] == 0
    assert cells(job)[0] == "kept\n"
    result = job.result()
    if exit_codes(pod)["notebook"] == 137:
        # Under version 2 of cgroups the whole container is killed.
        assert result["outcome"] == "notebook-lost"
    else:
        assert exit_codes(pod)["notebook"] == 23
        assert result["outcome"] == "out-of-memory"
        assert result["message"] == (
            "The kernel died in cell 2: out of memory; the memory limit is 300 MiB."
        )
    assert result["memory_limit_bytes"] == 300 << 20


def test_the_whole_container_is_killed_for_memory(pods: Pods) -> None:
    # The kernel steps back, and the program that keeps the outputs becomes the larger one.
    floods = (
        "open('/proc/self/oom_score_adj', 'w').write(open('/proc/1/oom_score_adj').read())\n"
        "for _ in range(400): print('x' * 1_000_000, flush=True); time.sleep(0.02)"
    )
    job = pods.start(
        {
            "n.ipynb": notebook(
                "print('kept')",
                WAITS.replace("while True: time.sleep(0.1)", "time.sleep(2)"),
                floods,
            )
        },
        options=JobOptions(resources=Resources(memory="300Mi")),
    )

    pod = job.ended()

    assert exit_codes(pod) == {"files": 0, "notebook": 137}
    assert cells(job)[:2] == ["kept\n", "waiting\n"]
    result = job.result()
    assert result["outcome"] == "notebook-lost"
    assert result["cells"]["finished"] == 2
    assert result["memory_limit_bytes"] == 300 << 20


def test_a_deleted_pod_keeps_what_was_computed(pods: Pods) -> None:
    job = pods.start(
        {"n.ipynb": notebook("print('kept')", WAITS, "print('never')")},
        output_formats=["ipynb", "html"],
    )
    name = waiting(job)["metadata"]["name"]

    pods.kubectl.run("delete", "pod", name, "--wait=false")

    assert exit_codes(job.ended()) == {"files": 33, "notebook": 24}
    assert verdict(job.finished()) == "Failed"
    assert cells(job) == ["kept\n", "waiting\n", ""]
    result = job.result()
    assert result["outcome"] == "terminated"
    assert result["cells"]["finished"] == 1
    assert result["outputs"] == ["ipynb", "html"]


def test_an_evicted_run_keeps_what_was_computed(pods: Pods) -> None:
    def small_disk(manifest: JsonObject) -> None:
        # A pod that takes more of its node's disk than it may is evicted by the kubelet,
        # which gives it 2 s, whatever its grace period is.
        limits = {"ephemeral-storage": "30Mi"}
        container(manifest, "notebook")["resources"] = {"limits": limits}

    fills = "open('/home/jovyan/large', 'wb').write(b'x' * (60 << 20))\n"
    job = pods.start(
        {"n.ipynb": notebook("print('kept')", fills + WAITS, "print('never')")}, change=small_disk
    )

    assert verdict(job.finished(seconds=120)) == "Failed"

    (pod,) = job.pods()
    assert pod["status"]["reason"] == "Evicted"
    assert "ephemeral" in pod["status"]["message"]
    assert cells(job)[:2] == ["kept\n", "waiting\n"]
    assert job.result()["outcome"] == "terminated"


def drain(job: PodJob, name: str) -> None:
    """Evict a pod as for its node's maintenance."""
    namespace = job.kubectl.namespace
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    job.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def test_a_drained_run_is_not_begun_again(pods: Pods) -> None:
    job = pods.start({"n.ipynb": notebook("print('kept')", WAITS, "print('never')")})
    drained = waiting(job)["metadata"]["name"]

    drain(job, drained)

    # Kubernetes replaces a drained pod, and the second one finds that the run had begun.
    second = job.watch(
        "pod", lambda pod: pod["metadata"]["name"] != drained and len(exit_codes(pod)) == 2
    )
    assert exit_codes(second) == {"files": 32, "notebook": 27}
    assert verdict(job.finished()) == "Failed"
    assert cells(job)[:2] == ["kept\n", "waiting\n"]
    assert job.result()["outcome"] == "terminated"


def test_a_run_that_is_drained_each_time_is_begun_no_more_often_than_asked(pods: Pods) -> None:
    job = pods.start(
        {"n.ipynb": notebook("print('kept')", WAITS)}, options=JobOptions(max_retries=1)
    )
    first = waiting(job)["metadata"]["name"]

    drain(job, first)
    second = job.watch(
        "pod", lambda pod: pod["metadata"]["name"] != first and is_running(pod, "notebook")
    )
    begun = f"{second['metadata']['uid']}/started"
    until(lambda: begun in job.stored(), seconds=30, what="the second beginning")
    drain(job, second["metadata"]["name"])

    assert verdict(job.finished()) == "Failed"
    assert {pod["metadata"]["name"] for pod in job.pods()} <= {first, second["metadata"]["name"]}
    assert len([name for name in job.stored() if name.endswith("/started")]) == 2


def test_missing_inputs(pods: Pods) -> None:
    job = pods.start({"another.ipynb": notebook("1")}, notebook="n.ipynb")

    assert exit_codes(job.ended()) == {"files": 30, "notebook": 27}
    assert job.stored() == ["result.json"]
    assert job.result()["message"] == 'The notebook "n.ipynb" is not among the inputs in S3.'


def test_credentials_that_are_refused_are_not_told(pods: Pods) -> None:
    def wrong(manifest: JsonObject) -> None:
        environment = container(manifest, "files")["env"]
        for variable in environment:
            if variable["name"] == "AWS_SECRET_ACCESS_KEY":
                variable.pop("valueFrom")
                variable["value"] = "planted-wrong-secret"

    job = pods.start({"n.ipynb": notebook("1")}, change=wrong)

    pod = job.ended()

    assert exit_codes(pod) == {"files": 30, "notebook": 27}
    seen = json.dumps(pod["status"]) + job.log("files")
    assert "SignatureDoesNotMatch" in seen
    assert "planted-wrong-secret" not in seen
    assert pods.environment["AWS_ACCESS_KEY_ID"] not in seen


@pytest.fixture
def source(cluster: dict[str, str]) -> Iterator[FaultySource]:
    """The S3 server, with faults to plant."""
    with faulty_s3(cluster["S3_ENDPOINT_URL"]) as found:
        yield found


def test_outputs_that_are_refused_fail_the_run(pods: Pods, source: FaultySource) -> None:
    def refuse(method: str, path: str) -> int | None:
        refused = method == "PUT" and path.endswith("outputs/output.ipynb")
        return 403 if refused else None

    source.fault = refuse

    job = pods.start({"n.ipynb": notebook("1")}, settings={"s3_endpoint_url": source.url})

    assert exit_codes(job.ended()) == {"files": 31, "notebook": 0}
    assert verdict(job.finished()) == "Failed"
    result = job.result()
    assert result["outcome"] == "completed"
    assert result["message"].startswith("The outputs are not all stored. Could not store jobs/")
    assert "AccessDenied" in result["message"]


def test_a_server_that_is_away_for_a_while_loses_nothing(pods: Pods, source: FaultySource) -> None:
    def away(method: str, path: str) -> int | None:
        return 503 if "outputs/" in path and "started" not in path else None

    job = pods.start(
        {"n.ipynb": notebook("print('kept')")},
        settings={"s3_endpoint_url": source.url},
        output_formats=["ipynb", "html"],
    )
    source.fault = away
    assert source.failed.wait(60)
    job.watch("pod", lambda pod: "notebook" in exit_codes(pod))

    source.fault = lambda _method, _path: None

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    assert cells(job) == ["kept\n"]
    assert job.result()["outputs"] == ["ipynb", "html"]


# Waits until the other program's lock was held and is free, then becomes a program.
AFTER = """\
import fcntl, os, sys, time
path, program = sys.argv[1], sys.argv[2:]
while True:
    try:
        with open(path) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        break
    except OSError:
        time.sleep(0.05)
os.execvp(program[0], program)
"""


def test_files_dies_before_notebook_has_begun(pods: Pods) -> None:
    def late(manifest: JsonObject) -> None:
        container(manifest, "notebook")["args"] = [
            *("python3", "-c", AFTER, "/job/control/files.lock"),
            *("python3", "-c", BOOTSTRAP),
        ]

    job = pods.start({}, change=late)

    assert exit_codes(job.ended()) == {"files": 30, "notebook": 27}


def test_notebook_dies_before_files_has_begun(pods: Pods) -> None:
    def late(manifest: JsonObject) -> None:
        container(manifest, "files")["command"] = [
            *("python", "-c", AFTER, "/job/control/notebook.lock"),
            *("python", "-m", "notebook_job.files"),
        ]
        dies = BOOTSTRAP.replace(
            "    wait_for_inputs(os.path", "    os._exit(9)\n    wait_for_inputs(os.path"
        )
        container(manifest, "notebook")["args"] = ["python3", "-c", dies]

    job = pods.start({"n.ipynb": notebook("1")}, change=late)

    assert exit_codes(job.ended()) == {"files": 34, "notebook": 9}
    assert job.result()["outcome"] == "not-begun"
    # Nothing ran, so the run may still be begun by another pod.
    assert job.stored() == ["result.json"]


def test_files_dies_while_the_notebook_runs(pods: Pods) -> None:
    def mortal(manifest: JsonObject) -> None:
        # Process 1 of a container can't be killed from within.
        start = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
        command = container(manifest, "files")["command"]
        container(manifest, "files")["command"] = ["python", "-c", start, *command]

    job = pods.start({"n.ipynb": notebook("print('kept')", WAITS)}, change=mortal)
    waiting(job)
    kill = (
        "import os\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    line = open(f'/proc/{pid}/cmdline').read().split('\\0')\n"
        "    if line[1:3] == ['-m', 'notebook_job.files']: os.kill(int(pid), 9)\n"
    )

    pods.kubectl.run("exec", f"job/{job.name}", "-c", "files", "--", "python", "-c", kill)

    pod = job.ended()
    assert exit_codes(pod)["notebook"] == 27
    assert exit_codes(pod)["files"] != 0
    assert "The program that stores the outputs ended" in job.log("notebook")
