"""The end of a job's log over HTTP: from S3, from its pod, or why there is none."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from obstore.store import MemoryStore

from faults.fake_api import Answer, FakeApi
from faults.lab_server import Server
from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.storage import Storage
from support import objects

JOB = "0b6e3c1e-0000-4000-8000-000000000001"
NAME = names.job_name(JOB)
OUTPUTS = names.output_prefix(JOB)
ADDRESS = f"jobs/{JOB}/log"


@pytest.fixture
def backend(load: Callable[..., None], server: Server) -> Iterator[Backend]:
    """What the server uses, with an empty bucket."""
    load(owner="mira")
    found: Backend = server.web_app.settings["scheduler"].backend
    found.storage = Storage(bucket="files", store=MemoryStore())
    yield found
    found.close()


def put_job(api: FakeApi, *conditions: str, owner: str = "mira") -> None:
    """The Job: complete, or one that goes on. One that failed has its log read for S3, too."""
    job = objects.job(
        *conditions, annotations={names.JOB_DATA_ANNOTATION: json.dumps({"schema": 1})}
    )
    labels = {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_LABEL: owner,
        names.JOB_ID_LABEL: JOB,
    }
    api.put("jobs", job | {"metadata": job["metadata"] | {"name": NAME, "labels": labels}})


def put_pod(api: FakeApi, name: str = "pod", **options: Any) -> None:
    """A pod of it."""
    pod = objects.pod(**options)
    labels = {
        names.MANAGED_BY_LABEL: names.MANAGED_BY,
        names.OWNER_LABEL: "mira",
        names.POD_JOB_NAME_LABEL: NAME,
    }
    api.put("pods", pod | {"metadata": pod["metadata"] | {"name": name, "labels": labels}})


def read(api: FakeApi) -> list[tuple[str, str]]:
    """Which pods' logs were asked for, and of which container."""
    return [
        (asked.name, asked.query["container"]) for asked in api.asked if asked.subresource == "log"
    ]


async def test_of_a_run_that_goes_on_its_pod_tells(
    api: FakeApi, backend: Backend, server: Server
) -> None:
    put_job(api)
    put_pod(api, "first", notebook=objects.ended(1))
    put_pod(api, "second", notebook=objects.RUNNING, created="2026-03-01T12:10:00Z")
    put_pod(api, "third", notebook=objects.waiting("Pulling"), created="2026-03-01T12:20:00Z")
    api.fail("get", Answer(200, body="one\ntw\u00f6\n".encode()))

    answer = await server.fetch(ADDRESS)

    assert json.loads(answer.body) == {"log": "one\ntw\u00f6"}
    assert read(api) == [("second", "notebook")]


@pytest.mark.parametrize(
    ("key", "content"),
    [("result.json", json.dumps({"log_tail": "kept\n"}).encode()), ("log", b"kept\n")],
)
async def test_of_a_run_that_has_ended_s3_tells(
    api: FakeApi, backend: Backend, server: Server, key: str, content: bytes
) -> None:
    put_job(api, "Complete")
    put_pod(api, notebook=objects.ended(0))
    await backend.storage.put_bytes(OUTPUTS + key, content)

    assert json.loads((await server.fetch(ADDRESS)).body) == {"log": "kept"}
    assert read(api) == []


async def test_of_attempts_the_one_whose_outputs_are_the_jobs_tells(
    api: FakeApi, backend: Backend, server: Server
) -> None:
    put_job(api, "Complete")
    attempt = names.attempt_prefix(JOB, "6d1f7e6e-0000-4000-8000-000000000001")
    await backend.storage.put_bytes(attempt + names.STARTED_KEY, b"")
    await backend.storage.put_bytes(attempt + "output.ipynb", b"{}")
    await backend.storage.put_bytes(attempt + names.LOG_KEY, b"of the attempt")

    assert json.loads((await server.fetch(ADDRESS)).body) == {"log": "of the attempt"}


async def test_what_is_not_in_s3_yet_the_pod_tells(
    api: FakeApi, backend: Backend, server: Server
) -> None:
    put_job(api, "Complete")
    put_pod(api, notebook=objects.ended(0))
    api.fail("get", Answer(200, body=b"of the pod\n"))

    assert json.loads((await server.fetch(ADDRESS)).body) == {"log": "of the pod"}


@pytest.mark.parametrize("notebook", [None, objects.waiting("Pulling"), objects.RUNNING])
async def test_where_there_is_no_log_that_is_no_error(
    api: FakeApi, backend: Backend, server: Server, notebook: dict[str, Any] | None
) -> None:
    put_job(api)
    put_pod(api, notebook=notebook)
    # The pod is gone before its log is read.
    api.fail("get", Answer(404, 'pods "pod" not found', "NotFound"))

    answer = await server.fetch(ADDRESS)

    assert (answer.code, json.loads(answer.body)) == (200, {"log": ""})


async def test_only_the_end_of_a_long_log_is_sent(
    api: FakeApi, backend: Backend, server: Server
) -> None:
    put_job(api, "Complete")
    lines = [f"{number}" for number in range(1000)]
    await backend.storage.put_bytes(OUTPUTS + names.LOG_KEY, "\n".join(lines).encode())
    assert json.loads((await server.fetch(ADDRESS)).body)["log"].split("\n") == lines[-200:]

    await backend.storage.put_bytes(OUTPUTS + names.LOG_KEY, b"x" * 500_000 + b"end")
    found = json.loads((await server.fetch(ADDRESS)).body)["log"]
    assert len(found) == 128 * 1024
    assert found.endswith("end")


async def test_what_went_wrong_is_a_sentence(
    api: FakeApi, backend: Backend, server: Server
) -> None:
    put_job(api)
    put_pod(api, notebook=objects.RUNNING)
    said = 'pods "pod" is forbidden: User "u" cannot get resource "pods/log" in API group ""'
    api.fail("get", Answer(403, said, "Forbidden"))

    answer = await server.fetch(ADDRESS)

    assert answer.code == 500
    assert "pods/log" in json.loads(answer.body)["message"]


async def test_jobs_of_others_are_not_there(api: FakeApi, backend: Backend, server: Server) -> None:
    put_job(api, owner="noor")

    answer = await server.fetch(ADDRESS)

    assert answer.code == 404
    assert json.loads(answer.body)["message"] == (
        f"There is no job {JOB}: it was deleted, or belongs to somebody else."
    )


async def test_strangers_are_told_nothing(api: FakeApi, backend: Backend, server: Server) -> None:
    put_job(api)

    answer = await server.fetch(ADDRESS, token="of somebody else")

    assert answer.code == 403
    assert api.asked == []
