"""Report the GPUs now: memory, use, temperature, power, holders; None for values that the driver does not report."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..host import gpu, gpu_problem, gpu_process
from ..schema.cards import Card, GpuFacts, LiveCard
from . import gpu_memory

_TEMPERATURE_GPU = 0  # nvml.h, nvmlTemperatureSensors_t
MILLI = 1000


def cards(library: ModuleType | None = None) -> list[LiveCard]:
    """Return the GPUs, in PCI order."""
    facts = gpu.facts(answer=gpu.read(library))
    return [_card(known, facts, library) for known in facts["gpus"]]


def _card(known: Card, facts: GpuFacts, library: ModuleType | None) -> LiveCard:
    uuid, number, why = known["uuid"], known["number"], gpu_problem.of(known)
    seen = [] if number is None else gpu_memory.cards([(uuid, number)], facts)
    live = ask(uuid, _ASKED, library) if uuid else {}
    return {
        "gpu": number,
        "uuid": uuid,
        "problem": None if why is None else str(why),
        "name": known["name"] or f"{known['address']} (10de:{known['device_id']})",
        "used_gib": known["used_gib"],
        "total_gib": known["memory_gib"],
        "use_percent": live.get("use_percent"),
        "temperature_celsius": live.get("temperature_celsius"),
        "power_watts": live.get("power_watts"),
        "power_limit_watts": live.get("power_limit_watts"),
        "holders": [holder.as_row() for each in seen for holder in each.holders],
    }


def text(found: list[LiveCard]) -> str:
    """Return the GPUs for a person."""
    if not found:
        return "This host has no NVIDIA GPU."
    lines = []
    for each in found:
        if problem := each.get("problem"):  # a recording of an earlier version lacks the key
            lines.append(problem if each["gpu"] is None else f"GPU {each['gpu']}: {problem}")
            continue
        if each["total_gib"] is None or each["used_gib"] is None:
            lines.append(f"GPU {each['gpu']}: VRAM unknown, the driver does not report it")
        else:
            share = 100 * each["used_gib"] / each["total_gib"]
            lines.append(
                f"GPU {each['gpu']}: VRAM {each['used_gib']:.1f} GiB / {each['total_gib']:.1f} GiB ({share:.0f}%)"
            )
        limit = "" if each["power_limit_watts"] is None else f" of {each['power_limit_watts']:.0f}"
        use, heat = _shown(each["use_percent"], "{:.0f} %"), _shown(each["temperature_celsius"], "{:.0f} C")
        lines.append(f"  {each['name']}: use {use}, {heat}, {_shown(each['power_watts'], '{:.0f}')}{limit} W")
        for holder in each["holders"]:
            size = _shown(holder["gib"], "{:.1f} GiB")
            desktop = holder.get("desktop")
            name = gpu_process.program(holder["name"]) if desktop else holder["unit"] or holder["name"]
            lines.append(f"  {name} (pid {holder['pid']}{', desktop' if desktop else ''}): {size}")
    return "\n".join(lines)


Question = Callable[[ModuleType, object], Any]  # takes pynvml and a GPU's handle

_ASKED: dict[str, Question] = {
    "use_percent": lambda library, handle: library.nvmlDeviceGetUtilizationRates(handle).gpu,
    "temperature_celsius": lambda library, handle: library.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU),
    "power_watts": lambda library, handle: library.nvmlDeviceGetPowerUsage(handle) / MILLI,
    "power_limit_watts": lambda library, handle: library.nvmlDeviceGetEnforcedPowerLimit(handle) / MILLI,
}


def ask(uuid: str, questions: dict[str, Question], library: ModuleType | None = None) -> dict[str, Any]:
    """Return NVML's answers about a GPU; None for a question that the GPU or its driver does not support."""
    nvml = library or importlib.import_module("pynvml")

    def one(question: Question) -> Any:
        try:
            return question(nvml, handle)
        except nvml.NVMLError:
            return None

    nvml.nvmlInit()
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        return {name: one(question) for name, question in questions.items()}
    except nvml.NVMLError:  # it was lost since its facts were read
        return dict.fromkeys(questions)
    finally:
        nvml.nvmlShutdown()


def _shown(value: float | None, shape: str) -> str:
    return "-" if value is None else shape.format(value)
