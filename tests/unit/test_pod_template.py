"""The administrator's pod template: what reaches the pod, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import ConfigurationError
from jupyter_scheduler_k8s.manifests import Placement, job_manifest
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.pod_template import VOLUMES, merge
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.variables import Variable

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"team": "research"}, "annotations": {"example.org/cost": "42"}},
    "spec": {
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"disk": "fast"},
        "imagePullSecrets": [{"name": "registry"}],
        "priorityClassName": "batch",
        "serviceAccountName": "reader",
        "securityContext": {"supplementalGroups": [5000]},
        "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
        "containers": [
            {
                "name": "notebook",
                "env": [{"name": "PROXY", "value": "p"}, {"name": "MODE", "value": "template"}],
                "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
            }
        ],
    },
}


def pod(template: Any, *, options: JobOptions | None = None, **settings: Any) -> Any:
    config = K8sConfig(s3_bucket="jobs", owner="mira", pod_template=template, **settings)
    record = JobRecord(job_id="1", object_name="nb-job-1", owner="mira", input_filename="n.ipynb")
    manifest = job_manifest(
        record,
        config,
        options=options or JobOptions(),
        placement=Placement(),
        credentials=("ca.crt",),
    )
    return manifest["spec"]["template"]


def test_a_template_adds_to_the_pod_and_changes_nothing_of_it() -> None:
    plain, found = pod({}), pod(TEMPLATE)

    spec, own = found["spec"], plain["spec"]
    assert found["metadata"]["labels"] == {"team": "research", **plain["metadata"]["labels"]}
    assert found["metadata"]["annotations"]["example.org/cost"] == "42"
    for field in ("tolerations", "nodeSelector", "imagePullSecrets", "priorityClassName"):
        assert spec[field] == TEMPLATE["spec"][field]
    assert spec["serviceAccountName"] == "reader"
    assert spec["securityContext"] == {"supplementalGroups": [5000], **own["securityContext"]}
    assert spec["volumes"] == TEMPLATE["spec"]["volumes"] + own["volumes"]
    files, notebook = spec["containers"]
    assert files == own["containers"][0]
    assert notebook["env"] == TEMPLATE["spec"]["containers"][0]["env"]
    assert notebook["volumeMounts"] == [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "job", "mountPath": "/job"},
    ]
    assert {**notebook, "env": 0, "volumeMounts": 0} == {
        **own["containers"][1],
        "env": 0,
        "volumeMounts": 0,
    }


def test_a_user_may_set_a_variable_that_the_template_sets() -> None:
    options = JobOptions(variables=(Variable(name="MODE", value="mine"),))

    assert pod(TEMPLATE, options=options)["spec"]["containers"][1]["env"] == [
        {"name": "PROXY", "value": "p"},
        {"name": "MODE", "value": "mine"},
    ]


def test_the_more_specific_template_is_merged_first_and_wins() -> None:
    profile = {"metadata": {"labels": {"team": "profile"}}, "spec": {"nodeSelector": {"disk": "x"}}}

    found = merge(pod({}), profile, TEMPLATE)

    assert found["metadata"]["labels"]["team"] == "profile"
    assert found["spec"]["nodeSelector"] == {"disk": "x"}
    assert found["spec"]["priorityClassName"] == "batch"


def test_a_template_can_be_a_file(tmp_path: Path) -> None:
    for name, text in (
        ("template.json", json.dumps(TEMPLATE)),
        ("template.yaml", "kind: Pod\nspec:\n  nodeSelector:\n    disk: fast\n"),
    ):
        path = tmp_path / name
        path.write_text(text)
        assert pod(str(path))["spec"]["nodeSelector"] == {"disk": "fast"}


def test_a_file_can_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text("metadata: {labels: {team: research}}")
    monkeypatch.setenv("K8S_POD_TEMPLATE", str(path))
    assert K8sConfig().pod_template == {"metadata": {"labels": {"team": "research"}}}


@pytest.mark.parametrize("text", [None, "{", "- 1", "a: [", "just words"])
def test_a_file_that_is_no_template_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "template.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"K8S_POD_TEMPLATE names .*template\.yaml"):
        K8sConfig(pod_template=str(path))


def of_spec(**fields: Any) -> dict[str, Any]:
    return {"spec": fields}


def of_notebook(**fields: Any) -> dict[str, Any]:
    return of_spec(
        volumes=[{"name": "data", "emptyDir": {}}],
        containers=[{"name": "notebook", **fields}],
    )


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ({"status": {}}, "status"),
        ({"kind": "Deployment"}, "kind"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"labels": {"jupyter-scheduler.io/owner": "x"}}}, "metadata.labels."),
        ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}}, "metadata.labels."),
        ({"metadata": {"labels": {"job-name": "x"}}}, "metadata.labels.job-name"),
        ({"metadata": {"labels": {"n": 1}}}, "metadata.labels.n must be text"),
        ({"metadata": {"annotations": {"eks.amazonaws.com/skip-containers": ""}}}, "annotations."),
        ({"metadata": {"labels": []}}, "metadata.labels must be a mapping"),
        ({"spec": []}, "spec must be a mapping"),
        (of_spec(restartPolicy="Always"), "spec.restartPolicy"),
        (of_spec(automountServiceAccountToken=True), "spec.automountServiceAccountToken"),
        (of_spec(hostNetwork=True), "spec.hostNetwork"),
        (of_spec(shareProcessNamespace=True), "spec.shareProcessNamespace"),
        (of_spec(initContainers=[]), "spec.initContainers"),
        (of_spec(activeDeadlineSeconds=1), "spec.activeDeadlineSeconds"),
        (of_spec(securityContext={"runAsUser": 0}), "spec.securityContext.runAsUser"),
        (of_spec(tolerations={}), "spec.tolerations must be a list"),
        (of_spec(schedulerName=1), "spec.schedulerName must be text"),
        (of_spec(volumes=["data"]), r"spec.volumes\[0\] must be a mapping with a name"),
        *((of_spec(volumes=[{"name": name}]), r"spec.volumes\[0\].name") for name in VOLUMES),
        (of_spec(containers=[{"name": "files"}]), r"spec.containers\[0\].name must be 'notebook'"),
        (of_spec(containers=[{"name": "notebook"}] * 2), "spec.containers can have one entry"),
        (of_notebook(image="x"), r"spec.containers\[0\].image"),
        (of_notebook(command=["x"]), r"spec.containers\[0\].command"),
        (of_notebook(securityContext={}), r"spec.containers\[0\].securityContext"),
        (of_notebook(env=[{"value": "x"}]), r"env\[0\] must be a mapping with a name"),
        *(
            (
                of_notebook(volumeMounts=[{"name": "data", "mountPath": path}]),
                r"volumeMounts\[0\].mountPath",
            )
            for path in ("/", "/job", "//job/work", "/data/../job", "data", None)
        ),
        (of_notebook(volumeMounts=[{"name": "job", "mountPath": "/x"}]), r"\[0\].name 'job' is"),
    ],
)
def test_what_would_change_the_pod_is_refused_by_name(template: Any, field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"The pod template's .*{field}"):
        K8sConfig(pod_template=template)


def test_our_volumes_are_those_of_the_manifest() -> None:
    assert {volume["name"] for volume in pod({})["spec"]["volumes"]} == set(VOLUMES)
