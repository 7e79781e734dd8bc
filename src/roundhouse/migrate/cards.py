"""Convert the settings for an engine's cards, and for a model split across cards, into `gpus` of the roster."""

from __future__ import annotations

from .report import APPROXIMATED, CONVERTED, DEFAULT, DROPPED, UNSUPPORTED, Outcome, Setting, Source

# The settings that name cards, in order of precedence: the engine's own variable first.
_NAMES = ("cuda-visible-devices", "nvidia-visible-devices", "device_ids")
_MOST_CARDS = 1024
CHOSEN = "The plan chooses the cards if the roster names none."
_ORDER = "Cards are numbered as in nvidia-smi, by the PCI bus; CUDA's own order is fastest first."


def _indices(value: str) -> list[int]:
    """Return the card numbers of a list such as "0,1"; [] for "all" and for other names."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def _named(source: Source) -> list[int]:
    return next((cards for name in _NAMES if (cards := _indices(source.value(name)))), [])


def _shared_by(source: Source) -> int:
    size = source.value("tensor-parallel-size")
    return max(int(size), 1) if size.isdecimal() else 1


def visible(setting: Setting, source: Source) -> Outcome:
    """Convert CUDA_VISIBLE_DEVICES and similar settings."""
    cards, count = _indices(setting.value), _shared_by(source)
    if len(cards) == count:
        return Outcome(CONVERTED, _ORDER, {"gpus": cards})
    if len(cards) > count:
        why = f"The engine saw {len(cards)} cards and used {count} (tensor_parallel_size). {_ORDER}"
        return Outcome(APPROXIMATED, why, {"gpus": cards[:count]})
    if cards:
        why = f"Tensor parallelism of {count} needs {count} cards, but {len(cards)} are named: vLLM did not start."
        return Outcome(APPROXIMATED, why, {"gpus": cards})
    value = setting.value.strip().lower()
    if value in ("-1", "none", "void"):
        return Outcome(UNSUPPORTED, "An engine without a card needs engine_accelerator: cpu, which is for the lab.")
    if value in ("all", ""):
        return Outcome(DEFAULT, CHOSEN)
    return Outcome(DROPPED, f"A roster names cards by number, not by UUID. {CHOSEN}")


def tensor_parallel_size(setting: Setting, source: Source) -> Outcome:
    """Convert --tensor-parallel-size, together with the named cards."""
    count = int(setting.value)
    if not 1 <= count <= _MOST_CARDS:
        raise ValueError(setting.value)
    if count == 1:
        return Outcome(DEFAULT, "The plan uses one card per model unless it needs more.")
    why = "The model is split evenly across the cards, so the smallest card sets the limit."
    return Outcome(CONVERTED, why, {"gpus": (_named(source) or list(range(count)))[:count]})


def device_count(setting: Setting, source: Source) -> Outcome:
    """Convert Compose's `count` of devices."""
    wanted = max(_shared_by(source), len(_named(source)))
    if setting.value.isdecimal() and int(setting.value) < wanted:
        why = f"It gave the engine only {setting.value} of its {wanted} cards. {CHOSEN}"
        return Outcome(DROPPED, why)
    why = f"{CHOSEN} Containers do not share a card: systemd runs one agent on it at a time."
    return Outcome(DEFAULT, why)
