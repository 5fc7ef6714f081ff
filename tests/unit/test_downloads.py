"""Downloads, with S3 in memory and the files in a real folder."""

import asyncio
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_scheduler.environments import StaticEnvironmentManager
from jupyter_scheduler.models import DescribeJob, Status
from jupyter_scheduler.scheduler import BaseScheduler
from obstore.store import MemoryStore

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.beneath import NewFile, remove_abandoned
from jupyter_scheduler_k8s.downloads import K8sJobFilesManager, is_true, make_plan
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ConfigurationError,
    ObjectMissing,
    StorageError,
    UnsafePath,
)
from jupyter_scheduler_k8s.storage import Storage

JOB = "7d5e9c1a-0000-4000-8000-000000000001"
INPUT, OUTPUT = names.input_prefix(JOB), names.output_prefix(JOB)


class Scheduler(BaseScheduler):
    """Upstream's own naming of files, over one job."""

    def __init__(self, root: Path, storage: Storage) -> None:
        # Upstream's annotations name classes where it takes instances.
        environments: Any = StaticEnvironmentManager()
        super().__init__(str(root), environments)
        self.storage = storage
        self.job = DescribeJob(
            job_id=JOB,
            name="a job",
            url=f"/jobs/{JOB}",
            input_filename="nb.ipynb",
            runtime_environment_name="python3",
            runtime_environment_parameters={},
            output_formats=["ipynb", "html"],
            create_time=1_700_000_000_000,
            update_time=1_700_000_000_000,
            status=Status.COMPLETED,
        )

    async def get_job(  # type: ignore[override]
        self, job_id: str, job_files: bool | None = True
    ) -> DescribeJob:
        assert (job_id, job_files) == (JOB, False)
        return self.job


class Case:
    """A job, what S3 holds of it, and the server's root folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.storage = Storage(bucket="files", store=MemoryStore())
        self.scheduler = Scheduler(root, self.storage)
        self.job = self.scheduler.job
        scheduler: Any = self.scheduler
        self.manager = K8sJobFilesManager(scheduler)
        self.folder = root / "jobs" / f"nb-{JOB}"

    async def put(self, tail: str, content: str) -> None:
        await self.storage.put_bytes(names.job_prefix(JOB) + tail, content.encode())

    async def store_run(self) -> None:
        await self.put("input/nb.ipynb", "the input")
        await self.put("outputs/output.ipynb", "executed")
        await self.put("outputs/output.html", "page")
        await self.put("outputs/result.json", "{}")

    async def download(self, redownload: bool | str | None = False) -> dict[str, str]:
        await self.manager.copy_from_staging(JOB, redownload)
        return self.files()

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.folder)): path.read_text()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    @property
    def dated(self) -> str:
        return str(self.scheduler.get_job_filenames(self.job)["ipynb"]).removesuffix(".ipynb")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "root")


async def test_a_run_comes_back_under_upstreams_names(case: Case) -> None:
    await case.store_run()
    assert await case.download() == {
        f"{case.dated}.ipynb": "executed",
        f"{case.dated}.html": "page",
        "nb.ipynb": "the input",
    }


async def test_of_several_attempts_one_is_downloaded(case: Case) -> None:
    uid = "0b0b0b0b-0000-4000-8000-000000000001"
    await case.put("input/nb.ipynb", "the input")
    for name, content in (("started", ""), ("output.ipynb", "executed"), ("output.html", "page")):
        await case.put(f"outputs/{uid}/{name}", content)
    await case.put("outputs/0a0a0a0a-0000-4000-8000-000000000002/started", "")

    assert await case.download() == {
        f"{case.dated}.ipynb": "executed",
        f"{case.dated}.html": "page",
        "nb.ipynb": "the input",
    }


@pytest.fixture
def _far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_away")
async def test_a_server_in_another_time_zone_finds_the_outputs(case: Case) -> None:
    await case.store_run()
    assert set(await case.download()) == {
        "nb-2023-11-15-11-13-20-AM.ipynb",
        "nb-2023-11-15-11-13-20-AM.html",
        "nb.ipynb",
    }


async def test_a_packaged_folder_comes_back_with_what_the_run_made_on_top(case: Case) -> None:
    case.job.package_input_folder = True
    await case.store_run()
    for tail, content in {
        "input/%tree": '{"folders": ["empty"]}',
        "input/data/x.csv": "sent",
        "input/data/100%25 #1.csv": "sent",
        "input/becomes_folder": "sent",
        "input/becomes_file/x": "sent",
        "outputs/files/data/x.csv": "changed",
        "outputs/files/made/deep/y.png": "made",
        "outputs/files/becomes_folder/x": "made",
        "outputs/files/becomes_file": "made",
        "outputs/files/nb.ipynb": "changed",
        "outputs/started": "",
    }.items():
        await case.put(tail, content)
    assert await case.download() == {
        f"{case.dated}.ipynb": "executed",
        f"{case.dated}.html": "page",
        "nb.ipynb": "the input",
        "data/x.csv": "changed",
        "data/100% #1.csv": "sent",
        "made/deep/y.png": "made",
        "becomes_folder/x": "made",
        "becomes_file": "made",
    }


async def test_a_name_of_the_greatest_length_comes_back(case: Case) -> None:
    name = "ü" * 97 + ".ipynb"
    case.job.input_filename = name
    case.folder = case.root / "jobs" / f"{'ü' * 97}-{JOB}"
    await case.store_run()
    await case.put(f"input/{name}", "the input")
    assert set(await case.download()) == {name, f"{case.dated}.ipynb", f"{case.dated}.html"}


def test_an_object_that_stands_for_a_folder_is_no_file() -> None:
    files = OUTPUT + names.SIDE_FILES_KEY
    plan = make_plan(
        JOB,
        keys={f"{files}d", f"{files}d/e", f"{files}d/e/x"},
        formats=[],
        filenames={"ipynb": "x.ipynb", "input": "nb.ipynb"},
        package=True,
    )
    assert plan.files == {"d/e/x": f"{files}d/e/x"}


async def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    await case.store_run()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(BackendError, match=r"can't be written: No space left on device\."):
        await case.download()
    assert case.files() == {}


async def test_files_of_a_folder_that_was_not_packaged_stay_in_s3(case: Case) -> None:
    await case.store_run()
    await case.put("outputs/files/x", "1")
    assert "x" not in await case.download()


@pytest.mark.parametrize("again", [False, None, "", "false", "False", "0", "no"])
async def test_what_is_there_is_kept(case: Case, again: Any) -> None:
    await case.store_run()
    case.folder.mkdir(parents=True)
    (case.folder / "nb.ipynb").write_text("mine")
    files = await case.download(again)
    assert files["nb.ipynb"] == "mine"
    assert files[f"{case.dated}.ipynb"] == "executed"


@pytest.mark.parametrize("again", [True, "true", "1", "yes"])
async def test_what_is_there_is_replaced_when_asked(case: Case, again: Any) -> None:
    await case.store_run()
    await case.download()
    await case.put("outputs/output.ipynb", "newer")
    assert (await case.download(again))[f"{case.dated}.ipynb"] == "newer"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (Status.COMPLETED, "no longer in S3"),
        (Status.FAILED, "ended before it stored any output"),
        (Status.STOPPED, "ended before it stored any output"),
        (Status.QUEUED, "hasn't stored any output yet"),
        (Status.IN_PROGRESS, "hasn't stored any output yet"),
        (Status.STOPPING, "hasn't stored any output yet"),
    ],
)
async def test_where_there_is_nothing_the_truth_is_told(
    case: Case, status: Status, sentence: str
) -> None:
    case.job.status = status
    await case.put("input/nb.ipynb", "the input")
    await case.put("outputs/started", "")
    with pytest.raises(StorageError, match=sentence):
        await case.download()
    assert not case.folder.exists()


async def test_a_run_that_goes_on_gives_what_it_has(case: Case) -> None:
    case.job.status = Status.IN_PROGRESS
    await case.put("outputs/output.ipynb", "so far")
    assert await case.download() == {f"{case.dated}.ipynb": "so far"}


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            '{"failed_outputs": {"html": "template missing"}}',
            r"did not make html \(template missing\)",
        ),
        ('{"failed_outputs": {"html": "a\\nb"}}', r"html \(a b\); all"),
        (json.dumps({"failed_outputs": {"html": "x" * 9999}}), r"html \(x{300}\); all"),
        ("{}", "did not make html; all"),
        ("[]", "did not make html; all"),
        ('{"failed_outputs": 1}', "did not make html; all"),
        ("{", "did not make html; all"),
        (None, "did not make html; all"),
    ],
)
async def test_a_format_that_is_missing_is_named_and_the_rest_is_there(
    case: Case, result: str | None, sentence: str
) -> None:
    case.job.status = Status.FAILED
    await case.put("outputs/output.ipynb", "so far")
    if result is not None:
        await case.put("outputs/result.json", result)
    with pytest.raises(StorageError, match=sentence):
        await case.download()
    assert case.files() == {f"{case.dated}.ipynb": "so far"}


async def test_the_executed_notebook_stands_in_for_a_missing_format(case: Case) -> None:
    case.job.status = Status.FAILED
    case.job.output_formats = ["html"]
    await case.put("outputs/output.ipynb", "so far")
    with pytest.raises(StorageError, match="did not make html"):
        await case.download()
    assert set(case.files().values()) == {"so far"}


async def test_a_job_that_asked_for_no_format_has_its_executed_notebook(case: Case) -> None:
    dated = case.dated
    case.job.output_formats = []
    await case.store_run()
    assert await case.download() == {"nb.ipynb": "the input", f"{dated}.ipynb": "executed"}


@pytest.mark.parametrize(
    "tail",
    ["../x", "a/../../x", "/etc/x", "%2E%2E/x", "a%2F..%2Fx", "x%00y", "a//b", "./x", "%FF"],
)
@pytest.mark.parametrize("prefix", [INPUT, OUTPUT + names.SIDE_FILES_KEY])
def test_a_hostile_key_is_refused(prefix: str, tail: str) -> None:
    with pytest.raises(UnsafePath):
        make_plan(
            JOB,
            keys={prefix + tail, f"{OUTPUT}output.ipynb"},
            formats=["ipynb"],
            filenames={"ipynb": "x.ipynb", "input": "nb.ipynb"},
            package=True,
        )


@pytest.mark.parametrize("name", ["../../x.ipynb", "/x.ipynb", "..", "a/b.ipynb"])
async def test_a_hostile_input_filename_is_refused(case: Case, name: str) -> None:
    await case.store_run()
    case.job.input_filename = name
    with pytest.raises(UnsafePath):
        await case.download()
    assert [*case.root.iterdir()] == []


@pytest.mark.parametrize("place", ["../outside", "/absolute"])
async def test_an_output_folder_outside_the_root_names_the_setting(case: Case, place: str) -> None:
    await case.store_run()
    case.scheduler.output_directory = place
    with pytest.raises(ConfigurationError, match=r"Scheduler\.output_directory"):
        await case.download()


async def test_nothing_is_written_through_a_planted_link(case: Case, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    case.job.package_input_folder = True
    await case.store_run()
    await case.put("outputs/files/data/x.csv", "1")
    case.folder.mkdir(parents=True)
    (case.folder / "data").symlink_to(outside)
    with pytest.raises(UnsafePath, match="data' is a link"):
        await case.download(True)
    (case.folder / "data").unlink()
    (outside / "target").write_text("precious")
    (case.folder / "nb.ipynb").unlink()
    (case.folder / "nb.ipynb").symlink_to(outside / "target")
    assert (await case.download())["nb.ipynb"] == "the input"
    assert not (case.folder / "nb.ipynb").is_symlink()
    assert (outside / "target").read_text() == "precious"
    assert [path.name for path in outside.iterdir()] == ["target"]


async def test_a_linked_output_folder_is_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (case.root / "jobs").symlink_to(tmp_path / "outside")
    await case.store_run()
    with pytest.raises(UnsafePath, match="'jobs' is a link"):
        await case.download()
    assert [*(tmp_path / "outside").iterdir()] == []


async def test_two_downloads_at_once_are_both_fine(case: Case) -> None:
    case.job.package_input_folder = True
    await case.store_run()
    for number in range(50):
        await case.put(f"outputs/files/d{number % 5}/{number}", "x" * number)
    await asyncio.gather(
        *(case.manager.copy_from_staging(JOB, again) for again in (False, True, False, True))
    )
    files = case.files()
    assert len(files) == 53
    assert all(files[f"d{number % 5}/{number}"] == "x" * number for number in range(50))


async def test_a_download_that_was_cut_short_is_completed_by_the_next(case: Case) -> None:
    await case.store_run()
    listed = await case.storage.list(names.job_prefix(JOB))
    await case.storage.delete_prefix(OUTPUT)

    class Lying(Storage):
        async def list(self, prefix: str) -> Any:
            return listed

    whole, case.scheduler.storage = case.storage, Lying(bucket="files", store=MemoryStore())
    with pytest.raises(ObjectMissing):
        await case.download()
    assert case.files() == {}
    case.scheduler.storage = whole
    await case.store_run()
    assert len(await case.download()) == 3


async def test_what_a_killed_download_left_is_removed_by_the_next(case: Case) -> None:
    case.job.package_input_folder = True
    await case.store_run()
    await case.put("outputs/files/d/x", "1")
    await case.download()
    for folder in (case.folder, case.folder / "d"):
        (folder / ".nb-download-dead").write_text("half")
    assert not [path for path in await case.download() if ".nb-download-" in path]


async def test_what_a_living_download_writes_stays(case: Case) -> None:
    await case.store_run()
    folder = f"jobs/nb-{JOB}"
    living = NewFile(str(case.root), f"{folder}/large.bin")
    living.write(b"half")
    await case.download()
    living.write(b", whole")
    living.finish()
    assert case.files()["large.bin"] == "half, whole"


def test_without_locks_the_age_tells_what_is_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    (tmp_path / "d").mkdir()
    left = tmp_path / "d/.nb-download-x"
    left.write_text("half")
    written = left.stat().st_mtime
    remove_abandoned(str(tmp_path), "d", now=written + 3599)
    assert left.exists()
    remove_abandoned(str(tmp_path), "d", now=written + 3601)
    assert not left.exists()
    file = NewFile(str(tmp_path), "d/y")
    file.write(b"1")
    file.finish()
    assert (tmp_path / "d/y").read_bytes() == b"1"


def test_links_and_others_files_of_that_name_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/.nb-download-link").symlink_to(tmp_path / "target")
    (tmp_path / "target").write_text("precious")
    (tmp_path / "d/.nb-download-folder").mkdir()
    os.mkfifo(tmp_path / "d/.nb-download-pipe")
    remove_abandoned(str(tmp_path), "d")
    assert len([*(tmp_path / "d").iterdir()]) == 3
    assert (tmp_path / "target").exists()


async def test_many_downloads_and_removals_at_once_lose_nothing(tmp_path: Path) -> None:
    def write(number: int) -> None:
        file = NewFile(str(tmp_path), f"d/{number}")
        file.write(b"1")
        file.finish()

    await asyncio.gather(
        *(asyncio.to_thread(write, number) for number in range(300)),
        *(asyncio.to_thread(remove_abandoned, str(tmp_path), "d") for _ in range(300)),
    )
    assert len([*(tmp_path / "d").iterdir()]) == 300


async def test_what_the_file_system_refuses_is_one_sentence(case: Case) -> None:
    await case.store_run()
    (case.folder / "nb.ipynb").mkdir(parents=True)
    with pytest.raises(BackendError, match=r"nb\.ipynb' can't be written: Is a directory\."):
        await case.download()
    assert not [path for path in case.files() if path.startswith(".")]
    (case.root / "jobs").rename(case.root / "other")
    (case.root / "jobs").write_text("a file")
    with pytest.raises(UnsafePath, match="'jobs' is a link or a file"):
        await case.download()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (False, False), (None, False), ("true", True), ("FALSE", False), (" 0 ", False)],
)
def test_redownload_may_be_text(value: object, expected: bool) -> None:
    assert is_true(value) is expected


async def test_json_of_the_record_is_not_asked_which_files_exist(case: Case) -> None:
    case.job.package_input_folder = True
    case.job.packaged_files = ["vanished.csv"]
    await case.store_run()
    await case.put("outputs/result.json", json.dumps({"files": [{"path": "never.csv"}]}))
    assert len(await case.download()) == 3


@pytest.mark.parametrize(
    ("tail", "content"),
    [
        ("outputs/result.json", json.dumps({"log_tail": "its last words"})),
        ("outputs/log", "its last words"),
    ],
)
async def test_the_end_of_the_log_comes_with_a_run_that_failed(
    case: Case, tail: str, content: str
) -> None:
    case.job.status = Status.FAILED
    await case.store_run()
    await case.put(tail, content)

    assert (await case.download())[f"{case.dated}.log"] == "its last words"


async def test_a_completed_run_comes_without_its_log(case: Case) -> None:
    await case.store_run()
    await case.put("outputs/result.json", json.dumps({"log_tail": "words"}))

    assert f"{case.dated}.log" not in await case.download()
