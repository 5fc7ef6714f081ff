"""What a run stored in S3, to where upstream's scheduler keeps a job's files."""

import functools
from collections.abc import Mapping
from pathlib import Path

from jupyter_scheduler.utils import create_output_filename

from jupyter_scheduler_k8s import attempts, beneath, names
from jupyter_scheduler_k8s.downloads import make_plan
from jupyter_scheduler_k8s.records import JobRecord
from jupyter_scheduler_k8s.storage import Download, Storage


async def fetch_outputs(
    storage: Storage, record: JobRecord, staging_paths: Mapping[str, str]
) -> list[str]:
    """Bring home what there is of a run's outputs. Safe to repeat.

    Args:
        storage: the bucket.
        record: the job.
        staging_paths: upstream's, by format; the inputs are there.

    Returns:
        The files that the run made beside its outputs, relative to the notebook's folder.

    Raises:
        BackendError: S3 or the file system refuses.
    """
    stored = await storage.list(names.output_prefix(record.job_id))
    outputs = attempts.outputs_of(record.job_id, stored)
    sizes = {found.key: found.size for found in stored}
    executed = create_output_filename(record.input_filename, record.create_time, "ipynb")
    here = {name: Path(path).name for name, path in staging_paths.items()}
    plan = make_plan(
        record.job_id,
        keys=sizes.keys(),
        formats=record.output_formats,
        filenames={"ipynb": executed, **here, "input": record.input_filename},
        package=bool(record.package_input_folder),
        outputs=outputs,
    )
    folder = str(Path(staging_paths["input"]).parent.resolve())
    await storage.download(
        Download(key=key, size=sizes[key], open=functools.partial(beneath.NewFile, folder, path))
        for path, key in plan.files.items()
    )
    made = outputs + names.SIDE_FILES_KEY
    return sorted(path for path, key in plan.files.items() if key.startswith(made))
