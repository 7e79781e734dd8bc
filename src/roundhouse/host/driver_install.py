"""Choose the action of the role nvidia_driver: skip, leave, refuse, or install, and the packages to install.

The inputs are driver.inspect(), dpkg.installed(), the role's settings and its table of platforms
(roles/nvidia_driver/vars/main/). A refusal is one sentence with the setting and what to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import driver, gpu
from .dpkg import Packages
from .driver import Facts, State

# The first releases that build on current stable kernels, which changed pci_resize_resource()
# (from conftest.sh of each tag of open-gpu-kernel-modules). Other branches have no known minimum.
MINIMUM = {580: "580.126.09", 590: "590.48.01"}
LAST_WITHOUT_OPEN = 580  # the last branch for Maxwell, Pascal and Volta
LAST_PROPRIETARY = 619  # branch 620 has only the open kernel modules (NVIDIA's driver guide 620)


class Wanted(NamedTuple):
    """The settings of the role nvidia_driver, and the host's row in the role's table of platforms."""

    accelerator: str
    source: str  # auto, nvidia, distribution or none
    branch: int
    version: str  # empty: any release of the branch
    flavour: str  # auto, open or proprietary
    platform: dict[str, Any] | None  # None: not in the table
    platform_name: str


def package_source(wanted: Wanted) -> str:
    """Return the source of the driver's packages: nvidia, distribution or none."""
    return str((wanted.platform or {}).get("source")) if wanted.source == "auto" else wanted.source


def too_old(version: str) -> str | None:
    """Return the reason why a release is too old: it fails to build on current kernels, or its branch ended."""
    branch = numbers(version)[0]
    if branch < min(MINIMUM):
        return f"branch {branch} is no longer maintained: write {min(MINIMUM)} or later"
    if numbers(version) < numbers(MINIMUM.get(branch, "0")):
        return f"{version} does not build on current stable kernels: {MINIMUM[branch]} is the first of its branch"
    return None


def numbers(version: str) -> list[int]:
    """Return a release as a list of numbers, for comparisons."""
    return [int(part) for part in version.split(".")]


def kernel_flavour(facts: Facts, wanted: Wanted) -> str:
    """Return the flavour of the kernel modules: open wherever the cards support it."""
    if wanted.flavour != "auto":
        return wanted.flavour
    return "proprietary" if any(card["architecture"] == gpu.PRE_TURING for card in facts.gpus) else "open"


def _card_problems(facts: Facts, wanted: Wanted) -> list[str]:
    """Return a sentence for each conflict between the settings and the host's cards."""
    old = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if card["architecture"] == gpu.PRE_TURING)
    new = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if driver.needs_open(card["architecture"]))
    if old and new:
        return [f"No driver supports both kinds of this host's cards ({old}; {new}): remove one kind."]
    flavour, branch = kernel_flavour(facts, wanted), wanted.branch
    flavour_is, branch_is = f"nvidia_driver_flavour is {wanted.flavour}", f"nvidia_driver_branch is {branch}"
    rules = (
        (
            old and flavour == "open",
            f"{flavour_is}, but the open kernel modules do not support {old} (before Turing): write auto.",
        ),
        (
            old and branch > LAST_WITHOUT_OPEN,
            f"{branch_is}, but {LAST_WITHOUT_OPEN} is the last branch that supports {old} (before Turing): write "
            f"{LAST_WITHOUT_OPEN}.",
        ),
        (
            new and flavour == "proprietary",
            f"{flavour_is}, but only the open kernel modules support {new}: write auto.",
        ),
        (
            flavour == "proprietary" and branch > LAST_PROPRIETARY,
            f"{branch_is}, which has no proprietary modules: write {LAST_WITHOUT_OPEN}.",
        ),
    )
    return [problem for applies, problem in rules if applies]


def _setting_problems(wanted: Wanted) -> list[str]:
    """Return a sentence for each conflict of the settings with each other or with the platform."""
    version, branch, platform = wanted.version, wanted.branch, wanted.platform
    setting = f"nvidia_driver_version is {version}" if version else f"nvidia_driver_branch is {branch}"
    other_branch = version and not version.startswith(f"{branch}.")
    outdated = None if other_branch else too_old(version or f"{branch}.999")
    known = " or ".join(name for name in ("nvidia", "distribution") if name in (platform or {}))
    rules = (
        (
            other_branch,
            f"{setting}, but nvidia_driver_branch is {branch}: write a release of that branch, or change the branch.",
        ),
        (outdated, f"{setting}, but {outdated}."),
        (
            platform is None,
            f"The role nvidia_driver does not support {wanted.platform_name}: install a driver yourself, and write "
            "nvidia_driver_source: none.",
        ),
        (
            platform is not None and package_source(wanted) not in platform,
            f"nvidia_driver_source is {wanted.source}, which {wanted.platform_name} does not support: write {known}.",
        ),
    )
    return [problem for applies, problem in rules if applies]


def _machine_problems(facts: Facts) -> list[str]:
    """Return a sentence for each problem of the kernel or firmware with a driver whose modules DKMS builds."""
    rules = (
        (
            "-cloud-" in facts.kernel,
            f"Kernel {facts.kernel} is Debian's cloud kernel, which lacks DRM and I2C that the driver needs: install "
            "linux-image-amd64, remove linux-image-cloud-amd64, reboot, and run the play again.",
        ),
        (
            facts.secure_boot and not facts.dkms_key_enrolled,
            "Secure Boot is on and would refuse the modules that DKMS builds; nothing was installed. Turn it off in "
            "the firmware, or enrol DKMS's key: `apt-get install dkms mokutil`, `dkms generate_mok` if mok.pub is "
            "missing, `mokutil --import /var/lib/dkms/mok.pub`, reboot, confirm at the console, and run again.",
        ),
    )
    return [problem for applies, problem in rules if applies]


class Choice(NamedTuple):
    """The role's action: skip, leave, refuse or install; `sentence` gives the reason. Other fields are for install."""

    action: str
    sentence: str
    source: str = ""
    flavour: str = ""
    packages: Sequence[str] = ()
    missing: Sequence[str] = ()  # those of `packages` that are not installed.
    build: Sequence[str] = ()  # missing packages that DKMS needs to build
    upgrade: bool = False  # a different version is installed.
    held: Sequence[str] = ()  # installed driver packages that are held from upgrades
    unheld: Sequence[str] = ()  # installed driver packages that are not held
    warnings: Sequence[str] = ()


def choose(facts: Facts, wanted: Wanted, packages: Packages, ours: Mapping[str, object] | None) -> Choice:
    """Return the action. `ours` is the content of driver.OURS, None if this role has installed nothing."""
    if wanted.accelerator == "cpu":
        return Choice("skip", "The engine runs on the CPU and needs no driver.")
    state = driver.state(facts)
    if facts.wsl:
        return Choice("skip", f"{state.sentence} {state.cure}")
    if facts.container:
        return Choice("skip", f"This host is a container ({facts.container}), which uses the machine's driver.")
    if not facts.gpus:
        return _refuse(state)
    others = packages.drivers if ours is None else []
    if wanted.source == "none" or others or facts.runfile:
        return _leave(state, facts, others)
    return _install(facts, wanted, packages)


def settled(choice: Choice, facts: Facts, packages: Packages, *, persistent: bool) -> bool:
    """Return true if the chosen driver is installed, held and working, so that the role changes nothing."""
    return (
        choice.action == "install"
        and not any((choice.missing, choice.build, choice.unheld, packages.broken, choice.upgrade))
        and not facts.initramfs_stale
        and persistent
        and driver.state(facts).state == "ok"
    )


def read_ours() -> dict[str, object] | None:
    """Return the role's record of what it installed, None without one."""
    return dict(json.loads(driver.OURS.read_text())) if driver.OURS.exists() else None


def _refuse(state: State) -> Choice:
    return Choice("refuse", f"{state.sentence} {state.cure}")


def _leave(state: State, facts: Facts, others: list[str]) -> Choice:
    if state.state == "unmanaged":
        works = facts.loaded and facts.nvml_error is None
        return Choice("leave" if works else "refuse", f"{state.sentence} {state.cure}")
    if facts.runfile:
        why = "NVIDIA's runfile installed it"
    elif others:
        why = f"this role did not install {others[0]}"
    else:
        why = "nvidia_driver_source is none"
    if state.state == "ok":
        return Choice("leave", f"{state.sentence} It is not changed: {why}.")
    remedy = " To have this role install a driver, remove those packages first." if others else ""
    return Choice("refuse", f"{state.sentence} {state.cure} This role does not change it: {why}.{remedy}")


def _install(facts: Facts, wanted: Wanted, packages: Packages) -> Choice:
    source, flavour = package_source(wanted), kernel_flavour(facts, wanted)
    row = (wanted.platform or {}).get(source, {})
    problems = _card_problems(facts, wanted) + _setting_problems(wanted)
    if row.get("build"):
        problems += _machine_problems(facts)
    if problems:
        return Choice("refuse", "\n".join(problems))
    newer = f"{flavour}_from_590"
    names = _names(row[newer if wanted.branch >= 590 and newer in row else flavour], wanted, packages)
    there = [name for name in names if name in packages.versions]
    return Choice(
        "install",
        f"Driver branch {wanted.branch}, {flavour} kernel modules, from {source}.",
        source=source,
        flavour=flavour,
        packages=names,
        missing=[name for name in names if name not in there],
        build=[name for name in _names(row.get("build", []), wanted, packages) if name not in packages.versions],
        upgrade=source == "nvidia" and any(not _is_wanted(packages.versions[name], wanted) for name in there),
        held=[name for name in packages.drivers if name in packages.held],
        unheld=[name for name in packages.drivers if name not in packages.held],
        warnings=[
            f"Card 10de:{card['device_id']} is unknown to Roundhouse and gets the open kernel modules of branch "
            f"{wanted.branch}. If that branch does not support it, set nvidia_driver_branch to a newer one."
            for card in facts.gpus
            if card["architecture"] is None
        ],
    )


def _names(names: list[str], wanted: Wanted, packages: Packages) -> list[str]:
    """Return the package names with the branch and the kernel flavour filled in.

    The kernel flavour is the end of the name of the kernel's meta-package.
    """
    kernels = [name.removeprefix("linux-image-") for name in packages.versions if name.startswith("linux-image-")]
    metas = sorted(name for name in kernels if not re.match(r"(unsigned-)?\d", name))
    return [name.format(branch=wanted.branch, kernel=metas[0] if metas else "generic") for name in names]


def _is_wanted(installed: str, wanted: Wanted) -> bool:
    upstream = re.split(r"[-:]", installed)[0]
    return upstream == wanted.version if wanted.version else upstream.startswith(f"{wanted.branch}.")
