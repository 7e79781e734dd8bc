"""The NVIDIA driver of a host: what can be seen of it, and the one state that follows. Nothing is changed.

`root` is where the host's tree begins, "/" but for tests.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import gpu
from . import kernel as host_kernel
from .kernel import Module

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship them with modules.
    from roundhouse.schema.cards import Card
    from roundhouse.schema.facts import DriverRow


OURS = Path("/etc/roundhouse/nvidia_driver.json")  # what the role nvidia_driver installs, written before it does


class Facts(NamedTuple):
    """A host as driver.inspect() found it; None for what is not known."""

    kernel: str
    next_kernel: str  # the newest that is installed: what a reboot starts
    wsl: bool
    container: str | None  # its kind, as docker or lxc
    gpus: list[Card]
    loaded: str | None  # the version of the loaded module
    loaded_open: bool | None
    library: str | None
    nvml_error: int | None
    module: Module | None  # on disk, for the running kernel
    next_has_module: bool
    dkms: bool
    dkms_error: tuple[str, str] | None  # the kernel, and the first error of the log
    secure_boot: bool | None
    dkms_key_enrolled: bool
    runfile: bool  # NVIDIA's own installer was used
    initramfs_stale: bool  # that of a kernel that may boot lacks the file that keeps nouveau from loading


class State(NamedTuple):
    """One of STATES, with its sentence filled in."""

    state: str
    sentence: str
    cure: str


# state: (sentence, cure)
STATES = {
    "no_gpu": (
        "No NVIDIA GPU is on the PCI bus.",
        "Check that the card is seated and powered; in a virtual machine, that it is passed through.",
    ),
    "no_driver": (
        "The GPU has no driver.",
        "Run ansible-playbook site.yml: the role nvidia_driver installs one.",
    ),
    "nouveau_bound": (
        "{driver} holds {cards}, so NVIDIA's driver cannot.",
        "Run ansible-playbook site.yml, which keeps nouveau from loading, and let it reboot "
        "(nvidia_driver_reboot: auto) or reboot yourself and run it again. A card that vfio-pci holds belongs to a "
        "virtual machine: detach it there first.",
    ),
    "dkms_failed": (
        "The driver's kernel module is not built for kernel {kernel}: {why}.",
        "Choose a driver whose sources support that kernel (nvidia_driver_version; 580.126.09 is the first of branch "
        "580 for current stable kernels), or boot an older kernel; then run ansible-playbook site.yml.",
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
        "The driver's parts are of different versions: {why}.",
        "Something upgraded one part alone: run ansible-playbook site.yml, which installs all parts at one version.",
    ),
    "wrong_flavour": (
        "The kernel modules are of the wrong flavour: {why}.",
        "Leave nvidia_driver_flavour at auto and run ansible-playbook site.yml; a driver that others installed has "
        "to be removed first.",
    ),
    "unmanaged": (
        "NVIDIA's runfile installed the driver ({version}), which no package manager knows.",
        "The driver is not changed. To have it managed, remove it with `nvidia-uninstall`, reboot, and run "
        "ansible-playbook site.yml.",
    ),
    "wsl": (
        "This host is WSL, which uses the driver of Windows.",
        "Update the driver in Windows; never install one here.",
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
_ERROR = re.compile(r"error", re.IGNORECASE)


def inspect(root: Path = Path("/"), answer: gpu.Answer | None = None) -> Facts:
    """Return the facts of the host. `answer` is NVML's; it is asked when not given."""
    release = (root / "proc/sys/kernel/osrelease").read_text().strip()
    found = gpu.facts(root / "sys", answer)
    newest = (host_kernel.kernels(root) or [release])[-1]
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
        next_has_module=host_kernel.find_module(root, newest) is not None,
        dkms=any((root / "var/lib/dkms").glob("nvidia*")),
        dkms_error=_dkms_error(root, (release, newest)),
        secure_boot=host_kernel.secure_boot(root),
        dkms_key_enrolled=host_kernel.dkms_key_is_enrolled(root),
        runfile=(root / "usr/bin/nvidia-uninstall").exists(),
        initramfs_stale=_initramfs_is_stale(root, (release, newest)),
    )


def state(facts: Facts) -> State:
    """Return the host's one state."""
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
    """Return whether only the open modules drive a card; a card newer than the table counts as one."""
    return architecture in _OPEN_ONLY


def _of_loaded(facts: Facts) -> State:
    if facts.module and facts.module.version not in (facts.loaded, None):
        return _state("reboot_required", why=f"{facts.loaded} is loaded and {facts.module.version} is installed")
    if facts.nvml_error == gpu.VERSION_MISMATCH:
        return _state("version_mismatch", why=f"the module is {facts.loaded}, its library is of another version")
    if facts.nvml_error == gpu.LIBRARY_NOT_FOUND:
        return _state("version_mismatch", why=f"the module is {facts.loaded}, its library libnvidia-ml.so.1 is missing")
    idle = [card["address"] for card in facts.gpus if card["driver"] not in ("nvidia", None)]
    if idle:
        return _state("nouveau_bound", cards=", ".join(idle), driver=_others(facts))
    if facts.nvml_error is not None:
        return _state("reboot_required", why=f"NVML does not start (its error {facts.nvml_error}; dmesg has the cause)")
    return _state("unmanaged", version=facts.loaded) if facts.runfile else _state("ok", version=facts.loaded)


def _of_not_loaded(facts: Facts) -> State:
    if facts.runfile:
        return _state("unmanaged", version="that is not loaded")
    if facts.module and facts.secure_boot and not facts.module.trusted and not facts.dkms_key_enrolled:
        return _state("secureboot_blocked", version=facts.module.version)
    bound = [card["address"] for card in facts.gpus if card["driver"] in _NOUVEAU]
    if bound:
        return _state("nouveau_bound", cards=", ".join(bound), driver=_others(facts))
    if facts.module:
        return _state("reboot_required", why=f"{facts.module.version} is installed and not loaded")
    if facts.next_has_module:
        return _state("reboot_required", why=f"it is built for {facts.next_kernel}, and {facts.kernel} runs")
    return _state("no_driver")


def _initramfs_is_stale(root: Path, kernels: tuple[str, str]) -> bool:
    """Return whether an initramfs is older than the file that keeps nouveau from loading."""
    blacklist = root / _BLACKLIST
    if not blacklist.exists():
        return False
    images = [root / f"boot/initrd.img-{kernel}" for kernel in kernels]
    return any(image.stat().st_mtime < blacklist.stat().st_mtime for image in images if image.exists())


def _others(facts: Facts) -> str:
    return ", ".join(sorted({card["driver"] for card in facts.gpus if card["driver"] not in ("nvidia", None)}))


def _unbuilt(facts: Facts) -> tuple[str, str] | None:
    """Return the kernel that DKMS has no module for (the running or the next one), and why; None for none."""
    if not facts.dkms or (facts.module and facts.next_has_module):
        return None
    if facts.dkms_error:
        return facts.dkms_error
    if facts.next_has_module:  # only the running kernel lacks it: a reboot is enough
        return None
    return facts.next_kernel, "DKMS has not built it, as when the kernel's headers are missing"


def _wrong_flavour(facts: Facts) -> str | None:
    is_open = facts.loaded_open if facts.loaded else facts.module.open if facts.module else None
    for card in facts.gpus if is_open is not None else []:
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
        if kernel in kernels and host_kernel.find_module(root, kernel) is None:
            errors = [line.strip() for line in lines if _ERROR.search(line)]
            return kernel, errors[0] if errors else f"see {log}"
    return None


_GOOD = ("ok", "unmanaged", "wsl")  # nothing is wrong, or the machine's owner wants it so


def rows(root: Path = Path("/")) -> list[DriverRow]:
    """Return {"part", "state", "ok", "text", "remedy"} for each part of the host that is checked."""
    facts = inspect(root)
    found = state(facts)
    ok = found.state in _GOOD and (facts.nvml_error is None or not facts.loaded)
    return [{"part": "driver", "state": found.state, "text": found.sentence, "remedy": found.cure, "ok": ok}]


def text(found: list[DriverRow]) -> str:
    """Return the rows for a person: a remedy only where something is wrong."""
    return "\n".join(
        f"{row['part']}: {row['state']}. {row['text']}" + ("" if row["ok"] else f"\n  {row['remedy']}") for row in found
    )
