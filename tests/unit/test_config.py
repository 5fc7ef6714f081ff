"""Where a setting comes from, and what becomes of a wrong one."""

import getpass

import pytest
from traitlets.config import Config

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import ConfigurationError


def test_the_defaults() -> None:
    found = K8sConfig()

    assert (found.namespace, found.image) == ("default", "jupyter-scheduler-k8s:latest")
    assert (found.image_pull_policy, found.scheduling_timeout) == ("", 300)
    assert (found.s3_bucket, found.s3_endpoint_url) == ("", "")
    assert found.owner == getpass.getuser()


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_NAMESPACE", "from-environment")
    monkeypatch.setenv("S3_BUCKET", "from-environment")

    found = K8sConfig(config=Config({"K8sConfig": {"namespace": "from-command-line"}}))

    assert (found.namespace, found.s3_bucket) == ("from-command-line", "from-environment")


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K8S_NAMESPACE", "  ")
    assert K8sConfig().namespace == "default"


def test_jupyterhub_names_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "mira@example.org")
    assert K8sConfig().owner == "mira@example.org"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("K8S_SCHEDULING_TIMEOUT", "soon", "K8S_SCHEDULING_TIMEOUT must be a number; it is 'soon'"),
        (
            "K8S_SCHEDULING_TIMEOUT",
            "-5",
            "K8S_SCHEDULING_TIMEOUT must be a number of seconds above 0",
        ),
        (
            "K8S_SCHEDULING_TIMEOUT",
            "nan",
            "K8S_SCHEDULING_TIMEOUT must be a number of seconds above 0",
        ),
        (
            "K8S_IMAGE_PULL_POLICY",
            "never",
            "K8S_IMAGE_PULL_POLICY must be one of Always, IfNotPresent, Never",
        ),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=said):
        K8sConfig()


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(ConfigurationError, match="S3_BUCKET"):
        K8sConfig().require_bucket()


@pytest.mark.parametrize("name", ["Bad Bucket/x", "s3://bucket", "b", "-bucket", "bücket"])
def test_a_bucket_that_is_none_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be the name of a bucket"):
        K8sConfig(s3_bucket=name).require_bucket()


@pytest.mark.parametrize(
    ("context", "policy"),
    [
        ("kind-dev", "Never"),
        ("minikube", "Never"),
        ("docker-desktop", "Never"),
        ("jupyter-scheduler-k8s", "Never"),
        ("arn:aws:eks:eu-central-1:1:cluster/kind", "Always"),
        (None, "Always"),
    ],
)
def test_the_pull_policy_follows_the_context(context: str | None, policy: str) -> None:
    found = K8sConfig(image="ours:1")

    assert found.pull_policy("ours:1", context) == policy
    assert found.pull_policy("theirs:1", context) == "IfNotPresent"
    assert K8sConfig(image="ours:1", image_pull_policy="IfNotPresent").pull_policy(
        "ours:1", context
    ) == ("IfNotPresent")
