"""Runs of a schedule, in pods: the next one replaces this one, and each keeps its input."""

import io
import time
import uuid
from collections.abc import Callable

import pytest

from cluster.pods import JsonObject, PodJob, Pods, container, exit_codes, is_running, verdict
from cluster.support import notebook, text_outputs
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.status import derive

INPUTS = {
    "n.ipynb": notebook(
        "print(open('data/ü #%25+.csv').read())",
        "import time\nprint('waiting')\nwhile True: time.sleep(0.1)",
        "print('never')",
    ),
    "data/ü #%25+.csv": "1,2",
}
TREE = b'{"folders": ["empty"], "executables": []}'


@pytest.fixture
def turns() -> str:
    """The prefix of one schedule's turns."""
    return f"tests/{uuid.uuid4()}/turns/"


def in_turn(prefix: str, minutes: int) -> Callable[[JsonObject], None]:
    """Makes a Job the run of a schedule in some minute."""

    def change(manifest: JsonObject) -> None:
        kept = f"{prefix}{minutes}/kept/"
        container(manifest, "files")["env"] += [
            {"name": "S3_TURN_PREFIX", "value": prefix},
            {"name": "S3_TURN_NAME", "value": f"nb-jobdef-1-{minutes}"},
            {"name": "S3_KEEP_INPUT_PREFIX", "value": kept.replace("/turns/", "/")},
        ]

    return change


def status(job: PodJob) -> tuple[str, str]:
    """The status and the message of the job's record."""
    found = derive(job.kubectl.job(job.job_id), job.pods(), time.time())
    return found.status.value, str(found.message)


@pytest.mark.parametrize("max_retries", [0, 2])
def test_the_next_run_replaces_this_one(pods: Pods, turns: str, max_retries: int) -> None:
    options = JobOptions(max_retries=max_retries)
    # The later one's number is the greater one, and the lesser text.
    first = pods.start(INPUTS, change=in_turn(turns, 999), options=options)
    first.watch("pod", lambda pod: is_running(pod, "notebook"))
    first.printed("notebook", "Cell 1 ")
    second = pods.start(INPUTS, change=in_turn(turns, 1000), options=options)
    second.watch("pod", lambda pod: is_running(pod, "files"))

    pod = first.ended(seconds=30)

    assert exit_codes(pod) == {"files": 35, "notebook": 28}
    assert verdict(first.finished()) == "Failed"
    (executed,) = [key for key in first.stored() if key.endswith("output.ipynb")]
    assert text_outputs(first.output(executed)) == ["1,2\n", "waiting\n", ""]
    assert status(first) == (
        "STOPPED",
        "The next run of this schedule began, and replaced this one after 1 of 3 cells."
        " What it had computed can be downloaded.",
    )
    # It isn't tried again, and the later one runs on.
    assert len(first.pods()) == 1
    assert exit_codes(second.pod()) == {}
    assert pods.bucket.keys(turns) == [f"{turns}nb-jobdef-1-1000"]


def test_a_run_that_begins_after_the_next_one_does_not_start(pods: Pods, turns: str) -> None:
    options = JobOptions(max_retries=2)
    pods.bucket.client.put_object(pods.bucket.name, f"{turns}nb-jobdef-1-1000", io.BytesIO(b""), 0)

    late = pods.start(INPUTS, change=in_turn(turns, 999), options=options)

    assert exit_codes(late.ended()) == {"files": 35, "notebook": 27}
    assert verdict(late.finished()) == "Failed"
    assert status(late) == (
        "STOPPED",
        "The next run of this schedule began, and replaced this one.",
    )
    assert len(late.pods()) == 1
    (result,) = late.stored()
    assert result.endswith("result.json")


def test_a_run_keeps_the_input_that_it_ran(pods: Pods, turns: str) -> None:
    inputs = {**INPUTS, "n.ipynb": notebook("print(open('data/ü #%25+.csv').read())")}
    job = pods.start(inputs, keys={"%tree": TREE}, change=in_turn(turns, 1000))

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}

    source, kept = names.input_prefix(job.job_id), turns.replace("/turns/", "/1000/kept/")
    found = {key.removeprefix(kept): pods.bucket.read(key) for key in pods.bucket.keys(kept)}
    assert found == {
        key.removeprefix(source): pods.bucket.read(key) for key in pods.bucket.keys(source)
    }
    assert set(found) == {"%tree", "n.ipynb", names.escape_path("data/ü #%25+.csv")}
