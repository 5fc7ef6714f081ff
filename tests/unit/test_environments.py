"""What upstream's form gets from our environment manager."""

from typing import Any

from jupyter_scheduler.models import RuntimeEnvironment

from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.environments import K8sEnvironmentManager
from jupyter_scheduler_k8s.notebooks import check_formats

SIZES = ("Cluster default", "4 CPU, 16Gi")


def manager(sizes: tuple[str, ...] = (), **settings: Any) -> K8sEnvironmentManager:
    return K8sEnvironmentManager(K8sConfig(**settings), sizes=lambda: sizes)


def test_without_a_list_there_is_one_environment_for_the_image() -> None:
    (found,) = manager(image="team/jobs:3").list_environments()

    assert found == RuntimeEnvironment(
        name="default",
        label="Default (team/jobs:3)",
        description="The image team/jobs:3",
        file_extensions=["ipynb"],
        output_formats=["ipynb", "html"],
        metadata={"image": "team/jobs:3"},
        compute_types=None,
        default_compute_type=None,
        utc_only=False,
    )


def test_the_administrators_environments_are_offered_in_their_order() -> None:
    torch = {
        "name": "torch",
        "label": "PyTorch",
        "description": "For GPUs",
        "image": "team/torch:2",
    }
    listed = [
        torch | {"output_formats": ["ipynb", "slides"], "gpu": 1},
        {"name": "a", "image": "b"},
    ]

    first, second = manager(environments=listed).list_environments()

    assert (first.name, first.label, first.description) == ("torch", "PyTorch", "For GPUs")
    assert first.output_formats == ["ipynb", "slides"]
    assert (second.name, second.label, second.description) == ("a", "a", "The image b")


def test_compute_types_are_the_profiles_else_sizes() -> None:
    (profiled,) = manager(SIZES, profiles={"small": {"cpu": 1}, "large": {}}).list_environments()
    (sized,) = manager(SIZES).list_environments()

    assert (profiled.compute_types, profiled.default_compute_type) == (["small", "large"], "small")
    # What is preselected states nothing.
    assert (sized.compute_types, sized.default_compute_type) == (list(SIZES), "Cluster default")


def test_every_format_that_a_job_may_have_has_a_name() -> None:
    found = manager().output_formats_mapping()

    check_formats(list(found))
    assert found["ipynb"] == "Notebook"
    assert {"html", "markdown", "script", "slides", "latex"} < set(found)
    assert manager().manage_environments_command() == ""


def test_a_format_that_is_none_hides_no_list_of_the_stock_scheduler() -> None:
    found = manager().output_formats_mapping()

    assert found["docx"] == "docx"
    assert "docx" not in found
