"""The environments and profiles that an administrator lists: what jobs get of them."""

import re
from typing import Any

import pytest
from traitlets.config import Config

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.admission import admit
from jupyter_scheduler_k8s.catalog import size_amounts, size_name
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.errors import BackendError, ConfigurationError
from jupyter_scheduler_k8s.manifests import Placement, job_manifest
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.records import DefinitionRecord, JobRecord
from jupyter_scheduler_k8s.resources import Resources

ENVIRONMENTS = [
    {"name": "plain", "image": "team/plain:1"},
    {"name": "torch", "image": "team/torch:2", "cpu": 2, "memory": "8Gi", "gpu": 1},
]
PROFILES: dict[str, dict[str, Any]] = {
    "as the cluster has it": {},
    "small": {"cpu": "500m", "memory": "1Gi"},
    "without a GPU": {"gpu": 0},
    "large": {
        "cpu": "8",
        "gpu": 2,
        "gpu_kind": "amd.com/gpu",
        "pod_template": {
            "metadata": {"labels": {"size": "large"}},
            "spec": {
                "serviceAccountName": "large",
                "nodeSelector": {"pool": "large"},
                "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
                "containers": [
                    {
                        "name": "notebook",
                        "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                    }
                ],
            },
        },
    },
}


def config(**settings: Any) -> K8sConfig:
    return K8sConfig(
        **{"s3_bucket": "files", "owner": "mira"}
        | {"environments": ENVIRONMENTS, "profiles": PROFILES}
        | settings
    )


def job(environment: str = "plain", profile: str | None = None, **parameters: Any) -> JobRecord:
    return JobRecord(
        job_id="a-1",
        object_name=names.job_name("a-1"),
        owner="mira",
        input_filename="n.ipynb",
        runtime_environment_name=environment,
        compute_type=profile,
        runtime_environment_parameters=parameters,
    )


def admitted(*asked: Any, settings: dict[str, Any] | None = None, **parameters: Any) -> JobOptions:
    return admit(job(*asked, **parameters), config(**settings or {}))


def test_an_environment_gives_its_image_and_what_it_says() -> None:
    found = admitted("torch")

    assert found.image == "team/torch:2"
    assert found.resources == Resources(cpu="2", memory="8Gi", gpu="1")
    assert admitted("plain") == JobOptions(image="team/plain:1")


def test_a_definition_gets_the_same() -> None:
    record = DefinitionRecord(
        job_definition_id="d-1",
        input_filename="n.ipynb",
        runtime_environment_name="torch",
        compute_type="small",
    )

    found = admit(record, config())

    assert (found.image, found.resources.cpu, found.resources.gpu) == ("team/torch:2", "500m", "1")


def test_a_profile_wins_over_the_environment_and_a_field_over_both() -> None:
    profile = admitted("torch", "large")
    field = admitted("torch", "large", k8s_cpu="3", k8s_gpu="0", k8s_image="mine:1")

    assert profile.resources == Resources(cpu="8", memory="8Gi", gpu="2", gpu_kind="amd.com/gpu")
    assert field.resources == Resources(cpu="3", memory="8Gi")
    assert field.image == "mine:1"
    assert admitted("torch", "without a GPU").resources.gpu == ""
    assert admitted("plain", "as the cluster has it", k8s_cpu="").resources == Resources()


def test_what_the_administrator_offers_needs_no_other_permission() -> None:
    settings = {"allowed_images": [], "forbidden_parameters": ["k8s_cpu", "k8s_gpu"]}

    assert admitted("torch", "large", settings=settings).resources.cpu == "8"
    assert admitted("torch", k8s_image="team/torch:2", settings=settings).image == "team/torch:2"
    with pytest.raises(BackendError, match="which jobs may not use"):
        admitted("plain", k8s_image="team/torch:2", settings=settings)


@pytest.mark.parametrize("name", ["", "base", "Plain", "conda-env"])
def test_an_environment_that_is_not_listed_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(BackendError) as refusal:
        admitted(name)
    assert str(refusal.value) == (
        f"{name!r} is none of this server's environments; these are: plain, torch."
    )
    assert admitted(name, settings={"environments": []}).image == ""


def test_a_compute_type_that_is_not_listed_is_refused_with_those_that_are() -> None:
    with pytest.raises(BackendError) as refusal:
        admitted("plain", "4 CPU, 16Gi")
    assert str(refusal.value) == (
        "'4 CPU, 16Gi' is none of this server's compute types; these are: as the cluster has it,"
        " small, without a GPU, large."
    )


@pytest.mark.parametrize("profile", [None, "", "ml.m5.large", "Cluster default"])
def test_without_profiles_a_compute_type_that_is_no_size_means_nothing(profile: str | None) -> None:
    assert admitted("plain", profile, settings={"profiles": {}}).resources == Resources()


def test_without_profiles_a_size_gives_what_its_name_says() -> None:
    assert admitted("torch", "0.5 CPU, 768Mi", settings={"profiles": {}}).resources == Resources(
        cpu="0.5", memory="768Mi", gpu="1"
    )
    named = size_name(cpu="4", memory="16Gi", gpu=1)
    assert named == "4 CPU, 16Gi, 1 GPU"
    assert size_amounts(named) == {"cpu": "4", "memory": "16Gi", "gpu": "1"}


def manifest(record: JobRecord, settings: K8sConfig) -> Any:
    return job_manifest(
        record,
        settings,
        options=admit(record, settings),
        placement=Placement(context="kind-dev"),
        credentials=(),
    )["spec"]["template"]


def test_the_pod_gets_the_image_the_kind_and_both_templates() -> None:
    template = {
        "metadata": {"labels": {"size": "any", "team": "research"}},
        "spec": {
            "serviceAccountName": "any",
            "nodeSelector": {"pool": "any", "disk": "fast"},
            "volumes": [{"name": "small", "emptyDir": {}}],
            "containers": [
                {
                    "name": "notebook",
                    "volumeMounts": [{"name": "small", "mountPath": "/dev/shm"}],
                }
            ],
        },
    }

    pod = manifest(job("torch", "large"), config(pod_template=template, service_account="plain"))

    spec, (files, notebook) = pod["spec"], pod["spec"]["containers"]
    assert (files["image"], notebook["image"]) == ("jupyter-scheduler-k8s:latest", "team/torch:2")
    assert notebook["imagePullPolicy"] == "IfNotPresent"
    assert notebook["resources"]["limits"] == {"cpu": "8", "memory": "8Gi", "amd.com/gpu": "2"}
    assert {key: pod["metadata"]["labels"][key] for key in ("size", "team")} == {
        "size": "large",
        "team": "research",
    }
    assert spec["serviceAccountName"] == "large"
    assert spec["nodeSelector"] == {"pool": "large", "disk": "fast"}
    # Two mounts at one place would be refused by Kubernetes.
    assert [mount["name"] for mount in notebook["volumeMounts"]] == ["shm", "job"]


def test_a_kind_is_a_resource_or_a_product_of_nvidias() -> None:
    product = "NVIDIA-A100-SXM4-40GB"
    for kind, resource, selector in (
        ("", "nvidia.com/gpu", None),
        ("amd.com/gpu", "amd.com/gpu", None),
        ("nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb", None),
        (product, "nvidia.com/gpu", {"nvidia.com/gpu.product": product}),
    ):
        spec = manifest(job(k8s_gpu="1", k8s_gpu_kind=kind), config())["spec"]

        assert spec["containers"][1]["resources"] == {"limits": {resource: "1"}}
        assert spec.get("nodeSelector") == selector
    assert "nodeSelector" not in manifest(job(k8s_gpu="0", k8s_gpu_kind=product), config())["spec"]


@pytest.mark.parametrize("kind", ["example.org/fpga", "a b", "x=y", "-a", "a" * 64, "/gpu", "cpu/"])
def test_a_kind_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(BackendError, match="k8s_gpu_kind must be the name of a GPU's resource"):
        admitted(k8s_gpu="1", k8s_gpu_kind=kind)


def test_a_kind_without_a_number_is_refused() -> None:
    with pytest.raises(BackendError, match="set k8s_gpu, too"):
        admitted(k8s_gpu_kind="amd.com/gpu")
    assert admitted("torch", k8s_gpu_kind="amd.com/gpu").resources.gpu_kind == "amd.com/gpu"


GOOD = {"name": "a", "image": "a:1"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{"name": "a"}], "environments[0].image must be a text"),
        ([GOOD, {"image": "a:1"}], "environments[1].name must be a text"),
        ([GOOD, GOOD | {"image": "b:1"}], "environments[1].name must be another: two have 'a'."),
        ([GOOD | {"label": ""}], "environments[0].label must be a text"),
        ([GOOD | {"kernel": "ir"}], "environments[0].kernel is nothing that can be set there"),
        ([GOOD | {"cpu": True}], "environments[0].cpu must be a text or a number"),
        ([GOOD | {"memory": "4 GB"}], "environments[0].memory must be a Kubernetes quantity"),
        ([GOOD | {"cpu": 0}], "environments[0]: k8s_cpu must be more than 0"),
        ([GOOD | {"gpu": "some"}], "environments[0]: k8s_gpu must be a whole number"),
        ([GOOD | {"output_formats": "html"}], "environments[0].output_formats must be a list"),
        ([GOOD | {"output_formats": []}], "environments[0].output_formats must be a list"),
        ([GOOD | {"output_formats": ["pdf"]}], "environments[0].output_formats: pdf is not made"),
    ],
)
def test_an_environment_that_is_none_is_named(entries: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^K8sConfig\.{re.escape(said)}"):
        K8sConfig(environments=entries)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"": {}}, "profiles['']: the name of a profile must be a text."),
        ({"a": "4 CPU"}, "profiles['a'] must be a mapping."),
        ({"a": {"image": "b"}}, "profiles['a'].image is nothing that can be set there"),
        ({"a": {"cpu": "four"}}, "profiles['a'].cpu must be a Kubernetes quantity"),
        ({"a": {"gpu": 1, "gpu_kind": "a b"}}, "profiles['a']: k8s_gpu_kind must be"),
        ({"a": {"pod_template": "file.yaml"}}, "profiles['a'].pod_template must be a mapping."),
    ],
)
def test_a_profile_that_is_none_is_named(entries: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^K8sConfig\.{re.escape(said)}"):
        K8sConfig(profiles=entries)


def test_a_profiles_template_is_refused_with_the_profiles_name() -> None:
    wrong = {"spec": {"hostNetwork": True}}
    with pytest.raises(ConfigurationError) as refusal:
        K8sConfig(profiles={"a": {"pod_template": wrong}})
    assert "spec.hostNetwork can't be set there" in str(refusal.value)
    assert str(refusal.value).endswith("(K8sConfig.profiles['a']).")


def test_settings_from_a_file_survive_on_their_way_to_another_process() -> None:
    written = {"environments": ENVIRONMENTS, "profiles": PROFILES}
    found = K8sConfig(config=Config({"K8sConfig": written}))

    again = K8sConfig(**found.effective())

    assert (again.environments, again.profiles) == (ENVIRONMENTS, PROFILES)
