"""Credentials are where they are needed, and nowhere else."""

import base64
import json

from cluster.support import Bucket, Kubectl, create, download, ended, text_outputs, write
from local_lab.server import LabServer

# What a hostile notebook would try. It is told the values backwards, so that
# its own text holds none of them.
_SNOOP = """
import os, re, stat
backwards = {backwards!r}
wanted = [text[::-1] for text in backwards]
found = []
print(sorted(os.environ))
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        found += [f"/proc/{{process}}/environ" for text in wanted
                  if text.encode() in open(f"/proc/{{process}}/environ", "rb").read()]
    except OSError as error:
        print(process, type(error).__name__)
looked = 0
for folder, _, names in os.walk("/"):
    if folder.startswith(("/sys", "/proc")):
        continue
    for name in names:
        path = os.path.join(folder, name)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode) or os.path.getsize(path) > 50_000_000:
                continue
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        looked += 1
        found += [path for text in wanted if text.encode() in content]
tokens = [os.path.join(folder, name) for folder, _, names in os.walk("/var/run") for name in names
          if name in ("token", "ca.crt")]
for path in tokens:
    print("token?", path)
print("looked at", looked > 1000, "files; found", found, tokens)
"""


def test_planted_credentials_are_found_nowhere(
    server: LabServer,
    kubectl: Kubectl,
    bucket: Bucket,
    cluster: dict[str, str],
    owner: str,
) -> None:
    secret, key = cluster["AWS_SECRET_ACCESS_KEY"], cluster["AWS_ACCESS_KEY_ID"]
    planted = (secret, key, server.token)
    write(
        server,
        "snoop.ipynb",
        _SNOOP.format(backwards=[text[::-1] for text in planted]),
        # A side effect that would carry them out, and an error that quotes all it can see.
        "import os\nos.symlink('/proc/self/environ', 'environ.txt')",
        "raise RuntimeError(dict(os.environ))",
    )
    job_id = create(
        server, "snoop.ipynb", package_input_folder=True, output_formats=["ipynb", "html"]
    )
    job = ended(server, job_id)
    files = download(server, job_id)

    printed = files["ipynb"].read_text()
    assert "looked at True files; found [] []" in printed
    assert job["status"] == "FAILED"
    assert job["status_message"].startswith("Cell 3 raised RuntimeError")

    evidence = {
        "the job": json.dumps(job),
        "the list": json.dumps(server.request("GET", "jobs")),
        "the server's log": server.log.read_text(),
        "events": kubectl.run("get", "events", "-o", "yaml"),
    }
    kinds = kubectl.run("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    for kind in kinds:
        if kind != "secrets":
            evidence[kind] = kubectl.run("get", kind, "-o", "yaml")
    for pod in kubectl.pods(job_id):
        name = pod["metadata"]["name"]
        evidence[f"log of {name}"] = kubectl.run("logs", name, "--all-containers")
    for stored in bucket.keys(f"jobs/{job_id}/"):
        evidence[stored] = bucket.read(stored).decode(errors="replace")
    assert "environ.txt" not in "".join(bucket.keys(f"jobs/{job_id}/"))
    hidden = [
        text for value in planted for text in (value, base64.b64encode(value.encode()).decode())
    ]
    where = [place for place, text in evidence.items() for value in hidden if value in text]
    assert where == []


def test_the_namespace_lets_no_other_pod_in_and_the_pods_hold_no_token(
    server: LabServer, kubectl: Kubectl
) -> None:
    labels = kubectl.get("namespace", kubectl.namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    write(server, "plain.ipynb", "import os\nprint(os.path.exists('/var/run/secrets'))")
    job_id = create(server, "plain.ipynb")
    assert ended(server, job_id)["status"] == "COMPLETED"

    (pod,) = kubectl.pods(job_id)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert [volume["name"] for volume in pod["spec"]["volumes"]] == ["job", "tmp"]


def test_a_secret_that_somebody_deleted_is_there_for_the_next_job(
    server: LabServer, kubectl: Kubectl, owner: str
) -> None:
    secrets = ("secrets", "-l", f"jupyter-scheduler.io/owner={owner}")
    write(server, "n.ipynb", "print('kept')")
    assert ended(server, create(server, "n.ipynb"))["status"] == "COMPLETED"
    (before,) = kubectl.get(*secrets)
    kubectl.run("delete", *secrets)

    job_id = create(server, "n.ipynb")

    assert ended(server, job_id)["status"] == "COMPLETED"
    assert text_outputs(download(server, job_id)["ipynb"].read_text()) == ["kept\n"]
    (after,) = kubectl.get(*secrets)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["data"] == before["data"]
