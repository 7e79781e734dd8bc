"""The row of preflight's table about the disk: what this run brings against what is free, before anything is changed.

A model that is locked counts byte for byte, less what is there; another by the fit's estimate, and where there is none
by the pull itself, which asks the hub and looks again before its first byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from . import container_engine, model_files, plan, quantized, space, store, verify
from .preflight_host import Row, Wanted
from .progress import GIB

# Disk that the engine's environment takes, or that of quantizing, which is smaller: the CPU's was measured (2.5 GB with
# bytecode), the CUDA one is larger by the CUDA libraries that its wheels bring (an upper bound, not measured here).
ENGINE_DISK_GIB = {"cpu": 4, "cuda": 16}
# The same in an image, packed and unpacked at once while it is pulled, with CUDA itself: an upper bound, not measured.
IMAGE_DISK_GIB = {"cpu": 12, "cuda": 40}


class Brought(NamedTuple):
    """One thing that is to come: its name in the sentence, the setting's path, and how much disk it takes."""

    what: str
    place: str
    size: int


def builds_engine(wanted: Wanted) -> bool:
    """Return whether this run makes the engine's environment: to serve, or to judge what is quantized."""
    asked = not wanted.image or any(not Path(each["path"]).is_dir() for each in quantized.wishes(wanted.agents))
    return asked and not Path(wanted.engine_path).exists()


def row(wanted: Wanted) -> Row:
    """Compare by disk: the engine and the models may lie on the same one."""
    by_disk: dict[int, list[Brought]] = {}
    for each in _brought(wanted):
        by_disk.setdefault(store.standing(Path(each.place)).stat().st_dev, []).append(each)
    found = []
    for parts in by_disk.values():
        places = list(dict.fromkeys(part.place for part in parts))
        named = places[0] if len(places) == 1 else f"The disk of {' and '.join(places)}"
        needs = {part.what: part.size for part in parts}
        free = store.free_bytes(Path(places[0]))
        if said := space.shortage(named, free, needs, models=wanted.models_store in places):
            found.append(said)
    left = store.free_bytes(Path(wanted.models_store)) / GIB
    return Row("disk", f"{left:.1f} GiB free for models ({wanted.models_store})", found)


def _brought(wanted: Wanted) -> list[Brought]:
    found = []
    if wanted.image and not container_engine.has_image(wanted.image):
        size = IMAGE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the engine's image up to", container_engine.data_root(), size))
    if builds_engine(wanted):
        size = ENGINE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the engine up to", wanted.engine_path, size))
    results = [each for each in quantized.wishes(wanted.agents) if not Path(each["path"]).is_dir()]
    if results and not Path(wanted.quantize_path).exists():
        size = ENGINE_DISK_GIB[wanted.accelerator] * GIB
        found.append(Brought("the environment of quantizing up to", wanted.quantize_path, size))
    estimates = _estimates(wanted.agents)
    found += [
        Brought(f"{each['model']} by {each['recipe']} up to", wanted.models_store, estimates[each["path"]])
        for each in results
        if each["path"] in estimates
    ]
    for wish in verify.needed(wanted.wishes, results):
        name, size = f"{wish['model']} up to", estimates.get(plan.path_of(wish, wanted.models_store), 0)
        if wish["files"] is not None:
            from . import pull_job  # it has the hub's client

            name, files = f"{wish['model']} at {wish['revision'][:8]}", model_files.from_json(wish["files"])
            size = pull_job.lacking_bytes(Path(wanted.models_store), wish["model"], wish["revision"], files)
        if size:
            found.append(Brought(name, wanted.models_store, size))
    return found


def _estimates(agents: list[dict[str, Any]]) -> dict[str, int]:
    """Return how large the fit takes the weights of a folder to be, for the models that are not there."""
    found = {}
    for agent in agents:
        per_card = (agent.get("fit") or {}).get("weights_gib_per_rank")
        if per_card and not Path(agent["model_path"]).exists():
            found[agent["model_path"]] = round(per_card * len(agent["gpus"]) * GIB)
    return found
