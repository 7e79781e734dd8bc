"""What holds a card back, as NVML tells it: clocks that it lowered, and why; a power limit; who else computes on it."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from . import gpu_live
from .gpu_live import MILLI, Question

# nvml.h, nvmlClocksEventReasons: what lowers the clocks of a card that has work. A card that is idle (1), or that a
# person has set so (2), is not held back; by a power cap (4) it is when that is below the maker's.
POWER_CAP = 0x4
_HELD_BACK = {
    0x8: "the hardware slows it down (heat or power supply)",
    0x20: "it is too hot",
    0x40: "the hardware slows it down because it is too hot",
    0x80: "its power supply asks for less",
}
_MICRO = 1_000_000
# How far back NVML's samples of who computes are looked at.
_SAMPLES_SECONDS = 10


class Strain(NamedTuple):
    """One card; None for what it does not say. `busy` is the share of the card's time by pid, in percent."""

    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    power_default_watts: float | None
    clocks: int | None
    busy: dict[int, int] | None

    def reasons(self) -> list[str]:
        """Return a phrase for each thing that holds it back now."""
        found = [told for bit, told in _HELD_BACK.items() if (self.clocks or 0) & bit]
        limit, default = self.power_limit_watts, self.power_default_watts
        if (self.clocks or 0) & POWER_CAP and limit is not None and default is not None and limit < default:
            found.append(f"its power limit is {limit:.0f} W of the maker's {default:.0f} W")
        return found


def of(index: int, library: Any = None) -> Strain:
    """Return the strain of a card that NVML has told of."""
    return Strain(**gpu_live.ask(index, _ASKED, library))


def _clocks(library: Any, handle: Any) -> int:
    try:
        return int(library.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except library.NVMLError:  # its name before driver 535
        return int(library.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _busy(library: Any, handle: Any) -> dict[int, int]:
    since = int((time.time() - _SAMPLES_SECONDS) * _MICRO)
    found: dict[int, int] = {}
    for sample in library.nvmlDeviceGetProcessUtilization(handle, since):
        found[sample.pid] = max(found.get(sample.pid, 0), sample.smUtil)
    return found


_ASKED: dict[str, Question] = {
    "temperature_celsius": lambda library, handle: library.nvmlDeviceGetTemperature(handle, 0),
    "power_watts": lambda library, handle: library.nvmlDeviceGetPowerUsage(handle) / MILLI,
    "power_limit_watts": lambda library, handle: library.nvmlDeviceGetEnforcedPowerLimit(handle) / MILLI,
    "power_default_watts": lambda library, handle: library.nvmlDeviceGetPowerManagementDefaultLimit(handle) / MILLI,
    "clocks": _clocks,
    "busy": _busy,
}
