"""Names of objects, labels, annotations and S3 keys: the only place that spells them.

Names are built from ids, never from what a user typed. Relative paths of files
are the one exception; `escape_path` makes them safe as the tail of an S3 key
and `unescape_path` refuses whatever would not be safe as a file name.
"""

import hashlib
import re
from urllib.parse import unquote

from jupyter_scheduler_k8s.errors import UnsafePath

GROUP = "jupyter-scheduler.io"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "jupyter-scheduler-k8s"
JOB_ID_LABEL = f"{GROUP}/job-id"
DEFINITION_ID_LABEL = f"{GROUP}/job-definition-id"
OWNER_LABEL = f"{GROUP}/owner"
# Set by Kubernetes on the pods of a Job.
POD_JOB_NAME_LABEL = "batch.kubernetes.io/job-name"

# On what `doctor` makes, which is no record and carries none of the labels above.
CHECK_LABEL = f"{GROUP}/check"

JOB_DATA_ANNOTATION = f"{GROUP}/job-data"
DEFINITION_DATA_ANNOTATION = f"{GROUP}/job-definition-data"
DIAGNOSIS_ANNOTATION = f"{GROUP}/diagnosis"
# Of a run whose input files are those of a definition: in which version.
INPUT_VERSION_ANNOTATION = f"{GROUP}/input-version"
# Why the Job has not begun, where only events say so.
WAITING_ANNOTATION = f"{GROUP}/waiting"
END_ANNOTATION = f"{GROUP}/end"
# Set by Kubernetes on the Jobs of a CronJob: the time that they were due at.
SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
# On EKS, names the containers that the pod's cloud identity is kept from.
SKIP_CONTAINERS_ANNOTATION = "eks.amazonaws.com/skip-containers"

# Of the Secrets with the keys of S3.
CREDENTIALS_PREFIX = "nb-s3-"

FILES_CONTAINER = "files"
NOTEBOOK_CONTAINER = "notebook"

# The name part of staging_paths["ipynb"]; the other formats share its stem.
OUTPUT_STEM = "output"
RESULT_KEY = "result.json"
STARTED_KEY = "started"
# The end of the notebook's log, of a run that could not store its own.
LOG_KEY = "log"
SIDE_FILES_KEY = "files/"
# No escaped path can have this name: a `%` in a path is written %25.
TREE_KEY = "%tree"

# RFC 1123 labels allow 63 characters; the hash takes 9 with its dash.
_LABEL_VALUE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SLUG_LENGTH = 48
# S3 lists keys as XML, which can't hold control characters nor these two noncharacters.
_UNSAFE_IN_KEY = re.compile("[\x00-\x1f\x7f%\\\\\ufffe\uffff]")


def job_name(job_id: str) -> str:
    """The name of the Kubernetes Job that runs, and is, the job `job_id`."""
    return f"nb-job-{job_id}"


def check_job_name(check_id: str) -> str:
    """The name of the Job that `doctor` makes."""
    return f"nb-check-{check_id}"


def token_job_name(owner: str, token: str) -> str:
    """The name of a Job created with an idempotency token: the same for the same token."""
    digest = hashlib.sha256(f"{owner}\0{token}".encode()).hexdigest()
    return f"nb-job-{digest[:40]}"


def definition_name(definition_id: str) -> str:
    """The name of the CronJob that schedules, and is, the definition `definition_id`.

    Its Jobs are named after it by Kubernetes, with a dash and the minute that they
    were due at, which may take 11 characters of a Job's 63.
    """
    return f"nb-jobdef-{definition_id}"


def credentials_secret_name(owner: str, endpoint_url: str, bucket: str) -> str:
    """The Secret with an owner's S3 credentials for one bucket."""
    digest = hashlib.sha256(f"{owner}\0{endpoint_url}\0{bucket}".encode()).hexdigest()
    return f"{CREDENTIALS_PREFIX}{digest[:20]}"


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes this as the value of a label."""
    return re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", text) is not None


def owner_label(owner: str) -> str:
    """`owner` as a label value: itself where it is one, else a slug and a hash, no collisions.

    A value that looks like the result of slugging is slugged too, so that no
    owner can choose a name that equals another's label.
    """
    looks_slugged = re.search(r"--[0-9a-f]{10}$", owner) is not None
    if _LABEL_VALUE.fullmatch(owner) and len(owner) <= _SLUG_LENGTH and not looks_slugged:
        return owner
    slug = re.sub(r"[^a-z0-9]+", "-", owner.lower()).strip("-")[:_SLUG_LENGTH].strip("-")
    digest = hashlib.sha256(owner.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{slug or 'x'}--{digest}"


def job_prefix(job_id: str) -> str:
    """The S3 prefix of everything that belongs to one job, with its slash."""
    return f"jobs/{job_id}/"


def definition_prefix(definition_id: str) -> str:
    """The S3 prefix of everything that belongs to one definition, but for its runs."""
    return f"definitions/{definition_id}/"


def versions_prefix(definition_id: str) -> str:
    """The S3 prefix of all versions of a definition's input files."""
    return f"{definition_prefix(definition_id)}versions/"


def version_prefix(definition_id: str, version: str) -> str:
    """The S3 prefix of the input files of a definition as one edit has left them."""
    return f"{versions_prefix(definition_id)}{version}/"


def definition_input_prefix(definition_id: str, version: str) -> str:
    """The S3 prefix of these files themselves: what `S3_INPUT_PREFIX` is for its runs."""
    return f"{version_prefix(definition_id, version)}input/"


def turns_prefix(definition_id: str) -> str:
    """The S3 prefix where runs tell those before them that they have begun."""
    return f"{definition_prefix(definition_id)}turns/"


def pending_prefix(scope: str) -> str:
    """The S3 prefix of the notes of inputs whose Job may not exist, with its slash."""
    return f"pending/{scope}/"


def input_prefix(job_id: str) -> str:
    """The S3 prefix of the input files of a job, with its slash."""
    return f"{job_prefix(job_id)}input/"


def output_prefix(job_id: str) -> str:
    """The S3 prefix of what a job's run stored, with its slash."""
    return f"{job_prefix(job_id)}outputs/"


def attempt_prefix(job_id: str, pod_uid: str) -> str:
    """The S3 prefix of what one attempt stored, of a job that may have several."""
    return f"{output_prefix(job_id)}{pod_uid}/"


def output_file(output_format: str) -> str:
    """The name, below the output prefix, of the run's output in one format."""
    return f"{OUTPUT_STEM}.{output_format}"


def check_path(path: str) -> str:
    """Return `path`, a relative path with `/` between its parts.

    Raises:
        UnsafePath: it is empty, absolute, not UTF-8, or has a part that is
            empty, `.`, `..` or holds a NUL.
    """
    parts = path.split("/")
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise UnsafePath(
            f"The file name {path!r} is not valid UTF-8; rename the file and try again."
        ) from None
    if "\0" in path or "" in parts[:1] + parts[-1:]:
        raise UnsafePath(f"{path!r} is not the name of a file in this folder.")
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafePath(f"The file name {path!r} would leave its folder, so it was refused.")
    return path


def escape_path(path: str) -> str:
    """A relative file path as the tail of an S3 key, readable where that is safe.

    Raises:
        UnsafePath: see `check_path`.
    """
    return _UNSAFE_IN_KEY.sub(_percent, check_path(path))


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def unescape_path(tail: str) -> str:
    """The relative file path that `escape_path` made `tail` of.

    Raises:
        UnsafePath: the result is no path below its folder (see `check_path`), or
            `escape_path` would have written it in another way, as with `%2E%2E`.
    """
    try:
        path = check_path(unquote(tail, errors="strict"))
    except UnicodeDecodeError:
        path = ""
    if not path or escape_path(path) != tail:
        raise UnsafePath(f"The name {tail!r} in S3 was not written by this backend.")
    return path
