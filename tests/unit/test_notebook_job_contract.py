"""What the image and the server must agree on, and the environment variables."""

import ast
from pathlib import Path
from typing import Any

import pytest

import notebook_job
from jupyter_scheduler_k8s import diagnosis, names
from jupyter_scheduler_k8s.errors import UnsafePath
from jupyter_scheduler_k8s.manifests import BOOTSTRAP
from notebook_job import paths
from notebook_job.codes import FilesExit, NotebookExit
from notebook_job.contract import Contract, ContractError

PACKAGE = Path(notebook_job.__file__).parent

ENVIRONMENT = {
    "S3_BUCKET": "jobs",
    "S3_INPUT_PREFIX": "jobs/1/input/",
    "S3_OUTPUT_PREFIX": "jobs/1/outputs",
    "NOTEBOOK_PATH": "reports/weekly report.ipynb",
    "OUTPUT_PATH": "output.ipynb",
    "OUTPUT_FORMATS": '["ipynb", "html"]',
    "PARAMETERS": '{"region": "\\"north\\""}',
    "PACKAGE_INPUT_FOLDER": "true",
}


def test_the_server_starts_the_bootstrap_of_this_image() -> None:
    assert (PACKAGE / "bootstrap.py").read_text() == BOOTSTRAP


def test_both_sides_know_the_same_exit_codes() -> None:
    assert {code.value for code in NotebookExit} - {1} == set(diagnosis.NOTEBOOK_CODES)
    assert {code.value for code in FilesExit} - {1} == set(diagnosis.FILES_CODES)


def test_the_bootstrap_is_written_for_any_python_3_and_needs_no_package() -> None:
    tree = ast.parse(BOOTSTRAP, feature_version=(3, 7))
    imported = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"contextlib", "fcntl", "os", "signal", "sys", "time"}


@pytest.mark.parametrize("source", [*sorted(PACKAGE.glob("runner/*.py")), PACKAGE / "codes.py"])
def test_the_runner_is_written_for_python_3_9(source: Path) -> None:
    ast.parse(source.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize(
    "path",
    [
        "a b/ü#%25?+&.csv",
        'back\\slash "quotes"',
        "tab\tand\x7f",
        "\ufffe\uffff",
        "[1] ~ e\u0301",
        "%2E%2E",
    ],
)
def test_both_sides_write_a_path_alike(path: str) -> None:
    assert paths.escape_path(path) == names.escape_path(path)
    assert paths.unescape_path(paths.escape_path(path)) == path


@pytest.mark.parametrize(
    "tail",
    ["../x", "/x", "a//b", "a/./b", "", "%2E%2E/x", "a%00b", "%41", "%2F", "%FF", "a\\b", "%tree"],
)
def test_both_sides_refuse_the_same_keys(tail: str) -> None:
    with pytest.raises(paths.UnsafePath):
        paths.unescape_path(tail)
    with pytest.raises(UnsafePath):
        names.unescape_path(tail)


def test_the_environment_of_a_run() -> None:
    contract = Contract.from_environment(ENVIRONMENT)

    assert contract == Contract(
        bucket="jobs",
        endpoint_url="",
        ca_bundle="",
        input_prefix="jobs/1/input/",
        output_prefix="jobs/1/outputs/",
        notebook="reports/weekly report.ipynb",
        output="output.ipynb",
        formats=("ipynb", "html"),
        parameters={"region": '"north"'},
        package_input_folder=True,
    )
    assert contract.output_key("ipynb") == "jobs/1/outputs/output.ipynb"
    assert contract.output_key("html") == "jobs/1/outputs/output.html"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"S3_BUCKET": ""}, "S3_BUCKET is missing"),
        ({"NOTEBOOK_PATH": "../x.ipynb"}, "NOTEBOOK_PATH is refused"),
        ({"OUTPUT_PATH": "a/b.ipynb"}, "OUTPUT_PATH must be a file name"),
        ({"OUTPUT_FORMATS": '"html"'}, "OUTPUT_FORMATS must be a JSON list"),
        ({"OUTPUT_FORMATS": "[1]"}, "OUTPUT_FORMATS must be a JSON list"),
        ({"PARAMETERS": "[]"}, "PARAMETERS must be a JSON object"),
        ({"PARAMETERS": "{"}, "PARAMETERS must be a JSON object"),
        ({"S3_TURN_PREFIX": "a/turns"}, "S3_TURN_PREFIX and S3_TURN_NAME belong together"),
        ({"S3_TURN_NAME": "nb-jobdef-1-20"}, "S3_TURN_PREFIX and S3_TURN_NAME belong together"),
        ({"S3_TURN_PREFIX": "a/", "S3_TURN_NAME": "nb"}, "S3_TURN_NAME must end in a number"),
        ({"S3_TURN_PREFIX": "a/", "S3_TURN_NAME": "a/b-1"}, "S3_TURN_NAME must be a name"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        Contract.from_environment(ENVIRONMENT | change)


def test_what_may_be_left_out() -> None:
    names_of_optional = ("OUTPUT_FORMATS", "PARAMETERS", "PACKAGE_INPUT_FOLDER")
    required = {key: value for key, value in ENVIRONMENT.items() if key not in names_of_optional}

    contract = Contract.from_environment(required)

    assert (contract.formats, contract.parameters) == ((), {})
    assert not contract.package_input_folder
    assert (contract.keep_input_prefix, contract.turn_prefix, contract.turn_name) == ("", "", "")


def test_the_environment_of_a_schedules_run() -> None:
    schedule = {
        "S3_KEEP_INPUT_PREFIX": "jobs/2/input",
        "S3_TURN_PREFIX": "schedules/1/turns",
        "S3_TURN_NAME": "nb-jobdef-1-29000000",
    }

    contract = Contract.from_environment(ENVIRONMENT | schedule)

    assert contract.keep_input_prefix == "jobs/2/input/"
    assert contract.turn_prefix == "schedules/1/turns/"
    assert contract.turn_name == "nb-jobdef-1-29000000"
