"""Check that the disk has room for the run's downloads and builds, as the disk's row of the preflight table.

A locked model counts with its exact size, less the downloaded bytes. Other models count with the fit's estimate.
Without an estimate the pull gets the size from the hub and checks the disk before its first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..host import docker
from ..models import manifest, quantized, store, verify
from ..plan import model_folder
from ..util.units import GIB
from .preflight_host import Wanted
from .preflight_row import Row

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredResult
    from roundhouse.schema.plan import Agent

# Disk space of the engine's environment, or of the smaller one for quantization. The CPU value was measured (2.5 GB
# with bytecode). The CUDA value includes the CUDA libraries and is an upper bound, not measured.
ENGINE_DISK_GIB = {"cpu": 4, "cuda": 16}
# The engine as an image, packed and unpacked at once during the pull, with CUDA: an upper bound, not measured.
IMAGE_DISK_GIB = {"cpu": 12, "cuda": 40}


class Item(NamedTuple):
    """One item to download or build: its name in messages, its folder, and its size."""

    name: str
    place: str
    size_bytes: int


def builds_engine(wanted: Wanted) -> bool:
    """Return true if this run builds the engine's environment, to serve agents or for the quality gate."""
    needed = not wanted.image or bool(missing_results(wanted))
    return needed and not Path(wanted.engine_path).exists()


def missing_results(wanted: Wanted) -> list[RequiredResult]:
    """Return the quantized models that this run makes."""
    return [each for each in quantized.required_results(wanted.agents) if not quantized.is_there(each)]


def row(wanted: Wanted) -> Row:
    """Return the disk's row. Each disk is checked once, because engine and models may be on the same disk."""
    by_disk: dict[int, list[Item]] = {}
    for item in (*_environments(wanted), *_models(wanted)):
        by_disk.setdefault(store.nearest_existing(Path(item.place)).stat().st_dev, []).append(item)
    problems = []
    for items in by_disk.values():
        places = list(dict.fromkeys(item.place for item in items))
        named = places[0] if len(places) == 1 else f"The disk of {' and '.join(places)}"
        sizes = {item.name: item.size_bytes for item in items}
        free = store.free_bytes(Path(places[0]))
        if problem := store.shortage(named, free, sizes, models=wanted.models_store in places):
            problems.append(problem)
    free_gib = store.free_bytes(Path(wanted.models_store)) / GIB
    return Row("disk", f"{free_gib:.1f} GiB free for models ({wanted.models_store})", problems)


def _environments(wanted: Wanted) -> Iterator[Item]:
    engine_bytes = ENGINE_DISK_GIB[wanted.accelerator] * GIB
    if wanted.image and not docker.has_image(wanted.image):
        yield Item("the engine's image up to", docker.data_root(), IMAGE_DISK_GIB[wanted.accelerator] * GIB)
    if builds_engine(wanted):
        yield Item("the engine up to", wanted.engine_path, engine_bytes)
    if missing_results(wanted) and not Path(wanted.quantize_path).exists():
        yield Item("the quantization environment up to", wanted.quantize_path, engine_bytes)


def _models(wanted: Wanted) -> Iterator[Item]:
    results, estimates = missing_results(wanted), _estimates(wanted.agents)
    for each in results:
        if each["path"] in estimates:
            yield Item(f"{each['model']} with {each['recipe']} up to", wanted.models_store, estimates[each["path"]])
    for required in verify.needed(wanted.required_models, results):
        folder = model_folder.path_of(required["model"], wanted.models_store, required.get("revision"))
        name, size = f"{required['model']} up to", estimates.get(folder, 0)
        if required["files"] is not None:
            from ..models import pull_job  # imported here because it imports the hub's client

            name, files = f"{required['model']} at {required['revision'][:8]}", manifest.from_json(required["files"])
            size = pull_job.missing_bytes(Path(wanted.models_store), required["model"], required["revision"], files)
        if size:
            yield Item(name, wanted.models_store, size)


def _estimates(agents: list[Agent]) -> dict[str, int]:
    """Return the fit's estimate of the weights in bytes by folder, for the models that the host lacks."""
    found = {}
    for agent in agents:
        fit = agent.get("fit")
        per_card = fit["weights_gib_per_rank"] if fit else None
        if per_card and not Path(agent["model_path"]).exists():
            found[agent["model_path"]] = round(per_card * len(agent["gpus"]) * GIB)
    return found
