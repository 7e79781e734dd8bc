"""Facts of GPUs, as host/gpu.facts() returns them."""

UNKNOWN = dict.fromkeys(
    ("name", "uuid", "driver", "architecture", "compute_capability", "memory_gib", "used_gib", "display_active", "mig")
)


def card(number=0, **more):
    """Return the facts of an RTX 5060 Ti without a driver, changed by `more`."""
    known = {"address": f"0000:{(number or 0) + 1:02x}:00.0", "device_id": "2d04", "number": number}
    return UNKNOWN | known | {"processes": None, "error": None, "unified": False} | more


def driven(number=0, **more):
    """Return the facts of a card with a driver: 16 GiB, nothing on it."""
    told = {"driver": "nvidia", "name": "NVIDIA GeForce RTX 5060 Ti", "compute_capability": [12, 0], "uuid": "GPU-5f1c"}
    memory = {"memory_gib": 15.93, "used_gib": 0.45, "display_active": False, "processes": []}
    return card(number, **(told | memory | more))


def lost(number=0):
    """Return the facts of a card that fell off the bus."""
    return card(number, driver="nvidia", error=15)


def process(pid, gib, name="/usr/bin/python3", kinds=("compute",), unit=None):
    """Return a process on a card."""
    return {"pid": pid, "name": name, "gib": gib, "kinds": list(kinds), "unit": unit}


def answered(*cards):
    """Return the facts of a host whose driver answers."""
    return {"gpus": [*cards], "driver_version": "580.173.02", "nvml": {"driver_version": "580.173.02", "error": None}}
