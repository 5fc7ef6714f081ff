"""Every setting, once: its traitlet, its environment variable, its default and its meaning.

A traitlet that is set (command line or configuration file) wins over the
environment variable named in its `env` tag, which wins over the default. An
environment variable that is set to nothing counts as not set.
"""

import getpass
import os
import re
from typing import Any

from traitlets import Dict, Enum, Float, Int, List, TraitType, Unicode, Union, default, validate
from traitlets.config import LoggingConfigurable

from jupyter_scheduler_k8s import catalog, pod_template
from jupyter_scheduler_k8s.errors import ConfigurationError

# What only a schedule can follow.
SCHEDULE_PARAMETERS = ("k8s_concurrency_policy", "k8s_starting_deadline_seconds")

# What a job or a definition may ask for, as options.py reads it.
JOB_PARAMETERS = (
    "k8s_cpu",
    "k8s_memory",
    "k8s_gpu",
    "k8s_gpu_kind",
    "k8s_image",
    "k8s_env",
    "k8s_timeout_seconds",
    "k8s_max_retries",
    *SCHEDULE_PARAMETERS,
)

PULL_POLICIES = ("Always", "IfNotPresent", "Never")

# What AWS, MinIO and Google allow between them.
_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")

# Contexts of clusters that run on one machine and get their images loaded, not
# pulled: the names that kind, minikube, Docker Desktop and local-dev/ give.
_LOCAL_CONTEXTS = ("minikube", "docker-desktop", "jupyter-scheduler-k8s")
_LOCAL_CONTEXT_PREFIXES = ("kind-",)


class K8sConfig(LoggingConfigurable):
    """What an administrator or a user can set, as `--K8sConfig.<name>=<value>`."""

    namespace = Unicode(
        "default",
        help="The Kubernetes namespace in which jobs run and are kept.",
    ).tag(config=True, env="K8S_NAMESPACE")

    image = Unicode(
        "jupyter-scheduler-k8s:latest",
        help="""The image that moves the files of every job, and runs the notebooks of
        those that name no image of their own.""",
    ).tag(config=True, env="K8S_IMAGE")

    image_pull_policy = Enum(
        ("", *PULL_POLICIES),
        "",
        help="""When `image` is pulled: Always, IfNotPresent or Never. Where nothing is set,
        Never on clusters of this machine (by the context's name: kind, minikube,
        docker-desktop and local-dev's own), Always on others. An image that a user names is
        pulled IfNotPresent.""",
    ).tag(config=True, env="K8S_IMAGE_PULL_POLICY")

    scheduling_timeout = Float(
        300,
        help="""Seconds from a pod's creation after which a job fails whose pod has found no
        node, or whose image can't be pulled.""",
    ).tag(config=True, env="K8S_SCHEDULING_TIMEOUT")

    s3_bucket = Unicode(
        "",
        help="The bucket that holds the files of all jobs. Required.",
    ).tag(config=True, env="S3_BUCKET")

    s3_endpoint_url = Unicode(
        "",
        help="""The address of an S3 server other than AWS: it must be the same for this server
        and for the pods.""",
    ).tag(config=True, env="S3_ENDPOINT_URL")

    s3_ca_bundle = Unicode(
        "",
        help="""Path of a PEM file with the certificate authority of a private S3 server. Pods
        get its content.""",
    ).tag(config=True, env="AWS_CA_BUNDLE")

    owner = Unicode(
        help="""Whose records this server makes, lists and watches. Where nothing is set, the
        name of the operating system's user.""",
    ).tag(config=True, env="JUPYTERHUB_USER")

    service_account = Unicode(
        "",
        help="""The service account of the pods, for clouds that give a pod its identity. Its
        token is never mounted. Where nothing is set, the namespace's default one.""",
    ).tag(config=True, env="K8S_SERVICE_ACCOUNT")

    run_as_user = Int(
        1000,
        allow_none=True,
        help="""The user id of both containers; 1000 is that of the usual Jupyter images. None
        where the platform assigns it, or to use the images' own.""",
    ).tag(config=True)

    run_as_group = Int(
        100,
        allow_none=True,
        help="""The group id of both containers and of their shared files; 100 is that of the
        usual Jupyter images. None where the platform assigns it.""",
    ).tag(config=True)

    default_cpu = Unicode(
        "500m",
        help="""The CPU that a notebook states where the user gave none and a quota of the
        namespace wants it stated.""",
    ).tag(config=True)

    default_memory = Unicode(
        "1Gi",
        help="""The memory that a notebook states where the user gave none and a quota of the
        namespace wants it stated.""",
    ).tag(config=True)

    forbidden_parameters = List(
        Unicode(),
        help="""Parameters that jobs may not set, such as k8s_gpu or k8s_env. By default, all
        may be set.""",
    ).tag(config=True)

    allowed_images = List(
        Unicode(),
        ["*"],
        help="""Images that jobs may name in k8s_image beside `image`, as patterns with * and ?.
        An empty list leaves them `image` only.""",
    ).tag(config=True)

    allowed_secrets = List(
        Unicode(),
        help="""Secrets of the namespace that jobs may name in k8s_env, as patterns with * and ?.
        By default, none; never those that hold this server's own S3 credentials.""",
    ).tag(config=True)

    max_timeout_seconds = Int(
        None,
        allow_none=True,
        min=1,
        max=2**31 - 1,
        help="""The longest k8s_timeout_seconds that a job may set, and the time limit of those
        that set none. By default, jobs have no limit that they don't set.""",
    ).tag(config=True)

    scheduled_timeout_seconds = Int(
        86400,
        allow_none=True,
        min=1,
        max=2**31 - 1,
        help="""The time limit of the runs of a schedule whose definition sets none, so that a
        run that never ends doesn't hold up its schedule for ever; where max_timeout_seconds is
        shorter, that. None for no limit.""",
    ).tag(config=True)

    max_retries = Int(
        5,
        min=0,
        max=100,
        help="The highest k8s_max_retries that a job may set; 0 forbids retries.",
    ).tag(config=True)

    pod_template = Union(
        [Dict(), Unicode()],
        default_value={},
        help="""What every pod gets beside what it needs, as far as it doesn't change that:
        a part of a pod's manifest, or the path of a YAML or JSON file with one.""",
    ).tag(config=True, env="K8S_POD_TEMPLATE")

    environments = List(
        Dict(),
        help="""The environments that the form offers: mappings with name and image, and maybe
        label, description, output_formats, and cpu, memory, gpu and gpu_kind for jobs that ask
        for none. By default, one that stands for `image`.""",
    ).tag(config=True)

    profiles = Dict(
        help="""The sizes that the form offers as compute types: from name to a mapping with
        cpu, memory, gpu, gpu_kind and pod_template, as far as they are to be set. By default,
        sizes that follow from the cluster's nodes, where this server may list them.""",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from_command_line = self.config.get(type(self).__name__, {})
        for name, trait in self.class_own_traits(config=True).items():
            text = os.environ.get(trait.metadata.get("env", ""), "").strip()
            if text and name not in from_command_line and name not in kwargs:
                setattr(self, name, _parse(trait, text))

    @default("owner")
    def _default_owner(self) -> str:
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            # An arbitrary user id of a container, with no name anywhere.
            return f"uid-{os.getuid()}"

    @validate("scheduling_timeout")
    def _positive(self, proposal: dict[str, Any]) -> float:
        value = float(proposal["value"])
        if not value > 0:
            raise ConfigurationError(
                "K8S_SCHEDULING_TIMEOUT must be a number of seconds above 0; set it, or leave it"
                " out for 300."
            )
        return value

    @validate("forbidden_parameters")
    def _known(self, proposal: dict[str, Any]) -> list[str]:
        value: list[str] = proposal["value"]
        for name in value:
            if name not in JOB_PARAMETERS:
                raise ConfigurationError(
                    f"K8sConfig.forbidden_parameters names {name!r}; these can be forbidden:"
                    f" {', '.join(JOB_PARAMETERS)}."
                )
        return value

    @validate("pod_template")
    def _usable(self, proposal: dict[str, Any]) -> dict[str, Any]:
        value = proposal["value"]
        template = pod_template.load(value) if isinstance(value, str) and value else value or {}
        pod_template.check(template)
        return dict(template)

    @validate("environments")
    def _usable_environments(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        value: list[dict[str, Any]] = proposal["value"]
        catalog.environments(value)
        return value

    @validate("profiles")
    def _usable_profiles(self, proposal: dict[str, Any]) -> dict[str, Any]:
        value: dict[str, Any] = proposal["value"]
        catalog.profiles(value)
        return value

    def effective(self) -> dict[str, Any]:
        """The value of each setting, wherever it comes from: what `K8sConfig(**values)` takes."""
        return {name: getattr(self, name) for name in self.class_own_traits(config=True)}

    def pull_policy(self, image: str, context: str | None) -> str:
        """The pull policy of `image`, given the active kubeconfig context (None in a cluster)."""
        if image != self.image:
            return "IfNotPresent"
        if self.image_pull_policy:
            return str(self.image_pull_policy)
        local = context is not None and (
            context in _LOCAL_CONTEXTS or context.startswith(_LOCAL_CONTEXT_PREFIXES)
        )
        return "Never" if local else "Always"

    def require_bucket(self) -> str:
        """The bucket's name.

        Raises:
            ConfigurationError: none is set, or what is set can't be one's name.
        """
        if self.s3_bucket and not _BUCKET_NAME.fullmatch(self.s3_bucket):
            raise ConfigurationError(
                f"S3_BUCKET is {self.s3_bucket!r}, which can't be the name of a bucket: set it to"
                " the bucket's name alone, without an address or a folder."
            )
        if not self.s3_bucket:
            raise ConfigurationError(
                "No S3 bucket is set: set the environment variable S3_BUCKET (or"
                " --K8sConfig.s3_bucket) to the bucket that holds the files of the jobs."
            )
        return str(self.s3_bucket)


def _parse(trait: TraitType[Any, Any], text: str) -> Any:
    name = trait.metadata["env"]
    if isinstance(trait, Enum):
        if text not in PULL_POLICIES:
            raise ConfigurationError(f"{name} must be one of {', '.join(PULL_POLICIES)}.")
        return text
    if isinstance(trait, Float):
        try:
            return float(text)
        except ValueError:
            raise ConfigurationError(f"{name} must be a number; it is {text!r}.") from None
    return text
