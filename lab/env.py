#!/usr/bin/env python3
"""Print how this machine accesses packages, so that the lab's hosts can do the same.

Used as `eval "$(lab/env.py)"`. It reads pip's configuration and the proxy variables, and exports these variables.

LAB_PACKAGE_ENVIRONMENT: JSON of the variables that pip and uv need inside a lab host.
LAB_CERTIFICATES: the file of certificate authorities to mount into a lab host, or empty.
LAB_WHEELS, UV_FIND_LINKS: the folder to mount that contains PyTorch's CPU wheel, or empty.
UV_DEFAULT_INDEX, SSL_CERT_FILE: pip's index and authorities for this machine's uv, which does not read pip's settings.
DOCKER_HOST: the engine of Docker's current context.
LAB_TORCH_BACKEND: "cpu" lets uv use PyTorch's own index. It is empty if there is a folder with the wheel.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

CERTIFICATES = "/srv/lab/certificates.crt"
WHEELS = "/srv/lab/wheels"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def pip_setting(name: str) -> str:
    """Return one of pip's settings, from its environment variable or its files; empty when unset."""
    variable = "PIP_" + name.upper().replace("-", "_")
    if os.environ.get(variable):
        return os.environ[variable]
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def docker_socket() -> str:
    """Return the address of the engine of Docker's current context, because Docker's SDK ignores contexts."""
    command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:  # lab/docker.sh reports the missing program
        return ""


def main() -> int:
    """Print the exports and return 0."""
    inside = {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
    certificates = pip_setting("cert")
    if certificates and Path(certificates).is_file():
        inside |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), CERTIFICATES)
    else:
        certificates = ""
    wheels = next((place for place in pip_setting("find-links").split() if any(Path(place).glob("torch-*+cpu-*"))), "")
    if wheels:
        inside["UV_FIND_LINKS"] = WHEELS
    if index := pip_setting("index-url"):
        inside |= {"PIP_INDEX_URL": index, "UV_DEFAULT_INDEX": index}
    exports = {
        "LAB_PACKAGE_ENVIRONMENT": json.dumps(inside),
        "LAB_CERTIFICATES": certificates,
        "LAB_WHEELS": wheels,
        "LAB_TORCH_BACKEND": "" if wheels else "cpu",
    }
    outside = {"UV_FIND_LINKS": wheels, "UV_DEFAULT_INDEX": index, "SSL_CERT_FILE": certificates}
    exports |= {name: value for name, value in outside.items() if value and not os.environ.get(name)}
    if not os.environ.get("DOCKER_HOST") and (socket := docker_socket()):
        exports["DOCKER_HOST"] = socket
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
