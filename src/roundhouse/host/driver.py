"""Inspect the NVIDIA driver of a host and derive its state. Nothing is changed.

`root` is the root of the host's file tree: "/" except in tests.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import gpu, initramfs
from . import kernel as host_kernel
from .kernel import Module

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship them with modules.
    from roundhouse.schema.cards import Card
    from roundhouse.schema.facts import DriverRow


OURS = Path("/etc/roundhouse/nvidia_driver.json")  # the role nvidia_driver writes it before it installs a driver


class Facts(NamedTuple):
    """The facts of a host from driver.inspect(); None for an unknown fact."""

    kernel: str
    next_kernel: str  # the newest installed one, which a reboot starts
    wsl: bool
    container: str | None  # its kind, such as docker or lxc
    gpus: list[Card]
    loaded: str | None  # the version of the loaded module
    loaded_open: bool | None
    library: str | None
    nvml_error: int | None
    module: Module | None  # on disk, for the running kernel.
    without_module: list[str]  # of the running and the next kernel, those for which the disk has no module.
    without_headers: list[str]  # those of `without_module` whose headers are missing.
    module_elsewhere: str | None  # another kernel that has a module
    dkms: bool
    dkms_error: tuple[str, str] | None  # the kernel, and the first error of the build log
    secure_boot: bool | None
    dkms_key_enrolled: bool
    runfile: bool  # NVIDIA's own installer was used.
    initramfs: str | None  # the program that builds it.
    initramfs_stale: bool  # the initramfs of the running or next kernel is older than the file that blocks nouveau.
    initramfs_commands: list[list[str]]  # that rebuild it for all kernels

    @property
    def next_has_module(self) -> bool:
        """Return true if the disk has a module for the kernel that a reboot starts."""
        return self.next_kernel not in self.without_module

    @property
    def works(self) -> bool:
        """Return true if a driver is loaded and NVML answers."""
        return self.loaded is not None and self.nvml_error is None


class State(NamedTuple):
    """A state of STATES, with the values filled in."""

    state: str
    sentence: str
    cure: str


# state: (sentence, cure)
STATES = {
    "no_gpu": (
        "The PCI bus has no NVIDIA GPU.",
        "Check that the card is seated and powered; in a virtual machine, that it is passed through.",
    ),
    "no_driver": (
        "The GPU has no driver.",
        "Run ansible-playbook site.yml: the role nvidia_driver installs one.",
    ),
    "module_missing": (
        "Kernel {kernel}, which {when}, has no module of the driver.",
        "Run ansible-playbook site.yml, which installs the module for that kernel. If Roundhouse did not install the "
        "driver, install the module as you installed the driver.",
    ),
    "nouveau_bound": (
        "The kernel driver {driver} is bound to {cards}, which keeps NVIDIA's driver from using it.",
        "For nouveau run ansible-playbook site.yml with nvidia_driver_reboot: auto (or reboot and run it again); for "
        "vfio-pci first detach the card from its virtual machine.",
    ),
    "dkms_failed": (
        "The build of the driver's module for kernel {kernel} failed: {why}.",
        "Set nvidia_driver_version to a release that supports that kernel (580.126.09 or later for current stable "
        "kernels) or boot an older kernel, and run ansible-playbook site.yml.",
    ),
    "secureboot_blocked": (
        "Secure Boot refuses the driver's module {version}: it is not signed with a key that the firmware trusts.",
        "Enrol DKMS's key: `mokutil --import /var/lib/dkms/mok.pub`, reboot, and confirm at the machine's console; "
        "or turn Secure Boot off in the firmware.",
    ),
    "reboot_required": (
        "The driver needs a reboot: {why}.",
        "Reboot the host; with nvidia_driver_reboot: auto, ansible-playbook site.yml reboots it from another machine.",
    ),
    "version_mismatch": (
        "The driver's module and libraries have different versions: {why}.",
        "One part was upgraded alone: run ansible-playbook site.yml, which installs all parts at one version.",
    ),
    "wrong_flavour": (
        "The kernel modules have the wrong flavour: {why}.",
        "Set nvidia_driver_flavour to auto and run ansible-playbook site.yml; first remove a driver that Roundhouse "
        "did not install.",
    ),
    "unmanaged": (
        "NVIDIA's runfile installed the driver ({version}), so no package manager manages it and it is not changed.",
        "For a managed driver run `nvidia-uninstall`, reboot, and run ansible-playbook site.yml.",
    ),
    "wsl": (
        "This host is WSL, which uses the driver of Windows.",
        "Update the driver in Windows; do not install one in WSL.",
    ),
    "ok": ("The driver {version} is loaded and NVML answers.", "No action is needed."),
}


def _state(state: str, **facts: object) -> State:
    sentence, cure = STATES[state]
    return State(state, sentence.format(**facts), cure)


# Only the open kernel modules drive Blackwell and later (NVIDIA's driver guide).
_OPEN_ONLY = ("blackwell", "rubin", None)
_BLACKLIST = "etc/modprobe.d/roundhouse-nouveau.conf"
_NOUVEAU = ("nouveau", "nova_core")
_LIBRARY: dict[int | None, str] = {
    gpu.VERSION_MISMATCH: "the library has a different version",
    gpu.LIBRARY_NOT_FOUND: "the library libnvidia-ml.so.1 is missing",
}
_ERROR = re.compile(r"error", re.IGNORECASE)


def inspect(root: Path = Path("/"), answer: gpu.Answer | None = None) -> Facts:
    """Return the facts of the host. `answer` is NVML's; without it NVML is queried."""
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    found = gpu.facts(root / "sys", answer)
    kernels = host_kernel.kernels(root) or [release]
    newest = kernels[-1]
    booted = list(dict.fromkeys((release, newest)))
    without = [kernel for kernel in booted if host_kernel.find_module(root, kernel) is None]
    module = host_kernel.find_module(root, release)
    loaded_from = root / "proc/driver/nvidia/version"
    container = root / "run/systemd/container"  # systemd as PID 1 writes its kind there
    return Facts(
        kernel=release,
        next_kernel=newest,
        wsl="microsoft" in release.lower() or (root / "dev/dxg").exists(),
        container=container.read_text().strip() if container.exists() else None,
        gpus=found["gpus"],
        loaded=found["driver_version"],
        loaded_open="Open Kernel Module" in loaded_from.read_text() if loaded_from.exists() else None,
        library=found["nvml"]["driver_version"],
        nvml_error=found["nvml"]["error"],
        module=host_kernel.read_module(module) if module else None,
        without_module=without,
        without_headers=[kernel for kernel in without if not (root / "lib/modules" / kernel / "build").exists()],
        module_elsewhere=next((name for name in kernels if host_kernel.find_module(root, name)), None),
        dkms=any((root / "var/lib/dkms").glob("nvidia*")),
        dkms_error=_dkms_error(root, (release, newest)),
        secure_boot=host_kernel.secure_boot(root),
        dkms_key_enrolled=host_kernel.dkms_key_is_enrolled(root),
        runfile=(root / "usr/bin/nvidia-uninstall").exists(),
        initramfs=initramfs.tool(root),
        initramfs_stale=initramfs.is_stale(root, booted, root / _BLACKLIST),
        initramfs_commands=initramfs.commands(root, kernels),
    )


def state(facts: Facts) -> State:
    """Return the state of the host's driver."""
    if facts.wsl:
        return _state("wsl")
    if not facts.gpus:
        return _state("no_gpu")
    if unbuilt := _unbuilt(facts):
        return _state("dkms_failed", kernel=unbuilt[0], why=unbuilt[1])
    if flavour := _wrong_flavour(facts):
        return _state("wrong_flavour", why=flavour)
    return _of_loaded(facts) if facts.loaded else _of_not_loaded(facts)


def needs_open(architecture: str | None) -> bool:
    """Return true if a card needs the open modules; a card newer than the table counts as one that does."""
    return architecture in _OPEN_ONLY


def _of_loaded(facts: Facts) -> State:
    if facts.module and facts.module.version not in (facts.loaded, None):
        return _state("reboot_required", why=f"{facts.loaded} is loaded and {facts.module.version} is installed")
    if library := _LIBRARY.get(facts.nvml_error):
        return _state("version_mismatch", why=f"the module is {facts.loaded}, {library}")
    if idle := _without_loaded(facts):
        return _state("nouveau_bound", cards=", ".join(card["address"] for card in idle), driver=_drivers(idle))
    if facts.nvml_error is not None:
        return _state("reboot_required", why=f"NVML fails with error {facts.nvml_error} (see dmesg for the cause)")
    if facts.module and not facts.next_has_module:
        return _state("module_missing", kernel=facts.next_kernel, when="the next reboot starts")
    return _state("unmanaged", version=facts.loaded) if facts.runfile else _state("ok", version=facts.loaded)


def _of_not_loaded(facts: Facts) -> State:
    if facts.runfile:
        return _state("unmanaged", version="that is not loaded")
    if facts.module and facts.secure_boot and not facts.module.trusted and not facts.dkms_key_enrolled:
        return _state("secureboot_blocked", version=facts.module.version)
    if bound := [card for card in facts.gpus if card["driver"] in _NOUVEAU]:
        return _state("nouveau_bound", cards=", ".join(card["address"] for card in bound), driver=_drivers(bound))
    if facts.module:
        return _state("reboot_required", why=f"{facts.module.version} is installed and not loaded")
    if facts.next_has_module:
        return _state("reboot_required", why=f"it is built for kernel {facts.next_kernel}, but {facts.kernel} runs")
    return _state("module_missing", kernel=facts.kernel, when="runs") if facts.module_elsewhere else _state("no_driver")


def _drivers(cards: list[Card]) -> str:
    return ", ".join(sorted({str(card["driver"]) for card in cards}))


def _has_a_card(facts: Facts) -> bool:
    """Return true if the loaded driver is bound to a card, so that agents can run."""
    return any(card["driver"] == "nvidia" for card in facts.gpus)


def _without_loaded(facts: Facts) -> list[Card]:
    """Return the cards that another driver than the loaded one uses, without those where that is intended.

    The loaded driver supports no chip before Maxwell, and the open modules none before Turing. A card of a virtual
    machine (vfio-pci) is its owner's choice, unless the driver has no other card.
    """
    ignored = {gpu.PRE_MAXWELL, gpu.PRE_TURING} if facts.loaded_open else {gpu.PRE_MAXWELL}
    others = ("nvidia", "vfio-pci", None) if _has_a_card(facts) else ("nvidia", None)
    return [card for card in facts.gpus if card["driver"] not in others and card["architecture"] not in ignored]


def _unbuilt(facts: Facts) -> tuple[str, str] | None:
    """Return the kernel without a DKMS module (the running or the next one) and the reason; None if there is none."""
    if not facts.dkms or (facts.module and facts.next_has_module):
        return None
    if facts.dkms_error:
        return facts.dkms_error
    if facts.next_has_module:  # only the running kernel lacks it: a reboot is enough
        return None
    return facts.next_kernel, "DKMS has not built it, for example because the kernel's headers are missing"


def _wrong_flavour(facts: Facts) -> str | None:
    is_open = facts.loaded_open if facts.loaded else facts.module.open if facts.module else None
    for card in facts.gpus if is_open is not None else []:
        named = f"{card['address']} (10de:{card['device_id']}, {card['architecture'] or 'newer than this table'})"
        if is_open and card["architecture"] == gpu.PRE_TURING and not (facts.loaded and _has_a_card(facts)):
            return f"the open kernel modules do not support {named}"
        if not is_open and needs_open(card["architecture"]):
            return f"only the open kernel modules support {named}"
    return None


def _dkms_error(root: Path, kernels: tuple[str, str]) -> tuple[str, str] | None:
    """Return the kernel and the first error of a failed build; a successful build leaves no log in that folder."""
    for log in sorted((root / "var/lib/dkms").glob("nvidia*/*/build/make.log")):
        lines = log.read_text(errors="replace").splitlines()
        named = re.search(r"for kernel (\S+)", lines[0]) if lines else None
        kernel = named[1] if named else kernels[-1]
        if kernel in kernels and host_kernel.find_module(root, kernel) is None:
            errors = [line.strip() for line in lines if _ERROR.search(line)]
            return kernel, errors[0] if errors else f"see {log}"
    return None


_GOOD = ("ok", "unmanaged", "wsl")  # no problem, or the owner's choice


def rows(root: Path = Path("/")) -> list[DriverRow]:
    """Return a row with part, state, ok, text and remedy for each checked part of the host."""
    facts = inspect(root)
    found = state(facts)
    ok = found.state in _GOOD and (facts.nvml_error is None or not facts.loaded)
    return [{"part": "driver", "state": found.state, "text": found.sentence, "remedy": found.cure, "ok": ok}]


def text(found: list[DriverRow]) -> str:
    """Return the rows as text, with a remedy for each problem."""
    return "\n".join(
        f"{row['part']}: {row['state']}. {row['text']}" + ("" if row["ok"] else f"\n  {row['remedy']}") for row in found
    )
