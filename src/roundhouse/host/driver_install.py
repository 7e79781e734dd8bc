"""The action of the role nvidia_driver: skip, leave, refuse, or install a driver, and which.

Computed from driver.inspect(), dpkg.installed(), the role's settings and its table of platforms
(roles/nvidia_driver/vars/main/). A reason to refuse is one sentence with the setting and what to write.
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
# (conftest.sh of open-gpu-kernel-modules, tag by tag). Other branches have no known minimum.
MINIMUM = {580: "580.126.09", 590: "590.48.01"}
LAST_WITHOUT_OPEN = 580  # the last branch for Maxwell, Pascal and Volta
LAST_PROPRIETARY = 619  # 620 has the open kernel modules alone (NVIDIA's driver guide 620)


class Wanted(NamedTuple):
    """The settings of the role nvidia_driver, and the row of the host's platform in its table."""

    accelerator: str
    source: str  # auto, nvidia, distribution or none
    branch: int
    version: str  # empty: any release of the branch
    flavour: str  # auto, open or proprietary
    platform: dict[str, Any] | None  # None: not in the table
    platform_name: str


def package_source(wanted: Wanted) -> str:
    """Return where the driver comes from: nvidia, distribution or none."""
    return str((wanted.platform or {}).get("source")) if wanted.source == "auto" else wanted.source


def too_old(version: str) -> str | None:
    """Return the reason when a release does not build on current kernels, or is of an old branch."""
    branch = numbers(version)[0]
    if branch < min(MINIMUM):
        return f"branch {branch} is no longer kept up: write {min(MINIMUM)} or later"
    if numbers(version) < numbers(MINIMUM.get(branch, "0")):
        return f"{version} does not build on current stable kernels: {MINIMUM[branch]} is the first of its branch"
    return None


def numbers(version: str) -> list[int]:
    """Return a release as numbers, so that it compares."""
    return [int(part) for part in version.split(".")]


def kernel_flavour(facts: Facts, wanted: Wanted) -> str:
    """Return the flavour of the kernel modules: the open ones wherever they run."""
    if wanted.flavour != "auto":
        return wanted.flavour
    return "proprietary" if any(card["architecture"] == gpu.PRE_TURING for card in facts.gpus) else "open"


def _card_problems(facts: Facts, wanted: Wanted) -> list[str]:
    """Return the problems of the settings with the host's cards."""
    old = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if card["architecture"] == gpu.PRE_TURING)
    new = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if driver.needs_open(card["architecture"]))
    if old and new:
        return [f"No one driver runs both kinds of this host's cards ({old}, {new}): remove one kind."]
    flavour, branch = kernel_flavour(facts, wanted), wanted.branch
    flavour_is, branch_is = f"nvidia_driver_flavour is {wanted.flavour}", f"nvidia_driver_branch is {branch}"
    rules = (
        (
            old and flavour == "open",
            f"{flavour_is}, and the open kernel modules do not drive {old} (before Turing): write auto.",
        ),
        (
            old and branch > LAST_WITHOUT_OPEN,
            f"{branch_is}, and {LAST_WITHOUT_OPEN} is the last that drives {old} (before Turing): write "
            f"{LAST_WITHOUT_OPEN}.",
        ),
        (
            new and flavour == "proprietary",
            f"{flavour_is}, and only the open kernel modules drive {new}: write auto.",
        ),
        (
            flavour == "proprietary" and branch > LAST_PROPRIETARY,
            f"{branch_is}, which has no proprietary modules: write {LAST_WITHOUT_OPEN}.",
        ),
    )
    return [problem for applies, problem in rules if applies]


def _setting_problems(wanted: Wanted) -> list[str]:
    """Return the problems of the settings with each other and with the platform."""
    version, branch, platform = wanted.version, wanted.branch, wanted.platform
    setting = f"nvidia_driver_version is {version}" if version else f"nvidia_driver_branch is {branch}"
    other_branch = version and not version.startswith(f"{branch}.")
    outdated = None if other_branch else too_old(version or f"{branch}.999")
    known = " or ".join(name for name in ("nvidia", "distribution") if name in (platform or {}))
    rules = (
        (
            other_branch,
            f"{setting} and nvidia_driver_branch {branch}: write a release of that branch, or another branch.",
        ),
        (outdated, f"{setting}, and {outdated}."),
        (
            platform is None,
            f"{wanted.platform_name} is not in the table of nvidia_driver: install a driver yourself, and write "
            "nvidia_driver_source: none.",
        ),
        (
            platform is not None and package_source(wanted) not in platform,
            f"nvidia_driver_source is {wanted.source}, which is not known for {wanted.platform_name}: write {known}.",
        ),
    )
    return [problem for applies, problem in rules if applies]


def _machine_problems(facts: Facts) -> list[str]:
    """Return the problems of the kernel and the firmware, for a driver whose modules DKMS builds."""
    rules = (
        (
            "-cloud-" in facts.kernel,
            f"Kernel {facts.kernel} is Debian's cloud kernel, built without DRM and I2C, which the driver needs: "
            "install linux-image-amd64, remove linux-image-cloud-amd64, reboot, and run again.",
        ),
        (
            facts.secure_boot and not facts.dkms_key_enrolled,
            "Secure Boot is on, and would refuse the modules that DKMS builds here; nothing was installed. Turn it "
            "off in the firmware, or enrol DKMS's key and run again: apt-get install dkms mokutil; dkms generate_mok "
            "where /var/lib/dkms/mok.pub is missing; mokutil --import /var/lib/dkms/mok.pub; reboot, and confirm at "
            "the machine's console.",
        ),
    )
    return [problem for applies, problem in rules if applies]


class Choice(NamedTuple):
    """`action` is skip, leave, refuse or install, `sentence` why. The rest belongs to install."""

    action: str
    sentence: str
    source: str = ""
    flavour: str = ""
    packages: Sequence[str] = ()
    missing: Sequence[str] = ()  # of these packages
    build: Sequence[str] = ()  # the missing packages that DKMS builds with
    upgrade: bool = False  # another version is installed
    held: Sequence[str] = ()  # the driver's packages that are held back from upgrades
    unheld: Sequence[str] = ()  # and those that are not
    warnings: Sequence[str] = ()


def choose(facts: Facts, wanted: Wanted, packages: Packages, ours: Mapping[str, object] | None) -> Choice:
    """Return what to do. `ours` is the content of driver.OURS, None when this role has installed nothing."""
    if wanted.accelerator == "cpu":
        return Choice("skip", "The engine runs on the CPU: no driver is needed.")
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
    """Return whether the chosen driver is installed, held and working, so that the role has nothing to do."""
    return (
        choice.action == "install"
        and not any((choice.missing, choice.build, choice.unheld, packages.broken, choice.upgrade))
        and not facts.initramfs_stale
        and persistent
        and driver.state(facts).state == "ok"
    )


def read_ours() -> dict[str, object] | None:
    """Return what the role has installed, None for nothing."""
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
            f"Card 10de:{card['device_id']} is newer than the table of architectures: it gets the open kernel modules "
            f"of branch {wanted.branch}; where that does not know it, set nvidia_driver_branch to a newer one."
            for card in facts.gpus
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
