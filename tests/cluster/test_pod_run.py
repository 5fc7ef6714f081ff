"""What a pod makes of a notebook: outputs, formats, files, images of other people."""

import json

from cluster.pods import JsonObject, Pods, container, exit_codes, termination_message, verdict
from cluster.support import notebook, text_outputs
from jupyter_scheduler_k8s.options import JobOptions
from jupyter_scheduler_k8s.waiting import waiting_reason


def test_outputs_of_a_whole_run(pods: Pods) -> None:
    job = pods.start(
        {
            "sub folder/n #1.ipynb": notebook(
                "factor = 1",
                "print(factor * int(open('in').read()))",
                "import os; print(os.getuid(), os.getgid(), os.path.basename(os.getcwd()))",
            ),
            "sub folder/in": "21",
        },
        notebook="sub folder/n #1.ipynb",
        output_formats=["ipynb", "html", "script", "pdf"],
        parameters={"factor": "2"},
    )

    pod = job.ended()

    assert exit_codes(pod) == {"files": 0, "notebook": 0}
    assert verdict(job.finished()) == "Complete"
    assert job.stored() == [
        "output.html",
        "output.ipynb",
        "output.script",
        "result.json",
        "started",
    ]
    # No cell is tagged "parameters", so they come first, and the first cell changes them.
    assert text_outputs(job.output("output.ipynb")) == ["", "", "21\n", "1000 100 sub folder\n"]
    assert b">21\n" in job.output("output.html")
    assert b"factor = 2" in job.output("output.script")
    result = job.result()
    assert result["outcome"] == "completed"
    assert result["cells"] == {"total": 4, "finished": 4}
    assert result["outputs"] == ["ipynb", "html", "script"]
    assert "needs LaTeX" in result["failed_outputs"]["pdf"]
    assert result["peak_memory_bytes"] > 10_000_000
    assert result["cpu_seconds"] > 0.1
    assert result["kernel"] == "python3"
    assert "Cell 4 (4 of 4 with code) finished" in result["log_tail"]
    told = json.loads(termination_message(pod, "files"))
    assert told == {
        key: value
        for key, value in result.items()
        if key not in ("files", "skipped_files", "log_tail")
    }


def test_a_packaged_folder_comes_back_with_what_the_run_made(pods: Pods) -> None:
    made = (
        "import os\n"
        "os.makedirs('out/deep')\n"
        "open('out/deep/ü #%25.csv', 'w').write('made')\n"
        "open('data/changed.txt', 'a').write(' and after')\n"
        "print(sorted(os.listdir('data')))"
    )
    job = pods.start(
        {
            "n.ipynb": notebook(made),
            "data/changed.txt": "before",
            "data/same.txt": "same",
            "data/ü #%25.txt": "named",
        },
        package_input_folder=True,
    )

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    (listed,) = text_outputs(job.output("output.ipynb"))
    assert listed == "['changed.txt', 'same.txt', 'ü #%25.txt']\n"
    assert job.output("files/data/changed.txt") == b"before and after"
    assert job.output("files/out/deep/ü #%2525.csv") == b"made"
    assert job.result()["files"] == [
        {"path": "data/changed.txt", "size": 16},
        {"path": "out/deep/ü #%25.csv", "size": 4},
    ]
    assert [key for key in job.stored() if key.startswith("files/")] == [
        "files/data/changed.txt",
        "files/out/deep/ü #%2525.csv",
    ]


BACKEND = """\
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.write("greeting.py")
        info = "greeting-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
PACKAGE = {
    "local-package/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
    'backend-path = ["."]\n',
    "local-package/backend.py": BACKEND,
    "local-package/greeting.py": "def greet():\n    return 'installed in a cell'\n",
}
INSTALLS = ("%pip install ./local-package", "import greeting; print(greeting.greet())")


def test_an_ordinary_jupyter_image_as_it_is(pods: Pods) -> None:
    image = pods.environment["K8S_TEST_IMAGE_JUPYTER_LIKE"]
    identity = (
        "import os; print(os.getuid(), os.getgid(), os.environ['HOME'], os.environ['PREPARED_BY'])"
    )
    job = pods.start(
        {"n.ipynb": notebook(*INSTALLS, identity, kernel="my-project"), **PACKAGE},
        options=JobOptions(image=image),
        output_formats=["ipynb", "html"],
    )

    pod = job.ended()

    assert exit_codes(pod) == {"files": 0, "notebook": 0}
    outputs = text_outputs(job.output("output.ipynb"))
    assert "Successfully installed greeting-1.0" in outputs[0]
    assert outputs[1:] == ["installed in a cell\n", "1000 100 /home/jovyan start.sh\n"]
    assert job.result()["kernel_note"] == (
        'The image does not have the kernel "my-project", so the notebook ran with "python3".'
    )
    assert job.result()["outputs"] == ["ipynb", "html"]


def test_packages_are_installed_into_our_own_image_too(pods: Pods) -> None:
    job = pods.start({"n.ipynb": notebook(*INSTALLS), **PACKAGE})

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    assert text_outputs(job.output("output.ipynb"))[1] == "installed in a cell\n"


def test_an_image_of_root_is_refused_with_a_reason(pods: Pods) -> None:
    image = pods.environment["K8S_TEST_IMAGE_ROOT_USER"]
    job = pods.start(
        {"n.ipynb": notebook("1")},
        options=JobOptions(image=image),
        # Nobody says which user runs it, so the image does.
        settings={"run_as_user": None, "run_as_group": None},
    )

    pod = job.watch("pod", lambda pod: waiting_reason(pod) is not None)

    reason = waiting_reason(pod)
    assert reason is not None
    assert image in reason.message
    assert "root" in reason.message


def test_an_image_without_nbclient_says_so(pods: Pods) -> None:
    image = pods.environment["K8S_TEST_IMAGE_ROOT_USER"]
    job = pods.start({"n.ipynb": notebook("1")}, options=JobOptions(image=image))

    pod = job.ended()

    assert exit_codes(pod) == {"files": 0, "notebook": 26}
    assert "needs the Python packages nbclient and ipykernel" in job.result()["message"]


def test_another_user_of_the_same_group(pods: Pods) -> None:
    def another_user(manifest: JsonObject) -> None:
        container(manifest, "notebook")["securityContext"]["runAsUser"] = 4711

    made = "import os; print(os.getuid(), os.environ['HOME'])\nopen('data/in', 'a').write('!');"
    job = pods.start(
        {"n.ipynb": notebook(made), "data/in": "in"},
        change=another_user,
        package_input_folder=True,
    )

    assert exit_codes(job.ended()) == {"files": 0, "notebook": 0}
    # Group 100 may write to the usual home.
    assert text_outputs(job.output("output.ipynb")) == ["4711 /home/jovyan\n"]
    assert job.output("files/data/in") == b"in!"
