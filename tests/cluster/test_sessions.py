"""`K8sDatabaseManager` in a program of one's own, with a server's rights and no server."""

import io
import subprocess
import sys
import uuid
from collections.abc import Mapping

from cluster.support import (
    Bucket,
    Kubectl,
    create,
    download,
    ended,
    notebook,
    text_outputs,
    until,
    write,
)
from local_lab.server import LabServer

PROGRAM = """
import sys
from jupyter_scheduler.orm import Job
from jupyter_scheduler_k8s import K8sDatabaseManager

*known, new = sys.argv[1:]
with K8sDatabaseManager().create_session()() as session:
    kept, deleted = (session.query(Job).filter(Job.job_id == job_id) for job_id in known)
    print(session.query(Job).count(), session.query(Job).filter(Job.name.like("DEL%")).count())
    print(kept.one().status, kept.update({"name": "renamed"}), deleted.delete(), deleted.count())
    added = Job(
        name="added",
        input_filename="n.ipynb",
        runtime_environment_name="python3",
        job_id=new,
        output_formats=["ipynb"],
    )
    session.add(added)
    session.commit()
    print(session.get(Job, new).create_time == added.create_time, added.job_id == new)
    print([job.name for job in session.query(Job).order_by(Job.create_time)])
"""


def test_a_plain_program_lists_filters_updates_deletes_and_adds(
    server: LabServer, environment: Mapping[str, str], kubectl: Kubectl, bucket: Bucket
) -> None:
    path = write(server, "n.ipynb", "1")
    jobs = [create(server, path, name=name) for name in ("kept", "deleted")]
    for job_id in jobs:
        assert ended(server, job_id)["status"] == "COMPLETED"

    added, content = str(uuid.uuid4()), notebook("print('added')").encode()
    bucket.client.put_object(
        bucket.name, f"jobs/{added}/input/n.ipynb", io.BytesIO(content), len(content)
    )

    done = subprocess.run(
        (sys.executable, "-c", PROGRAM, *jobs, added),
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "2 1",
        "COMPLETED 1 1 0",
        "True True",
        "['renamed', 'added']",
    ]
    # The server hears of it, as of everybody's writes.
    until(
        lambda: server.request("GET", f"jobs/{jobs[0]}")["name"] == "renamed",
        seconds=5,
        what="the new name on the page",
    )
    assert kubectl.get("jobs", "-l", f"jupyter-scheduler.io/job-id={jobs[1]}") == []
    assert bucket.keys(f"jobs/{jobs[1]}/")
    assert ended(server, added)["status"] == "COMPLETED"
    assert text_outputs(download(server, added)["ipynb"].read_text()) == ["added\n"]
