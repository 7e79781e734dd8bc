"""Why a driver is not installed: each reason as one sentence that names the setting and what to write instead."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import driver, gpu
from .driver_states import Seen

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


def source(wanted: Wanted) -> str:
    """Return where the driver comes from."""
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


def flavour(seen: Seen, wanted: Wanted) -> str:
    """Return the flavour of the kernel modules: the open ones wherever they run."""
    if wanted.flavour != "auto":
        return wanted.flavour
    return "proprietary" if any(card["architecture"] == gpu.PRE_TURING for card in seen.gpus) else "open"


def of_cards(seen: Seen, wanted: Wanted) -> list[str]:
    """Return the reasons that lie in the host's cards."""
    old = [f"10de:{card['device_id']}" for card in seen.gpus if card["architecture"] == gpu.PRE_TURING]
    new = [f"10de:{card['device_id']}" for card in seen.gpus if driver.needs_open(card["architecture"])]
    chosen, branch, at = flavour(seen, wanted), wanted.branch, f"nvidia_driver_flavour is {wanted.flavour}"
    if old and new:
        return [f"No one driver runs both kinds of this host's cards ({', '.join(old + new)}): take one kind out."]
    found = []
    if old and chosen == "open":
        found.append(f"{at}, and the open kernel modules do not drive {', '.join(old)} (before Turing): write auto.")
    if old and branch > LAST_WITHOUT_OPEN:
        found.append(
            f"nvidia_driver_branch is {branch}, and {LAST_WITHOUT_OPEN} is the last that drives {', '.join(old)} "
            f"(before Turing): write {LAST_WITHOUT_OPEN}."
        )
    if new and chosen == "proprietary":
        found.append(f"{at}, and only the open kernel modules drive {', '.join(new)}: write auto.")
    if chosen == "proprietary" and branch > LAST_PROPRIETARY:
        found.append(f"nvidia_driver_branch is {branch}, which has no proprietary modules: write {LAST_WITHOUT_OPEN}.")
    return found


def of_settings(wanted: Wanted) -> list[str]:
    """Return the reasons that lie in the settings, and in what the platform has."""
    found = []
    version, branch, platform = wanted.version, wanted.branch, wanted.platform
    at = f"nvidia_driver_version is {version}" if version else f"nvidia_driver_branch is {branch}"
    if version and not version.startswith(f"{branch}."):
        found.append(f"{at} and nvidia_driver_branch {branch}: write a release of that branch, or another branch.")
    elif old := too_old(version or f"{branch}.999"):
        found.append(f"{at}, and {old}.")
    if platform is None:
        found.append(
            f"{wanted.platform_name} is not in the table of nvidia_driver: install a driver yourself, and write "
            "nvidia_driver_source: none."
        )
    elif source(wanted) not in platform:
        known = " or ".join(name for name in ("nvidia", "distribution") if name in platform)
        found.append(
            f"nvidia_driver_source is {wanted.source}, which is not known for {wanted.platform_name}: write {known}."
        )
    return found


def of_machine(seen: Seen) -> list[str]:
    """Return the reasons that lie in the kernel and the firmware, for a driver whose modules DKMS builds."""
    found = []
    if "-cloud-" in seen.kernel:
        found.append(
            f"Kernel {seen.kernel} is Debian's cloud kernel, built without DRM and I2C, which the driver needs: "
            "install linux-image-amd64, remove linux-image-cloud-amd64, reboot, and run again."
        )
    if seen.secure_boot and not seen.dkms_key_enrolled:
        found.append(
            "Secure Boot is on, and would refuse the modules that DKMS builds here; nothing was installed. Turn it "
            "off in the firmware, or enrol DKMS's key and run again: apt-get install dkms mokutil; dkms generate_mok "
            "where /var/lib/dkms/mok.pub is missing; mokutil --import /var/lib/dkms/mok.pub; reboot, and confirm at "
            "the machine's console."
        )
    return found
