"""What the form makes of what the cluster has, and of a cluster that doesn't answer."""

from typing import Any

from playwright.sync_api import Route, expect

from ui.lab import Form, Lab, picture

ADDRESS = "**/jupyter_scheduler_k8s/form*"

NOTHING: dict[str, Any] = {"largest_node": None, "gpu_kinds": [], "remark": None}


def opened_with(lab: Lab, **answer: Any) -> Form:
    """A form whose server answers that of the cluster."""
    lab.page.route(ADDRESS, lambda route: route.fulfill(json=NOTHING | answer))
    return lab.open_form().expand()


def test_more_than_the_largest_node_has_is_remarked_on_and_may_be_sent(lab: Lab) -> None:
    form = opened_with(lab, largest_node={"cpu": "16", "memory": "64Gi", "gpu": 0})
    said = "The largest node has 16 CPUs; the job will wait until there is a larger one."

    form.field("CPUs").fill("64")
    form.field("GPUs").fill("1")

    expect(form.page.get_by_text(said)).to_be_visible()
    expect(form.page.get_by_text("No node has a GPU")).to_be_visible()
    expect(form.field("CPUs")).to_have_attribute("aria-invalid", "false")
    picture(form.page, "form-large")
    assert form.sent()["runtime_environment_parameters"] == {"k8s_cpu": "64", "k8s_gpu": "1"}


def test_kinds_of_gpu_are_to_choose_from_where_there_are_such(lab: Lab) -> None:
    kinds = [
        {"value": "amd.com/gpu", "label": "amd.com/gpu"},
        {"value": "NVIDIA-A100-SXM4-40GB", "label": "NVIDIA A100 SXM4 40GB"},
    ]
    form = opened_with(lab, gpu_kinds=kinds)
    form.field("GPUs").fill("1")
    form.field("Kind of GPU").click()
    form.page.get_by_role("option", name="NVIDIA A100 SXM4 40GB").click()
    picture(form.page, "form-kinds")

    assert form.sent()["runtime_environment_parameters"] == {
        "k8s_gpu": "1",
        "k8s_gpu_kind": "NVIDIA-A100-SXM4-40GB",
    }


def test_where_a_number_says_enough_no_kind_is_asked_for(lab: Lab) -> None:
    form = opened_with(lab, largest_node={"cpu": "16", "memory": "64Gi", "gpu": 4})

    form.field("GPUs").fill("5")
    expect(form.page.get_by_text("No node has more than 4")).to_be_visible()
    expect(form.field("Kind of GPU")).to_have_count(0)


def test_this_servers_own_answer_says_that_its_cluster_is_away(lab: Lab) -> None:
    form = lab.open_form().expand()

    expect(form.page.get_by_role("status")).to_contain_text("There is no kubeconfig file")
    expect(form.field("CPUs")).to_be_editable()


def test_a_cluster_that_does_not_answer_is_said_in_one_line(lab: Lab) -> None:
    form = opened_with(lab, remark="The cluster doesn't answer: no route to host.")

    expect(form.page.get_by_role("status")).to_have_text(
        "The cluster doesn't answer: no route to host."
    )
    picture(form.page, "form-away")
    form.field("CPUs").fill("64")
    assert form.sent()["runtime_environment_parameters"] == {"k8s_cpu": "64"}


def test_an_answer_that_fails_is_said_too(lab: Lab) -> None:
    lab.page.route(ADDRESS, lambda route: route.abort())
    form = lab.open_form().expand()

    expect(form.page.get_by_role("status")).to_contain_text("What the cluster has is not known")


def test_the_form_does_not_wait_for_the_answer(lab: Lab) -> None:
    waiting: list[Route] = []
    # Nobody answers until the form has been sent.
    lab.page.route(ADDRESS, lambda route: waiting.append(route))
    form = lab.open_form().expand()

    form.field("CPUs").fill("2")
    expect(form.page.get_by_role("status")).to_have_count(0)

    assert form.sent()["runtime_environment_parameters"] == {"k8s_cpu": "2"}
    (late,) = waiting
    late.fulfill(json=NOTHING)
