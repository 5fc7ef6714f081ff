"""`k8s_env`: the environment variables of a notebook, as JSON text in a job's parameters.

A value is text, or `{"secretKeyRef": {"name": ..., "key": ...}}`, written as Kubernetes
writes it. Values may be secret, so no message repeats them.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NoReturn

from jupyter_scheduler_k8s import names
from jupyter_scheduler_k8s.errors import BackendError

# The variables of the contract between server and `files` (image/README.md). They
# are set in another container; the same name in the notebook would only mislead.
RESERVED = frozenset(
    {"S3_BUCKET", "S3_ENDPOINT_URL", "S3_CA_BUNDLE", "S3_INPUT_PREFIX", "S3_OUTPUT_PREFIX"}
    | {"S3_KEEP_INPUT_PREFIX", "S3_TURN_PREFIX", "S3_TURN_NAME"}
    | {"NOTEBOOK_PATH", "OUTPUT_PATH", "OUTPUT_FORMATS", "PARAMETERS", "PACKAGE_INPUT_FOLDER"}
)

# Linux allows 128 KiB for a variable with its name (MAX_ARG_STRLEN, linux/binfmts.h).
LONGEST = 120 * 1024

# What every shell and program can read; Kubernetes alone allows more.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
_SECRET_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable: a plain value, or the key of a Secret where `secret` is set."""

    name: str
    value: str = field(default="", repr=False)
    secret: str = ""
    key: str = ""

    def manifest(self) -> dict[str, Any]:
        """The entry of a container's `env`."""
        if self.secret:
            reference = {"name": self.secret, "key": self.key}
            return {"name": self.name, "valueFrom": {"secretKeyRef": reference}}
        return {"name": self.name, "value": literal(self.value)}


def literal(value: str) -> str:
    """`value` as Kubernetes leaves it: it expands $(NAME), and reads $$ as a plain dollar."""
    return value.replace("$", "$$")


def parse_variables(text: str, allowed_secrets: Collection[str]) -> tuple[Variable, ...]:
    """The variables that `k8s_env` names.

    Args:
        text: a JSON object; numbers count as the text that they are written as.
        allowed_secrets: names of Secrets, or patterns with `*` and `?`.

    Raises:
        BackendError: what is wrong with it, without any value.
    """
    if not text:
        return ()
    try:
        found = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BackendError(
            f"k8s_env is no valid JSON ({error.msg}, at character {error.pos + 1}); write an"
            ' object such as {"NAME": "value"}.'
        ) from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BackendError('k8s_env must be a JSON object, as text, such as {"NAME": "value"}.')
    return tuple(_variable(name, value, allowed_secrets) for name, value in found.items())


def _variable(name: str, value: object, allowed_secrets: Collection[str]) -> Variable:
    if not _NAME.fullmatch(name):
        raise BackendError(
            f"k8s_env names {name[:100]!r}, which can't be the name of a variable: use letters,"
            " digits and _, and no digit first."
        )
    if name in RESERVED:
        raise BackendError(
            f"k8s_env names {name}, which belongs to the run itself; give your variable another"
            " name."
        )
    if isinstance(value, str):
        return Variable(name=name, value=_checked(name, value))
    reference = value.get("secretKeyRef") if isinstance(value, dict) and len(value) == 1 else None
    if (
        not isinstance(reference, dict)
        or set(reference) != {"name", "key"}
        or not all(isinstance(part, str) for part in reference.values())
    ):
        raise BackendError(
            f"The value of {name} in k8s_env must be text, or a key of a Secret such as"
            ' {"secretKeyRef": {"name": "<secret>", "key": "<key>"}}.'
        )
    secret, key = reference["name"], reference["key"]
    if not _SECRET_NAME.fullmatch(secret) or not _SECRET_KEY.fullmatch(key):
        raise BackendError(f"{name} in k8s_env names what can't be a Secret and its key.")
    # Our own hold the keys of the bucket, whatever a pattern says.
    own = secret.startswith(names.CREDENTIALS_PREFIX)
    if own or not any(fnmatchcase(secret, pattern) for pattern in allowed_secrets):
        hint = "" if own else " Ask your administrator to add it to K8sConfig.allowed_secrets."
        raise BackendError(
            f"{name} in k8s_env names the Secret {secret}, which jobs may not use.{hint}"
        )
    return Variable(name=name, secret=secret, key=key)


def _checked(name: str, value: str) -> str:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BackendError(f"The value of {name} in k8s_env is no valid text.") from None
    if "\0" in value:
        raise BackendError(f"The value of {name} in k8s_env has a NUL, which no variable can hold.")
    if size > LONGEST:
        raise BackendError(
            f"The value of {name} in k8s_env has {size // 1024} KiB, and {LONGEST // 1024} KiB is"
            " the most; put it into a file beside the notebook."
        )
    return value


def _refuse_constant(_: str) -> NoReturn:
    # NaN and Infinity are no JSON, though Python reads them.
    raise ValueError
