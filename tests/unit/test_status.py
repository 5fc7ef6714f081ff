"""A table of Jobs and pods as Kubernetes shows them, and what a person must read of each."""

from typing import Any

import pytest

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.diagnosis import diagnose, diagnosis_annotation
from jupyter_scheduler_k8s.manifests import end_patch
from jupyter_scheduler_k8s.objects import seconds
from jupyter_scheduler_k8s.reasons import Category, Diagnosis
from jupyter_scheduler_k8s.status import derive
from support.objects import CREATED, NOW, RUNNING, ended, job, pod, waiting

UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
STOPPED = end_patch("stopped")["metadata"]["annotations"]
REPLACED = diagnosis_annotation(Diagnosis(Category.REPLACED, "The next run began."))
CELLS = {"total": 7, "finished": 2}


@pytest.mark.parametrize(
    ("kubernetes_job", "pods", "status"),
    [
        pytest.param(job(), [], "CREATED", id="no pod yet"),
        pytest.param(job(), [pod(phase="Pending")], "QUEUED", id="pod waits"),
        pytest.param(job(), [pod(files=RUNNING)], "QUEUED", id="only the files container runs"),
        pytest.param(job(), [pod(notebook=RUNNING)], "IN_PROGRESS", id="notebook runs"),
        pytest.param(
            job(), [pod(notebook=ended(0), files=RUNNING)], "IN_PROGRESS", id="outputs on their way"
        ),
        pytest.param(
            job(failed=1), [pod(notebook=RUNNING)], "IN_PROGRESS", id="a counter is no verdict"
        ),
        pytest.param(
            job("SuccessCriteriaMet"), [pod(notebook=ended(0))], "IN_PROGRESS", id="not final yet"
        ),
        pytest.param(job("Complete"), [], "COMPLETED", id="complete, pods gone"),
        pytest.param(job("Failed"), [], "FAILED", id="failed, pods gone"),
        pytest.param(
            job("FailureTarget", annotations=STOPPED),
            [pod(notebook=RUNNING)],
            "STOPPING",
            id="ending",
        ),
        pytest.param(job("Failed", annotations=STOPPED), [], "STOPPED", id="stopped"),
        pytest.param(
            job("Complete", annotations=STOPPED), [], "COMPLETED", id="the stop came too late"
        ),
        pytest.param(
            job("Failed"), [pod(notebook=ended(28), files=ended(35))], "STOPPED", id="replaced"
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(27), files=ended(35))],
            "STOPPED",
            id="replaced before its notebook began",
        ),
        pytest.param(
            job("Failed", annotations={names.DIAGNOSIS_ANNOTATION: REPLACED}),
            [],
            "STOPPED",
            id="replaced, pods gone",
        ),
        pytest.param(
            job(annotations={names.END_ANNOTATION: "not json"}),
            [pod(notebook=RUNNING)],
            "IN_PROGRESS",
            id="a damaged annotation decides nothing",
        ),
    ],
)
def test_conditions_decide_on_the_status(
    kubernetes_job: dict[str, Any], pods: list[dict[str, Any]], status: str
) -> None:
    assert derive(kubernetes_job, pods, NOW).status.value == status


@pytest.mark.parametrize(
    ("kubernetes_job", "pods", "category", "message"),
    [
        pytest.param(
            job("Failed"),
            [
                pod(
                    notebook=ended(20),
                    files=ended(
                        0, error={"name": "KeyError", "value": "'price'", "cell": 3}, cells=CELLS
                    ),
                )
            ],
            Category.CELL_ERROR,
            "Cell 3 raised KeyError: 'price'",
            id="cell error",
        ),
        pytest.param(
            job("Failed"),
            [
                pod(
                    notebook=ended(137, "OOMKilled"),
                    files=ended(0, cells=CELLS),
                    limits={"memory": "512Mi"},
                )
            ],
            Category.OUT_OF_MEMORY,
            "The notebook ran out of memory after 2 of 7 cells: it used more than its limit of"
            " 512Mi. Ask for more memory, or read the data in smaller parts.",
            id="whole container killed for memory",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(23), files=ended(0, cells=CELLS), limits={"memory": "1Gi"})],
            Category.OUT_OF_MEMORY,
            "The notebook ran out of memory after 2 of 7 cells: it used more than its limit of"
            " 1Gi. Ask for more memory, or read the data in smaller parts.",
            id="only the kernel killed for memory",
        ),
        pytest.param(
            job("Failed"),
            [
                pod(
                    phase="Failed",
                    notebook=ended(137, "Error"),
                    files=ended(33),
                    reason="Evicted",
                    message="The node was low on resource: memory. ",
                )
            ],
            Category.EVICTED,
            "The run was evicted from its node: The node was low on resource: memory. Run it"
            " again; asking for the memory and disk it needs makes this rarer.",
            id="evicted explains more than SIGKILL",
        ),
        pytest.param(
            job("Failed"),
            [
                pod(
                    phase="Failed",
                    files=ended(33),
                    conditions=[
                        {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
                    ],
                ),
                pod(notebook=ended(27), files=ended(32), created="2026-03-01T12:03:00Z"),
            ],
            Category.DISRUPTED,
            "The node of the run was lost. Run it again.",
            id="the first pod was lost, its replacement refused to run twice",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(27), files=ended(32))],
            Category.ALREADY_STARTED,
            "The pod of this run was lost after its notebook had begun; notebooks have side"
            " effects, so it was not started again. Run it again if that is safe.",
            id="only the replacement is left",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(0), files=ended(31, message="S3 does not answer."))],
            Category.OUTPUTS,
            "S3 does not answer.",
            id="outputs not stored",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(27), files=ended(30, message="The bucket is gone."))],
            Category.INPUTS,
            "The bucket is gone.",
            id="inputs missing outranks the notebook that waited for them",
        ),
        pytest.param(
            job("Failed"),
            [
                pod(
                    notebook=ended(21),
                    files=ended(0, message="No kernel julia; there are: python3."),
                )
            ],
            Category.KERNEL_MISSING,
            "No kernel julia; there are: python3.",
            id="kernel missing",
        ),
        pytest.param(
            job("Failed", annotations=STOPPED),
            [pod(notebook=ended(24), files=ended(33))],
            Category.STOPPED,
            "The job was stopped.",
            id="stopped",
        ),
        pytest.param(
            job("Failed", reason="DeadlineExceeded"),
            [],
            Category.DEADLINE,
            "The run took longer than its time limit of 3600 seconds. What it had computed can be"
            " downloaded.",
            id="time limit",
        ),
        pytest.param(
            job("Failed", reason="BackoffLimitExceeded", message="Job has reached the limit"),
            [],
            Category.UNKNOWN,
            "The run failed: Job has reached the limit.",
            id="nothing is left that says why",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(137), files=ended(0, outcome="notebook-lost"))],
            Category.UNKNOWN,
            "The notebook's container ended by SIGKILL. Its log says more.",
            id="killed from outside",
        ),
        pytest.param(
            job("Failed"),
            [pod(notebook=ended(20), files=ended(0, error="forged", cells="forged"))],
            Category.CELL_ERROR,
            "A cell raised an error; see the notebook.",
            id="the pod's words are not trusted",
        ),
    ],
)
def test_a_failure_says_why(
    kubernetes_job: dict[str, Any], pods: list[dict[str, Any]], category: Category, message: str
) -> None:
    found = diagnose(kubernetes_job, pods)

    assert (found.category, found.message) == (category, message)
    assert derive(kubernetes_job, pods, NOW).message == message


def test_a_failure_waits_for_the_pod_that_says_why_but_not_for_ever() -> None:
    failed, stale = job("Failed"), [pod(notebook=RUNNING, files=RUNNING)]
    at = seconds("2026-03-01T12:05:00Z")

    assert derive(failed, stale, at + 1).status.value == "IN_PROGRESS"
    assert derive(failed, stale, at + 11).status.value == "FAILED"
    assert derive(failed, [], at + 1).status.value == "FAILED"


def test_a_kept_diagnosis_survives_its_pods() -> None:
    gone = pod(notebook=ended(23), files=ended(0), limits={"memory": "1Gi"})
    before = diagnose(job("Failed"), [gone])

    kept = {names.DIAGNOSIS_ANNOTATION: diagnosis_annotation(before)}

    assert diagnose(job("Failed", annotations=kept), []) == before


@pytest.mark.parametrize(
    ("waits", "message"),
    [
        (
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are"
            " available: 3 No preemption victims found for incoming pod.",
            "Cannot schedule: No nodes with GPU available",
        ),
        (
            "0/1 nodes are available: 1 Insufficient memory.",
            "Cannot schedule: Insufficient memory available",
        ),
        (
            "0/1 nodes are available: 1 Insufficient cpu.",
            "Cannot schedule: Insufficient CPU available",
        ),
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint(s).",
            "Cannot schedule: All nodes are reserved for other work (taints)",
        ),
        (
            "no nodes available to schedule pods",
            "Cannot schedule: no nodes available to schedule pods.",
        ),
    ],
)
def test_a_pod_without_a_node_says_why_after_30_seconds(waits: str, message: str) -> None:
    pending = pod(phase="Pending", conditions=[UNSCHEDULABLE | {"message": waits}])

    assert derive(job(), [pending], seconds(CREATED) + 29.9).message is None
    assert derive(job(), [pending], seconds(CREATED) + 30).message == message


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            waiting("ErrImagePull", "manifest unknown"),
            "The image registry.example/team/image:1 can't be pulled: manifest unknown. Check its"
            " name, and that the cluster may read it.",
        ),
        (
            waiting(
                "ImagePullBackOff",
                'Back-off pulling image "registry.example/team/image:1": ErrImagePull: no host',
            ),
            "The image registry.example/team/image:1 can't be pulled: ErrImagePull: no host."
            " Check its name, and that the cluster may read it.",
        ),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "registry.example/team/image:1"'),
            "The image registry.example/team/image:1 can't be pulled. Check its name, and that the"
            " cluster may read it.",
        ),
        (
            waiting("ErrImageNeverPull"),
            "The image registry.example/team/image:1 is not on the node, and its pull policy is"
            " Never. Load it into the cluster, or set K8S_IMAGE_PULL_POLICY.",
        ),
        (
            waiting(
                "CreateContainerConfigError",
                "container has runAsNonRoot and image will run as root (pod: ...)",
            ),
            "The image registry.example/team/image:1 runs as root, which this namespace doesn't"
            " allow. Use an image with a user of its own, such as the usual Jupyter images.",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "nb-s3-0123" not found'),
            "The Secret nb-s3-0123 with the S3 credentials is missing. Create any job to have it"
            " made again.",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "api" not found'),
            "The Secret api, from which the notebook gets a variable, is missing. Create it in the"
            " namespace, or correct k8s_env.",
        ),
        (
            waiting("CreateContainerConfigError", "couldn't find key token in Secret team/api"),
            "The Secret api, from which the notebook gets a variable, has no key token. Add it to"
            " the Secret, or correct k8s_env.",
        ),
    ],
)
def test_a_container_that_cannot_start_says_why(state: dict[str, Any], message: str) -> None:
    pending = pod(phase="Pending", notebook=state, files=RUNNING)

    assert derive(job(), [pending], seconds(CREATED) + 31).message == message


def test_times_come_from_the_container_and_the_condition() -> None:
    found = derive(job("Failed"), [pod(notebook=ended(20))], NOW)

    assert found.start_time == int(seconds("2026-03-01T12:00:02Z") * 1000)
    assert found.end_time == int(seconds("2026-03-01T12:05:00Z") * 1000)


def test_a_completed_run_tells_of_a_kernel_that_stood_in() -> None:
    note = "The image has no kernel conda-env; its kernel python3 ran the notebook."
    found = derive(job("Complete"), [pod(notebook=ended(0), files=ended(0, kernel_note=note))], NOW)

    assert found.message == note


def retried(*conditions: str, failed: int = 0, **options: Any) -> dict[str, Any]:
    """A Job that may be tried three times."""
    found = job(*conditions, failed=failed, **options)
    found["spec"]["backoffLimit"] = 2
    return found


CELL_ERROR: dict[str, Any] = {"error": {"name": "KeyError", "value": "1", "cell": 3}}
FAILED_POD = pod(phase="Failed", notebook=ended(20), files=ended(0, **CELL_ERROR))
LATER = "2026-03-01T12:02:00Z"


@pytest.mark.parametrize(
    ("kubernetes_job", "pods", "expected"),
    [
        pytest.param(
            retried(failed=1),
            [FAILED_POD],
            (
                "QUEUED",
                "Attempt 1 of 3 failed, and the next one follows. Cell 3 raised KeyError: 1",
            ),
            id="waits for the second attempt",
        ),
        pytest.param(
            retried(),
            [FAILED_POD],
            (
                "QUEUED",
                "Attempt 1 of 3 failed, and the next one follows. Cell 3 raised KeyError: 1",
            ),
            id="its first failure isn't counted yet",
        ),
        pytest.param(
            retried(failed=1),
            [FAILED_POD, pod(phase="Pending", created=LATER)],
            ("QUEUED", None),
            id="the second pod is placed",
        ),
        pytest.param(
            retried(failed=1),
            [FAILED_POD, pod(notebook=RUNNING, files=RUNNING, created=LATER)],
            ("IN_PROGRESS", "Attempt 2 of 3."),
            id="the second attempt runs",
        ),
        pytest.param(
            retried(),
            [pod(notebook=RUNNING, files=RUNNING)],
            ("IN_PROGRESS", None),
            id="the first attempt runs",
        ),
        pytest.param(
            retried(failed=3),
            [FAILED_POD],
            ("IN_PROGRESS", "Attempt 3 of 3."),
            id="no attempt is left, and the verdict is awaited",
        ),
        pytest.param(
            retried("FailureTarget", failed=1),
            [FAILED_POD],
            ("IN_PROGRESS", None),
            id="it is being ended",
        ),
        pytest.param(
            retried(),
            [pod(phase="Failed", notebook=ended(21), files=ended(0))],
            ("IN_PROGRESS", None),
            id="what would fail again is not tried again",
        ),
        pytest.param(
            retried(),
            [pod(phase="Failed", notebook=ended(28), files=ended(35))],
            ("IN_PROGRESS", None),
            id="what was replaced is not tried again",
        ),
        pytest.param(
            retried(),
            [pod(phase="Failed", notebook=ended(27), files=ended(35))],
            ("IN_PROGRESS", None),
            id="nor is what was replaced before it began",
        ),
        pytest.param(
            retried(failed=1, annotations=end_patch("stopped")["metadata"]["annotations"]),
            [FAILED_POD],
            ("STOPPING", None),
            id="it is stopped while it waits",
        ),
    ],
)
def test_a_job_with_attempts_left_stands_where_its_newest_pod_does(
    kubernetes_job: dict[str, Any], pods: list[dict[str, Any]], expected: tuple[str, str | None]
) -> None:
    found = derive(kubernetes_job, pods, seconds(LATER) + 5)

    assert (found.status.value, found.message) == expected


def test_of_several_attempts_the_last_ones_failure_is_told() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on disk.")
    last = pod(phase="Failed", notebook=ended(20), files=ended(0, **CELL_ERROR), created=LATER)

    found = diagnose(retried("Failed", failed=3), [evicted, last])

    assert found.category is Category.CELL_ERROR
    assert found.message == "Attempt 3 of 3: Cell 3 raised KeyError: 1"
    once = job("Failed", failed=2)
    assert diagnose(once, [evicted, last]).category is Category.EVICTED
    late = diagnose(retried("Failed", failed=2, reason="DeadlineExceeded"), [evicted, last])
    assert late.summary == "The run took longer than its time limit of 3600 seconds."
