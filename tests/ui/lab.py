"""JupyterLab's pages in Chromium, as a person uses them."""

import json
import os
import secrets
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, expect, sync_playwright

from local_lab.server import LabServer

PICTURES = Path(__file__).resolve().parents[2] / "pictures"

NOTEBOOK = {
    "cells": [],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}

# As root in a container, and without a way to Google's hosts.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_WINDOW: ViewportSize = {"width": 1200, "height": 1500}


@dataclass(frozen=True, slots=True)
class Lab:
    """One tab with JupyterLab.

    Attributes:
        page: the tab.
        errors: what the page's scripts raised.
    """

    page: Page
    errors: list[str] = field(default_factory=list)

    def open_form(self, notebook: str = "notebook.ipynb") -> "Form":
        """The form for a job of a notebook, from the file browser's menu."""
        self.page.locator(".jp-DirListing-item", has_text=notebook).click(button="right")
        self._command("scheduling:create-from-filebrowser")
        form = Form(self.page)
        # Upstream sets what was there before again when the environments arrive.
        expect(form.field("HTML")).to_be_checked()
        return form

    def _command(self, name: str) -> None:
        self.page.locator(f'li[data-command="{name}"]').click()

    def close_jobs(self) -> None:
        """Close the tab "Jobs" of JupyterLab."""
        tab = self.page.locator(".lm-TabBar-tab", has_text="Jobs")
        tab.locator(".lm-TabBar-tabCloseIcon").click()
        expect(tab).to_have_count(0)

    def open_job(self, job: dict[str, Any], *, definition: bool = False) -> Locator:
        """The page of a job, or of a job definition, that only this tab knows of."""
        kind, key = ("job_definitions", "job_definition_id") if definition else ("jobs", "job_id")

        def answer(route: Route) -> None:
            one = f"/{kind}/{job[key]}" in route.request.url
            body = job if one else {kind: [job], "total_count": 1, "next_token": None}
            route.fulfill(json=body)

        self.page.route(f"**/scheduler/{kind}**", answer)
        other = "jobs" if definition else "job_definitions"
        nothing = {other: [], "total_count": 0, "next_token": None}
        self.page.route(f"**/scheduler/{other}**", lambda route: route.fulfill(json=nothing))
        self.page.locator('.jp-LauncherCard[data-category="Other"]', has_text="Jobs").click()
        panel = self.page.locator(".jp-notebook-jobs-panel")
        if definition:
            panel.get_by_role("tab").nth(1).click()
        panel.get_by_text(job["name"]).first.click()
        return panel


@dataclass(frozen=True, slots=True)
class Form:
    """The form "Create job"."""

    page: Page

    @property
    def create(self) -> Locator:
        """The button that sends it."""
        return self.page.get_by_role("button", name="Create", exact=True)

    @property
    def more(self) -> Locator:
        """The button that shows the additional options."""
        return self.page.get_by_role("button", name="Additional options")

    def field(self, label: str) -> Locator:
        """The field with exactly that label."""
        return self.page.get_by_label(label, exact=True)

    def expand(self) -> "Form":
        """Show the additional options."""
        self.more.click()
        # What is still moving can't be clicked reliably.
        expect(self.page.locator(".MuiAccordion-root .MuiCollapse-entered")).to_be_visible()
        return self

    def sent(self, what: str = "jobs") -> dict[str, Any]:
        """Press "Create"; what the form sends, which no server gets."""

        def answer(route: Route) -> None:
            if route.request.method == "POST":
                route.fulfill(json={"job_id": "a-job", "job_definition_id": "a-definition"})
            else:
                route.continue_()

        self.page.route(f"**/scheduler/{what}**", answer)
        is_sent = f"/scheduler/{what}"
        with self.page.expect_request(
            lambda request: request.method == "POST" and is_sent in request.url
        ) as seen:
            self.create.click()
        body: dict[str, Any] = json.loads(seen.value.post_data or "")
        return body


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium, as `make test-ui` found or installed it."""
    # Two cores may be busy with other tests.
    expect.set_options(timeout=30_000)
    program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        yield found
        found.close()


@contextmanager
def opened(browser: Browser, server: LabServer, *, dark: bool = False) -> Iterator[Lab]:
    """A tab with the JupyterLab of a server, with none of the reminders of a first start."""
    themes = {"theme": "JupyterLab Dark" if dark else "JupyterLab Light"}
    _set(server, "@jupyterlab/apputils-extension:themes", themes)
    _set(server, "@jupyterlab/apputils-extension:notification", {"fetchNews": "false"})
    with browser.new_context(viewport=_WINDOW) as context:
        page = context.new_page()
        lab = Lab(page)
        page.on("pageerror", lambda error: lab.errors.append(str(error)))
        # A workspace of its own has no tabs of earlier ones.
        workspace = f"lab/workspaces/{secrets.token_hex(4)}"
        page.goto(f"{server.url}{workspace}?token={server.token}")
        # The launcher comes when the layout is restored: until then, a tab of the main
        # area may be attached anew, and forget what its form had.
        expect(page.locator(".jp-LauncherCard").first).to_be_visible()
        expect(page.locator("#jupyterlab-splash")).to_have_count(0)
        yield lab
        assert lab.errors == []


def picture(page: Page, name: str) -> None:
    """Keep what the tab shows, for a person to look at."""
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")


def _set(server: LabServer, plugin: str, settings: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{server.url}lab/api/settings/{plugin}",
        json.dumps({"raw": json.dumps(settings)}).encode(),
        method="PUT",
    )
    request.add_header("Authorization", f"token {server.token}")
    with urllib.request.urlopen(request, timeout=60):
        pass
