"""What a job or a job definition asked for, on its page."""

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from ui.conftest import StartServer
from ui.lab import Lab, opened, picture

ASKED: dict[str, Any] = {
    # As upstream's model gives them back: some as numbers.
    "k8s_cpu": 2,
    "k8s_memory": "4Gi",
    "k8s_timeout_seconds": 3600,
    "k8s_env": json.dumps(
        {"YEAR": "2026", "TOKEN": {"secretKeyRef": {"name": "api", "key": "token"}}}
    ),
}

JOB: dict[str, Any] = {
    "job_id": "3f0a1c52-6a4d-4f1e-9a40-1f4c7d1c2b3a",
    "name": "a finished job",
    "input_filename": "notebook.ipynb",
    "runtime_environment_name": "default",
    "runtime_environment_parameters": ASKED,
    "output_formats": ["ipynb"],
    "job_files": [],
    "tags": ["mine"],
    "status": "COMPLETED",
    "create_time": 1_760_000_000_000,
    "update_time": 1_760_000_060_000,
    "url": "/jobs/3f0a1c52-6a4d-4f1e-9a40-1f4c7d1c2b3a",
    "downloaded": False,
}

DEFINITION: dict[str, Any] = {
    "job_definition_id": "7b7e1d0c-2b7a-4b0a-8a52-0c1a2b3c4d5e",
    "name": "a schedule",
    "input_filename": "notebook.ipynb",
    "runtime_environment_name": "default",
    "runtime_environment_parameters": ASKED
    | {"k8s_concurrency_policy": "Replace", "k8s_starting_deadline_seconds": 600},
    "output_formats": ["ipynb"],
    "tags": [],
    "schedule": "0 0 * * *",
    "timezone": "UTC",
    "active": True,
    "create_time": 1_760_000_000_000,
    "update_time": 1_760_000_060_000,
}


def test_a_jobs_page_shows_what_it_asked_for(lab: Lab) -> None:
    panel = lab.open_job(JOB)

    terms = panel.locator("dt").all_text_contents()
    assert terms == ["CPUs", "Memory", "Time limit (seconds)", "Environment variables"]
    assert panel.locator("dd").all_text_contents() == [
        "2",
        "4Gi",
        "3600",
        "YEAR = 2026",
        "TOKEN = key token of the Secret api",
    ]
    expect(panel.get_by_text("mine", exact=True)).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_definitions_page_shows_what_its_runs_ask_for(
    browser: Browser, start_server: StartServer, theme: str
) -> None:
    server = start_server("--K8sConfig.allowed_secrets=api-*")
    with opened(browser, server, dark=theme == "dark") as lab:
        panel = lab.open_job(DEFINITION, definition=True)
        expect(panel.get_by_text("Stop the previous run")).to_be_visible()
        expect(panel.get_by_text("Latest start (seconds)")).to_be_visible()
        panel.get_by_text("Latest start (seconds)").scroll_into_view_if_needed()
        picture(lab.page, f"definition-{theme}")


def test_a_job_that_asked_for_nothing_says_so(lab: Lab) -> None:
    panel = lab.open_job(JOB | {"runtime_environment_parameters": None})

    expect(panel.get_by_text("Nothing set: the defaults of the cluster")).to_be_visible()
