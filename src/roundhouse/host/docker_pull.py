"""Pull an image through the API of Docker's engine.

`docker pull` reports no bytes without a terminal, and takes a login only from a file. The API reports the bytes of each
layer, and takes the login in a header, so that no file contains it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from ..errors import RoundhouseError

SOCKET = "/var/run/docker.sock"
# The name of Docker Hub in a login.
DOCKER_HUB = "https://index.docker.io/v1/"
# The engine answers several times per second while bytes arrive, and retries a layer five times by itself.
SILENT_SECONDS = 600.0
_LONGEST_MESSAGE = 300
# Words of the engine and of registries about failures that a retry does not repair. All others may be temporary.
_PERMANENT = re.compile(
    r"unauthorized|access denied|authentication required|no basic auth|denied:|manifest unknown|not found|"
    r"no matching manifest|invalid reference|x509|HTTP response to HTTPS|no space left|toomanyrequests|rate limit",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"unauthorized|denied|authentication required|no basic auth|toomanyrequests|rate limit", re.IGNORECASE
)

Message = dict[str, Any]  # of the engine: status, and for a layer id and progressDetail


class Login(NamedTuple):
    """A registry's login; without a name the pull is anonymous."""

    username: str = ""
    password: str = ""


class PullError(Exception):
    """Report the engine's reason; `permanent` if a retry does not help, `refused` if the registry wants a login."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        # A proxy's URL may contain a password.
        self.reason = re.sub(r"//[^/@\s]+@", "//***@", reason).strip().rstrip(".")[:_LONGEST_MESSAGE]
        self.permanent = bool(_PERMANENT.search(reason))
        self.refused = bool(_REFUSED.search(reason))


class _Connection(HTTPConnection):
    """HTTP over the engine's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SILENT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def pull(reference: str, login: Login, heard: Callable[[Message], None]) -> None:
    """Pull an image and pass on each message of the engine. Raises PullError, and RoundhouseError without an engine."""
    repository, _, version = _parts(reference)
    headers = _headers(login if login.username else stored_login(reference), registry(reference))
    path = f"/images/create?{urlencode({'fromImage': repository, 'tag': version})}"
    connection = _Connection(os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or SOCKET)
    try:
        connection.connect()
    except OSError as error:
        raise RoundhouseError(
            "docker_unreachable",
            "Docker's engine does not answer ({reason}).",
            "Read `journalctl --unit docker`, correct the error and run the playbook again.",
            reason=str(error),
        ) from None
    try:
        connection.request("POST", path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise PullError(_message(answer.read()))
        for line in answer:
            if line.strip():
                _hear(json.loads(line), heard)
    except (OSError, HTTPException) as error:  # the engine ended or was restarted
        raise PullError(f"no answer of Docker's engine: {error or type(error).__name__}") from None
    finally:
        connection.close()


def registry(reference: str) -> str:
    """Return the registry of a reference, empty for Docker Hub."""
    first, slash, _ = reference.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named and first not in ("docker.io", "index.docker.io") else ""


def _parts(reference: str) -> tuple[str, str, str]:
    """Return the repository, the tag and what to pull, which is the digest if there is one."""
    name, _, digest = reference.partition("@")
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{folder}{slash}{last}", tag, digest or tag or "latest"


def stored_login(reference: str, folder: Path = Path("/root/.docker")) -> Login:
    """Return the login that root stored with `docker login`, an empty one without it. A credential helper is not asked.

    Raises PullError if the file cannot be read.
    """
    path = folder / "config.json"
    try:
        known = json.loads(path.read_text()).get("auths", {}) if path.is_file() else {}
        stored = known.get(registry(reference) or DOCKER_HUB, {}).get("auth", "")
        name, _, password = base64.b64decode(stored).decode().partition(":")
    except (OSError, ValueError, AttributeError) as error:
        raise PullError(f"{path}: invalid reference to a login ({error})") from None
    return Login(name, password)


def _headers(login: Login, address: str) -> dict[str, str]:
    if not login.username:
        return {}
    content = {"username": login.username, "password": login.password, "serveraddress": address or DOCKER_HUB}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(content).encode()).decode()}


def _message(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or "no message"


def _hear(message: Message, heard: Callable[[Message], None]) -> None:
    if "error" in message:
        raise PullError(str(message["error"]))
    heard(message)
