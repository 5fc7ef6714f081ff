"""The program `notebook`, as a process with a real kernel, and `files` played by the test."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import notebook_job
from cluster.support import notebook, text_outputs
from notebook_job.bootstrap import INPUTS_NEVER_CAME, TERMINATED
from notebook_job.codes import NotebookExit

PACKAGE = Path(notebook_job.__file__).parent
SECONDS = 60


@dataclass
class Program:
    """`notebook` in a folder that the test fills as `files` would."""

    job: Path
    home: Path
    process: "subprocess.Popen[str] | None" = None
    locks: list[int] = field(default_factory=list)

    @property
    def control(self) -> Path:
        return self.job / "control"

    def start(self, **environment: str) -> None:
        """Start the bootstrap."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", (PACKAGE / "bootstrap.py").read_text(), str(self.job)],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def hold_files_lock(self) -> int:
        """Hold the lock of `files`."""
        self.control.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.control / "files.lock.new", os.O_CREAT | os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (self.control / "files.lock.new").rename(self.control / "files.lock")
        self.locks.append(lock)
        return lock

    def provide(self, content: str, *, parameters: Mapping[str, str] | None = None) -> None:
        """Bring the runner and the inputs."""
        self.hold_files_lock()
        shutil.copytree(PACKAGE, self.control / "runner" / "notebook_job")
        (self.job / "work" / "sub").mkdir(parents=True)
        (self.job / "work" / "sub" / "n.ipynb").write_text(content)
        spec = {"notebook": "sub/n.ipynb", "parameters": dict(parameters or {})}
        (self.control / "run.json").write_text(json.dumps(spec))
        (self.control / "ready").touch()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        assert self.process is not None
        self.printed, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode

    def until(self, what: str) -> None:
        """Read what is printed until a line holds `what`."""
        assert self.process is not None
        assert self.process.stdout is not None
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self.process.stdout], [], [], 1)
            if ready and what in self.process.stdout.readline():
                return
        raise AssertionError(f"{what!r} was never printed")

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.control / "state.json").read_text())
        return found

    @property
    def outputs(self) -> list[str]:
        return text_outputs((self.control / "notebook.ipynb").read_text())


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The program, ended after the test."""
    home = tmp_path / "home"
    home.mkdir()
    program = Program(tmp_path / "job", home)
    yield program
    if program.process is not None:
        with contextlib.suppress(ProcessLookupError):
            program.process.kill()
        program.process.communicate()
    for lock in program.locks:
        with contextlib.suppress(OSError):
            os.close(lock)


def appears(path: Path) -> None:
    """Wait for a file of another process."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        select.select([], [], [], 0.01)


def test_a_whole_run(program: Program) -> None:
    program.provide(
        notebook("import os; print(x); print(os.path.basename(os.getcwd()))", "open('made', 'w')"),
        parameters={"x": "41 + 1"},
    )
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert program.outputs[1] == "42\nsub\n"
    assert (program.job / "work/sub/made").exists()
    state = program.state
    assert state["outcome"] == "completed"
    assert state["cells"] == {"total": 3, "finished": 3}
    assert state["kernel"] == "python3"
    assert state["started_at"] <= state["ended_at"]
    assert "Cell 3 (3 of 3 with code) finished" in program.printed
    assert (program.control / "log").read_text() == program.printed


def test_a_failing_cell_ends_the_run(program: Program) -> None:
    program.provide(notebook("print('kept')", "raise ValueError('no such region')", "print(3)"))
    program.start()

    assert program.end() == NotebookExit.CELL_ERROR
    assert program.state["error"] == {"name": "ValueError", "value": "no such region", "cell": 2}
    assert program.state["message"] == "Cell 2 raised ValueError: no such region"
    assert program.state["cells"] == {"total": 3, "finished": 1}
    assert program.outputs == ["kept\n", "", ""]
    executed = json.loads((program.control / "notebook.ipynb").read_text())
    assert executed["cells"][1]["outputs"][0]["ename"] == "ValueError"
    assert "ValueError: no such region" in program.printed
    assert "\x1b" not in program.printed


def test_a_cell_that_may_raise_may(program: Program) -> None:
    content = json.loads(notebook("1 / 0", "print('after')"))
    content["cells"][0]["metadata"]["tags"] = ["raises-exception"]
    program.provide(json.dumps(content))
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert program.outputs == ["", "after\n"]


def test_a_kernel_that_dies(program: Program) -> None:
    program.provide(notebook("print('kept')", "import os; os.kill(os.getpid(), 11)"))
    program.start()

    assert program.end() == NotebookExit.KERNEL_DIED
    assert program.state["message"] == "The kernel died in cell 2 (signal SIGSEGV)."
    assert program.outputs[0] == "kept\n"


def test_sigterm_in_a_cell(program: Program) -> None:
    busy = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"
    program.provide(notebook("print('kept')", busy, "print(3)"))
    program.start()
    program.until("Cell 1 ")
    assert program.process is not None
    # The second cell's first output is in the checkpoint, so the cell runs.
    deadline = time.monotonic() + SECONDS
    while "begun" not in (program.control / "notebook.ipynb").read_text().replace(
        "print('begun'", ""
    ):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)

    begin = time.monotonic()
    program.process.send_signal(signal.SIGTERM)

    assert program.end() == NotebookExit.TERMINATED
    # An evicted pod was seen to have 2 s.
    assert time.monotonic() - begin < 2
    assert program.state["outcome"] == "terminated"
    assert program.state["message"] == (
        "The run was ended from outside; 1 of 3 code cells had finished."
    )
    assert program.outputs[:2] == ["kept\n", "begun\n"]


def test_sigterm_in_a_cell_that_does_not_listen(program: Program) -> None:
    deaf = (
        "import signal, os, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
    )
    program.provide(notebook("print('kept')", deaf))
    program.start()

    assert program.end() == NotebookExit.TERMINATED
    assert program.outputs[0] == "kept\n"


def test_sigterm_before_the_inputs(program: Program) -> None:
    program.hold_files_lock()
    program.start()
    appears(program.control / "begun")
    assert program.process is not None

    program.process.send_signal(signal.SIGTERM)

    assert program.end() == TERMINATED


def test_files_ends_before_the_inputs(program: Program) -> None:
    lock = program.hold_files_lock()
    program.start()
    appears(program.control / "begun")
    assert program.process is not None
    assert program.process.poll() is None

    os.close(lock)

    assert program.end() == INPUTS_NEVER_CAME
    assert "The inputs never came" in program.printed


def test_files_ended_before_notebook_began(program: Program) -> None:
    os.close(program.hold_files_lock())
    program.start()

    assert program.end() == INPUTS_NEVER_CAME


def test_notebook_waits_for_a_files_that_has_not_begun(program: Program) -> None:
    program.start()
    appears(program.control / "begun")

    program.provide(notebook("print(1)"))

    assert program.end() == NotebookExit.COMPLETED


def test_files_ends_while_the_notebook_runs(program: Program) -> None:
    program.provide(notebook("print('kept')", "import time\nwhile True: time.sleep(0.1)"))
    program.start()
    program.until("Cell 1 ")

    os.close(program.locks[0])

    assert program.end() == NotebookExit.INPUTS_NEVER_CAME
    assert "The program that stores the outputs ended" in program.state["message"]


def test_the_next_run_of_the_schedule_begins(program: Program) -> None:
    interrupted = "import time\ntry:\n while True: time.sleep(0.1)\nfinally: print('cleaned up')"
    program.provide(notebook("print('kept')", interrupted, "print('never')"))
    program.start()
    program.until("Cell 1 ")

    (program.control / "replaced").touch()

    assert program.end() == NotebookExit.REPLACED
    assert program.outputs == ["kept\n", "cleaned up\n", ""]
    assert (program.state["outcome"], program.state["message"]) == (
        "replaced",
        "The next run of this schedule began, and replaced this one; "
        "1 of 3 code cells had finished.",
    )


def test_a_replaced_run_whose_pod_is_ended_too(program: Program) -> None:
    slow = "import time\ntry:\n while True: time.sleep(0.1)\n"
    told = "finally: open('told', 'w').close(); time.sleep(60)"
    program.provide(notebook("print('kept')", slow + told))
    program.start()
    program.until("Cell 1 ")
    (program.control / "replaced").touch()
    assert program.process is not None
    appears(program.job / "work" / "sub" / "told")

    program.process.send_signal(signal.SIGTERM)

    assert program.end() == NotebookExit.REPLACED


def test_a_run_that_is_replaced_before_it_began(program: Program) -> None:
    program.provide(notebook("import time; time.sleep(60)"))
    (program.control / "replaced").touch()
    program.start()

    assert program.end() == NotebookExit.REPLACED
    assert program.state["cells"] == {"total": 1, "finished": 0}


def test_the_lock_is_held_until_the_end(program: Program) -> None:
    program.provide(notebook("import time; time.sleep(30)"))
    program.start()
    appears(program.control / "state.json")
    lock = os.open(program.control / "notebook.lock", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert program.process is not None

    program.process.kill()

    # The kernel, still alive for a moment, holds nothing.
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.close(lock)


def test_a_kernel_of_another_name(program: Program) -> None:
    program.provide(notebook("print('ran')", kernel="my-project"))
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert program.outputs == ["ran\n"]
    assert program.state["kernel_note"] == (
        'The image does not have the kernel "my-project", so the notebook ran with "python3".'
    )


def test_a_kernel_of_another_language(program: Program) -> None:
    content = json.loads(notebook("1", kernel="ir"))
    content["metadata"]["kernelspec"]["language"] = "R"
    program.provide(json.dumps(content))
    program.start()

    assert program.end() == NotebookExit.KERNEL_MISSING
    assert 'wants the kernel "ir", which the image does not have' in program.state["message"]
    # What was to run can be downloaded.
    assert program.outputs == [""]


def test_a_kernel_that_cannot_start(program: Program) -> None:
    kernels = program.home / ".local/share/jupyter/kernels/broken"
    kernels.mkdir(parents=True)
    spec = {"argv": ["/no/such/program", "{connection_file}"], "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec | {"display_name": "Broken"}))
    program.provide(notebook("1", kernel="broken"))
    program.start()

    assert program.end() == NotebookExit.KERNEL_MISSING
    assert program.state["message"].startswith('The kernel "broken" cannot start:')


def test_a_kernel_that_ends_at_once(program: Program) -> None:
    kernels = program.home / ".local/share/jupyter/kernels/short"
    kernels.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "language": "python", "display_name": "Short"}
    (kernels / "kernel.json").write_text(json.dumps(spec))
    program.provide(notebook("1", kernel="short"))
    program.start()

    assert program.end() == NotebookExit.KERNEL_DIED
    assert program.state["message"].startswith('The kernel "short" did not start:')


def test_what_is_no_notebook(program: Program) -> None:
    program.provide("{")
    program.start()

    assert program.end() == NotebookExit.NOTEBOOK_INVALID
    assert '"n.ipynb" is not valid JSON' in program.state["message"]


def test_an_image_without_nbclient(program: Program, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked" / "nbclient"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'nbclient'\")"
    )
    program.provide(notebook("1"))
    program.start(PYTHONPATH=str(blocked.parent))

    assert program.end() == NotebookExit.NBCLIENT_MISSING
    assert program.state["outcome"] == "nbclient-missing"
    assert "It needs the Python packages nbclient and ipykernel" in program.state["message"]


def test_a_home_that_cannot_be_written_to(program: Program) -> None:
    program.provide(notebook("import os; print(os.environ['HOME'])"))
    program.start(HOME="/proc")

    assert program.end() == NotebookExit.COMPLETED
    assert program.outputs == [f"{program.job}/home\n"]


def test_a_notebook_without_cells(program: Program) -> None:
    program.provide(notebook())
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert program.state["cells"] == {"total": 0, "finished": 0}


def test_what_processes_of_the_notebook_print_is_logged(program: Program) -> None:
    program.provide(notebook("import os; os.write(2, b'straight to the log\\n')"))
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert "straight to the log" in (program.control / "log").read_text()


def test_large_outputs_are_kept_whole(program: Program) -> None:
    program.provide(notebook("for number in range(30): print('x' * 1_000_000)", "print('after')"))
    program.start()

    assert program.end() == NotebookExit.COMPLETED
    assert len(program.outputs[0]) == 30 * 1_000_001
    assert program.outputs[1] == "after\n"
