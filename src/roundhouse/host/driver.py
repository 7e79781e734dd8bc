"""The states of a driver: each with the sentence that says what is so, and the cure.

Used by the role's failure messages and by `roundhouse doctor`.

What drives the GPUs of a host: everything that can be seen, and the one state that follows from it.

`root` is where the host's tree begins, "/" but for tests. Nothing is changed.

The host's health as rows: what was looked at, whether it is well, and the cure where it is not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from . import gpu
from . import kernel as host_kernel
from .kernel import Module


class Seen(NamedTuple):
    """A host as driver.see() found it; None for what it does not tell."""

    kernel: str
    next_kernel: str  # the newest that is installed: what a reboot starts
    wsl: bool
    container: str | None  # its kind, as docker or lxc
    gpus: list[dict[str, Any]]  # as in gpu.facts()
    loaded: str | None
    loaded_open: bool | None
    library: str | None
    nvml_error: int | None
    module: Module | None  # on disk, for the running kernel
    next_has_module: bool
    dkms: bool
    dkms_error: tuple[str, str] | None  # the kernel, and the first error of the log
    secure_boot: bool | None
    dkms_key_enrolled: bool
    runfile: bool  # NVIDIA's own installer has been here
    initramfs_stale: bool  # one of a kernel that may boot does not know yet that nouveau must not load


class State(NamedTuple):
    """One of STATES, with its sentence and its cure filled in."""

    state: str
    sentence: str
    cure: str


STATES = {
    "no_gpu": (
        "No NVIDIA GPU is on the PCI bus.",
        "Check that the card is seated and powered; in a virtual machine, that it is handed through.",
    ),
    "no_driver": (
        "The GPU has no driver.",
        "Run ansible-playbook site.yml: the role nvidia_driver installs one.",
    ),
    "nouveau_bound": (
        "{driver} holds {cards}, so NVIDIA's driver cannot.",
        "Run ansible-playbook site.yml, which keeps nouveau from loading, and let it reboot "
        "(nvidia_driver_reboot: auto) or reboot yourself and run it again. A card that vfio-pci holds is handed to a "
        "virtual machine: take it back first.",
    ),
    "dkms_failed": (
        "The driver's kernel module is not built for kernel {kernel}: {why}.",
        "Take a driver whose sources know that kernel (nvidia_driver_version; 580.126.09 is the first of branch 580 "
        "for current stable kernels), or boot an older kernel; then run ansible-playbook site.yml.",
    ),
    "secureboot_blocked": (
        "Secure Boot refuses the driver's module {version}, because no key that the firmware knows has signed it.",
        "Enrol DKMS's key: `mokutil --import /var/lib/dkms/mok.pub`, reboot, and confirm at the machine's console; "
        "or turn Secure Boot off in the firmware.",
    ),
    "reboot_required": (
        "The driver needs a reboot: {why}.",
        "Reboot; ansible-playbook site.yml does it itself with nvidia_driver_reboot: auto, from another machine.",
    ),
    "version_mismatch": (
        "The driver's parts do not belong together: {why}.",
        "Something upgraded one part alone: run ansible-playbook site.yml, which brings all parts to one version.",
    ),
    "wrong_flavour": (
        "The kernel modules are of the wrong flavour: {why}.",
        "Leave nvidia_driver_flavour at auto and run ansible-playbook site.yml; a driver that others installed has "
        "to be removed first.",
    ),
    "unmanaged": (
        "NVIDIA's runfile put a driver here ({version}), which no package manager knows.",
        "It is left alone. To have it managed, remove it with `nvidia-uninstall`, reboot, and run "
        "ansible-playbook site.yml.",
    ),
    "wsl": (
        "This is WSL: its driver is the one of Windows.",
        "Update the driver in Windows; never install one here.",
    ),
    "ok": ("The driver {version} is loaded and NVML answers.", "Nothing is to be done."),
}


def say(state: str, **facts: Any) -> State:
    """Return a state with its sentence filled in."""
    sentence, cure = STATES[state]
    return State(state, sentence.format(**facts), cure)


# The open modules drive these; Blackwell and what comes after it nothing else (NVIDIA's driver guide).
_OPEN_ONLY = ("blackwell", "rubin", None)
_BLACKLIST = "etc/modprobe.d/roundhouse-nouveau.conf"
_INITRAMFS = ("initrd.img-{}", "initramfs-{}.img")
_NOUVEAU = ("nouveau", "nova_core")
_ERROR = re.compile(r"error", re.IGNORECASE)


def see(root: Path = Path("/"), answer: gpu.Answer | None = None) -> Seen:
    """Look at the host. `answer` is NVML's; it is asked when not given."""
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    facts = gpu.facts(root / "sys", answer)
    newest = (host_kernel.kernels(root) or [release])[-1]
    module = host_kernel.find(root, release)
    loaded_from = root / "proc/driver/nvidia/version"
    container = root / "run/systemd/container"  # systemd as PID 1 leaves its kind there
    return Seen(
        kernel=release,
        next_kernel=newest,
        wsl="microsoft" in release.lower() or (root / "dev/dxg").exists(),
        container=container.read_text().strip() if container.exists() else None,
        gpus=facts["gpus"],
        loaded=facts["driver_version"],
        loaded_open="Open Kernel Module" in loaded_from.read_text() if loaded_from.exists() else None,
        library=facts["nvml"]["driver_version"],
        nvml_error=facts["nvml"]["error"],
        module=host_kernel.read(module) if module else None,
        next_has_module=host_kernel.find(root, newest) is not None,
        dkms=any((root / "var/lib/dkms").glob("nvidia*")),
        dkms_error=_dkms_error(root, (release, newest)),
        secure_boot=host_kernel.enabled(root),
        dkms_key_enrolled=host_kernel.dkms_key_is_enrolled(root),
        runfile=(root / "usr/bin/nvidia-uninstall").exists(),
        initramfs_stale=_initramfs_is_stale(root, (release, newest)),
    )


def state(seen: Seen) -> State:
    """Return the host's one state, with its sentence and its cure."""
    if seen.wsl:
        return say("wsl")
    if not seen.gpus:
        return say("no_gpu")
    if unbuilt := _unbuilt(seen):
        return say("dkms_failed", kernel=unbuilt[0], why=unbuilt[1])
    if flavour := _wrong_flavour(seen):
        return say("wrong_flavour", why=flavour)
    return _of_loaded(seen) if seen.loaded else _of_not_loaded(seen)


def needs_open(architecture: str | None) -> bool:
    """Return whether a card runs with the open modules only; a card newer than the table does too."""
    return architecture in _OPEN_ONLY


def _of_loaded(seen: Seen) -> State:
    if seen.module and seen.module.version != seen.loaded:
        return say("reboot_required", why=f"{seen.loaded} is loaded and {seen.module.version} is installed")
    if seen.nvml_error == gpu.VERSION_MISMATCH:
        return say("version_mismatch", why=f"the module is {seen.loaded} and its library is of another version")
    if seen.nvml_error == gpu.LIBRARY_NOT_FOUND:
        return say("version_mismatch", why=f"the module is {seen.loaded} and its library libnvidia-ml.so.1 is missing")
    idle = [card["address"] for card in seen.gpus if card["driver"] not in ("nvidia", None)]
    if idle:
        return say("nouveau_bound", cards=", ".join(idle), driver=_others(seen))
    if seen.nvml_error is not None:
        return say("reboot_required", why=f"NVML does not start (its error {seen.nvml_error}; dmesg has the cause)")
    return say("unmanaged", version=seen.loaded) if seen.runfile else say("ok", version=seen.loaded)


def _of_not_loaded(seen: Seen) -> State:
    if seen.runfile:
        return say("unmanaged", version="that is not loaded")
    if seen.module and seen.secure_boot and not seen.module.trusted and not seen.dkms_key_enrolled:
        return say("secureboot_blocked", version=seen.module.version)
    bound = [card["address"] for card in seen.gpus if card["driver"] in _NOUVEAU]
    if bound:
        return say("nouveau_bound", cards=", ".join(bound), driver=_others(seen))
    if seen.module:
        return say("reboot_required", why=f"{seen.module.version} is installed and not loaded")
    if seen.next_has_module:
        return say("reboot_required", why=f"it is built for {seen.next_kernel}, and {seen.kernel} runs")
    return say("no_driver")


def _initramfs_is_stale(root: Path, kernels: tuple[str, str]) -> bool:
    """Return whether an initramfs is older than the file that keeps nouveau away: a run was killed in between."""
    blacklist = root / _BLACKLIST
    if not blacklist.exists():
        return False
    images = [root / "boot" / name.format(kernel) for name in _INITRAMFS for kernel in kernels]
    return any(image.stat().st_mtime < blacklist.stat().st_mtime for image in images if image.exists())


def _others(seen: Seen) -> str:
    return ", ".join(sorted({card["driver"] for card in seen.gpus} - {"nvidia", None}))


def _unbuilt(seen: Seen) -> tuple[str, str] | None:
    """Return the kernel that DKMS has no module for, and why: the running one, or the one that boots next."""
    if not seen.dkms or (seen.module and seen.next_has_module):
        return None
    if seen.dkms_error:
        return seen.dkms_error
    if seen.next_has_module:  # the running kernel is left behind: a reboot is all it takes
        return None
    return seen.next_kernel, "DKMS has not built it, as when the kernel's headers are missing"


def _wrong_flavour(seen: Seen) -> str | None:
    is_open = seen.loaded_open if seen.loaded else seen.module.open if seen.module else None
    for card in seen.gpus if is_open is not None else []:
        named = f"{card['address']} (10de:{card['device_id']}, {card['architecture'] or 'newer than this table'})"
        if is_open and card["architecture"] == gpu.PRE_TURING:
            return f"the open kernel modules do not drive {named}"
        if not is_open and needs_open(card["architecture"]):
            return f"only the open kernel modules drive {named}"
    return None


def _dkms_error(root: Path, kernels: tuple[str, str]) -> tuple[str, str] | None:
    """Return the kernel and the first error of a build that failed; a build that went well leaves no log there."""
    for log in sorted((root / "var/lib/dkms").glob("nvidia*/*/build/make.log")):
        lines = log.read_text(errors="replace").splitlines()
        named = re.search(r"for kernel (\S+)", lines[0]) if lines else None
        kernel = named[1] if named else kernels[-1]
        if kernel in kernels and host_kernel.find(root, kernel) is None:
            errors = [line.strip() for line in lines if _ERROR.search(line)]
            return kernel, errors[0] if errors else f"see {log}"
    return None


# States that are as they should be, or that are the machine's own choice.
_WELL = ("ok", "unmanaged", "wsl")


def rows(root: Path = Path("/")) -> list[dict[str, Any]]:
    """Return {"part", "state", "ok", "sentence", "cure"} for each part of the host that is looked at."""
    seen = see(root)
    found = state(seen)
    works = found.state in _WELL and (seen.nvml_error is None or not seen.loaded)
    return [{"part": "driver", **found._asdict(), "ok": works}]


def text(found: list[dict[str, Any]]) -> str:
    """Return the rows for a person: a cure only where one is wanted."""
    return "\n".join(
        f"{row['part']}: {row['state']}. {row['sentence']}" + ("" if row["ok"] else f"\n  {row['cure']}")
        for row in found
    )
