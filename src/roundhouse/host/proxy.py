"""Apply the proxy of the setting host_proxy_url to what downloads on this host.

A file that only root may read holds the proxy, because its URL may contain a password. A task's `environment:` would be
visible in the output of `ansible-playbook -vvv` and in the list of processes. systemd and sh read the same file.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError

PATH = Path("/etc/roundhouse/proxy.env")
APT = Path("/etc/roundhouse/proxy.apt.conf")
LOCAL = ("localhost", "127.0.0.1", "::1")
_SCHEMES = ("HTTP", "HTTPS")
# These would end a quoted value of the files. A URL has them only percent-encoded.
_QUOTES = re.compile(r"[\s'\"\\$`;,]")


def variables(url: str, exceptions: Iterable[str] = ()) -> dict[str, str]:
    """Return the variables of programs, in both spellings; {} without a URL. Raises UsageError for an invalid setting.

    The message has no password.
    """
    if not url:
        return {}
    _require_valid(url, exceptions)
    wanted = {f"{scheme}_PROXY": url for scheme in _SCHEMES} | {"NO_PROXY": ",".join(_unique([*LOCAL, *exceptions]))}
    return wanted | {name.lower(): value for name, value in wanted.items()}


def environment(url: str, exceptions: Iterable[str] = ()) -> dict[str, str]:
    """Return the `environment:` of a play; {} without a URL. A URL with a password is only in the files that it names.

    apt reads its own file, where a proxy of the host's apt.conf has precedence.
    """
    found = variables(url, exceptions)
    if urlsplit(url).username is not None:
        found = {name: value for name, value in found.items() if name.upper() == "NO_PROXY"}
    return found | {"APT_CONFIG": str(APT)} if found else {}


def files(url: str, exceptions: Iterable[str] = ()) -> dict[str, dict[str, object] | None]:
    """Return the files of the host for the module roundhouse_host_files; without a URL they are removed."""
    found = variables(url, exceptions)
    if not found:
        return {str(PATH): None, str(APT): None}
    lines = "".join(f"{name}={shlex.quote(value)}\n" for name, value in found.items())
    apt = "".join(f'Acquire::{scheme.lower()}::Proxy "{url}";\n' for scheme in _SCHEMES)
    note = "Written by Roundhouse from host_proxy_url. Only root may read it."
    return {
        str(PATH): {"content": f"# {note}\n{lines}", "mode": "0600", "secret": True},
        str(APT): {"content": f"// {note}\n{apt}", "mode": "0600", "secret": True},
    }


def stored(path: Path | None = None) -> dict[str, str]:
    """Return the variables of the host's file; {} without one, and for a user who may not read it."""
    path = path or PATH
    if not os.access(path, os.R_OK):
        return {}
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}


def apply(*direct: str) -> None:
    """Set the variables in this process, except those that are set already; `direct` are hosts without a proxy."""
    own = {name.upper() for name in os.environ}
    os.environ.update({name: value for name, value in stored().items() if name.upper() not in own})
    for name in ("NO_PROXY", "no_proxy"):
        if direct and (os.environ.get("HTTP_PROXY") or os.environ.get("http_proxy")):
            os.environ[name] = ",".join(_unique([*filter(None, os.environ.get(name, "").split(",")), *direct]))


def override(environment: Mapping[str, str]) -> None:
    """Set variables in this process. A variable of a proxy replaces both of its spellings."""
    for name, value in environment.items():
        spellings = {name.upper(), name.lower()} if name.upper().endswith("_PROXY") else {name}
        os.environ.update(dict.fromkeys(spellings, value))


def _require_valid(url: str, exceptions: Iterable[str]) -> None:
    parts, shown = urlsplit(url), re.sub(r"^(\w+://)?.*@", r"\1***@", url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port or _QUOTES.search(url):
        raise UsageError(
            "proxy_invalid",
            "host_proxy_url is {value!r}.",
            "Write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with special characters percent-encoded.",
            value=shown,
        )
    names = [exceptions] if isinstance(exceptions, str) else list(exceptions)
    wrong = names if isinstance(exceptions, str) else [name for name in names if _QUOTES.search(str(name))]
    if wrong:
        raise UsageError(
            "proxy_exception_invalid",
            "host_proxy_exceptions contains {value!r}.",
            "Write a list of host names, domains such as .example.lan, or addresses.",
            value=", ".join(wrong),
        )


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
