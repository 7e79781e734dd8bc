"""Give the container engine the host's proxy. It pulls images by itself, and reads its proxy only at its start.

Only an engine that the roles installed is changed. Another one keeps its own proxy.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..util import files
from . import docker, proxy, receipt, systemctl

UNIT = "docker.service"
DROP_IN = Path("/etc/systemd/system/docker.service.d/roundhouse-proxy.conf")
_PACKAGES = ("docker-ce", "docker.io")
_TEXT = f"""# Written by Roundhouse from host_proxy_url.
[Service]
EnvironmentFile=-{proxy.PATH}
"""


class Result(NamedTuple):
    """The change of the engine's proxy: none or restart, and a sentence if the engine is not changed."""

    action: str
    sentence: str = ""


def apply(*, check: bool) -> Result:
    """Write or remove the drop-in, and restart the engine if it runs with another proxy. Raises RoundhouseError."""
    wanted = proxy.stored()
    if not set(_PACKAGES) & set(receipt.load().packages):
        return Result("none", _kept() if wanted else "")
    written = bool(files.changes({DROP_IN: _TEXT})) if wanted else DROP_IN.exists()
    if not written and not (wanted and _differs(wanted)):
        return Result("none")
    if check:
        return Result("restart")
    if wanted:
        files.write(DROP_IN, _TEXT)
    else:
        DROP_IN.unlink()
    systemctl.call("daemon-reload")
    if systemctl.is_active(UNIT):
        # systemd allows three starts per minute, and the roles before may have used them.
        systemctl.call("reset-failed", UNIT)
        systemctl.call("restart", UNIT)
    return Result("restart")


def _differs(wanted: dict[str, str]) -> bool:
    """Return true if the running engine has another proxy in its environment."""
    pid = systemctl.properties([UNIT], "MainPID").get(UNIT, {}).get("MainPID", "0")
    if pid == "0":
        return False  # it reads the file at its start
    words = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    found = dict(word.partition("=")[::2] for word in words)
    return any(found.get(name) != value for name, value in wanted.items())


def _kept() -> str:
    own = docker.output("info", "--format", "{{.HTTPSProxy}}")
    return (
        f"Docker was not installed by Roundhouse and keeps its proxy ({own or 'none'}). If a pull fails, set the proxy "
        "of docker.service yourself: https://docs.docker.com/engine/daemon/proxy/."
    )
