"""The machine's own pip and uv settings, for the build steps of an image and not for the image.

They are written as the system-wide files of pip and uv and mounted during the build. A setting that
names a file or folder of the machine (certificates, a folder of wheels) has that mounted as well.
"""

import configparser
import io
import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
CERTIFICATE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# Settings that speak of this machine's own pip and not of where packages come from.
PIP_IGNORED = frozenset({"require-virtualenv", "user", "target", "prefix", "cache-dir", "config"})
# Environment variable of uv: its name in uv.toml.
UV_SETTINGS = {
    "UV_INDEX_URL": "index-url",
    "UV_DEFAULT_INDEX": "index-url",
    "UV_EXTRA_INDEX_URL": "extra-index-url",
    "UV_FIND_LINKS": "find-links",
    "UV_INDEX_STRATEGY": "index-strategy",
    "UV_INSECURE_HOST": "allow-insecure-host",
    "UV_OFFLINE": "offline",
}
UV_LISTS = frozenset({"extra-index-url", "find-links", "allow-insecure-host"})


def machine_certificates(environ: Mapping[str, str]) -> str:
    """The certificate bundle that this machine trusts; empty when none is found."""
    named = [environ.get(variable, "") for variable in CERTIFICATE_VARIABLES]
    return next((path for path in [*named, CERTIFICATES] if path and Path(path).is_file()), "")


def pip_settings(environ: Mapping[str, str], files: list[str]) -> dict[str, str]:
    """pip's effective options, later files and then the environment winning."""
    settings: dict[str, str] = {}
    for text in files:
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(parser.items(section))
    for variable, value in environ.items():
        if variable.startswith("PIP_") and variable != "PIP_CONFIG_FILE" and value:
            settings[variable.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {key: value for key, value in settings.items() if key not in PIP_IGNORED}


def pip_configuration(settings: Mapping[str, str]) -> str:
    parser = configparser.RawConfigParser()
    parser["global"] = dict(settings)
    buffer = io.StringIO()
    parser.write(buffer)
    return buffer.getvalue()


def uv_configuration(environ: Mapping[str, str], files: list[str]) -> dict[str, object]:
    """uv's settings that say where packages come from, as the content of a uv.toml."""
    settings: dict[str, object] = {}
    for text in files:
        settings.update(tomllib.loads(text))
    for variable, name in UV_SETTINGS.items():
        value = environ.get(variable, "")
        if value:
            settings[name] = value.split() if name in UV_LISTS else value
    if "offline" in settings:
        settings["offline"] = str(settings["offline"]).lower() in {"1", "true", "yes"}
    settings.pop("cache-dir", None)
    # The bundle is mounted where the system's own is.
    settings["native-tls"] = True
    return settings


def toml(settings: Mapping[str, object]) -> str:
    """The settings as TOML; a JSON string, number, list or boolean is one too."""
    lines = [f"{key} = {_inline(value)}" for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return json.dumps(value)


def named_paths(values: list[str]) -> list[str]:
    """The absolute paths among the words of ``values`` that exist on this machine."""
    words = {word.removeprefix("file://") for value in values for word in value.split()}
    return sorted(word for word in words if word.startswith("/") and Path(word).exists())


def _texts(paths: list[Path]) -> list[str]:
    return [path.read_text() for path in paths if path.is_file()]


def mounts(folder: Path) -> list[str]:
    """``source:target:ro`` for each thing to mount during a build; writes files into ``folder``."""
    home = Path.home()
    pip_files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named and named != os.devnull:
        pip_files.append(Path(named))
    pip = pip_settings(os.environ, _texts(pip_files))
    uv_files = [Path("/etc/uv/uv.toml"), home / ".config/uv/uv.toml"]
    uv = uv_configuration(os.environ, _texts(uv_files))
    certificates = machine_certificates(os.environ)
    found: dict[str, str] = {}
    if certificates:
        found[CERTIFICATES] = certificates
        pip["cert"] = CERTIFICATES
    for path in named_paths([*pip.values(), *(json.dumps(uv).replace('"', " ").split())]):
        found.setdefault(path, path)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text, target in (
        ("pip.conf", pip_configuration(pip), "/etc/pip.conf"),
        ("uv.toml", toml(uv), "/etc/uv/uv.toml"),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
        found[target] = str(folder / name)
    return [f"{source}:{target}:ro" for target, source in found.items()]
