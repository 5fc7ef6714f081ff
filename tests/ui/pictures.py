"""The README's pictures, from the running product: `make pictures`."""

import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, expect

from ui.lab import chromium, opened
from ui.on_cluster import on_cluster
from ui.pages import Jobs, fill_report

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_MARGIN = 14


def main() -> None:
    """Create a job through the form, and open its page when it has ended."""
    _FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        on_cluster(Path(folder)) as server,
        chromium() as browser,
        opened(browser, server) as tab,
    ):
        form = fill_report(tab)
        _keep(tab.page.locator("form.jp-create-job-form"), "form")
        form.create.click()
        jobs = Jobs(tab.page)
        jobs.wait_in_list("the report", "Completed")
        jobs.open("the report").button("Download Job Files").click()
        expect(jobs.panel.get_by_role("link", name="HTML", exact=True)).to_be_visible()
        expect(jobs.open_log()).to_contain_text("Cell 1")
        heading = jobs.panel.get_by_role("heading", name="Job Detail")
        _keep(heading.locator("xpath=.."), "job")


def _keep(shown: Locator, name: str) -> None:
    """A picture of a part of the page, with some room around it."""
    box = shown.bounding_box()
    assert box is not None
    clip: FloatRect = {
        "x": box["x"] - _MARGIN,
        "y": box["y"] - _MARGIN,
        "width": box["width"] + 2 * _MARGIN,
        "height": box["height"] + 2 * _MARGIN,
    }
    shown.page.screenshot(path=_FOLDER / f"{name}.png", clip=clip)


if __name__ == "__main__":
    main()
