"""What a job may ask for beside its notebook, and what an administrator allows of it.

It travels in upstream's `runtime_environment_parameters`, whose values upstream's
model turns into int, float, bool or str: "2" becomes 2, so numbers and texts mean
the same here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from jupyter_scheduler_k8s import catalog
from jupyter_scheduler_k8s.config import JOB_PARAMETERS, K8sConfig
from jupyter_scheduler_k8s.errors import BackendError
from jupyter_scheduler_k8s.resources import Resources
from jupyter_scheduler_k8s.variables import Variable, parse_variables

# Some of Kubernetes' clocks count seconds in 32 bits; that is 68 years.
_LONGEST_SECONDS = 2**31 - 1

# What a run that is due does while the one before it goes on, as Kubernetes spells it.
CONCURRENCY_POLICIES = ("Allow", "Forbid", "Replace")

# Kubernetes looks every 10 seconds at what is due: a run with less time may be missed.
# https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
_SHORTEST_DEADLINE_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What one job asks for; empty, None or 0 where nothing was given.

    Attributes:
        resources: CPU, memory and GPU.
        image: the image that runs the notebook.
        pod_template: what the chosen profile adds to the pod.
        variables: environment variables of the notebook.
        timeout_seconds: the time from the job's start, all attempts and waits
            included, after which it fails.
        max_retries: how often a failed run may be begun again.
        concurrency_policy: what a schedule's run does that is due while the one
            before it goes on, one of CONCURRENCY_POLICIES.
        starting_deadline_seconds: how late a schedule's run may begin; None where
            nothing was given.
    """

    resources: Resources = field(default_factory=Resources)
    image: str = ""
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    variables: tuple[Variable, ...] = ()
    timeout_seconds: int | None = None
    max_retries: int = 0
    concurrency_policy: str = "Forbid"
    starting_deadline_seconds: int | None = None

    @classmethod
    def from_parameters(
        cls,
        parameters: Mapping[str, Any] | None,
        config: K8sConfig,
        *,
        defaults: Mapping[str, str] | None = None,
        pod_template: Mapping[str, Any] | None = None,
        default_timeout: int | None = None,
    ) -> "JobOptions":
        """What the `k8s_…` parameters of a job ask for; others are not ours.

        Args:
            parameters: what the user gave.
            config: what is allowed of it.
            defaults: what the chosen environment and profile give where the user
                gave nothing, by parameter; the user may give that, too.
            pod_template: what the chosen profile adds to the pod.
            default_timeout: the time limit in seconds, where none is given.

        Raises:
            BackendError: one can't be meant, or isn't allowed here.
        """
        offered = defaults or {}
        given = {
            name: _text(name, value)
            for name, value in (parameters or {}).items()
            if name.startswith("k8s_")
        }
        for name, text in given.items():
            if name not in JOB_PARAMETERS:
                raise BackendError(
                    f"{name} is nothing that a job can ask for; these are:"
                    f" {', '.join(JOB_PARAMETERS)}."
                )
            if text and name in config.forbidden_parameters:
                raise BackendError(
                    f"{name} may not be set on this server; leave it out, or ask your"
                    " administrator, whose setting is K8sConfig.forbidden_parameters."
                )
        if given.get("k8s_gpu_kind") and not given.get("k8s_gpu") and not offered.get("k8s_gpu"):
            raise BackendError("k8s_gpu_kind says of which kind the GPUs are: set k8s_gpu, too.")
        given = {**offered, **{name: text for name, text in given.items() if text}}
        return cls(
            resources=Resources.of(
                **{name: given.get(f"k8s_{name}", "") for name in catalog.AMOUNTS}
            ),
            image=_image(given.get("k8s_image", ""), config, offered.get("k8s_image", "")),
            pod_template=pod_template or {},
            variables=parse_variables(given.get("k8s_env", ""), config.allowed_secrets),
            timeout_seconds=_timeout(given.get("k8s_timeout_seconds", ""), default_timeout, config),
            max_retries=_retries(given.get("k8s_max_retries", ""), config),
            concurrency_policy=_policy(given.get("k8s_concurrency_policy", "")),
            starting_deadline_seconds=_deadline(given.get("k8s_starting_deadline_seconds", "")),
        )

    def described(self) -> str:
        """What Kubernetes may refuse of it, as a sentence; empty where nothing was given."""
        given = {
            "k8s_cpu": self.resources.cpu,
            "k8s_memory": self.resources.memory,
            "k8s_image": self.image,
        }
        asked = ", ".join(f"{name} {value!r}" for name, value in given.items() if value)
        return f"The job asked for {asked}." if asked else ""


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    # Never a quantity, and upstream's model has it as 1 in some places.
    if isinstance(value, bool):
        raise BackendError(f"{name} must be a number or text; it is {value}.")
    # Upstream's model may have read the text "3" as 3.0.
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _image(image: str, config: K8sConfig, offered: str) -> str:
    allowed = (config.image, *config.allowed_images)
    if image not in ("", offered) and not any(fnmatchcase(image, pattern) for pattern in allowed):
        raise BackendError(
            f"k8s_image is {image!r}, which jobs may not use on this server; allowed are"
            f" {', '.join(allowed)}. Ask your administrator, whose setting is"
            " K8sConfig.allowed_images."
        )
    return image


def _timeout(text: str, default: int | None, config: K8sConfig) -> int | None:
    setting, most = "max_timeout_seconds", config.max_timeout_seconds
    if not text:
        return min((limit for limit in (default, most) if limit is not None), default=None)
    if most is None:
        setting, most = "", _LONGEST_SECONDS
    return _whole("k8s_timeout_seconds", text, "seconds", least=1, most=most, setting=setting)


def _retries(text: str, config: K8sConfig) -> int:
    if not text:
        return 0
    most, setting = config.max_retries, "max_retries"
    return _whole("k8s_max_retries", text, "retries", least=0, most=most, setting=setting)


def _policy(text: str) -> str:
    if text and text not in CONCURRENCY_POLICIES:
        raise BackendError(
            f"k8s_concurrency_policy must be one of {', '.join(CONCURRENCY_POLICIES)}; it is"
            f" {text[:40]!r}."
        )
    return text or "Forbid"


def _deadline(text: str) -> int | None:
    if not text:
        return None
    return _whole(
        "k8s_starting_deadline_seconds",
        text,
        "seconds",
        least=_SHORTEST_DEADLINE_SECONDS,
        most=_LONGEST_SECONDS,
        setting="",
    )


def _whole(name: str, text: str, what: str, *, least: int, most: int, setting: str) -> int:
    # More digits than any bound has are not worth converting.
    number = int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None
    if number is not None and least <= number <= most:
        return number
    above = setting and number is not None and number > most
    hint = f" More is your administrator's to allow, by K8sConfig.{setting}." if above else ""
    raise BackendError(
        f"{name} must be a whole number of {what} from {least} to {most}; it is {text[:40]!r}."
        f"{hint}"
    )
