"""Every sentence about a run that failed or waits, as a person reads it."""

import json
from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.diagnosis import diagnose, never_began, remark
from jupyter_scheduler_k8s.manifests import end_patch
from jupyter_scheduler_k8s.objects import seconds
from jupyter_scheduler_k8s.reasons import Category
from jupyter_scheduler_k8s.status import derive
from jupyter_scheduler_k8s.waiting import is_hopeless, waiting_reason
from support.objects import CREATED, NOW, RUNNING, ended, job, pod, waiting

IMAGE = "registry.example/team/image:1"
AGAIN = "Run it again."
SAVED = "What it had computed can be downloaded."
CELLS = {"total": 7, "finished": 2}


@pytest.mark.parametrize(
    ("files", "category", "message"),
    [
        (ended(30), Category.INPUTS, "The input files can't be fetched from S3."),
        (ended(31), Category.OUTPUTS, "The outputs could not be stored in S3."),
        (
            ended(32),
            Category.ALREADY_STARTED,
            "The pod of this run was lost after its notebook had begun; notebooks have side"
            " effects, so it was not started again. Run it again if that is safe.",
        ),
        (
            ended(33, cells=CELLS),
            Category.TERMINATED,
            f"The run was ended from outside after 2 of 7 cells. {SAVED}",
        ),
        (ended(33), Category.TERMINATED, f"The run was ended from outside. {SAVED}"),
        (
            ended(35),
            Category.REPLACED,
            "The next run of this schedule began, and replaced this one.",
        ),
        (ended(34), Category.UNKNOWN, "The notebook's container ended before it began."),
        (ended(34, message="It vanished."), Category.UNKNOWN, "It vanished."),
        (
            ended(137, "OOMKilled"),
            Category.OUTPUTS,
            "The container that stores the outputs ran out of memory.",
        ),
        (
            ended(1),
            Category.OUTPUTS,
            "The container that moves the files ended with exit code 1. Its log says more.",
        ),
    ],
)
def test_what_the_container_that_moves_files_ended_with(
    files: dict[str, Any], category: Category, message: str
) -> None:
    found = diagnose(job("Failed"), [pod(files=files)])

    assert (found.category, found.message) == (category, message)


@pytest.mark.parametrize(
    ("notebook", "files", "category", "message"),
    [
        (
            ended(23),
            ended(0),
            Category.OUT_OF_MEMORY,
            "The notebook ran out of memory: it has no limit of its own, so its node had no more"
            " to give. Ask for more memory, or read the data in smaller parts.",
        ),
        (
            ended(20),
            ended(0, error={"name": "StopIteration", "value": "", "cell": 4}),
            Category.CELL_ERROR,
            "Cell 4 raised StopIteration",
        ),
        (ended(21), ended(0), Category.KERNEL_MISSING, "The image can't run this notebook."),
        (
            ended(26),
            ended(0, message="The image has no nbclient."),
            Category.KERNEL_MISSING,
            "The image has no nbclient.",
        ),
        (ended(25), ended(0), Category.NOTEBOOK_INVALID, "The notebook file can't be read."),
        (
            ended(25),
            ended(0, message="It is no JSON."),
            Category.NOTEBOOK_INVALID,
            "It is no JSON.",
        ),
        (
            ended(22),
            ended(0, cells=CELLS),
            Category.KERNEL_DIED,
            "The kernel died after 2 of 7 cells without saying why.",
        ),
        (
            ended(22),
            ended(0, message="It was killed."),
            Category.KERNEL_DIED,
            "It was killed.",
        ),
        (
            ended(24),
            ended(0, cells=CELLS),
            Category.TERMINATED,
            f"The run was ended from outside after 2 of 7 cells. {SAVED}",
        ),
        (
            ended(28),
            ended(35, cells=CELLS),
            Category.REPLACED,
            "The next run of this schedule began, and replaced this one after 2 of 7 cells."
            f" {SAVED}",
        ),
        # It ended before it could say why; the other container knows.
        (
            ended(137, "OOMKilled"),
            ended(35, cells=CELLS),
            Category.REPLACED,
            "The next run of this schedule began, and replaced this one after 2 of 7 cells."
            f" {SAVED}",
        ),
        (
            ended(28),
            ended(31, message="S3 is away.", cells=CELLS),
            Category.REPLACED,
            "The next run of this schedule began, and replaced this one after 2 of 7 cells."
            " S3 is away.",
        ),
        (
            ended(3),
            ended(0, cells={"total": 0, "finished": 0}),
            Category.UNKNOWN,
            "The notebook's container ended with exit code 3. Its log says more.",
        ),
        (
            ended(137),
            ended(0, cells=CELLS),
            Category.UNKNOWN,
            "The notebook's container ended by SIGKILL after 2 of 7 cells. Its log says more.",
        ),
    ],
)
def test_what_the_notebooks_container_ended_with(
    notebook: dict[str, Any], files: dict[str, Any], category: Category, message: str
) -> None:
    found = diagnose(job("Failed"), [pod(notebook=notebook, files=files)])

    assert (found.category, found.message) == (category, message)


def test_a_container_that_the_kernel_spared_did_not_run_out_of_memory() -> None:
    spared = pod(notebook=ended(0, "OOMKilled"), files=ended(31))

    assert diagnose(job("Failed"), [spared]).category is Category.OUTPUTS


@pytest.mark.parametrize(
    ("reason", "said", "category", "message"),
    [
        (
            "PreemptionByScheduler",
            "",
            Category.DISRUPTED,
            f"The run was displaced by one of higher priority. {AGAIN}",
        ),
        (
            "DeletionByTaintManager",
            "",
            Category.DISRUPTED,
            f"The node of the run was lost. {AGAIN}",
        ),
        ("DeletionByPodGC", "", Category.DISRUPTED, f"The node of the run was lost. {AGAIN}"),
        (
            "EvictionByEvictionAPI",
            "Eviction API: evicting",
            Category.EVICTED,
            f"The run was evicted from its node: Eviction API: evicting. {AGAIN}",
        ),
        (
            "TerminationByKubelet",
            "",
            Category.EVICTED,
            f"The run was evicted from its node: no reason is given. {AGAIN}",
        ),
        ("Unheard", "", Category.DISRUPTED, f"The run was ended by the cluster. {AGAIN}"),
    ],
)
def test_what_the_cluster_did_to_a_pod(
    reason: str, said: str, category: Category, message: str
) -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": said,
    }

    found = diagnose(job("Failed"), [pod(conditions=[condition], files=ended(33))])

    assert (found.category, found.message) == (category, message)


def test_a_disruption_that_was_called_off_is_none() -> None:
    off = {"type": "DisruptionTarget", "status": "False", "reason": "DeletionByPodGC"}

    assert diagnose(job("Failed"), [pod(conditions=[off], files=ended(30))]).category is (
        Category.INPUTS
    )


@pytest.mark.parametrize(
    ("result", "category", "message"),
    [
        (
            {"outcome": "out-of-memory", "memory_limit_bytes": 3 * 1024**2},
            Category.OUT_OF_MEMORY,
            "The notebook ran out of memory: it used more than its limit of 3Mi. Ask for more"
            " memory, or read the data in smaller parts.",
        ),
        (
            {"outcome": "replaced", "cells": CELLS},
            Category.REPLACED,
            "The next run of this schedule began, and replaced this one after 2 of 7 cells."
            f" {SAVED}",
        ),
        (
            {"outcome": "notebook-lost", "cells": CELLS},
            Category.UNKNOWN,
            "The notebook's container was ended from outside after 2 of 7 cells.",
        ),
        (
            {"outcome": "cell-error", "error": {"name": "E", "value": "v", "cell": 1}},
            Category.CELL_ERROR,
            "Cell 1 raised E: v",
        ),
        ({"outcome": "completed"}, Category.UNKNOWN, "The run failed: Kubernetes gives no reason."),
    ],
)
def test_what_a_run_left_about_itself_where_its_pod_is_gone(
    result: dict[str, Any], category: Category, message: str
) -> None:
    found = diagnose(job("Failed"), [], result)

    assert (found.category, found.message) == (category, message)


@pytest.mark.parametrize(
    ("kubernetes_job", "category", "message"),
    [
        (
            job(
                "Failed",
                annotations=end_patch("failed", category="IMAGE", message="It was not there.")[
                    "metadata"
                ]["annotations"],
            ),
            Category.IMAGE,
            "It was not there.",
        ),
        (
            job("Failed", annotations=end_patch("failed")["metadata"]["annotations"]),
            Category.UNKNOWN,
            "The run was ended by the server.",
        ),
        (
            job("FailureTarget", reason="DeadlineExceeded"),
            Category.DEADLINE,
            f"The run took longer than its time limit of 3600 seconds. {SAVED}",
        ),
        (
            job("Failed", reason="PodFailurePolicy"),
            Category.UNKNOWN,
            "The run failed: PodFailurePolicy.",
        ),
    ],
)
def test_what_the_job_itself_says(
    kubernetes_job: dict[str, Any], category: Category, message: str
) -> None:
    found = diagnose(kubernetes_job, [])

    assert (found.category, found.message) == (category, message)


def test_a_stop_that_lost_the_outputs_says_so() -> None:
    stopped = job("Failed", annotations=end_patch("stopped")["metadata"]["annotations"])

    found = diagnose(stopped, [pod(notebook=ended(24), files=ended(31, message="S3 is away."))])

    assert (found.category, found.message) == (
        Category.STOPPED,
        "The job was stopped. S3 is away.",
    )


HINT = (
    "Its image needs python3 and an entry point that runs its arguments, and its memory limit must"
    " be enough to start it."
)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"terminated": {"exitCode": 128, "message": "exec: python3: not found"}},
            f"The notebook's container did not start: exec: python3: not found. {HINT}",
        ),
        (
            {"terminated": {"exitCode": 2}},
            f"The notebook's container ended with exit code 2 before it began. {HINT}",
        ),
    ],
)
def test_a_container_that_never_began(state: dict[str, Any], message: str) -> None:
    found = never_began(pod(notebook=state))

    assert (found.category, found.message) == (Category.CONTAINER, message)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("1 Insufficient ephemeral-storage.", "Cannot schedule: Insufficient disk space available"),
        ("1 Too many pods.", "Cannot schedule: All nodes are full"),
        (
            "1 node(s) didn't match Pod's node affinity/selector.",
            "Cannot schedule: No node matches the required labels",
        ),
        ("1 node(s) were unschedulable.", "Cannot schedule: All nodes are closed to new work"),
        (
            "1 Insufficient memory, 2 Insufficient amd.com/gpu.",
            "Cannot schedule: No nodes with GPU available",
        ),
        (
            "1 Insufficient nvidia.com/mig-1g.5gb.",
            "Cannot schedule: No nodes with GPU available",
        ),
        ("", "Cannot schedule: no reason is given."),
    ],
)
def test_why_no_node_takes_a_pod(said: str, message: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": said}

    found = waiting_reason(pod(phase="Pending", conditions=[condition]))

    assert found is not None
    assert (found.category, found.message) == (Category.UNSCHEDULABLE, message)


@pytest.mark.parametrize(
    ("state", "category", "message"),
    [
        (
            waiting("InvalidImageName", "couldn't parse image name"),
            Category.IMAGE,
            f"The image {IMAGE} can't be pulled: couldn't parse image name. Check its name, and"
            " that the cluster may read it.",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "nb-s3-1" not found'),
            Category.CONTAINER,
            "The Secret nb-s3-1 with the S3 credentials is missing. Create any job to have it made"
            " again.",
        ),
        (
            waiting("CreateContainerError", "no space left on device"),
            Category.CONTAINER,
            "The container can't be started: no space left on device.",
        ),
        (
            waiting("RunContainerError", "exec format error"),
            Category.CONTAINER,
            "The container can't be started: exec format error.",
        ),
        (
            waiting("StartError", "image will run as root"),
            Category.CONTAINER,
            f"The image {IMAGE} runs as root, which this namespace doesn't allow. Use an image with"
            " a user of its own, such as the usual Jupyter images.",
        ),
    ],
)
def test_why_a_container_does_not_start(
    state: dict[str, Any], category: Category, message: str
) -> None:
    found = waiting_reason(pod(phase="Pending", notebook=state, files=RUNNING))

    assert found is not None
    assert (found.category, found.message) == (category, message)
    assert diagnose(job("Failed"), [pod(phase="Pending", notebook=state)]).message == message


def test_only_an_image_name_that_is_none_is_hopeless() -> None:
    assert is_hopeless(pod(notebook=waiting("InvalidImageName"), files=RUNNING))
    assert not is_hopeless(pod(notebook=waiting("ErrImagePull"), files=RUNNING))


def test_a_container_that_is_being_created_waits_for_no_reason() -> None:
    assert waiting_reason(pod(notebook=waiting("ContainerCreating"))) is None


def test_a_completed_run_says_which_formats_could_not_be_made() -> None:
    done = pod(
        notebook=ended(0),
        files=ended(
            0,
            kernel_note="Another kernel ran it.",
            failed_outputs={"latex": "The image has no pandoc."},
        ),
    )

    assert remark(job("Complete"), [done]) == "Another kernel ran it. The image has no pandoc."
    assert remark(job("Complete"), [pod(notebook=ended(0), files=ended(0))]) is None


def test_a_refused_pod_is_told_while_there_is_none() -> None:
    kept = {"category": "REFUSED", "summary": "The quota is used up.", "hint": "Ask for less."}
    refused = job(annotations={names.WAITING_ANNOTATION: json.dumps(kept)})

    assert derive(refused, [], NOW).message == "The quota is used up. Ask for less."
    assert derive(refused, [], NOW).status.value == "QUEUED"
    assert derive(refused, [pod(notebook=RUNNING)], NOW).message is None


def test_a_run_starts_when_its_first_notebook_container_does() -> None:
    def began(at: str, created: str) -> dict[str, Any]:
        return pod(notebook={"terminated": {"exitCode": 1, "startedAt": at}}, created=created)

    retried = [
        began("2026-03-01T12:09:00Z", "2026-03-01T12:08:00Z"),
        began("2026-03-01T12:01:00Z", CREATED),
    ]
    running = [pod(notebook={"running": {"startedAt": "2026-03-01T12:01:00Z"}})]

    at = int(seconds("2026-03-01T12:01:00Z") * 1000)
    assert derive(job("Failed"), retried, NOW).start_time == at
    assert derive(job(), running, NOW).start_time == at


def test_a_run_whose_pods_are_gone_started_with_its_job() -> None:
    assert derive(job("Failed"), [], NOW).start_time == int(seconds(CREATED) * 1000)
    assert derive(job("Complete"), [], NOW).start_time == int(seconds(CREATED) * 1000)
    assert derive(job(), [], NOW).start_time is None
    assert derive(job("FailureTarget"), [], NOW).start_time is None


def test_a_completed_run_ended_when_kubernetes_says_so() -> None:
    done = job("Complete", completionTime="2026-03-01T12:04:00Z")

    assert derive(done, [], NOW).end_time == int(seconds("2026-03-01T12:04:00Z") * 1000)
    assert derive(job("Complete"), [], NOW).end_time == int(seconds("2026-03-01T12:05:00Z") * 1000)
    assert derive(job(), [pod(notebook=RUNNING)], NOW).end_time is None


def test_a_condition_that_does_not_hold_decides_nothing() -> None:
    undecided = job("Failed")
    undecided["status"]["conditions"][0]["status"] = "False"

    assert derive(undecided, [pod(notebook=RUNNING)], NOW).status.value == "IN_PROGRESS"


def test_the_newest_pod_says_why_a_run_waits() -> None:
    old = pod(phase="Pending", notebook=waiting("ErrImagePull", "old"))
    new = pod(
        phase="Pending", notebook=waiting("ErrImagePull", "new"), created="2026-03-01T12:01:00Z"
    )

    found = derive(job(), [old, new], seconds(CREATED) + 100)

    assert "can't be pulled: new" in str(found.message)
