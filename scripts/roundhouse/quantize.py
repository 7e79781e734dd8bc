"""`roundhouse quantize`: make a quantized model of a base by a recipe, and admit it only when it still speaks.

Preflight, the recipe in its own environment, the gate on the real engine, a model card, and then the
final name (quantized.py). What was quantized when a run was killed
before the gate had spoken is not quantized again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import cpu_kernels, gate, manifest, quantize_card, quantize_check, quantize_run, quantized, store
from .errors import RoundhouseError, UsageError
from .gate import Position, Quality
from .judge import Judge
from .model_files import Digest, File
from .quantize_wanted import Wanted

WORK = "work" + store.PARTIAL
Say = Callable[[str], None]


def make(wanted: Wanted, place: Path, environment: Path, judge: Judge, say: Say) -> dict[str, Any]:
    """Return {"model", "path", "changed", "quality"} of the admitted model; `quality` is None where it was there.

    Raises RoundhouseError with what stands in the way, or by how much the gate was missed.
    """
    name, base, final = wanted.path.rpartition("/")[0], wanted.base_name(), place / wanted.path
    work = place / name / WORK
    if not quantized.is_made(final):
        _refuse_what_cannot_end_well(wanted, place, environment, judge)
    with store.locked(place, name, say, threading.Event()):
        if quantized.is_made(final):
            if quantize_run.earlier(work).get("path") == wanted.path:  # killed when it had its name already
                store.remove(work)
            return {"model": name, "path": str(final), "changed": False, "quality": None}
        versions = quantize_run.quantized(wanted, work, environment, say)
        different = gate.other_vocabulary(wanted.base, work / "model")
        quality = None if different else _judged(wanted, work / "model", judge, place / ".scores", say)
        missed = gate.refusals(quality, wanted.recipe.bounds) if quality else [str(different)]
        if missed or quality is None:
            store.remove(work)
            raise RoundhouseError("gate", f"{name} is not admitted, and {base} stays in service: {' '.join(missed)}")
        if quantize_run.earlier(work)["stamp"] != quantized.stamp(wanted.base):
            store.remove(work)
            raise RoundhouseError("quantize", f"{base} was changed while it was quantized: run it again.")
        (work / "model/README.md").write_text(quantize_card.text(wanted, versions, quality))
        _name_it(wanted, work, final)
        return {"model": name, "path": str(final), "changed": True, "quality": quality._asdict()}


def _refuse_what_cannot_end_well(wanted: Wanted, place: Path, environment: Path, judge: Judge) -> None:
    model = quantize_check.read(wanted.base)
    found = quantize_check.problems(model, wanted.recipe, wanted.group_size, place)
    if judge.accelerator == "cpu" and (said := cpu_kernels.obstacle(wanted.recipe.form)):
        found.append(said)
    found += quantize_check.card_problems(model, wanted.recipe, judge.card) if judge.card else []
    found = found or quantize_run.text_problems(wanted, environment)
    if found:
        raise UsageError("quantize", "\n".join(f"{wanted.base_name()} by {wanted.recipe_name}: {one}" for one in found))


def _judged(wanted: Wanted, other: Path, judge: Judge, kept: Path, say: Say) -> Quality:
    """Return how far the other model is from the base."""
    say("the base on the engine")
    first = _base_scores(wanted, judge, kept)
    say("the quantized model on the engine")
    return gate.compare(first, judge.score(other, wanted.texts.held_out))


def _base_scores(wanted: Wanted, judge: Judge, kept: Path) -> list[Position]:
    """Return the base's scores, kept under a key of its weights, the text and the engine."""
    stated = manifest.read(wanted.base)
    content = json.dumps(stated.sha256 if stated else _hashes(wanted.base), sort_keys=True)
    key = hashlib.sha256(f"{content} {wanted.texts.sha256} {judge.engine_path}".encode()).hexdigest()
    path = kept / f"{key[:24]}.json"
    if path.exists():
        return [Position(actual, likeliest) for actual, likeliest in json.loads(path.read_text())]
    found = judge.score(wanted.base, wanted.texts.held_out)
    store.make_folder(kept)
    manifest.write_aside(path, json.dumps(found))
    return found


def _name_it(wanted: Wanted, work: Path, final: Path) -> None:
    """Give the model its final name, with a manifest."""
    folder, (name, _, key) = work / "model", wanted.path.rpartition("/")
    hashes = _hashes(folder)
    files = [File(one, (folder / one).stat().st_size, f"sha256:{value}") for one, value in hashes.items()]
    held = manifest.Manifest(name, key, files, asked="main", source=f"{wanted.base_name()}, quantized here")
    for file in files:
        (folder / file.path).chmod(0o644)
        held.note(folder, file, hashes[file.path])
    held.verified_at = manifest.now()
    held.write(folder)
    folder.chmod(0o755)
    for path in (*folder.iterdir(), folder):
        store.sync(path)
    if final.exists():
        store.remove(final)
    folder.rename(final)
    store.sync(final.parent)
    store.remove(work)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != manifest.NAME):
        digest = Digest(File(path.name, path.stat().st_size, "sha256:"))
        digest.read(path)
        found[path.name] = digest.sha256()
    return found
