"""What an administrator and the nodes offer, on the cluster: from the form to the pod."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.support import Kubectl, create, ended, text_outputs, until, write
from cluster.support import download as downloaded
from jupyter_scheduler_k8s.catalog import size_amounts
from jupyter_scheduler_k8s.quantities import amount
from local_lab.server import LabServer, RequestFailed

StartServer = Callable[..., LabServer]

SETTINGS = """\
c.K8sConfig.environments = [
    {"name": "usual", "label": "Usual Jupyter", "image": "%s", "memory": "300Mi"}
]
c.K8sConfig.profiles = {
    "as the cluster has it": {},
    "shared memory": {
        "cpu": "100m",
        "pod_template": {
            "metadata": {"labels": {"size": "shared"}},
            "spec": {
                "volumes": [
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "100Mi"}}
                ],
                "containers": [
                    {
                        "name": "notebook",
                        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                    }
                ],
            },
        },
    },
    "huge": {"cpu": 9000},
}
"""


@pytest.fixture
def home(tmp_path: Path, cluster: dict[str, str]) -> Path:
    """The home of a server whose administrator has written a configuration file."""
    folder = tmp_path / "home"
    (folder / ".jupyter").mkdir(parents=True)
    (folder / ".jupyter/jupyter_server_config.py").write_text(
        SETTINGS % cluster["K8S_TEST_IMAGE_JUPYTER_LIKE"]
    )
    return folder


def form(server: LabServer) -> Any:
    """What the form is told of the nodes."""
    request = urllib.request.Request(f"{server.url}jupyter_scheduler_k8s/form")
    request.add_header("Authorization", f"token {server.token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_an_environment_and_a_profile_reach_the_pod(
    start_server: StartServer, kubectl: Kubectl, cluster: dict[str, str], home: Path
) -> None:
    server = start_server(home=home, changes={"K8S_SCHEDULING_TIMEOUT": "120"})
    write(server, "n.ipynb", "import shutil\nprint(shutil.disk_usage('/dev/shm').total)")
    (offered,) = server.request("GET", "runtime_environments")
    asked = {"runtime_environment_name": "usual", "package_input_folder": False}

    job_id = create(server, "n.ipynb", compute_type="shared memory", **asked)
    huge = create(server, "n.ipynb", compute_type="huge", **asked)
    with pytest.raises(RequestFailed, match="these are: usual"):
        create(server, "n.ipynb", runtime_environment_name="python3")

    assert offered["label"] == "Usual Jupyter"
    assert offered["compute_types"] == ["as the cluster has it", "shared memory", "huge"]
    assert [entry["label"] for entry in offered["output_formats"]] == ["Notebook", "HTML"]
    job = ended(server, job_id)
    assert job["status"] == "COMPLETED", job["status_message"]
    assert text_outputs(downloaded(server, job_id)["ipynb"].read_text()) == [f"{100 << 20}\n"]
    (pod,) = kubectl.pods(job_id)
    notebook = next(entry for entry in pod["spec"]["containers"] if entry["name"] == "notebook")
    assert notebook["image"] == cluster["K8S_TEST_IMAGE_JUPYTER_LIKE"]
    assert notebook["resources"]["requests"] == {"cpu": "100m", "memory": "300Mi"}
    assert pod["metadata"]["labels"]["size"] == "shared"

    # More than any node has is never refused: it waits, and says so.
    def said() -> Any:
        return server.request("GET", f"jobs/{huge}")["status_message"]

    assert until(said, seconds=60, what="why it waits") == (
        "Cannot schedule: Insufficient CPU available"
    )


def test_the_form_knows_the_nodes_where_the_server_may_list_them(
    start_server: StartServer, kubectl: Kubectl, cluster: dict[str, str]
) -> None:
    ordinary = start_server()
    allowed = start_server(changes={"KUBECONFIG": cluster["KUBECONFIG"]})

    assert form(ordinary) == {"largest_node": None, "gpu_kinds": [], "remark": None}
    (environment,) = ordinary.request("GET", "runtime_environments")
    assert environment["compute_types"] is None
    known = form(allowed)
    (node,) = kubectl.get("nodes")
    assert known["largest_node"]["cpu"] == node["status"]["allocatable"]["cpu"]
    assert known["largest_node"]["memory"].endswith("Gi")
    assert known["remark"] is None
    (environment,) = allowed.request("GET", "runtime_environments")
    assert len(environment["compute_types"]) == 4

    # A size is a name that says what it gives.
    write(allowed, "n.ipynb", "1")
    smallest = environment["compute_types"][-1]
    job_id = create(allowed, "n.ipynb", compute_type=smallest, package_input_folder=False)
    assert ended(allowed, job_id)["status"] == "COMPLETED"
    (pod,) = kubectl.pods(job_id)
    requests = pod["spec"]["containers"][1]["resources"]["requests"]
    given = size_amounts(smallest)
    assert {name: amount(text) for name, text in requests.items()} == {
        name: amount(text) for name, text in given.items()
    }


def test_the_optional_role_lists_nodes_and_opens_nothing_else(kubectl: Kubectl, owner: str) -> None:
    path = Path(__file__).parents[2] / "deploy/nodes.yaml"
    role, binding = yaml.safe_load_all(path.read_text())
    account = {"kind": "ServiceAccount", "name": owner, "namespace": kubectl.namespace}
    # Under another name, for an account of its own: other tests see only the Role.
    role["metadata"]["name"] = binding["metadata"]["name"] = binding["roleRef"]["name"] = owner
    binding["subjects"] = [account]

    def may(verb: str, resource: str) -> str:
        user = f"--as=system:serviceaccount:{kubectl.namespace}:{owner}"
        return kubectl.run("auth", "can-i", verb, resource, user, check=False).strip()

    try:
        kubectl.apply(role)
        kubectl.apply(binding)
        until(lambda: may("list", "nodes") == "yes", seconds=10, what="the right")
        assert {may(*asked) for asked in (("get", "nodes"), ("watch", "nodes"))} == {"no"}
        assert {may("list", what) for what in ("pods", "secrets")} == {"no"}
    finally:
        kubectl.run("delete", "clusterrolebinding,clusterrole", owner)
