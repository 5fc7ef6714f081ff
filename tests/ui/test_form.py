"""The form "Create job", and what it sends."""

import json
import re

import pytest
from playwright.sync_api import Browser, Locator, expect

from local_lab.server import EXECUTION_MANAGER_FLAG
from ui.conftest import StartServer
from ui.lab import Form, Lab, opened, picture

STOCK_FLAG = "--SchedulerApp.scheduler_class=jupyter_scheduler.scheduler.Scheduler"


def said_at(field: Locator) -> Locator:
    """What a screen reader reads with a field that is wrong."""
    expect(field).to_have_attribute("aria-invalid", "true")
    return field.page.locator(f"#{field.get_attribute('aria-describedby')}")


def test_the_fields_are_sent_as_text(form: Form) -> None:
    form.field("CPUs").fill("2")
    form.field("Memory").fill(" 4Gi")
    form.field("GPUs").fill("1")
    form.field("Container image").fill("quay.io/jupyter/scipy-notebook:2025-10-20")
    form.field("Time limit (seconds)").fill("3600")
    form.field("Retries").fill("2")
    add = form.page.get_by_role("button", name="Add a variable")
    add.click()
    first = form.page.get_by_role("group", name="Environment variable 1")
    first.get_by_label("Name").fill("YEAR")
    first.get_by_label("Value").fill("2026")
    add.click()
    second = form.page.get_by_role("group", name="Environment variable 2")
    second.get_by_label("Name").fill("TOKEN")
    second.get_by_label("Comes from").click()
    form.page.get_by_role("option", name="A Secret").click()
    second.get_by_label("Secret", exact=True).fill("api-prod")
    second.get_by_label("Key").fill("token")
    picture(form.page, "form-filled")

    parameters = form.sent()["runtime_environment_parameters"]

    variables = json.loads(parameters.pop("k8s_env"))
    assert variables == {
        "YEAR": "2026",
        "TOKEN": {"secretKeyRef": {"name": "api-prod", "key": "token"}},
    }
    assert parameters == {
        "k8s_cpu": "2",
        "k8s_memory": "4Gi",
        "k8s_gpu": "1",
        "k8s_image": "quay.io/jupyter/scipy-notebook:2025-10-20",
        "k8s_timeout_seconds": "3600",
        "k8s_max_retries": "2",
    }


def test_an_untouched_form_sends_nothing_of_ours(form: Form) -> None:
    assert "runtime_environment_parameters" not in form.sent()


def test_what_was_emptied_again_is_not_sent(form: Form) -> None:
    form.field("CPUs").fill("2")
    form.field("CPUs").fill("")
    form.page.get_by_role("button", name="Add a variable").click()

    assert "runtime_environment_parameters" not in form.sent()


@pytest.mark.parametrize(
    ("label", "wrong", "right", "words"),
    [
        ("CPUs", "two", "2", "such as 2 or 0.5"),
        ("Memory", "4GB", "4Gi", "such as 512Mi or 4Gi"),
        ("GPUs", "0.5", "1", "whole number of GPUs"),
        ("Time limit (seconds)", "1h", "3600", "whole number from 1 to 2147483647"),
        ("Retries", "6", "5", "whole number from 0 to 5"),
    ],
)
def test_wrong_input_is_marked_at_its_field_and_holds_the_form_back(
    form: Form, label: str, wrong: str, right: str, words: str
) -> None:
    field = form.field(label)
    expect(form.create).to_be_enabled()

    field.fill(wrong)

    expect(said_at(field)).to_contain_text(words)
    expect(form.create).to_be_disabled()

    field.fill(right)

    expect(field).to_have_attribute("aria-invalid", "false")
    expect(form.create).to_be_enabled()


def test_variables_say_what_is_wrong_with_them(form: Form) -> None:
    add = form.page.get_by_role("button", name="Add a variable")
    add.click()
    row = form.page.get_by_role("group", name="Environment variable 1")
    row.get_by_label("Name").fill("1ST")
    expect(said_at(row.get_by_label("Name"))).to_contain_text("no digit first")
    row.get_by_label("Name").fill("S3_BUCKET")
    expect(said_at(row.get_by_label("Name"))).to_contain_text("belongs to the run")
    row.get_by_label("Name").fill("TOKEN")
    row.get_by_label("Comes from").click()
    form.page.get_by_role("option", name="A Secret").click()
    row.get_by_label("Secret", exact=True).fill("other")
    expect(said_at(row.get_by_label("Secret", exact=True))).to_contain_text("allowed: api-*")
    expect(form.create).to_be_disabled()
    picture(form.page, "form-wrong")

    row.get_by_role("button", name="Remove variable TOKEN").click()

    expect(row).to_have_count(0)
    expect(form.create).to_be_enabled()


def test_a_schedule_has_options_of_its_own(form: Form) -> None:
    policy, latest = "When the previous run has not ended", "Latest start (seconds)"
    expect(form.field(latest)).to_have_count(0)
    form.field("Run on a schedule").check()
    expect(form.field(policy)).to_contain_text("Skip the new run")
    form.field(policy).click()
    form.page.get_by_role("option", name="Stop the previous run").click()
    form.field(latest).fill("5")
    expect(said_at(form.field(latest))).to_contain_text("from 10 to")
    form.field(latest).fill("600")
    picture(form.page, "form-schedule")

    asked = form.sent("job_definitions")["runtime_environment_parameters"]
    assert asked == {
        "k8s_concurrency_policy": "Replace",
        "k8s_starting_deadline_seconds": "600",
    }


def test_a_job_that_runs_once_sends_no_options_of_schedules(form: Form) -> None:
    form.field("Run on a schedule").check()
    form.field("CPUs").fill("1")
    form.field("Latest start (seconds)").fill("5")
    expect(form.create).to_be_disabled()
    form.field("Run now").check()
    expect(form.create).to_be_enabled()

    assert form.sent()["runtime_environment_parameters"] == {"k8s_cpu": "1"}


def test_the_keyboard_is_enough(lab: Lab) -> None:
    form, keyboard = lab.open_form(), lab.page.keyboard
    form.more.focus()
    keyboard.press("Enter")
    expect(form.field("CPUs")).to_be_visible()
    for label, text in (("CPUs", "2"), ("Memory", "4Gi"), ("GPUs", "1")):
        keyboard.press("Tab")
        expect(form.field(label)).to_be_focused()
        keyboard.type(text)
    for label in ("Container image", "Time limit (seconds)", "Retries"):
        keyboard.press("Tab")
        expect(form.field(label)).to_be_focused()
    keyboard.press("Tab")
    add = form.page.get_by_role("button", name="Add a variable")
    expect(add).to_be_focused()
    keyboard.press("Enter")
    expect(form.field("Name")).to_be_focused()
    keyboard.type("YEAR")
    for key in ("Tab", "ArrowDown", "ArrowDown", "Enter"):
        keyboard.press(key)
    source = form.page.locator("[aria-haspopup=listbox]", has_text="A Secret")
    expect(source).to_be_focused()
    keyboard.press("Tab")
    expect(form.page.get_by_role("button", name="Remove variable YEAR")).to_be_focused()
    keyboard.press("Enter")
    expect(add).to_be_focused()

    parameters = form.sent()["runtime_environment_parameters"]
    assert parameters == {"k8s_cpu": "2", "k8s_memory": "4Gi", "k8s_gpu": "1"}


def test_upstreams_own_options_are_there_too(form: Form) -> None:
    form.field("Idempotency token").fill("once")
    assert form.sent()["idempotency_token"] == "once"


def test_only_what_may_be_set_is_offered(browser: Browser, start_server: StartServer) -> None:
    server = start_server(
        "--K8sConfig.forbidden_parameters=k8s_gpu",
        "--K8sConfig.forbidden_parameters=k8s_env",
        "--K8sConfig.max_retries=0",
    )
    with opened(browser, server) as lab:
        form = lab.open_form().expand()
        expect(form.field("CPUs")).to_be_visible()
        for label in ("GPUs", "Retries"):
            expect(form.field(label)).to_have_count(0)
        expect(form.page.get_by_text("Environment variables")).to_have_count(0)


def test_the_stock_scheduler_with_our_execution_manager_has_the_fields(
    browser: Browser, start_server: StartServer
) -> None:
    with opened(browser, start_server(mode=EXECUTION_MANAGER_FLAG)) as lab:
        form = lab.open_form().expand()
        form.field("Memory").fill("1Gi")
        # Its schedules are upstream's, which know no such thing.
        form.field("Run on a schedule").check()
        expect(form.page.get_by_text("Scheduled runs")).to_have_count(0)
        form.field("Run now").check()
        assert form.sent()["runtime_environment_parameters"] == {"k8s_memory": "1Gi"}


def test_a_foreign_scheduler_keeps_upstreams_form(
    browser: Browser, start_server: StartServer
) -> None:
    with opened(browser, start_server(mode=STOCK_FLAG)) as lab:
        form = lab.open_form().expand()
        expect(form.field("Idempotency token")).to_be_visible()
        for label in ("CPUs", "Memory"):
            expect(form.field(label)).to_have_count(0)
        assert "runtime_environment_parameters" not in form.sent()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_looks_like_jupyterlab(browser: Browser, start_server: StartServer, theme: str) -> None:
    server = start_server("--K8sConfig.allowed_secrets=api-*")
    with opened(browser, server, dark=theme == "dark") as lab:
        form = lab.open_form().expand()
        form.page.get_by_role("button", name="Add a variable").click()
        form.field("Name").fill("YEAR")
        form.field("CPUs").fill("0")
        colour = "e => getComputedStyle(e).color"
        ours = form.field("Memory").evaluate(colour)
        assert ours == form.field("Job name").evaluate(colour)
        channels = [int(text) for text in re.findall(r"\d+", ours)[:3]]
        assert (sum(channels) > 3 * 128) == (theme == "dark")
        picture(form.page, f"form-{theme}")
