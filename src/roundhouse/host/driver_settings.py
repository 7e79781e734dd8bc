"""Find the conflicts of the settings of the role nvidia_driver with the host's cards, kernel, firmware and packages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from . import driver, driver_support, gpu
from .driver import Facts
from .problem import Problem

Candidates = Mapping[str, str]  # the version that apt would install, by package


class Wanted(NamedTuple):
    """The settings of the role nvidia_driver, and the host's row in the role's table of platforms."""

    accelerator: str
    source: str  # auto, nvidia, distribution or none
    branch: int
    version: str  # empty: any release of the branch
    flavour: str  # auto, open or proprietary
    platform: dict[str, Any] | None  # None: not in the table
    platform_name: str

    @property
    def release(self) -> str:
        """Return the setting that selects the release, with its value."""
        return f"nvidia_driver_version is {self.version}" if self.version else f"nvidia_driver_branch is {self.branch}"


def package_source(wanted: Wanted) -> str:
    """Return the source of the driver's packages: nvidia, distribution or none."""
    return str((wanted.platform or {}).get("source")) if wanted.source == "auto" else wanted.source


def upstream(version: str) -> str:
    """Return the driver's release of a package's version: 580.173.02 of 580.173.02-0ubuntu0.24.04.1."""
    return re.split(r"[-+~]", version.partition(":")[2] or version)[0]


def is_wanted(installed: str, wanted: Wanted) -> bool:
    """Return true if an installed package has the wanted release, or without one the wanted branch."""
    release = upstream(installed)
    return release == wanted.version if wanted.version else release.startswith(f"{wanted.branch}.")


def kernel_flavour(facts: Facts, wanted: Wanted) -> str:
    """Return the flavour of the kernel modules: open wherever the cards support it."""
    if wanted.flavour != "auto":
        return wanted.flavour
    return "proprietary" if any(card["architecture"] == gpu.PRE_TURING for card in facts.gpus) else "open"


def headers(row: Mapping[str, Any], facts: Facts) -> list[str]:
    """Return the packages of the headers that kernels without a module lack."""
    template = row.get("headers", "linux-headers-{kernel}")
    return [template.format(kernel=kernel) for kernel in facts.without_headers]


def stream(facts: Facts, wanted: Wanted) -> str:
    """Return the stream of dnf's module that has the wanted branch and flavour; empty without modules."""
    streams = (wanted.platform or {}).get(package_source(wanted), {}).get("streams", {})
    return str(streams.get(kernel_flavour(facts, wanted), "")).format(branch=wanted.branch)


def dnf_specs(names: Sequence[str], wanted: Wanted) -> list[str]:
    """Return dnf's arguments, which match any epoch."""
    return [f"{name}-{wanted.version or wanted.branch}{'-*' if wanted.version else '.*'}" for name in names]


def problems(facts: Facts, wanted: Wanted) -> list[Problem]:
    """Return the conflicts of the settings with the cards, with each other, with the platform and with the machine."""
    row = (wanted.platform or {}).get(package_source(wanted), {})
    machine = _machine(facts) if row.get("build") else []
    return _cards(facts, wanted) + _release(wanted) + _platform(wanted) + machine


def container_problem(facts: Facts) -> Problem | None:
    """Return the problem of a container with the driver of its machine, which no role can change."""
    named, version = f"This host is a container ({facts.container}), and", facts.loaded or facts.library
    if version and driver_support.below_minimum(version):
        what = f"{named} its machine's driver {version} is too old: {driver_support.needed()}"
        return Problem(what, version, "upgrade it on the machine, and its libraries in the container")
    if facts.nvml_error is None:
        return None
    if version is None:
        remedy = f"install {driver_support.minimum()} or later on the machine, and pass the card's devices"
        return Problem(f"{named} its machine has no driver loaded", "none", remedy)
    remedy = f"pass the card's devices to the container, and install the libraries of driver {version} in it"
    return Problem(f"{named} NVML fails in it with error {facts.nvml_error}", str(facts.nvml_error), remedy)


def _cards(facts: Facts, wanted: Wanted) -> list[Problem]:
    old = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if card["architecture"] == gpu.PRE_TURING)
    new = ", ".join(f"10de:{card['device_id']}" for card in facts.gpus if driver.needs_open(card["architecture"]))
    if old and new:
        return [Problem(f"No driver supports both kinds of this host's cards ({old}; {new})", old, "remove one kind")]
    flavour, branch, last = kernel_flavour(facts, wanted), wanted.branch, driver_support.LAST_WITHOUT_OPEN
    flavour_is, branch_is = f"nvidia_driver_flavour is {wanted.flavour}", f"nvidia_driver_branch is {branch}"
    rules = (
        (
            old and flavour == "open",
            f"{flavour_is}, but the open kernel modules do not support {old} (before Turing)",
            wanted.flavour,
            "write auto",
        ),
        (
            old and branch > last,
            f"{branch_is}, but {last} is the last branch that supports {old} (before Turing)",
            str(branch),
            f"write {last}",
        ),
        (
            new and flavour == "proprietary",
            f"{flavour_is}, but only the open kernel modules support {new}",
            wanted.flavour,
            "write auto",
        ),
        (
            flavour == "proprietary" and branch > driver_support.LAST_PROPRIETARY,
            f"{branch_is}, which has no proprietary modules",
            str(branch),
            f"write {last}",
        ),
    )
    return [Problem(what, value, remedy) for applies, what, value, remedy in rules if applies]


def _release(wanted: Wanted) -> list[Problem]:
    """Return the conflicts of the branch and the release with each other, and with the supported ones."""
    version, branch = wanted.version, wanted.branch
    if version and not version.startswith(f"{branch}."):
        what = f"{wanted.release}, but nvidia_driver_branch is {branch}"
        return [Problem(what, version, "write a release of that branch, or change the branch")]
    if not (outdated := driver_support.too_old(version or f"{branch}.999")):
        return []
    first = driver_support.BUILD_MINIMUM.get(branch)
    remedy = f"write {first} or later" if first else f"write {driver_support.supported()}"
    return [Problem(f"{wanted.release}, but {outdated}", version or str(branch), remedy)]


def _platform(wanted: Wanted) -> list[Problem]:
    name, platform = wanted.platform_name, wanted.platform
    if platform is None:
        remedy = "install a driver yourself, and write nvidia_driver_source: none"
        return [Problem(f"The role nvidia_driver does not support {name}", name, remedy)]
    if package_source(wanted) in platform:
        refused = platform[package_source(wanted)].get("refused")
        return [Problem(refused["what"], refused["value"], refused["remedy"])] if refused else []
    known = " or ".join(source for source in ("nvidia", "distribution") if source in platform)
    what = f"nvidia_driver_source is {wanted.source}, which {name} does not support"
    return [Problem(what, wanted.source, f"write {known}")]


def _machine(facts: Facts) -> list[Problem]:
    """Return the problems of the kernel and the firmware with a driver whose modules DKMS builds."""
    found = []
    if "-cloud-" in facts.kernel:
        architecture = facts.kernel.rpartition("-")[2]
        found.append(
            Problem(
                f"Kernel {facts.kernel} is Debian's cloud kernel, which lacks DRM and I2C that the driver needs",
                facts.kernel,
                f"install linux-image-{architecture}, remove linux-image-cloud-{architecture}, reboot, and run the "
                "play again",
            )
        )
    if facts.secure_boot and not facts.dkms_key_enrolled:
        found.append(
            Problem(
                "Secure Boot is on and would refuse the modules that DKMS builds; nothing was installed",
                "on",
                "turn it off in the firmware, or enrol DKMS's key: install dkms and mokutil, `dkms generate_mok` "
                "without mok.pub, `mokutil --import /var/lib/dkms/mok.pub`, reboot, confirm at the console, run "
                "again",
            )
        )
    return found


def kernel_problem(facts: Facts, wanted: Wanted, names: Sequence[str]) -> list[Problem]:
    """Return the problem of a kernel whose flavour is unknown, if a package of the row is named after the flavour."""
    if not any("{kernel}" in name for name in names):
        return []
    other = ", or write nvidia_driver_source: nvidia" if "nvidia" in (wanted.platform or {}) else ""
    return [
        Problem(
            f"No installed meta-package, such as linux-image-generic, depends on kernel {facts.kernel}, so no package "
            "would bring the driver's module to its updates",
            facts.kernel,
            f"install the meta-package of that kernel{other}",
        )
    ]


def elsewhere_problems(names: Sequence[str], candidates: Candidates) -> list[Problem]:
    """Return the problem of packages of another repository, which the host's owner has to enable."""
    absent = [name for name in names if name not in candidates]
    if not absent:
        return []
    what = f"No repository of this host offers {', '.join(absent)}, with which the driver's modules are built"
    remedy = "enable EPEL (`dnf install epel-release`; on RHEL as docs.fedoraproject.org/en-US/epel states)"
    return [Problem(what, absent[0], remedy)]


def candidate_problems(names: Sequence[str], wanted: Wanted, candidates: Candidates) -> list[Problem]:
    """Return the problems of packages to install that the distribution does not offer, or offers in another release."""
    name = wanted.platform_name
    absent = [each for each in names if each not in candidates]
    if absent:
        other = ", or write nvidia_driver_source: nvidia" if "nvidia" in (wanted.platform or {}) else ""
        what = f"{name} offers no package {', '.join(absent)} (nvidia_driver_branch is {wanted.branch})"
        remedy = f"run `apt-get update`, write another branch ({driver_support.supported()}){other}"
        return [Problem(what, absent[0], remedy)]
    offered = {upstream(candidates[each]) for each in names if not each.startswith("linux-")}
    if wanted.version and offered - {wanted.version}:
        release = ", ".join(sorted(offered))
        what = f"nvidia_driver_version is {wanted.version}, but {name} offers {release}"
        return [Problem(what, wanted.version, f"write {release}, or leave nvidia_driver_version empty")]
    return []
