"""Provide the causes in the GPU, its driver or the host's memory. causes.py reads them first.

They appear in the kernel's log: messages of the OOM killer, and Xids of NVIDIA's driver (numbers of NVIDIA's Xid
catalogue). An Xid that only follows another one, or that follows a forced end of the engine (45), is not a cause.
"""

from __future__ import annotations

from .cause import Cause, row

_XID = r"Xid \((?:PCI:)?[0-9a-fA-F:.]+\): "
# Faults of the GPU's memory. 63: a row will be remapped. 64: a row cannot be remapped.
_OF_THE_MEMORY = "48|63|64|92|94|95|140"
# Faults of a program on the GPU, as NVIDIA's device plugin classifies them. 154 repeats the recovery action.
_OF_A_PROGRAM = "13|31|43|45|68|109|154"

HOST_MEMORY = row(
    "host_out_of_memory",
    r"Out of memory: Kill|[Mm]emory cgroup out of memory|oom-kill:constraint|has been killed by the OOM killer"
    r"|The kernel OOM killer killed",
    "The kernel killed the engine because the host's memory (not the GPU's) was full.",
    "Find the largest processes with `top -o RES` and free memory, or add swap.",
)
CARD_LOST = row(
    "card_lost",
    rf"GPU is lost|fallen off the bus|RmInitAdapter failed|{_XID}(?!(?:{_OF_A_PROGRAM}|{_OF_THE_MEMORY})\b)\d+",
    "The GPU stopped answering, or reported a hardware fault.",
    "Read `journalctl --dmesg --grep NVRM`, check power and cooling, and reboot the host.",
)
CARD_MEMORY = row(
    "card_memory_faulty",
    rf"{_XID}(?:{_OF_THE_MEMORY})\b|uncorrectable ECC|double.bit ECC",
    "The GPU's memory reported errors.",
    "Reboot the host, so that the GPU remaps the bad rows. If the error returns, replace the GPU.",
)
MISMATCH = row(
    "driver_mismatch",
    r"[Dd]river/library version mismatch|LIB_RM_VERSION_MISMATCH|NVRM: API mismatch",
    "The driver was upgraded, and the old kernel module is still loaded.",
    "Reboot the host.",
)
FLAVOUR = row(
    "driver_flavour_wrong",
    r"requires use of the NVIDIA open kernel modules|not supported by (?:the )?open nvidia\.ko"
    r"|does not include the required GPU System Processor",
    "The driver's kernel modules have the wrong flavour (open or proprietary) for this GPU.",
    "Leave nvidia_driver_flavour at auto and run `ansible-playbook site.yml --tags host`.",
)
OF_THE_CARD: tuple[Cause, ...] = (CARD_LOST, CARD_MEMORY, MISMATCH, FLAVOUR)
# Less specific than an engine's own error, so it comes after the causes of the model.
ENGINE_FAULT = row(
    "engine_fault_on_card",
    rf"CUDA error: (?:an illegal|unspecified|misaligned)|{_XID}(?:13|31|43|68|109)\b",
    "A compute kernel of the engine failed on the GPU. The GPU itself is rarely the reason.",
    "Start {name} again. If the error returns, set enforce_eager: true or another quantization in the roster. If every "
    "model fails, check the GPU's power and cooling.",
)
