"""A run that lasts longer than its schedule's interval meets the next one."""

from cluster.schedules import EVERY_MINUTE, define, ended_runs, jobs_of, runs, slot, some_runs
from cluster.support import (
    Bucket,
    Kubectl,
    download,
    ended,
    first_output,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer

MINUTE = 60_000
LONG = ("print('begun')", "import time\ntime.sleep(100)", "print('whole')")


def policy(name: str) -> dict[str, object]:
    return {"runtime_environment_parameters": {"k8s_concurrency_policy": name}}


def test_the_policies_side_by_side(server: LabServer, kubectl: Kubectl, bucket: Bucket) -> None:
    write(server, "long.ipynb", *LONG)
    ids = {
        name: define(server, "long.ipynb", name=name, schedule=EVERY_MINUTE, **policy(name))
        for name in ("Forbid", "Allow", "Replace")
    }

    # Two runs of each: of Forbid, the second waits for the end of the first.
    for name in ("Allow", "Replace"):
        first, second = some_runs(server, ids[name], 2)[:2]
        assert second["create_time"] - first["create_time"] == MINUTE, name
    assert len(runs(server, ids["Forbid"])) == 1
    replaced = ended_runs(server, ids["Replace"], 1)[0]

    assert replaced["status"] == "STOPPED"
    assert "replaced" in replaced["status_message"]
    outputs = text_outputs(download(server, replaced["job_id"])["ipynb"].read_text())
    assert outputs[0] == "begun\n"
    assert "whole\n" not in outputs
    # Nothing of it is retried or counted twice, and its record stays.
    assert len(kubectl.get("pods", "-l", f"batch.kubernetes.io/job-name={replaced['job_id']}")) <= 1
    for name in ("Forbid", "Allow"):
        whole = ended_runs(server, ids[name], 1)[0]
        assert whole["status"] == "COMPLETED", (name, whole["status_message"])
        assert text_outputs(download(server, whole["job_id"])["ipynb"].read_text())[-1] == "whole\n"

    def second_started() -> int | None:
        found = runs(server, ids["Forbid"])
        return found[1].get("start_time") if len(found) > 1 else None

    first = runs(server, ids["Forbid"])[0]
    started = until(second_started, seconds=90, what="the run that waited")
    assert started is not None
    assert started >= first["end_time"]
    for definition_id in ids.values():
        slots = [slot(job) for job in jobs_of(kubectl, definition_id)]
        assert len(slots) == len(set(slots))


def test_a_stopped_run_does_not_hold_up_its_schedule(
    server: LabServer, bucket: Bucket, kubectl: Kubectl
) -> None:
    write(server, "long.ipynb", "print('begun')", "import time\ntime.sleep(1000)")
    definition_id = define(server, "long.ipynb", schedule=EVERY_MINUTE, **policy("Forbid"))
    (first,) = some_runs(server, definition_id, 1)
    first_output(bucket, first["job_id"])

    server.request("PATCH", f"jobs/{first['job_id']}", {"status": "STOPPED"})

    assert ended(server, first["job_id"])["status"] == "STOPPED"
    assert len(some_runs(server, definition_id, 2)) >= 2
