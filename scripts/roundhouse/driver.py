"""What drives the GPUs of a host: everything that can be seen, and the one state that follows from it.

`root` is where the host's tree begins, "/" but for tests. Nothing is changed.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import gpu, kernel_module, nvml, secure_boot
from .driver_states import Seen, State, say

# The open modules drive these; Blackwell and what comes after it nothing else (NVIDIA's driver guide).
_OPEN_ONLY = ("blackwell", "rubin", None)
_BLACKLIST = "etc/modprobe.d/roundhouse-nouveau.conf"
_INITRAMFS = ("initrd.img-{}", "initramfs-{}.img")
_NOUVEAU = ("nouveau", "nova_core")
_ERROR = re.compile(r"error", re.IGNORECASE)


def see(root: Path = Path("/"), answer: nvml.Answer | None = None) -> Seen:
    """Look at the host. `answer` is NVML's; it is asked when not given."""
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    facts = gpu.facts(root / "sys", answer)
    newest = (kernel_module.kernels(root) or [release])[-1]
    module = kernel_module.find(root, release)
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
        module=kernel_module.read(module) if module else None,
        next_has_module=kernel_module.find(root, newest) is not None,
        dkms=any((root / "var/lib/dkms").glob("nvidia*")),
        dkms_error=_dkms_error(root, (release, newest)),
        secure_boot=secure_boot.enabled(root),
        dkms_key_enrolled=secure_boot.dkms_key_is_enrolled(root),
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
    if seen.nvml_error == nvml.VERSION_MISMATCH:
        return say("version_mismatch", why=f"the module is {seen.loaded} and its library is of another version")
    if seen.nvml_error == nvml.LIBRARY_NOT_FOUND:
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
        if kernel in kernels and kernel_module.find(root, kernel) is None:
            errors = [line.strip() for line in lines if _ERROR.search(line)]
            return kernel, errors[0] if errors else f"see {log}"
    return None
