"""Nothing is lost when the Jupyter server is killed, whatever it was doing."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster.support import Bucket, Kubectl, create, download, ended, text_outputs, until, write
from local_lab.server import LabServer, RequestFailed

StartServer = Callable[..., LabServer]


def in_background(call: Callable[[], object]) -> threading.Thread:
    """Run a request that the death of its server will break off."""

    def run() -> None:
        with suppress(OSError, RequestFailed):
            call()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def many_files(folder: Path, count: int, size: int) -> None:
    """A folder that takes a while to transfer."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04}.bin").write_bytes(number.to_bytes(2, "big") * (size // 2))


def test_killed_during_runs(start_server: StartServer, kubectl: Kubectl, owner: str) -> None:
    first = start_server()
    write(first, "a.ipynb", "import time\ntime.sleep(5)", "print('a')")
    write(first, "b.ipynb", "import time\ntime.sleep(5)", "1 / 0")
    jobs = {
        create(first, "a.ipynb", name=f"a {number}", output_formats=["ipynb", "html"]): "COMPLETED"
        for number in range(3)
    } | {create(first, "b.ipynb", name="b"): "FAILED"}

    first.kill()

    selector = f"jupyter-scheduler.io/owner={owner}"
    until(
        lambda: all(
            {"Complete", "Failed"}
            & {condition["type"] for condition in job["status"].get("conditions", ())}
            for job in kubectl.get("jobs", "-l", selector)
        ),
        seconds=120,
        what="the end of the runs, with no server alive",
    )
    second = start_server()
    listed = {job["job_id"]: job["status"] for job in second.request("GET", "jobs")["jobs"]}
    assert listed == jobs
    for job_id, status in jobs.items():
        files = download(second, job_id)
        outputs = text_outputs(files["ipynb"].read_text())
        assert outputs[-1] == ("a\n" if status == "COMPLETED" else "")
    failed = next(job_id for job_id, status in jobs.items() if status == "FAILED")
    message = second.request("GET", f"jobs/{failed}")["status_message"]
    assert message == "Cell 2 raised ZeroDivisionError: division by zero"


def test_killed_during_an_upload(
    start_server: StartServer, kubectl: Kubectl, bucket: Bucket, owner: str
) -> None:
    first = start_server()
    many_files(first.root_dir / "big" / "data", 400, 200_000)
    write(
        first,
        "big/count.ipynb",
        "from pathlib import Path\nprint(len(list(Path('data').iterdir())))",
    )
    before = set(bucket.keys("jobs/"))

    upload = in_background(lambda: create(first, "big/count.ipynb", package_input_folder=True))
    until(lambda: set(bucket.keys("jobs/")) - before, seconds=30, what="the first input in S3")
    first.kill()
    upload.join()

    assert kubectl.get("jobs", "-l", f"jupyter-scheduler.io/owner={owner}") == []
    second = start_server()
    assert second.request("GET", "jobs")["jobs"] == []
    job_id = create(second, "big/count.ipynb", package_input_folder=True)
    assert ended(second, job_id)["status"] == "COMPLETED"
    assert text_outputs(download(second, job_id)["ipynb"].read_text()) == ["400\n"]


def test_killed_during_a_download(start_server: StartServer) -> None:
    first = start_server()
    write(
        first,
        "made/many.ipynb",
        "from pathlib import Path\n"
        "Path('out').mkdir()\n"
        "for number in range(600):\n"
        "    Path(f'out/{number}.bin').write_bytes(number.to_bytes(2, 'big') * 50_000)",
    )
    job_id = create(first, "made/many.ipynb", package_input_folder=True)
    assert ended(first, job_id)["status"] == "COMPLETED"

    out = first.root_dir / "jobs" / f"many-{job_id}" / "out"
    fetch = in_background(lambda: first.request("GET", f"jobs/{job_id}/download_files"))
    until(lambda: out.is_dir() and any(out.iterdir()), seconds=30, what="the first output here")
    first.kill()
    fetch.join()
    # What has its name is whole, whenever the server died.
    for path in out.glob("*.bin"):
        assert path.read_bytes() == int(path.stem).to_bytes(2, "big") * 50_000

    second = start_server()
    download(second, job_id)
    assert sorted(path.name for path in out.iterdir()) == sorted(f"{n}.bin" for n in range(600))
    for path in out.iterdir():
        assert path.read_bytes() == int(path.stem).to_bytes(2, "big") * 50_000


def test_a_server_in_another_zone_finds_the_outputs(start_server: StartServer) -> None:
    first = start_server(changes={"TZ": "Pacific/Auckland"})
    write(first, "zone.ipynb", "print('here')")
    job_id = create(first, "zone.ipynb", output_formats=["ipynb", "html"])
    assert ended(first, job_id)["status"] == "COMPLETED"
    there = download(first, job_id)["html"].name
    first.kill()

    second = start_server(changes={"TZ": "America/New_York"})
    files = download(second, job_id)

    assert text_outputs(files["ipynb"].read_text()) == ["here\n"]
    assert files["html"].name != there
