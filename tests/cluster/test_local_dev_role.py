"""What the manifests in deploy/ allow: the server exactly its Role, pods exactly the restricted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.support import Kubectl
from local_lab.environment import cluster_environment

DEPLOY = Path(__file__).parents[2] / "deploy"
# What every account may do: ask who it is and what it may (the role system:basic-user).
EVERYONE = ("authentication.k8s.io", "authorization.k8s.io")

REVIEW = """
apiVersion: authorization.k8s.io/v1
kind: SelfSubjectRulesReview
spec: {{namespace: {namespace}}}
"""

ORDINARY = """
apiVersion: v1
kind: Pod
metadata: {name: ordinary}
spec:
  containers:
    - {name: shell, image: none}
"""


@pytest.fixture(scope="module")
def server() -> Kubectl:
    """kubectl with the server's account."""
    environment = cluster_environment(administrator=False)
    return Kubectl(environment, environment["K8S_NAMESPACE"])


def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(API group, resource, verb) for everything that the rules allow."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule.get("apiGroups", [])
        for resource in rule.get("resources", [])
        for verb in rule["verbs"]
        if group not in EVERYONE
    }


def test_the_server_may_do_what_the_role_says_and_no_more(server: Kubectl) -> None:
    given = REVIEW.format(namespace=server.namespace)
    # Without validation on this side, which would read more than the server may.
    create = ("create", "--validate=false", "-f", "-", "-o", "json")
    review = json.loads(server.run(*create, stdin=given))
    assert review["status"]["incomplete"] is False

    role = next(
        document
        for document in yaml.safe_load_all((DEPLOY / "role.yaml").read_text())
        if document["kind"] == "Role"
    )
    assert rights(review["status"]["resourceRules"]) == rights(role["rules"])


@pytest.mark.parametrize(
    "question",
    [
        ("list", "secrets"),
        ("get", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("create", "serviceaccounts/token"),
        ("update", "jobs.batch/status"),
        ("list", "jobs.batch", "--namespace", "kube-system"),
    ],
)
def test_the_server_may_not(server: Kubectl, question: tuple[str, ...]) -> None:
    assert server.run("auth", "can-i", *question, check=False).strip() == "no"


def test_the_account_of_the_pods_may_nothing(kubectl: Kubectl) -> None:
    account = f"system:serviceaccount:{kubectl.namespace}:notebook-job"
    for verb, resource in (("get", "pods"), ("list", "secrets"), ("create", "jobs.batch")):
        said = kubectl.run("auth", "can-i", verb, resource, f"--as={account}", check=False)
        assert said.strip() == "no"


def test_the_namespace_refuses_what_the_restricted_standard_refuses(kubectl: Kubectl) -> None:
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        kubectl.run("create", "-f", "-", stdin=ORDINARY)
