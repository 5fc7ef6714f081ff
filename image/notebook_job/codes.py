"""How the two programs end: exit codes, and the outcomes that result.json names."""

from enum import Enum, IntEnum


class NotebookExit(IntEnum):
    """Exit codes of `notebook`."""

    COMPLETED = 0
    OTHER = 1
    CELL_ERROR = 20
    KERNEL_MISSING = 21
    KERNEL_DIED = 22
    OUT_OF_MEMORY = 23
    TERMINATED = 24
    NOTEBOOK_INVALID = 25
    NBCLIENT_MISSING = 26
    INPUTS_NEVER_CAME = 27
    REPLACED = 28


class FilesExit(IntEnum):
    """Exit codes of `files`. It stores a failed run as well as a good one, and then exits 0."""

    STORED = 0
    OTHER = 1
    INPUTS_FAILED = 30
    OUTPUTS_FAILED = 31
    ALREADY_STARTED = 32
    TERMINATED = 33
    NOT_BEGUN = 34
    REPLACED = 35


class Outcome(str, Enum):
    """What became of the run, in one word."""

    COMPLETED = "completed"
    CELL_ERROR = "cell-error"
    KERNEL_MISSING = "kernel-missing"
    KERNEL_DIED = "kernel-died"
    OUT_OF_MEMORY = "out-of-memory"
    TERMINATED = "terminated"
    NOTEBOOK_INVALID = "notebook-invalid"
    NBCLIENT_MISSING = "nbclient-missing"
    NOTEBOOK_LOST = "notebook-lost"
    NOT_BEGUN = "not-begun"
    INPUTS_FAILED = "inputs-failed"
    ALREADY_STARTED = "already-started"
    REPLACED = "replaced"
    # Only while the notebook runs: state.json's word, never result.json's.
    RUNNING = "running"
