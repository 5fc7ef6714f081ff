"""A notebook's container that wants the credentials, or to have other things stored."""

import json

from cluster.pods import JsonObject, PodJob, Pods, container, exit_codes
from cluster.support import notebook, text_outputs
from jupyter_scheduler_k8s.manifests import BOOTSTRAP

PLANTS = """\
import os, socket
os.symlink('/proc/self/environ', 'environ.csv')
os.symlink('/proc/1/environ', 'one.csv')
os.symlink('/', 'root')
os.symlink('/opt', 'folder')
os.mkfifo('pipe')
socket.socket(socket.AF_UNIX).bind('socket')
open('mine.txt', 'w').write('mine'); os.link('mine.txt', 'again.txt')
open(b'\\xff\\xfe.txt', 'w').write('no utf-8')
open('large.bin', 'wb').truncate(1 << 40)
os.makedirs('/'.join(['d' * 20] * 60)); open('/'.join(['d' * 20] * 60) + '/f', 'w')
os.mkdir('closed'); open('closed/f', 'w'); os.chmod('closed', 0)
"""


def everything(job: PodJob) -> str:
    """All that the run left, anywhere: outputs, logs, the pod."""
    outputs = b"".join(job.output(name) for name in job.stored())
    logs = job.log("files") + job.log("notebook")
    return outputs.decode(errors="replace") + logs + json.dumps(job.pod()["status"])


def test_hostile_files_are_skipped_with_a_reason(pods: Pods) -> None:
    job = pods.start({"n.ipynb": notebook(PLANTS)}, package_input_folder=True)

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    result = job.result()
    assert [file["path"] for file in result["files"]] == ["again.txt", "mine.txt"]
    skipped = result["skipped_files"]
    long_path = "/".join(["d" * 20] * 60) + "/f"
    assert skipped == {
        "environ.csv": "it is a link",
        "one.csv": "it is a link",
        "root": "it is a link",
        "folder": "it is a link",
        "pipe": "it is a pipe",
        "socket": "it is a socket",
        "\\xff\\xfe.txt": "its name is not valid UTF-8",
        "large.bin": "it is larger than 64 GiB",
        long_path: "its path is too long for S3",
        "closed": "permission denied",
    }
    assert pods.environment["AWS_SECRET_ACCESS_KEY"] not in everything(job)


def test_a_notebook_finds_no_credential(pods: Pods) -> None:
    looks = """\
import glob, os, subprocess
print(dict(os.environ))
for pattern in ('/proc/*/environ', '/proc/*/cmdline', '/job/**/*', '/var/run/secrets/**/*',
                '/run/secrets/**/*', '/etc/**/*', '/tmp/**/*', '/root/**/*', '/dev/term*'):
    for path in glob.glob(pattern, recursive=True):
        try:
            if os.path.isfile(path) and os.path.getsize(path) < 1_000_000:
                print(path, open(path, errors='replace').read())
        except OSError as error:
            print(path, error)
"""
    job = pods.start({"n.ipynb": notebook(looks)}, package_input_folder=True)

    assert exit_codes(job.ended())["notebook"] == 0
    (printed,) = text_outputs(job.output("output.ipynb"))
    assert "/proc/1/environ" in printed
    assert "serviceaccount" not in printed
    found = everything(job)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert pods.environment[name] not in found


# Plays `notebook`, and puts links where `files` looks.
HOSTILE = BOOTSTRAP.partition('    sys.path.insert(0, os.path.join(job, "control", "runner"))')[0]
HOSTILE += """\
    environ = "/proc/self/environ"
    for name in ("notebook.ipynb", "state.json", "log"):
        os.symlink(environ, os.path.join(control := os.path.join(job, "control"), name))
    os.rename(os.path.join(job, "work"), os.path.join(job, "elsewhere"))
    os.symlink("/proc/self", os.path.join(job, "work"))
"""


def test_links_in_the_place_of_what_files_reads(pods: Pods) -> None:
    def hostile(manifest: JsonObject) -> None:
        container(manifest, "notebook")["args"] = ["python3", "-c", HOSTILE]

    job = pods.start(
        {"n.ipynb": notebook("1")},
        change=hostile,
        package_input_folder=True,
        output_formats=["ipynb", "html"],
    )

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    assert job.stored() == ["result.json", "started"]
    result = job.result()
    assert result["outcome"] == "notebook-lost"
    assert result["failed_outputs"] == {"ipynb": "The run left no notebook."}
    assert result["log_tail"] == ""
    assert pods.environment["AWS_SECRET_ACCESS_KEY"] not in everything(job)


def test_names_that_leave_the_folder_are_not_brought(pods: Pods) -> None:
    job = pods.start({"n.ipynb": notebook("1")}, keys={"%2E%2E/escaped.txt": b""})

    assert exit_codes(job.ended()) == {"files": 30, "notebook": 27}
    assert job.result()["message"] == (
        "The inputs cannot be fetched. The file name '../escaped.txt' would leave its folder."
    )
