"""Which attempt's outputs a person gets."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from obstore.store import MemoryStore

from jupyter_scheduler_k8s.attempts import outputs_of
from jupyter_scheduler_k8s.backend import Backend
from jupyter_scheduler_k8s.config import K8sConfig
from jupyter_scheduler_k8s.storage import Storage

FIRST, SECOND = "0b0b0b0b-0000-4000-8000-000000000001", "0a0a0a0a-0000-4000-8000-000000000002"


@dataclass(frozen=True)
class Object:
    key: str
    modified: float


def attempt(uid: str, at: float, *names: str) -> list[Object]:
    return [Object(f"jobs/1/outputs/{uid}/{name}", at) for name in ("started", *names)]


def test_a_job_without_retries_has_no_attempts() -> None:
    plain = [
        Object("jobs/1/outputs/started", 1),
        Object(f"jobs/1/outputs/files/{FIRST}/started", 1),
        Object(f"jobs/1/input/{FIRST}/started", 1),
    ]
    assert outputs_of("1", plain) == outputs_of("1", []) == "jobs/1/outputs/"


def test_the_last_attempt_that_began_counts() -> None:
    both = [*attempt(SECOND, 20, "output.ipynb"), *attempt(FIRST, 10, "output.ipynb")]
    assert outputs_of("1", both) == f"jobs/1/outputs/{SECOND}/"


def test_an_attempt_that_was_lost_at_once_hides_no_earlier_work() -> None:
    lost = [*attempt(FIRST, 10, "output.ipynb", "result.json"), *attempt(SECOND, 20, "result.json")]
    assert outputs_of("1", lost) == f"jobs/1/outputs/{FIRST}/"


def test_one_that_never_began_is_not_the_last() -> None:
    result = Object(f"jobs/1/outputs/{SECOND}/result.json", 20)
    assert outputs_of("1", [*attempt(FIRST, 10), result]) == f"jobs/1/outputs/{FIRST}/"


def test_whether_a_run_has_begun_is_asked_of_its_own_pod() -> None:
    backend = Backend(config=K8sConfig(s3_bucket="jobs"), log=logging.getLogger("test"))
    backend.storage = Storage(bucket="jobs", store=MemoryStore())
    job: dict[str, Any] = {
        "metadata": {"labels": {"jupyter-scheduler.io/job-id": "1"}},
        "spec": {"backoffLimit": 1},
    }
    asyncio.run(backend.storage.put_bytes(f"jobs/1/outputs/{FIRST}/started", b""))
    asyncio.run(backend.storage.put_bytes(f"jobs/1/outputs/{FIRST}/result.json", b'{"n": 1}'))

    assert backend._has_begun(job, {"metadata": {"uid": FIRST}})
    assert not backend._has_begun(job, {"metadata": {"uid": SECOND}})
    assert backend._read_result(job) == {"n": 1}

    job["spec"] = {"backoffLimit": 0}
    assert not backend._has_begun(job, {"metadata": {"uid": FIRST}})
    assert backend._read_result(job) is None
