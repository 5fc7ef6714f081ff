"""What a person does with notebook jobs, in Chromium, on the real cluster."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from cluster.support import create, ended
from local_lab.server import LabServer
from ui.lab import Lab, opened, picture
from ui.on_cluster import on_cluster
from ui.pages import Jobs, fill_report, open_jobs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """One server for all flows."""
    with on_cluster(tmp_path_factory.mktemp("flows")) as found:
        yield found


@pytest.fixture
def tab(browser: Browser, server: LabServer) -> Iterator[Lab]:
    """A tab of its own for each flow."""
    with opened(browser, server) as found:
        yield found


@pytest.fixture(scope="module")
def begun(server: LabServer) -> dict[str, str]:
    """The ids of jobs that take a while, begun together, so that their waits are one."""
    gpu = {"runtime_environment_parameters": {"k8s_gpu": "1"}}
    both = ["ipynb", "html"]
    return {
        "needs a GPU": create(server, "simple.ipynb", name="needs a GPU", **gpu),
        "a failure": create(server, "fails.ipynb", name="a failure", output_formats=both),
        "a long one": create(server, "long.ipynb", name="a long one"),
    }


def test_a_job_that_cannot_be_scheduled_says_why_and_then_fails_for_it(
    tab: Lab, begun: dict[str, str]
) -> None:
    jobs = open_jobs(tab).open("needs a GPU")

    said = jobs.say().filter(has_text="Cannot schedule: No nodes with GPU available")
    jobs.reload("Reload Job", said)
    expect(jobs.panel.get_by_text("Queued", exact=True)).to_be_visible()
    jobs.button("End of the log").click()
    expect(jobs.panel.get_by_text("There is no log yet.")).to_be_visible()
    picture(tab.page, "job-waits")

    jobs.wait_on_page("Failed")
    expect(said).to_be_visible()


def test_a_job_from_its_form_to_its_outputs(tab: Lab, begun: dict[str, str]) -> None:
    form = fill_report(tab)
    picture(tab.page, "flow-form")
    form.create.click()

    jobs = Jobs(tab.page)
    expect(jobs.panel.get_by_text('Your job "the report" has been created.')).to_be_visible()
    jobs.wait_in_list("the report", "Completed")
    picture(tab.page, "flow-list")
    jobs.open("the report")
    assert jobs.asked() == [
        ("CPUs", "200m"),
        ("Memory", "256Mi"),
        ("Environment variables", "YEAR = 2026"),
    ]
    expect(jobs.say()).to_have_count(0)
    jobs.button("Download Job Files").click()
    html = jobs.open_output("HTML")
    expect(html.get_by_text("region north year 2026")).to_be_visible()
    picture(tab.page, "flow-html")


def test_a_notebook_that_fails_says_where_and_shows_its_log(
    tab: Lab, begun: dict[str, str]
) -> None:
    jobs = open_jobs(tab)
    jobs.wait_in_list("a failure", "Failed")
    jobs.open("a failure")

    expect(jobs.say()).to_contain_text("Cell 2 raised ZeroDivisionError: division by zero")
    button = jobs.button("End of the log")
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(jobs.open_log()).to_contain_text("ZeroDivisionError")
    expect(button).to_have_attribute("aria-expanded", "true")
    # Where its files are, with the cells that had finished.
    jobs.button("Download Job Files").click()
    html = jobs.open_output("HTML")
    expect(html.get_by_text("The first cell is fine.", exact=True)).to_be_visible()


def test_a_job_that_runs_is_stopped_in_the_list(tab: Lab, begun: dict[str, str]) -> None:
    jobs = open_jobs(tab)
    jobs.wait_in_list("a long one", "In progress")
    stop = jobs.row("a long one").get_by_title('Stop "a long one"')

    stop.click()
    stop.and_(tab.page.get_by_text("Stop", exact=True)).click()

    jobs.wait_in_list("a long one", "Stopped")


def test_a_job_is_deleted_on_its_page(tab: Lab, server: LabServer) -> None:
    job_id = create(server, "simple.ipynb", name="not wanted")
    ended(server, job_id)
    jobs = open_jobs(tab).open("not wanted")

    jobs.confirm("Delete Job", "Delete")

    expect(jobs.button("Reload")).to_be_visible()
    expect(jobs.row("not wanted")).to_have_count(0)
    left = [job["job_id"] for job in server.request("GET", "jobs")["jobs"]]
    assert job_id not in left


def test_a_schedule_from_its_form_to_its_end(tab: Lab, server: LabServer) -> None:
    form = tab.open_form("simple.ipynb")
    form.field("Job name").fill("each minute")
    form.field("Run on a schedule").check()
    form.field("Interval").click()
    tab.page.get_by_role("option", name="Minute", exact=True).click()
    form.create.click()

    jobs = Jobs(tab.page)
    row = jobs.row("each minute")
    expect(row).to_contain_text("Every minute")
    row.get_by_title('Pause "each minute"').click()
    expect(row.get_by_text("Paused")).to_be_visible()
    row.get_by_title('Resume "each minute"').click()
    expect(row.get_by_text("Active")).to_be_visible()
    picture(tab.page, "flow-definitions")

    jobs.open("each minute")
    # The run that Kubernetes begins, in the list below.
    jobs.reload("Reload", jobs.row("each minute").get_by_text("Completed", exact=True).first)
    picture(tab.page, "flow-definition")
    jobs.button("Edit Job Definition").click()
    form.field("cron expression").fill("30 4 1 1 *")
    picture(tab.page, "flow-edit")
    jobs.button("Save Changes").click()
    expect(jobs.panel.get_by_text("30 4 1 1 *", exact=True)).to_be_visible()
    jobs.button("Pause").click()
    expect(jobs.button("Resume")).to_be_visible()

    jobs.button("Run Job").click()
    expect(jobs.panel.get_by_text("Create Job from Job Definition")).to_be_visible()
    before = len(server.request("GET", "jobs?name=each minute".replace(" ", "%20"))["jobs"])
    form.create.click()
    expect(jobs.panel.get_by_text('Your job "each minute" has been created.')).to_be_visible()
    expect(jobs.row("each minute")).to_have_count(before + 1)

    jobs.definitions().open("each minute").confirm("Delete Job Definition", "Delete")
    expect(jobs.panel.get_by_text("There are no job definitions.")).to_be_visible()
    assert server.request("GET", "job_definitions")["job_definitions"] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pages_in_both_themes(
    browser: Browser, server: LabServer, begun: dict[str, str], theme: str
) -> None:
    ended(server, begun["a failure"])
    with opened(browser, server, dark=theme == "dark") as tab:
        jobs = open_jobs(tab)
        expect(jobs.row("a failure")).to_be_visible()
        picture(tab.page, f"jobs-{theme}")
        jobs.open("a failure")
        log = jobs.open_log()
        expect(log).to_contain_text("ZeroDivisionError")
        log.scroll_into_view_if_needed()
        picture(tab.page, f"job-{theme}")
