"""What a request asked for, how it was answered, and what can go wrong with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer instead of the real one."""

    status: int
    message: str = ""
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: the connection ends. With `done`, the request has taken effect."""

    done: bool = False


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer, and the connection stays open. With `done`, the request has taken effect."""

    done: bool = False


Fault = Answer | Lost | Silent


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server got it. `kind`: list, watch, get, create, patch or delete.

    Requests to a subresource, such as the status, are those of their resource; it is named.
    """

    kind: str
    resource: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    subresource: str = ""


def found(thing: Any, status: int = 200) -> Answer:
    return Answer(status, body=json.dumps(thing).encode())


def refusal(status: int, reason: str, message: str) -> Answer:
    return Answer(status, message, reason)
