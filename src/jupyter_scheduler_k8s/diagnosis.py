"""Why a job failed, from its Job and its pods: pure functions.

Where several things went wrong at once, the one that explains most is told: the
order of `Category` is that order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from jupyter_scheduler_k8s import names, objects
from jupyter_scheduler_k8s.reasons import STOPS, Category, Diagnosis, sentence
from jupyter_scheduler_k8s.waiting import waiting_reason

# The exit codes of the programs in the pod. image/notebook_job/codes.py holds
# the same table; a test compares them.
NOTEBOOK_CODES = {
    0: "completed",
    20: "cell-error",
    21: "kernel-missing",
    22: "kernel-died",
    23: "out-of-memory",
    24: "terminated",
    25: "notebook-invalid",
    26: "nbclient-missing",
    27: "inputs-failed",
    28: "replaced",
}
FILES_CODES = {
    0: "stored",
    30: "inputs-failed",
    31: "outputs-failed",
    32: "already-started",
    33: "terminated",
    34: "not-begun",
    35: "replaced",
}
# What ends in the same way however often it is tried, by container.
FINAL_CODES: Mapping[str, frozenset[int]] = {
    names.NOTEBOOK_CONTAINER: frozenset(
        code
        for code, outcome in NOTEBOOK_CODES.items()
        if outcome in ("kernel-missing", "notebook-invalid", "nbclient-missing", "replaced")
    ),
    # A run that was replaced before its notebook began.
    names.FILES_CONTAINER: frozenset(
        code for code, outcome in FILES_CODES.items() if outcome == "replaced"
    ),
}


def diagnose(
    job: Mapping[str, Any],
    pods: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Why this Job failed: what its annotation keeps, else what it and its pods still show.

    Args:
        job: the Job.
        pods: its pods, as far as they are still there.
        result: the run's `result.json`, for a run whose pods are gone.
    """
    if kept := _kept_diagnosis(job):
        return kept
    of_job = [*_job_reasons(job)]
    reasons = [*of_job]
    retries = objects.retries(job)
    # Of several attempts, the last one's outcome is the job's.
    for pod in objects.newest_first(pods)[: 1 if retries else None]:
        reasons.extend(_pod_reasons(pod))
    if result:
        reasons.extend(_result_reasons(result))
    if reasons:
        found = _with_loss(min(reasons, key=lambda found: found.category), reasons)
        attempts = objects.failed_pods(job)
        own = {reason.category for reason in of_job}
        if found.category in own or attempts < 2 or not objects.condition(job, "Failed"):
            return found
        told = f"Attempt {attempts} of {retries + 1}: {found.summary}"
        return replace(found, summary=told) if retries else found
    condition = objects.condition(job, "Failed", "FailureTarget")
    text = condition.get("message") or condition.get("reason") or "Kubernetes gives no reason"
    return Diagnosis(Category.UNKNOWN, f"The run failed: {sentence(text)}")


def _with_loss(told: Diagnosis, reasons: Sequence[Diagnosis]) -> Diagnosis:
    """A stop, with what it lost: that the run was to end says nothing of the outputs."""
    lost = next((found for found in reasons if found.category is Category.OUTPUTS), None)
    if told.category in STOPS and lost is not None:
        return replace(told, hint=lost.message)
    return told


def never_began(pod: Mapping[str, Any]) -> Diagnosis:
    """Of a pod whose notebook container ended before it could say that it lives."""
    ended = objects.terminated(pod, names.NOTEBOOK_CONTAINER)
    hint = (
        "Its image needs python3 and an entry point that runs its arguments, and its memory limit"
        " must be enough to start it."
    )
    if said := ended.get("message"):
        return Diagnosis(
            Category.CONTAINER, f"The notebook's container did not start: {sentence(said)}", hint
        )
    return Diagnosis(
        Category.CONTAINER,
        f"The notebook's container ended with exit code {ended.get('exitCode')} before it began.",
        hint,
    )


def node_lost() -> Diagnosis:
    """Of a pod that was to end, and whose node has not said for long that it did."""
    return Diagnosis(
        Category.DISRUPTED,
        "The node of the run was lost: minutes after the run's pod was to end, the node had not"
        " confirmed it.",
        "What was stored until then can be downloaded. Run it again if that is safe: on a node"
        " that only lost its connection, the notebook may have gone on.",
    )


def kept_waiting(job: Mapping[str, Any]) -> Diagnosis | None:
    """Why this Job had not begun, by its events, if that was written down."""
    return _diagnosis(objects.annotations(job).get(names.WAITING_ANNOTATION))


def is_kept(job: Mapping[str, Any]) -> bool:
    """Whether the Job says itself why it failed, so that its pods may go."""
    return _kept_diagnosis(job) is not None


def diagnosis_annotation(diagnosis: Diagnosis) -> str:
    """A diagnosis as the annotation that survives the pods."""
    return json.dumps({**asdict(diagnosis), "category": diagnosis.category.name})


def end_reason(job: Mapping[str, Any]) -> str | None:
    """Why the server ended this run ("stopped", "timeout"), None if it didn't."""
    found = objects.json_object(objects.annotations(job).get(names.END_ANNOTATION))
    reason = found.get("reason")
    return reason if isinstance(reason, str) else None


def result_summary(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the files program says of the run: see image/README.md; empty if it says nothing."""
    return objects.json_object(objects.terminated(pod, names.FILES_CONTAINER).get("message"))


def _job_reasons(job: Mapping[str, Any]) -> Iterator[Diagnosis]:
    end = objects.json_object(objects.annotations(job).get(names.END_ANNOTATION))
    if end.get("reason") == "stopped":
        yield Diagnosis(Category.STOPPED, "The job was stopped.")
    elif end.get("reason"):
        yield Diagnosis(
            Category[end.get("category", "UNKNOWN")],
            str(end.get("message") or "The run was ended by the server."),
        )
    elif objects.condition(job, "Failed", "FailureTarget").get("reason") == "DeadlineExceeded":
        limit = (job.get("spec") or {}).get("activeDeadlineSeconds")
        yield Diagnosis(
            Category.DEADLINE,
            f"The run took longer than its time limit of {limit} seconds.",
            "What it had computed can be downloaded.",
        )


def _pod_reasons(pod: Mapping[str, Any]) -> Iterator[Diagnosis]:
    status = pod.get("status") or {}
    if status.get("reason") == "Evicted":
        yield Diagnosis(
            Category.EVICTED,
            f"The run was evicted from its node: {sentence(status.get('message') or '')}",
            "Run it again; asking for the memory and disk it needs makes this rarer.",
        )
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            yield _disrupted(condition)
    if (waits := waiting_reason(pod)) and status.get("phase") != "Running":
        yield waits
    yield from _notebook_reasons(pod)
    yield from _files_reasons(pod)


def _notebook_reasons(pod: Mapping[str, Any]) -> Iterator[Diagnosis]:
    ended = objects.terminated(pod, names.NOTEBOOK_CONTAINER)
    summary = result_summary(pod)
    code = ended.get("exitCode")
    outcome = NOTEBOOK_CODES.get(code) if isinstance(code, int) else None
    if ended.get("reason") == "OOMKilled" and code != 0:
        outcome = "out-of-memory"
    if found := _outcome_reason(outcome, summary, limit=_memory_limit(pod)):
        yield found
    elif isinstance(code, int) and outcome is None:
        how = f"with exit code {code}" if code != 137 else "by SIGKILL"
        yield Diagnosis(
            Category.UNKNOWN,
            f"The notebook's container ended {how}{_progress(summary)}.",
            "Its log says more.",
        )


def _result_reasons(result: Mapping[str, Any]) -> Iterator[Diagnosis]:
    limit = result.get("memory_limit_bytes")
    text = f"{limit // 1024**2}Mi" if isinstance(limit, int) else ""
    if found := _outcome_reason(result.get("outcome"), result, limit=text):
        yield found
    elif result.get("outcome") == "notebook-lost":
        yield Diagnosis(
            Category.UNKNOWN,
            f"The notebook's container was ended from outside{_progress(result)}.",
        )


def _outcome_reason(outcome: object, summary: Mapping[str, Any], *, limit: str) -> Diagnosis | None:
    """What an outcome of the notebook means; None for one that is no failure of its own."""
    where = _progress(summary)
    match outcome:
        case "out-of-memory":
            used = f"it used more than its limit of {limit}"
            none = "it has no limit of its own, so its node had no more to give"
            return Diagnosis(
                Category.OUT_OF_MEMORY,
                f"The notebook ran out of memory{where}: {used if limit else none}.",
                "Ask for more memory, or read the data in smaller parts.",
            )
        case "cell-error":
            error = summary.get("error")
            if not isinstance(error, Mapping):
                return Diagnosis(Category.CELL_ERROR, "A cell raised an error; see the notebook.")
            raised = f"Cell {error.get('cell')} raised {error.get('name')}"
            value = error.get("value")
            return Diagnosis(Category.CELL_ERROR, f"{raised}: {value}" if value else raised)
        case "kernel-missing" | "nbclient-missing":
            return Diagnosis(
                Category.KERNEL_MISSING, _said(summary, "The image can't run this notebook.")
            )
        case "notebook-invalid":
            return Diagnosis(
                Category.NOTEBOOK_INVALID, _said(summary, "The notebook file can't be read.")
            )
        case "kernel-died":
            return Diagnosis(
                Category.KERNEL_DIED, _said(summary, f"The kernel died{where} without saying why.")
            )
        case "terminated":
            return Diagnosis(
                Category.TERMINATED,
                f"The run was ended from outside{where}.",
                "What it had computed can be downloaded.",
            )
        case "replaced":
            return _replaced(summary)
    return None


def _files_reasons(pod: Mapping[str, Any]) -> Iterator[Diagnosis]:
    ended = objects.terminated(pod, names.FILES_CONTAINER)
    code = ended.get("exitCode")
    summary = result_summary(pod)
    match FILES_CODES.get(code) if isinstance(code, int) else None:
        case "stored" | None if code in (0, None):
            return
        case "inputs-failed":
            yield Diagnosis(
                Category.INPUTS, _said(summary, "The input files can't be fetched from S3.")
            )
        case "outputs-failed":
            yield Diagnosis(
                Category.OUTPUTS, _said(summary, "The outputs could not be stored in S3.")
            )
        case "already-started":
            yield Diagnosis(
                Category.ALREADY_STARTED,
                "The pod of this run was lost after its notebook had begun; notebooks have side"
                " effects, so it was not started again.",
                "Run it again if that is safe.",
            )
        case "terminated":
            yield Diagnosis(
                Category.TERMINATED,
                f"The run was ended from outside{_progress(summary)}.",
                "What it had computed can be downloaded.",
            )
        case "replaced":
            yield _replaced(summary)
        case "not-begun":
            yield Diagnosis(
                Category.UNKNOWN, _said(summary, "The notebook's container ended before it began.")
            )
        case _ if ended.get("reason") == "OOMKilled":
            yield Diagnosis(
                Category.OUTPUTS, "The container that stores the outputs ran out of memory."
            )
        case _:
            yield Diagnosis(
                Category.OUTPUTS,
                f"The container that moves the files ended with exit code {code}.",
                "Its log says more.",
            )


def _replaced(summary: Mapping[str, Any]) -> Diagnosis:
    where = _progress(summary)
    return Diagnosis(
        Category.REPLACED,
        f"The next run of this schedule began, and replaced this one{where}.",
        "What it had computed can be downloaded." if where else "",
    )


def _disrupted(condition: Mapping[str, Any]) -> Diagnosis:
    reason, again = condition.get("reason"), "Run it again."
    if reason == "PreemptionByScheduler":
        return Diagnosis(
            Category.DISRUPTED, "The run was displaced by one of higher priority.", again
        )
    if reason in ("DeletionByTaintManager", "DeletionByPodGC"):
        return Diagnosis(Category.DISRUPTED, "The node of the run was lost.", again)
    if reason in ("EvictionByEvictionAPI", "TerminationByKubelet"):
        text = sentence(condition.get("message") or "")
        return Diagnosis(Category.EVICTED, f"The run was evicted from its node: {text}", again)
    return Diagnosis(Category.DISRUPTED, "The run was ended by the cluster.", again)


def remark(job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> str | None:
    """What a completed run wants known: a kernel that stood in, a format that failed."""
    if kept := _kept_diagnosis(job):
        return kept.message or None
    for pod in objects.newest_first(pods):
        summary = result_summary(pod)
        failed = summary.get("failed_outputs")
        said = [
            summary.get("kernel_note"),
            *(failed.values() if isinstance(failed, Mapping) else ()),
        ]
        if text := " ".join(part for part in said if isinstance(part, str) and part):
            return text
    return None


def _kept_diagnosis(job: Mapping[str, Any]) -> Diagnosis | None:
    return _diagnosis(objects.annotations(job).get(names.DIAGNOSIS_ANNOTATION))


def _diagnosis(annotation: object) -> Diagnosis | None:
    found = objects.json_object(annotation)
    try:
        return Diagnosis(Category[found["category"]], str(found["summary"]), str(found["hint"]))
    except KeyError:
        return None


def _progress(summary: Mapping[str, Any]) -> str:
    cells = summary.get("cells")
    # A run that ended before its notebook was read has counted none.
    if not isinstance(cells, Mapping) or not isinstance(cells.get("total"), int):
        return ""
    if not cells["total"]:
        return ""
    return f" after {cells.get('finished')} of {cells['total']} cells"


def _memory_limit(pod: Mapping[str, Any]) -> str:
    for container in (pod.get("spec") or {}).get("containers") or ():
        if container.get("name") == names.NOTEBOOK_CONTAINER:
            return str(((container.get("resources") or {}).get("limits") or {}).get("memory") or "")
    return ""


def _said(summary: Mapping[str, Any], otherwise: str) -> str:
    message = summary.get("message")
    return message if isinstance(message, str) and message else otherwise
