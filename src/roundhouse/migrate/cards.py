"""The rules of the cards that an old set-up gave its engine, and of those that share a model: `gpus` of a roster."""

from __future__ import annotations

from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Outcome, Setting, Source

# Where a source names its cards, what the engine itself sees first.
_NAMES = ("cuda-visible-devices", "nvidia-visible-devices", "device_ids")
CHOSEN = "The plan chooses the cards where the roster names none."
_ORDER = "Counted as nvidia-smi does, by the PCI bus; CUDA's own order is the fastest first."


def _indices(value: str) -> list[int]:
    """Return the cards that a list such as 0,1 names; none for all, or for names of another kind."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def _named(source: Source) -> list[int]:
    return next((cards for name in _NAMES if (cards := _indices(source.value(name)))), [])


def _shared_by(source: Source) -> int:
    size = source.value("tensor-parallel-size")
    return max(int(size), 1) if size.isdecimal() else 1


def visible(setting: Setting, source: Source) -> Outcome:
    """Read CUDA_VISIBLE_DEVICES and its like."""
    cards, count = _indices(setting.value), _shared_by(source)
    if len(cards) == count:
        return Outcome(BECAME, _ORDER, {"gpus": cards})
    if len(cards) > count:
        why = f"The engine was told of {len(cards)} cards and used {count} (tensor_parallel_size). {_ORDER}"
        return Outcome(NEAREST, why, {"gpus": cards[:count]})
    if cards:
        why = f"Tensor parallelism of {count} wants {count} cards, and these are {len(cards)}: it did not start so."
        return Outcome(NEAREST, why, {"gpus": cards})
    value = setting.value.strip().lower()
    if value in ("-1", "none", "void"):
        return Outcome(NOTHING, "An engine without a card is the lab's: engine_accelerator: cpu.")
    if value in ("all", ""):
        return Outcome(ALREADY, CHOSEN)
    return Outcome(LEFT, f"A roster counts cards and takes no UUIDs. {CHOSEN}")


def tensor_parallel_size(setting: Setting, source: Source) -> Outcome:
    """Read --tensor-parallel-size beside the cards that are named."""
    count = int(setting.value)
    if count == 1:
        return Outcome(ALREADY, "One card holds the model unless the plan needs more.")
    why = "Cards that share a model split it evenly, so the smallest of them sets the limit."
    return Outcome(BECAME, why, {"gpus": (_named(source) or list(range(count)))[:count]})


def device_count(setting: Setting, source: Source) -> Outcome:
    """Read Compose's `count` of devices."""
    wanted = max(_shared_by(source), len(_named(source)))
    if setting.value.isdecimal() and int(setting.value) < wanted:
        why = f"It hid all but {setting.value} of the {wanted} cards that its engine was told of. {CHOSEN}"
        return Outcome(LEFT, why)
    why = f"{CHOSEN} No container shares a card here: systemd lets one agent run on it at a time."
    return Outcome(ALREADY, why)
