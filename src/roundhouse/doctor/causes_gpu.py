"""The causes that lie in the card, its driver or the host's memory: see causes.py, which reads them first.

The kernel's log is where they show, so its words are here: the OOM killer's, and the Xids of NVIDIA's driver (the
numbers as in NVIDIA's catalogue of them). An Xid that only follows another, or an engine's end by force (45), is none.
"""

from __future__ import annotations

from .cause import Cause, row

_XID = r"Xid \((?:PCI:)?[0-9a-fA-F:.]+\): "
# The memory's own faults; 63 and 64 say that a row of it is to be, or cannot be, replaced.
_OF_THE_MEMORY = "48|63|64|92|94|95|140"
# What a program on the card may do wrong by itself, as NVIDIA's device plugin takes them; 154 repeats what to do.
_OF_A_PROGRAM = "13|31|43|45|68|109|154"

HOST_MEMORY = row(
    "host_out_of_memory",
    r"Out of memory: Kill|[Mm]emory cgroup out of memory|oom-kill:constraint|has been killed by the OOM killer"
    r"|The kernel OOM killer killed",
    "The kernel ended the engine because the host's own memory (not the card's) was full.",
    "See who takes it with `top -o RES`, and free some, or add swap.",
)
CARD_LOST = row(
    "card_lost",
    rf"GPU is lost|fallen off the bus|RmInitAdapter failed|{_XID}(?!(?:{_OF_A_PROGRAM}|{_OF_THE_MEMORY})\b)\d+",
    "The card stopped answering, or reported a fault of its own.",
    "Read `journalctl --dmesg --grep NVRM`, check power and cooling, and reboot the host.",
)
CARD_MEMORY = row(
    "card_memory_faulty",
    rf"{_XID}(?:{_OF_THE_MEMORY})\b|uncorrectable ECC|double.bit ECC",
    "The card's memory reported errors.",
    "Reboot the host, which lets the card replace the bad rows; if it comes back, have the card exchanged.",
)
MISMATCH = row(
    "driver_mismatch",
    r"[Dd]river/library version mismatch|LIB_RM_VERSION_MISMATCH|NVRM: API mismatch",
    "The driver was upgraded and the old module is still loaded.",
    "Reboot the host.",
)
FLAVOUR = row(
    "driver_flavour_wrong",
    r"requires use of the NVIDIA open kernel modules|not supported by (?:the )?open nvidia\.ko"
    r"|does not include the required GPU System Processor",
    "The driver's kernel modules are of the flavour that this card does not run with.",
    "Leave nvidia_driver_flavour at auto and run `ansible-playbook site.yml --tags host`.",
)
OF_THE_CARD: tuple[Cause, ...] = (CARD_LOST, CARD_MEMORY, MISMATCH, FLAVOUR)
# Less telling than what an engine says itself: it comes after the causes of the model.
ENGINE_FAULT = row(
    "engine_fault_on_card",
    rf"CUDA error: (?:an illegal|unspecified|misaligned)|{_XID}(?:13|31|43|68|109)\b",
    "The engine asked the card for something that it refused: a fault of a kernel, seldom of the card.",
    "Start {name} again. If it comes back, set enforce_eager: true or name another quantization in the roster; if it "
    "comes with every model, it is the card: check its power and cooling.",
)
