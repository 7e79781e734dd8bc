"""Which cards an old set-up gave its engine, and how many of them share the model: `gpus` of a roster."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .import_source import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said

Values = Mapping[str, "str | None"]

_CHOOSES = "The plan chooses the cards where the roster names none."
_ORDER = "Counted as nvidia-smi does, by the PCI bus; CUDA's own order is the fastest first."


def indices(value: str | None) -> list[int] | None:
    """Return the cards that a list such as 0,1 names, None for all, for names of another kind, or for none."""
    parts = [part.strip() for part in (value or "").split(",") if part.strip()]
    return [int(part) for part in parts] if parts and all(part.isdecimal() for part in parts) else None


def ranks(values: Values) -> int:
    """Return the cards that share the model."""
    told = values.get("tensor-parallel-size") or ""
    return int(told) if told.isdecimal() and int(told) > 0 else 1


def visible(value: str | None, values: Values) -> Said:
    """Return what CUDA_VISIBLE_DEVICES and its like mean."""
    cards, count = indices(value), ranks(values)
    if cards is None:
        named = (value or "").strip().lower()
        if named in ("-1", "none", "void"):
            return Said(NOTHING, "An engine without a card is the lab's: engine_accelerator: cpu.")
        how = "" if named in ("all", "") else "A roster counts cards and takes no UUIDs. "
        return Said(ALREADY if named in ("all", "") else LEFT, f"{how}{_CHOOSES}")
    if len(cards) == count:
        return Said(BECAME, _ORDER, {"gpus": cards}, f"CUDA_VISIBLE_DEVICES={value}")
    if len(cards) > count:
        why = f"The engine was told of {len(cards)} cards and used {count} (tensor_parallel_size). {_ORDER}"
        return Said(NEAREST, why, {"gpus": cards[:count]}, f"CUDA_VISIBLE_DEVICES={','.join(map(str, cards[:count]))}")
    why = f"Tensor parallelism of {count} wants {count} cards, and these are {len(cards)}: it did not start so."
    return Said(NEAREST, why, {"gpus": cards})


def parallel(value: str | None, values: Values) -> Said:
    """Return what a tensor parallel size means beside the cards that are named."""
    if not (value or "").isdecimal() or int(value or 0) < 1:
        return Said(LEFT, f"{value!r} is no number of cards.")
    count = int(value or 1)
    if count == 1:
        return Said(ALREADY, "One card holds the model unless the plan needs more.")
    named = next((cards for name in VISIBLE if (cards := indices(values.get(name)))), None)
    cards = named if named is not None else list(range(count))
    why = "Cards that share a model split it evenly, so the smallest of them sets the limit."
    return Said(BECAME, why, {"gpus": cards[:count]}, f"--tensor-parallel-size {count}")


def reserved(value: str | None, values: Values) -> Said:
    """Return what compose's `count` of devices means."""
    named = next((cards for name in VISIBLE if (cards := indices(values.get(name)))), None) or []
    wanted = max(ranks(values), len(named))
    if (value or "").isdecimal() and int(value or 0) < wanted:
        why = f"It hid all but {value} of the {wanted} cards that its engine was told of. {_CHOOSES}"
        return Said(LEFT, why)
    return Said(ALREADY, f"{_CHOOSES} No container shares a card here: systemd lets one agent run on it at a time.")


# Where a source names its cards, what the engine itself sees first.
VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "device_ids")
CARDS: dict[str, Callable[[str | None, Values], Said]] = {
    **dict.fromkeys(VISIBLE, visible),
    "tensor-parallel-size": parallel,
    "count": reserved,
}
