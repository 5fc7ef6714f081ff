"""What the events of a Job without a pod mean to a person."""

import pytest

from jupyter_scheduler_k8s.waiting import event_reason

FORBIDDEN = 'Error creating: pods "nb-job-1-x7k2p" is forbidden: '


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            FORBIDDEN + "exceeded quota: all, requested: pods=1, used: pods=5, limited: pods=5",
            "The namespace's quota is used up: exceeded quota: all, requested: pods=1, used:"
            " pods=5, limited: pods=5. Ask for less, delete jobs that are no longer needed, or have"
            " the quota raised.",
        ),
        (
            FORBIDDEN + "failed quota: all: must specify limits.memory for: files",
            "The namespace's quota wants every job to state what it needs: failed quota: all: must"
            " specify limits.memory for: files. Give the job CPU and memory.",
        ),
        (
            FORBIDDEN + 'violates PodSecurity "restricted:latest": runAsNonRoot != true',
            "The namespace's Pod Security Standard doesn't allow this pod: violates PodSecurity"
            ' "restricted:latest": runAsNonRoot != true. Change the pod\'s settings, or the'
            " namespace's standard.",
        ),
        (
            FORBIDDEN
            + "error looking up service account notebooks/nobody: serviceaccount"
            + ' "nobody" not found',
            "The service account nobody is not in the namespace. Create it, or change"
            " K8S_SERVICE_ACCOUNT.",
        ),
        (
            'Error creating: admission webhook "policy.example" denied the request: no owner label',
            'Kubernetes refused the request: admission webhook "policy.example" denied the request:'
            " no owner label.",
        ),
    ],
)
def test_a_refused_pod_is_told_in_words(said: str, message: str) -> None:
    found = event_reason([{"reason": "FailedCreate", "message": said}])

    assert found is not None
    assert found.message == message


def test_the_last_word_counts() -> None:
    old = {"reason": "FailedCreate", "message": "old", "lastTimestamp": "2026-03-01T12:00:00Z"}
    new = {"reason": "FailedCreate", "message": "new", "lastTimestamp": "2026-03-01T12:09:00Z"}
    after = {"reason": "SuccessfulCreate", "eventTime": "2026-03-01T12:10:00Z"}

    found = event_reason([new, old])

    assert found is not None
    assert "new" in found.summary
    assert event_reason([old, after, new]) is None


def test_a_volume_that_is_not_there_is_told() -> None:
    said = 'MountVolume.SetUp failed for volume "data" : secret "gone" not found'

    found = event_reason([{"reason": "FailedMount", "message": said}])

    assert found is not None
    assert found.message == (
        f"The pod can't be set up on its node: {said}. Ask whoever runs the cluster, or correct the"
        " pod template."
    )


def test_a_job_that_nothing_refused_waits_for_no_reason() -> None:
    assert event_reason([{"reason": "SuccessfulCreate", "message": "Created pod: x"}]) is None
