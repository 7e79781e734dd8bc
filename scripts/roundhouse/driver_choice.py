"""What is to be done about a host's driver: skip it, leave it, refuse, or install one, and which.

Pure: from what driver.see() and packages.installed() found, the settings of the role nvidia_driver and
its table of platforms (roles/nvidia_driver/vars/main.yml).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import driver, driver_refusals
from .driver_refusals import Wanted
from .driver_states import Seen, State
from .packages import Packages

OURS = Path("/etc/roundhouse/nvidia_driver.json")  # what the role put on this host, written before it does
# A driver by whichever hands: NVIDIA's, Debian's, Ubuntu's and RHEL's packages.
DRIVER_PACKAGE = re.compile(
    r"^(nvidia-(driver|kernel|open|dkms|headless|utils|compute-utils|current|modprobe|smi|persistenced)\b.*"
    r"|cuda-drivers.*|libcuda1|libnvidia-(?!container).*|linux-modules-nvidia-.*|kmod-nvidia.*|akmod-nvidia.*)$"
)


class Choice(NamedTuple):
    """`action` is skip, leave, refuse or install, `sentence` why. The rest is for install alone."""

    action: str
    sentence: str
    source: str = ""
    flavour: str = ""
    packages: Sequence[str] = ()
    missing: Sequence[str] = ()  # of those
    build: Sequence[str] = ()  # of what DKMS builds with, what is not there
    upgrade: bool = False  # another version of them is installed
    held: Sequence[str] = ()  # the driver's packages that are held back from upgrades
    unheld: Sequence[str] = ()  # and those that are not
    warnings: Sequence[str] = ()


def choose(seen: Seen, wanted: Wanted, packages: Packages, ours: dict[str, Any] | None) -> Choice:
    """Return what to do. `ours` is the content of OURS, None when this role has put nothing on the host."""
    if wanted.accelerator == "cpu":
        return Choice("skip", "The engine runs on the CPU: no driver is needed.")
    state = driver.state(seen)
    if seen.wsl:
        return Choice("skip", f"{state.sentence} {state.cure}")
    if seen.container:
        return Choice("skip", f"This host is a container ({seen.container}): its driver is the machine's.")
    if not seen.gpus:
        return _refuse(state)
    others = sorted(filter(DRIVER_PACKAGE.match, packages.versions)) if ours is None else []
    if wanted.source == "none" or others or seen.runfile:
        return _leave(state, seen, others)
    return _install(seen, wanted, packages)


def settled(choice: Choice, seen: Seen, packages: Packages, *, persistent: bool) -> bool:
    """Return whether what is chosen is there, verified and held, so that no further look is needed.

    rpm does not tell what is held, so a host of the RHEL family is looked at each time.
    """
    wanting = (choice.missing, choice.build, choice.unheld, packages.broken)
    return (
        choice.action == "install"
        and not any(wanting)
        and not choice.upgrade
        and not seen.initramfs_stale
        and persistent
        and driver.state(seen).state == "ok"
    )


def read_ours(path: Path = OURS) -> dict[str, Any] | None:
    """Return what the role has put here, None for nothing."""
    return dict(json.loads(path.read_text())) if path.exists() else None


def _refuse(state: State) -> Choice:
    return Choice("refuse", f"{state.sentence} {state.cure}")


def _leave(state: State, seen: Seen, others: list[str]) -> Choice:
    whose = "nvidia_driver_source is none"
    if seen.runfile:
        whose = "NVIDIA's runfile put it here"
    elif others:
        whose = f"{others[0]} and its like are not from this role"
    if state.state == "ok":
        return Choice("leave", f"{state.sentence} It is left as it is: {whose}.")
    if state.state == "unmanaged":
        works = seen.loaded and seen.nvml_error is None
        return Choice("leave" if works else "refuse", f"{state.sentence} {state.cure}")
    mine = " To have this role install one, remove those packages first." if others else ""
    return Choice("refuse", f"{state.sentence} {state.cure} This role does not touch it: {whose}.{mine}")


def _install(seen: Seen, wanted: Wanted, packages: Packages) -> Choice:
    source, flavour = driver_refusals.source(wanted), driver_refusals.flavour(seen, wanted)
    row = (wanted.platform or {}).get(source, {})
    problems = driver_refusals.of_cards(seen, wanted) + driver_refusals.of_settings(wanted)
    if row.get("build"):
        problems += driver_refusals.of_machine(seen)
    if problems:
        return Choice("refuse", "\n".join(problems))
    newer = f"{flavour}_from_590"
    names = _names(row[newer if wanted.branch >= 590 and newer in row else flavour], wanted, packages)
    there = [name for name in names if name in packages.versions]
    driver_packages = [name for name in sorted(packages.versions) if DRIVER_PACKAGE.match(name)]
    return Choice(
        "install",
        f"Driver branch {wanted.branch}, {flavour} kernel modules, from {source}.",
        source,
        flavour,
        names,
        missing=[name for name in names if name not in there],
        build=[name for name in _names(row.get("build", []), wanted, packages) if name not in packages.versions],
        upgrade=source == "nvidia" and any(not _is_wanted(packages.versions[name], wanted) for name in there),
        held=[name for name in driver_packages if name in packages.held],
        unheld=[name for name in driver_packages if name not in packages.held],
        warnings=[
            f"Card 10de:{card['device_id']} is newer than the table of architectures: it gets the open kernel modules "
            f"of branch {wanted.branch}; where that does not know it, set nvidia_driver_branch to a newer one."
            for card in seen.gpus
            if card["architecture"] is None
        ],
    )


def _names(names: list[str], wanted: Wanted, packages: Packages) -> list[str]:
    """Fill in the branch and the flavour of kernel, which the name of the kernel's own meta-package ends in."""
    kernels = [name.removeprefix("linux-image-") for name in packages.versions if name.startswith("linux-image-")]
    metas = sorted(name for name in kernels if not re.match(r"(unsigned-)?\d", name))
    return [name.format(branch=wanted.branch, kernel=metas[0] if metas else "generic") for name in names]


def _is_wanted(installed: str, wanted: Wanted) -> bool:
    upstream = re.split(r"[-:]", installed)[0]
    return upstream == wanted.version if wanted.version else upstream.startswith(f"{wanted.branch}.")
