"""What the cards are doing now: memory, use, temperature, power, and who holds them; None for what is not told."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..host import gpu
from . import gpu_memory

_TEMPERATURE_GPU = 0  # nvml.h, nvmlTemperatureSensors_t
MILLI = 1000


def cards(library: Any = None) -> list[dict[str, Any]]:
    """Return one dict per card, in PCI order.

    gpu, name, used_gib, total_gib, use_percent, temperature_celsius, power_watts, power_limit_watts,
    holders: [{pid, name, unit, gib}].
    """
    facts = gpu.facts(answer=gpu.read(library))
    found = []
    for index, known in enumerate(facts["gpus"]):
        seen = gpu_memory.cards([index], facts)
        live = ask(index, _ASKED, library) if seen else {}
        found.append(
            {
                "gpu": index,
                "name": known["name"] or f"{known['address']} (10de:{known['device_id']})",
                "used_gib": known["used_gib"],
                "total_gib": known["memory_gib"],
                **{name: live.get(name) for name in _ASKED},
                "holders": [holder._asdict() for each in seen for holder in each.holders],
            }
        )
    return found


def text(found: list[dict[str, Any]]) -> str:
    """Return the cards for a person. The first line of each is the one that users know; its GB are GiB, as there."""
    if not found:
        return "No NVIDIA GPU is on this host."
    lines = []
    for each in found:
        if each["total_gib"] is None or each["used_gib"] is None:
            lines.append(f"GPU {each['gpu']}: VRAM unknown, the driver does not tell")
        else:
            share = 100 * each["used_gib"] / each["total_gib"]
            lines.append(f"GPU {each['gpu']}: VRAM {each['used_gib']:.1f}GB / {each['total_gib']:.1f}GB ({share:.0f}%)")
        limit = "" if each["power_limit_watts"] is None else f" of {each['power_limit_watts']:.0f}"
        use, heat = _told(each["use_percent"], "{:.0f} %"), _told(each["temperature_celsius"], "{:.0f} C")
        lines.append(f"  {each['name']}: use {use}, {heat}, {_told(each['power_watts'], '{:.0f}')}{limit} W")
        for holder in each["holders"]:
            size = _told(holder["gib"], "{:.1f} GiB")
            lines.append(f"  {holder['unit'] or holder['name']} (pid {holder['pid']}): {size}")
    return "\n".join(lines)


Question = Callable[[Any, Any], Any]  # of pynvml and a card's handle

_ASKED: dict[str, Question] = {
    "use_percent": lambda library, handle: library.nvmlDeviceGetUtilizationRates(handle).gpu,
    "temperature_celsius": lambda library, handle: library.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU),
    "power_watts": lambda library, handle: library.nvmlDeviceGetPowerUsage(handle) / MILLI,
    "power_limit_watts": lambda library, handle: library.nvmlDeviceGetEnforcedPowerLimit(handle) / MILLI,
}


def ask(index: int, questions: dict[str, Question], library: Any = None) -> dict[str, Any]:
    """Return what NVML says of a card that it has told of; None for what this card, or this driver, does not say."""
    library = library or importlib.import_module("pynvml")  # it is there, for NVML has told of the card

    def one(question: Question) -> Any:
        try:
            return question(library, handle)
        except library.NVMLError:
            return None

    library.nvmlInit()
    try:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        return {name: one(question) for name, question in questions.items()}
    finally:
        library.nvmlShutdown()


def _told(value: float | None, shape: str) -> str:
    return "-" if value is None else shape.format(value)
