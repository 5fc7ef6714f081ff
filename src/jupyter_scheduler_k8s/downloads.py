"""`K8sJobFilesManager`: what a run stored in S3, into the output folder.

Upstream's manager forks, answers before anything is copied and hides every error.
This one answers when the files are there. Which files there are is read from S3,
never from the record, so that what a run could store before it was killed is found
too. Each file gets its name when it is whole; a call that was cut short is simply
repeated.
"""

import asyncio
import functools
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_scheduler.job_files_manager import JobFilesManager
from jupyter_scheduler.models import DescribeJob, Status
from jupyter_scheduler.utils import create_output_filename
from jupyter_server.utils import ensure_async

from jupyter_scheduler_k8s import attempts, beneath, logs, names
from jupyter_scheduler_k8s.errors import (
    BackendError,
    ConfigurationError,
    StorageError,
    UnsafePath,
)
from jupyter_scheduler_k8s.staging import check_filename
from jupyter_scheduler_k8s.storage import Download, Storage

_ENDED = frozenset({Status.COMPLETED.value, Status.FAILED.value, Status.STOPPED.value})
# Characters: enough for a sentence.
_REASON_LENGTH = 300
_FALSE = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fetched for one job.

    Attributes:
        files: local path, relative to the job's output folder, to S3 key.
        missing: the formats that were asked for and aren't stored.
        has_outputs: whether the run stored anything but its markers.
    """

    files: Mapping[str, str]
    missing: tuple[str, ...]
    has_outputs: bool


def make_plan(
    job_id: str,
    *,
    keys: Collection[str],
    formats: Collection[str],
    filenames: Mapping[str, Any],
    package: bool,
    outputs: str = "",
) -> Plan:
    """Which key goes to which file.

    What the run made lies over what was sent; the input notebook and the outputs,
    which JupyterLab links by their names, lie over both. Where a format is missing,
    or none was asked for, the notebook as far as it was executed takes its place.

    Args:
        job_id: the job's id.
        keys: all keys below the job's prefix.
        formats: the output formats that were asked for.
        filenames: format, or "input", to local name: upstream's `get_job_filenames`,
            and "ipynb" in any case.
        package: the whole input folder was sent.
        outputs: the prefix of the outputs, where it isn't the usual one: see attempts.py.

    Raises:
        UnsafePath: a key or a name would lead out of the output folder.
    """
    inputs, outputs = names.input_prefix(job_id), outputs or names.output_prefix(job_id)
    files: dict[str, str] = {}
    made: dict[str, str] = {}
    if package:
        tree = inputs + names.TREE_KEY
        files = _below(inputs, (key for key in keys if key != tree))
        made = _below(outputs + names.SIDE_FILES_KEY, keys)
        _make_room(files, made)
        files.update(made)

    named: dict[str, str] = {}
    missing = []
    for output_format in formats:
        key = outputs + names.output_file(output_format)
        if key in keys:
            named[_single(filenames[output_format])] = key
        else:
            missing.append(output_format)
    executed = outputs + names.output_file("ipynb")
    if (missing or not formats) and executed in keys:
        named[_single(filenames["ipynb"])] = executed
    has_outputs = bool(named or made)
    notebook = check_filename(filenames["input"])
    key = inputs + names.escape_path(notebook)
    if key in keys:
        named[notebook] = key
    _make_room(files, named)
    return Plan(files={**files, **named}, missing=tuple(missing), has_outputs=has_outputs)


def _single(name: str) -> str:
    """Return `name`, a dated name: longer than an input's may be.

    Raises:
        UnsafePath: it has folders.
    """
    if "/" in names.check_path(name):
        raise UnsafePath(f"The output's name {name!r} must be a name without folders.")
    return name


def _below(prefix: str, keys: Iterable[str]) -> dict[str, str]:
    found = {
        names.unescape_path(key.removeprefix(prefix)): key for key in keys if key.startswith(prefix)
    }
    # Some S3 clients make an object for a folder; obstore lists it without its slash.
    folders = {parent for path in found for parent in _parents(path)}
    return {path: key for path, key in found.items() if path not in folders}


def _make_room(files: dict[str, str], above: Mapping[str, str]) -> None:
    """Take from `files` what is a folder in `above`, or lies in what is a file there."""
    folders = {parent for path in above for parent in _parents(path)}
    for path in [*files]:
        if path in folders or any(parent in above for parent in _parents(path)):
            del files[path]


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def is_true(value: object) -> bool:
    """What `redownload` says: a bool, or the text of a query argument."""
    return value.strip().lower() not in _FALSE if isinstance(value, str) else bool(value)


class K8sJobFilesManager(JobFilesManager):
    """Copies a job's files from S3 to the server's output folder."""

    async def copy_from_staging(self, job_id: str, redownload: bool | str | None = False) -> None:
        """Fetch what the job stored, and return when it is there.

        Args:
            job_id: the job's id.
            redownload: replace files that are there already.

        Raises:
            SchedulerError: one of ours, with what is wrong and what to do.
        """
        scheduler: Any = self.scheduler
        storage: Storage = scheduler.storage
        job = await ensure_async(scheduler.get_job(job_id, False))
        check_filename(job.input_filename)
        folder = _output_folder(scheduler, job)
        stored = await storage.list(names.job_prefix(job.job_id))
        sizes = {found.key: found.size for found in stored}
        outputs = attempts.outputs_of(job.job_id, stored)
        plan = await asyncio.to_thread(
            make_plan,
            job.job_id,
            keys=sizes.keys(),
            formats=job.output_formats or (),
            filenames=_filenames(scheduler, job),
            package=bool(job.package_input_folder),
            outputs=outputs,
        )
        if not plan.has_outputs:
            raise StorageError(_nothing(job))
        paths = {f"{folder}/{path}": key for path, key in plan.files.items()}
        await asyncio.to_thread(_remove_abandoned, scheduler.root_dir, paths)
        if not is_true(redownload):
            there = await asyncio.to_thread(_existing, scheduler.root_dir, paths)
            paths = {path: key for path, key in paths.items() if path not in there}
        await storage.download(
            Download(
                key=key,
                size=sizes[key],
                open=functools.partial(beneath.NewFile, scheduler.root_dir, path),
            )
            for path, key in paths.items()
        )
        cut_short = _status(job) in (Status.FAILED.value, Status.STOPPED.value)
        if cut_short and (log := await logs.stored(storage, outputs)):
            path = f"{folder}/{_log_name(scheduler, job)}"
            await asyncio.to_thread(_write, scheduler.root_dir, path, log)
        # A run that goes on may still make them.
        if plan.missing and _status(job) in _ENDED:
            raise StorageError(await self._incomplete(storage, outputs, plan, folder))

    async def _incomplete(self, storage: Storage, outputs: str, plan: Plan, folder: str) -> str:
        """What to say of the formats that aren't there, with the run's own words."""
        reasons = (await logs.result(storage, outputs)).get("failed_outputs")
        if not isinstance(reasons, dict):
            reasons = {}
        missing = [
            f"{name} ({_short(reasons[name])})" if name in reasons else name
            for name in plan.missing
        ]
        return f"The run did not make {', '.join(missing)}; all that it made is in {folder!r}."


def _short(reason: object) -> str:
    """One line of what the pod says: it is not ours, and may be long."""
    return " ".join(str(reason).split())[:_REASON_LENGTH]


def _write(root: str, path: str, data: bytes) -> None:
    file = beneath.NewFile(root, path)
    try:
        file.write(data)
    except BaseException:
        file.discard()
        raise
    file.finish()


def _log_name(scheduler: Any, job: DescribeJob) -> str:
    """The log's name: that of the executed notebook, with another end."""
    return f"{_single(_filenames(scheduler, job)['ipynb']).removesuffix('.ipynb')}.log"


def _filenames(scheduler: Any, job: DescribeJob) -> dict[str, Any]:
    executed = create_output_filename(job.input_filename, job.create_time, "ipynb")
    return {"ipynb": executed, **scheduler.get_job_filenames(job)}


def _output_folder(scheduler: Any, job: DescribeJob) -> str:
    """The job's output folder, relative to the server's root folder."""
    path = scheduler.get_local_output_path(job, root_dir_relative=False)
    folder: str = os.path.relpath(path, scheduler.root_dir)
    if os.path.isabs(folder) or ".." in folder.split("/"):  # noqa: PTH117
        raise ConfigurationError(
            "Scheduler.output_directory must be a folder below the server's root folder, "
            "or JupyterLab can't show what is in it."
        )
    return folder


def _existing(root: str, paths: Iterable[str]) -> set[str]:
    try:
        return {path for path in paths if beneath.file_exists(root, path)}
    except OSError as error:
        raise BackendError(f"The output folder can't be read: {error.strerror}.") from None


def _remove_abandoned(root: str, paths: Iterable[str]) -> None:
    """Remove what a killed download left, wherever this one writes."""
    for folder in {path.rpartition("/")[0] for path in paths}:
        beneath.remove_abandoned(root, folder)


def _status(job: DescribeJob) -> str:
    return str(getattr(job.status, "value", job.status))


def _nothing(job: DescribeJob) -> str:
    status = _status(job)
    if status == Status.COMPLETED.value:
        return (
            "The outputs of this job are no longer in S3: they were deleted there, "
            "or S3_BUCKET names another bucket than when it ran."
        )
    if status in _ENDED:
        return "The run ended before it stored any output, so there is nothing to download."
    return "The run hasn't stored any output yet; try again when it has computed something."
