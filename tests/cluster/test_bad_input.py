"""What can't work gets a sentence where the user sees it, and leaves nothing unaccounted for.

Notebooks, formats and parameters that are refused are in test_run.py, images in test_waiting.py.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cluster.faulty_s3 import FaultySource, faulty_s3, no_fault
from cluster.pods import exit_codes
from cluster.severed import severed_line
from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer, RequestFailed

StartServer = Callable[..., LabServer]
NEVER = {"k8s_gpu": "1"}


@pytest.fixture
def own(bucket: Bucket, environment: dict[str, str]) -> Iterator[Bucket]:
    """A bucket of this test's servers alone, of which every key is judged."""
    found = replace(bucket, name=f"test-{secrets.token_hex(6)}")
    found.client.make_bucket(found.name)
    environment["S3_BUCKET"] = found.name
    yield found
    for key in found.keys(""):
        found.client.remove_object(found.name, key)
    found.client.remove_bucket(found.name)


def sentence_of(call: Callable[[], Any], *, status: int = 500) -> str:
    """The one sentence with which a request is refused."""
    with pytest.raises(RequestFailed) as refusal:
        call()
    said = refusal.value.message
    assert refusal.value.status == status, said
    assert "\n" not in said
    assert said.endswith("."), said
    assert "Unexpected error" not in said
    return said


def records(server: LabServer) -> dict[str, str]:
    """The status of each job that the server lists."""
    return {job["job_id"]: job["status"] for job in server.request("GET", "jobs")["jobs"]}


def settled(bucket: Bucket, *job_ids: str) -> None:
    """Wait until each of these jobs has keys in the bucket, and nothing else has.

    What a request leaves to be cleared away when it has been answered takes a moment.
    """
    expected = {f"jobs/{job_id}" for job_id in job_ids}
    found: dict[str, list[str]] = {}

    def look() -> bool:
        found.clear()
        for key in bucket.keys(""):
            found.setdefault("/".join(key.split("/")[:2]), []).append(key)
        return found.keys() == expected

    try:
        until(look, seconds=10, what="the prefixes of these jobs, and no more")
    finally:
        assert found.keys() == expected, found


def stop(server: LabServer, job_id: str) -> None:
    server.request("PATCH", f"jobs/{job_id}", {"status": "STOPPED"})


@pytest.fixture
def kubeconfigs(kubectl: Kubectl, tmp_path: Path) -> dict[str, str]:
    """Paths of what leads to the cluster as nobody in particular, and of what leads nowhere."""
    stranger = {"token": kubectl.run("create", "token", "notebook-job")}
    changes = {
        "stranger": ("users", {"user": stranger}),
        "away": ("clusters", {"cluster": {"server": "https://10.244.0.1:1"}}),
    }
    found = {"nowhere": str(tmp_path / "none.kubeconfig")}
    for name, (section, change) in changes.items():
        config = json.loads(kubectl.run("config", "view", "--raw", "-o", "json"))
        config[section][0].update(change)
        (tmp_path / name).write_text(json.dumps(config))
        found[name] = str(tmp_path / name)
    return found


@pytest.mark.parametrize(
    ("changes", "said", "listed"),
    [
        ({"S3_BUCKET": ""}, "set the environment variable S3_BUCKET", None),
        ({"S3_BUCKET": "not-there"}, "There is no bucket 'not-there' at", None),
        ({"AWS_SECRET_ACCESS_KEY": "planted"}, "doesn't accept the credentials from", None),
        ({"S3_ENDPOINT_URL": "http://10.244.0.1:1"}, "10.244.0.1:1 doesn't answer", None),
        ({"KUBECONFIG": "nowhere"}, "set KUBECONFIG", "set KUBECONFIG"),
        ({"KUBECONFIG": "away"}, "10.244.0.1:1 does not answer", "10.244.0.1:1 does not answer"),
        ({"KUBECONFIG": "stranger"}, "bind the Role", "bind the Role"),
    ],
    ids=[
        "no bucket", "bucket missing", "wrong S3 login", "S3 away",
        "no cluster named", "cluster away", "no permission",
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_said_and_nothing_is_left(
    start_server: StartServer,
    own: Bucket,
    kubectl: Kubectl,
    owner: str,
    kubeconfigs: dict[str, str],
    changes: dict[str, str],
    said: str,
    listed: str | None,
) -> None:
    server = start_server(
        changes={name: kubeconfigs.get(value, value) for name, value in changes.items()}
    )
    write(server, "n.ipynb", "1")

    told = sentence_of(lambda: create(server, "n.ipynb"))

    assert said in told
    assert "planted" not in told
    if listed:
        assert listed in sentence_of(lambda: server.request("GET", "jobs"))
    else:
        assert records(server) == {}
    assert own.keys() == []
    assert kubectl.get("jobs", "-l", f"jupyter-scheduler.io/owner={owner}") == []
    assert not own.client.bucket_exists("not-there")


def test_odd_notebooks_and_a_repeated_token_are_one_record_each(
    own: Bucket, server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    write(server, "empty.ipynb")
    write(server, "fortran.ipynb", "program main", kernel="gfort", language="fortran")
    empty = create(server, "empty.ipynb", idempotency_token="once")
    missing = create(server, "fortran.ipynb")

    again = sentence_of(lambda: create(server, "empty.ipynb", idempotency_token="once"), status=409)
    first, second = ended(server, empty), ended(server, missing)

    assert "once" in again
    assert (first["status"], first["status_message"]) == ("COMPLETED", None)
    assert text_outputs(download(server, empty)["ipynb"].read_text()) == []
    assert second["status"] == "FAILED"
    assert second["status_message"].startswith(
        'The notebook wants the kernel "gfort", which the image does not have'
    )
    assert "python3 (python)" in second["status_message"]
    # A job that has ended keeps its token.
    sentence_of(lambda: create(server, "empty.ipynb", idempotency_token="once"), status=409)
    assert len(kubectl.get("jobs", "-l", f"jupyter-scheduler.io/owner={owner}")) == 2
    settled(own, empty, missing)


def test_stop_and_delete_may_be_repeated_whatever_the_job_does(
    own: Bucket, server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    write(server, "quick.ipynb", "1")
    write(server, "long.ipynb", "import time\ntime.sleep(600)")
    finished = create(server, "quick.ipynb")
    running = create(server, "long.ipynb")
    never, dropped = (
        create(server, "quick.ipynb", runtime_environment_parameters=NEVER) for _ in range(2)
    )
    for call in (
        lambda: server.request("GET", "jobs/no-such-job"),
        lambda: server.request("PATCH", "jobs/no-such-job", {"name": "x"}),
        lambda: stop(server, "no-such-job"),
        lambda: server.request("DELETE", "jobs/no-such-job"),
        lambda: server.request("GET", "jobs/no-such-job/download_files"),
    ):
        assert sentence_of(call).startswith("There is no job no-such-job:")
    assert ended(server, finished)["status"] == "COMPLETED"
    until(
        lambda: server.request("GET", f"jobs/{running}")["status"] == "IN_PROGRESS",
        seconds=60,
        what="the long run",
    )

    for job_id in (running, never, finished) * 2:
        stop(server, job_id)
    # One that never started, and isn't stopped, is deleted in one step.
    server.request("DELETE", f"jobs/{dropped}")

    assert [ended(server, job_id)["status"] for job_id in (running, never, finished)] == [
        "STOPPED",
        "STOPPED",
        "COMPLETED",
    ]
    assert "there is nothing to download" in sentence_of(lambda: download(server, never))
    for job_id in (running, never, finished):
        stop(server, job_id)
    assert set(records(server)) == {running, never, finished}
    settled(own, running, never, finished)

    for job_id in (running, never, finished):
        server.request("DELETE", f"jobs/{job_id}")
    for job_id in (running, never, finished, dropped):
        for call in (
            lambda job_id=job_id: server.request("DELETE", f"jobs/{job_id}"),
            lambda job_id=job_id: stop(server, job_id),
        ):
            assert sentence_of(call).startswith(f"There is no job {job_id}:")

    assert records(server) == {}
    assert own.keys() == []
    assert kubectl.get("jobs", "-l", f"jupyter-scheduler.io/owner={owner}") == []


@pytest.fixture
def source(cluster: dict[str, str], environment: dict[str, str]) -> Iterator[FaultySource]:
    """The S3 server of this test's server and pods, with faults to plant."""
    with faulty_s3(cluster["S3_ENDPOINT_URL"]) as found:
        environment["S3_ENDPOINT_URL"] = found.url
        yield found


def test_s3_goes_away_during_a_run_and_after_it(
    own: Bucket, source: FaultySource, server: LabServer
) -> None:
    def refuse(method: str, path: str) -> int | None:
        return 403 if method == "PUT" and f"{refused}/outputs/output.ipynb" in path else None

    def away(method: str, path: str) -> int | None:
        return refuse(method, path) or 503

    refused = "none yet"
    source.fault = refuse
    write(server, "short.ipynb", "1")
    write(server, "kept.ipynb", "print('kept')", "import time\ntime.sleep(3)")
    refused = create(server, "short.ipynb")
    kept = create(server, "kept.ipynb")
    until(lambda: own.keys(f"jobs/{kept}/outputs/started"), seconds=60, what="the run's beginning")

    source.fault = away
    until(
        lambda: any(f"{kept}/outputs/output.ipynb" in path for _, path in list(source.seen)),
        seconds=60,
        what="an output that S3 did not take",
    )
    for call in (
        lambda: create(server, "short.ipynb"),
        lambda: server.request("GET", f"jobs/{kept}/download_files"),
    ):
        assert "can't answer now (SlowDown); try again later" in sentence_of(call)
    assert set(records(server)) == {kept, refused}
    source.fault = refuse

    first, second = ended(server, kept), ended(server, refused)
    assert (first["status"], first["status_message"]) == ("COMPLETED", None)
    assert text_outputs(download(server, kept)["ipynb"].read_text()) == ["kept\n", ""]
    assert second["status"] == "FAILED"
    assert second["status_message"].startswith("The outputs are not all stored. Could not store")
    assert "AccessDenied" in second["status_message"]
    settled(own, kept, refused)

    source.fault = away
    for call in (
        lambda: server.request("GET", f"jobs/{kept}/download_files"),
        lambda: server.request("DELETE", f"jobs/{kept}"),
    ):
        assert "can't answer now (SlowDown); try again later" in sentence_of(call)
    assert records(server)[kept] == "COMPLETED"
    source.fault = no_fault

    for job_id in (kept, refused):
        server.request("DELETE", f"jobs/{job_id}")
    assert records(server) == {}
    assert own.keys() == []


def test_a_stop_while_the_outputs_are_being_stored_loses_none(
    own: Bucket, source: FaultySource, server: LabServer, kubectl: Kubectl
) -> None:
    def away(method: str, path: str) -> int | None:
        return 503 if method == "PUT" and "/outputs/output." in path else None

    source.fault = away
    write(server, "kept.ipynb", "print('kept')")
    job_id = create(server, "kept.ipynb", output_formats=["ipynb", "html"])
    until(
        lambda: any("notebook" in exit_codes(pod) for pod in kubectl.pods(job_id)),
        seconds=60,
        what="the notebook's end",
    )
    # From now on, what is tried is no checkpoint.
    source.seen.clear()
    until(lambda: source.seen, seconds=30, what="an output that S3 did not take")

    stop(server, job_id)
    stop(server, job_id)
    assert records(server) == {job_id: "STOPPING"}
    assert not any("files" in exit_codes(pod) for pod in kubectl.pods(job_id))
    source.fault = no_fault

    job = ended(server, job_id)
    assert (job["status"], job["status_message"]) == ("STOPPED", "The job was stopped.")
    files = download(server, job_id)
    assert text_outputs(files["ipynb"].read_text()) == ["kept\n"]
    assert "kept" in files["html"].read_text()
    stop(server, job_id)
    assert records(server) == {job_id: "STOPPED"}
    settled(own, job_id)


def test_the_cluster_goes_away_while_the_server_lives(
    own: Bucket, start_server: StartServer, environment: dict[str, str], tmp_path: Path
) -> None:
    config = json.loads(Path(environment["KUBECONFIG"]).read_text())
    address = urlsplit(config["clusters"][0]["cluster"]["server"])
    assert address.hostname
    assert address.port
    with severed_line(address.hostname, address.port) as line:
        config["clusters"][0]["cluster"]["server"] = f"https://{address.hostname}:{line.port}"
        (tmp_path / "line").write_text(json.dumps(config))
        server = start_server(changes={"KUBECONFIG": str(tmp_path / "line")})
        write(server, "n.ipynb", "1")
        waiting = create(server, "n.ipynb", runtime_environment_parameters=NEVER)
        done = create(server, "n.ipynb")
        assert ended(server, done)["status"] == "COMPLETED"
        settled(own, waiting, done)

        line.cut()
        refused = (
            lambda: create(server, "n.ipynb"),
            lambda: stop(server, waiting),
            lambda: server.request("PATCH", f"jobs/{done}", {"name": "x"}),
            lambda: server.request("DELETE", f"jobs/{waiting}"),
        )
        with ThreadPoolExecutor(len(refused)) as pool:
            told = list(pool.map(sentence_of, refused))
        seen = records(server)
        files = download(server, done)
        line.mend()

        for said in told:
            assert f"{address.hostname}:{line.port} does not answer" in said
        assert set(seen) == {waiting, done}
        assert text_outputs(files["ipynb"].read_text()) == ["1"]
        settled(own, waiting, done)
        stop(server, waiting)
        assert ended(server, waiting)["status"] == "STOPPED"
        assert set(records(server)) == {waiting, done}
