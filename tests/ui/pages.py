"""Upstream's pages of jobs and job definitions, used with what is on them."""

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import FrameLocator, Locator, Page, expect
from playwright.sync_api import TimeoutError as NotYet

from cluster.support import until
from ui.lab import Form, Lab

# A run needs seconds; a machine that does other things beside needs more.
_PATIENCE_SECONDS = 150
# How long a person looks before they press "Reload" again.
_LOOK_MILLISECONDS = 1000


def open_jobs(lab: Lab) -> "Jobs":
    """The list of jobs, from JupyterLab's launcher."""
    lab.page.locator('.jp-LauncherCard[data-category="Other"]', has_text="Jobs").click()
    return Jobs(lab.page)


def fill_report(lab: Lab) -> Form:
    """The form of a job "the report", filled in with mouse and keyboard, and not sent."""
    form, keyboard = lab.open_form("report.ipynb"), lab.page.keyboard
    form.field("Job name").fill("")
    keyboard.type("the report")
    lab.page.get_by_title("Add new parameter").click()
    lab.page.locator('[name="parameter-0-name"]').click()
    keyboard.type("region")
    keyboard.press("Tab")
    keyboard.type("'north'")
    form.expand()
    form.field("CPUs").click()
    keyboard.type("200m")
    keyboard.press("Tab")
    keyboard.type("256Mi")
    lab.page.get_by_role("button", name="Add a variable").click()
    expect(form.field("Name")).to_be_focused()
    keyboard.type("YEAR")
    form.field("Value").click()
    keyboard.type("2026")
    return form


@dataclass(frozen=True, slots=True)
class Jobs:
    """The tab "Jobs", whatever page of it is shown.

    Attributes:
        page: JupyterLab's tab in the browser.
    """

    page: Page

    @property
    def panel(self) -> Locator:
        """All of it."""
        return self.page.locator(".jp-notebook-jobs-panel")

    def button(self, name: str) -> Locator:
        """The button with exactly that name."""
        return self.panel.get_by_role("button", name=name, exact=True)

    def row(self, name: str) -> Locator:
        """The row of a list that is about the job, or the definition, of that name."""
        link = self.page.get_by_title(f'Open detail view for "{name}"', exact=True)
        return self.panel.get_by_role("row").filter(has=link)

    def definitions(self) -> "Jobs":
        """Go to the list of definitions."""
        self.panel.get_by_role("tab", name="Job Definitions").click()
        return self

    def open(self, name: str) -> "Jobs":
        """Go to the page of a job, or of a definition, that is listed."""
        self.panel.get_by_title(f'Open detail view for "{name}"', exact=True).first.click()
        return self

    def reload(self, button: str, wanted: Locator, *, seconds: float = _PATIENCE_SECONDS) -> None:
        """Press a button of the page, as a person does, until the page shows something."""

        def shown() -> bool:
            self.button(button).click()
            try:
                wanted.wait_for(timeout=_LOOK_MILLISECONDS)
            except NotYet:
                return False
            return True

        until(shown, seconds=seconds, what=f"{wanted} on the page")

    def wait_in_list(self, name: str, status: str) -> None:
        """Reload the list until a job has a status."""
        self.reload("Reload", self.row(name).get_by_text(status, exact=True))

    def wait_on_page(self, status: str, *, kind: str = "Job") -> None:
        """Reload the page of a job until it says that it has a status."""
        self.reload(f"Reload {kind}", self.panel.get_by_text(status, exact=True))

    def confirm(self, button: str, answer: str) -> None:
        """Press a button and, in the question that it asks, another."""
        self.button(button).click()
        self.page.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()

    def say(self) -> Locator:
        """What the page says of a job's state in words."""
        return self.panel.get_by_role("alert")

    def asked(self) -> list[tuple[str, str]]:
        """Label and text of each option that a job asked for."""
        expect(self.panel.get_by_text("Kubernetes", exact=True)).to_be_visible()
        return list(
            zip(
                self.panel.locator("dt").all_text_contents(),
                self.panel.locator("dd").all_text_contents(),
                strict=True,
            )
        )

    def open_log(self) -> Locator:
        """Ask for the end of the log; its text."""
        self.button("End of the log").click()
        return self.panel.get_by_role("region", name="Log", exact=True)

    def open_output(self, label: str) -> FrameLocator:
        """Open an output that is downloaded, as JupyterLab shows HTML."""
        self.panel.get_by_role("link", name=label, exact=True).click()
        return self.page.frame_locator(".jp-HTMLViewer iframe")


def remove_all(server: Any) -> None:
    """Delete what the owner of a server has, as its pages would."""
    for what, key in (("job_definitions", "job_definition_id"), ("jobs", "job_id")):
        for found in server.request("GET", what)[what]:
            server.request("DELETE", f"{what}/{found[key]}")
