"""The model card of a result: what it was made of, by what, and what the gate measured.

`roundhouse quantize`: make a quantized model of a base by a recipe, and admit it only when it still speaks.

Preflight, the recipe in its own environment, the gate on the real engine, a model card, and then the
final name (quantized.py). What was quantized when a run was killed
before the gate had spoken is not quantized again.

The results that a roster asks for, made one after the other; and what by hand and by roster is the same.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..host import gpu, systemd
from ..models import manifest, quantized, store
from ..models.manifest import Digest, File
from ..plan import deployed
from ..util import files
from ..vllm import kernels
from . import quality as quantize_quality
from . import request, requirements, run
from .quality import Position, Quality
from .request import Wanted
from .scorer import Judge


def text(wanted: Wanted, versions: dict[str, str], quality: Quality) -> str:
    """Return the card, in Markdown."""
    recipe = wanted.recipe
    calibration = f"{wanted.samples} texts of {wanted.texts.source}" if recipe.samples else "none"
    rows = {
        "base": f"{wanted.model}, {'as stamped' if wanted.model.startswith('/') else 'revision'} {wanted.revision}",
        "recipe": f"{wanted.recipe_name}: {recipe.about}",
        "scheme": f"{recipe.scheme}" + (f", groups of {wanted.group_size}" if recipe.group_size else ""),
        "calibration": calibration,
        "sha256 of the texts": wanted.texts.sha256,
        "seed": wanted.seed,
        "made with": ", ".join(f"{package} {number}" for package, number in versions.items()),
        "KL divergence": f"{quality.kl:.5f} nats a token (at most {recipe.bounds.kl})",
        "top-1 agreement": f"{quality.top1:.4f} (at least {recipe.bounds.top1})",
        "perplexity": f"{quality.perplexity:.3f}, the base {quality.base_perplexity:.3f}",
        "judged by": f"the engine that serves it, over {quality.tokens} held-out tokens",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {wanted.base_name()}, {wanted.recipe_name}\n\nMade by Roundhouse.\n\n| | |\n|---|---|\n{lines}\n"


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
            if run.earlier(work).get("path") == wanted.path:  # killed when it had its name already
                store.remove(work)
            return {"model": name, "path": str(final), "changed": False, "quality": None}
        versions = run.quantized(wanted, work, environment, say)
        different = quantize_quality.other_vocabulary(wanted.base, work / "model")
        quality = None if different else _judged(wanted, work / "model", judge, place / ".scores", say)
        missed = quantize_quality.refusals(quality, wanted.recipe.bounds) if quality else [str(different)]
        if missed or quality is None:
            store.remove(work)
            raise RoundhouseError("gate", f"{name} is not admitted, and {base} stays in service: {' '.join(missed)}")
        if run.earlier(work)["stamp"] != quantized.stamp(wanted.base):
            store.remove(work)
            raise RoundhouseError("quantize", f"{base} was changed while it was quantized: run it again.")
        (work / "model/README.md").write_text(text(wanted, versions, quality))
        _name_it(wanted, work, final)
        return {"model": name, "path": str(final), "changed": True, "quality": quality._asdict()}


def _refuse_what_cannot_end_well(wanted: Wanted, place: Path, environment: Path, judge: Judge) -> None:
    model = requirements.read(wanted.base)
    found = requirements.problems(model, wanted.recipe, wanted.group_size, place)
    if judge.accelerator == "cpu" and (said := kernels.obstacle(wanted.recipe.form)):
        found.append(said)
    found += requirements.card_problems(model, wanted.recipe, judge.card) if judge.card else []
    found = found or run.text_problems(wanted, environment)
    if found:
        raise UsageError("quantize", "\n".join(f"{wanted.base_name()} by {wanted.recipe_name}: {one}" for one in found))


def _judged(wanted: Wanted, other: Path, judge: Judge, kept: Path, say: Say) -> Quality:
    """Return how far the other model is from the base."""
    say("the base on the engine")
    first = _base_scores(wanted, judge, kept)
    say("the quantized model on the engine")
    return quantize_quality.compare(first, judge.score(other, wanted.texts.held_out))


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
    files.write(path, json.dumps(found))
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


Given = dict[str, Any]


def all_of(given: Given, say: Say, pynvml: Any = None) -> Given:
    """Return {"changed", "models"}; `given` has quantizations (quantized.wishes), and where store and parts are.

    Raises RoundhouseError at the first that is not admitted: what serves goes on, for nothing was deployed yet.
    """
    place, made = Path(given["store"]), []
    if given["accelerator"] == "cuda" and (said := busy_card()):
        raise UsageError("quantize", said)
    asked = judge(given["engine_path"], given["accelerator"], pynvml=pynvml)
    for wish in given["quantizations"]:
        name, revision = wish["model"], wish["revision"]
        base = Path(name) if name.startswith("/") else store.folder(place, name, revision)
        wanted = request.of(base, name, revision, wish["recipe"])
        say(f"{wish['model']} by {wish['recipe']}")
        try:
            made.append(make(wanted, place, Path(given["environment_path"]), asked, say))
        except RoundhouseError as error:
            if error.code != "gate":
                raise
            cure = f"Name another recipe than quantize: {wish['recipe']} in the roster, or leave it out."
            raise RoundhouseError("gate", f"{error.message} {cure}") from None
    return {"changed": any(each["changed"] for each in made), "models": made}


def judge(engine: str, accelerator: str, offload_gib: float | None = None, pynvml: Any = None) -> Judge:
    """Return the judge on this host's first card, or on its CPU."""
    cards = gpu.facts(answer=gpu.read(pynvml))["gpus"] if accelerator == "cuda" else []
    return Judge(engine, accelerator, offload_gib, cards[0] if cards else None)


def busy_card() -> str | None:
    """Return a sentence when an agent of the deployed plan is on the card, which the gate needs free."""
    for agent in deployed.load()["agents"] if deployed.PATH.exists() else []:
        if systemd.show(agent["unit"]).state in ("ready", "starting"):
            return f"{agent['name']} holds the card, which the gate needs: first systemctl stop {agent['unit']}."
    return None
