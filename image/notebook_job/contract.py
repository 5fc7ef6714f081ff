"""The environment variables that say which notebook runs and where its files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from notebook_job.paths import UnsafePath, check_path
from notebook_job.turns import number


class ContractError(Exception):
    """A variable is missing or malformed; the text is a sentence that names it."""


@dataclass(frozen=True)
class Contract:
    """One run. Prefixes end in a slash; paths are relative."""

    bucket: str
    endpoint_url: str
    ca_bundle: str
    input_prefix: str
    output_prefix: str
    notebook: str
    output: str
    formats: tuple[str, ...]
    parameters: Mapping[str, str]
    package_input_folder: bool
    # Where the inputs are kept, and this run's place among those of a schedule; "" for neither.
    keep_input_prefix: str = ""
    turn_prefix: str = ""
    turn_name: str = ""

    def output_key(self, output_format: str) -> str:
        """The key of the run's output in one format."""
        name = self.output
        if output_format != "ipynb":
            name = f"{PurePosixPath(name).stem}.{output_format}"
        return self.output_prefix + name

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Contract:
        """The run that `environment` describes.

        Raises:
            ContractError: see there.
        """

        def required(name: str) -> str:
            value = environment.get(name, "")
            if not value:
                raise ContractError(f"The environment variable {name} is missing.")
            return value

        def path(name: str) -> str:
            try:
                return check_path(required(name))
            except UnsafePath as error:
                raise ContractError(f"{name} is refused: {error}") from None

        output = path("OUTPUT_PATH")
        if "/" in output:
            raise ContractError("OUTPUT_PATH must be a file name, without folders.")
        keep = environment.get("S3_KEEP_INPUT_PREFIX", "")
        turns, turn = environment.get("S3_TURN_PREFIX", ""), environment.get("S3_TURN_NAME", "")
        if bool(turns) != bool(turn):
            raise ContractError("S3_TURN_PREFIX and S3_TURN_NAME belong together; one is missing.")
        if "/" in turn:
            raise ContractError("S3_TURN_NAME must be a name, without folders.")
        if turn and number(turn) is None:
            raise ContractError("S3_TURN_NAME must end in a number, after a hyphen.")
        return cls(
            bucket=required("S3_BUCKET"),
            endpoint_url=environment.get("S3_ENDPOINT_URL", ""),
            ca_bundle=environment.get("S3_CA_BUNDLE", ""),
            input_prefix=_prefix(required("S3_INPUT_PREFIX")),
            output_prefix=_prefix(required("S3_OUTPUT_PREFIX")),
            notebook=path("NOTEBOOK_PATH"),
            output=output,
            formats=_formats(environment.get("OUTPUT_FORMATS") or "[]"),
            parameters=_parameters(environment.get("PARAMETERS") or "{}"),
            package_input_folder=environment.get("PACKAGE_INPUT_FOLDER", "").lower() == "true",
            keep_input_prefix=_prefix(keep) if keep else "",
            turn_prefix=_prefix(turns) if turns else "",
            turn_name=turn,
        )


def _prefix(value: str) -> str:
    return value.strip("/") + "/"


def _formats(text: str) -> tuple[str, ...]:
    try:
        formats = json.loads(text)
    except ValueError:
        formats = None
    if not isinstance(formats, list) or not all(isinstance(name, str) for name in formats):
        raise ContractError('OUTPUT_FORMATS must be a JSON list of names, such as ["html"].')
    return tuple(dict.fromkeys(formats))


def _parameters(text: str) -> Mapping[str, str]:
    try:
        parameters = json.loads(text)
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise ContractError('PARAMETERS must be a JSON object, such as {"year": "2024"}.')
    return {str(name): str(value) for name, value in parameters.items()}
