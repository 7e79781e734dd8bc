"""Run systemctl commands, and read the properties of units."""

from __future__ import annotations

from ..errors import RoundhouseError
from ..util import process


def call(*arguments: str) -> str:
    """Return the output of systemctl. Raises RoundhouseError if it fails."""
    try:
        done = process.run(["systemctl", *arguments])
    except FileNotFoundError:
        raise RoundhouseError(
            "systemd_missing", "systemctl is not installed.", "Run the command on a host with systemd."
        ) from None
    if done.returncode != 0:
        raise RoundhouseError(
            "systemctl_failed",
            "`systemctl {arguments}` failed: {output}.",
            "Read `journalctl --boot`; if access is denied, run the command as root.",
            arguments=" ".join(arguments),
            output=(done.stderr or done.stdout).strip().partition("\n")[0].rstrip(".") or "no output",
        )
    return done.stdout


def properties(names: list[str], *wanted: str) -> dict[str, dict[str, str]]:
    """Return the wanted properties by unit, for all units that match the names or patterns; {} without systemd."""
    try:
        output = call("show", "--property", ",".join(("Id", *wanted)), *names)
    except RoundhouseError:
        return {}
    units = map(values, output.split("\n\n"))
    return {unit["Id"]: unit for unit in units if "Id" in unit}


def values(block: str) -> dict[str, str]:
    """Parse the properties of one unit from the output of `systemctl show`."""
    return dict(line.partition("=")[::2] for line in block.splitlines())


def is_active(name: str) -> bool:
    """Return true if the unit is running."""
    return properties([name], "ActiveState").get(name, {}).get("ActiveState") in ("active", "reloading")


def is_on(name: str) -> bool:
    """Return true if the unit is running and starts at boot; false if systemd does not know it.

    A static unit cannot be enabled: a device or another unit starts it.
    """
    unit = properties([name], "ActiveState", "UnitFileState").get(name, {})
    return unit.get("ActiveState") == "active" and unit.get("UnitFileState") in ("enabled", "static")


def is_known(name: str) -> bool:
    """Return true if systemd finds a file of the unit."""
    return properties([name], "LoadState").get(name, {}).get("LoadState") == "loaded"


def active(*patterns: str) -> list[str]:
    """Return the active units of the given patterns."""
    output = call("list-units", "--plain", "--no-legend", "--state=active", *patterns)
    return [line.split()[0] for line in output.splitlines()]
