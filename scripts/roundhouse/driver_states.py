"""The states of a driver: each with the sentence that says what is so, and the cure.

Used by the role's failure messages and by `roundhouse doctor`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .kernel_module import Module


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
