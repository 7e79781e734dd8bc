"""Quantize a base model with a recipe, and publish the result only if it passes the quality gate.

The steps are: requirements, the recipe in its own environment, the quality gate on the real engine, a model card, and
the final name (quantized.py). After a kill during the gate, the model is not quantized again. The models of a roster
are quantized one after the other.
"""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypedDict

from ..errors import RoundhouseError, UsageError
from ..host import gpu, gpu_problem, systemd
from ..models import manifest, own_folders, quantized, store, store_layout
from ..models.manifest import Digest, File
from ..plan import deployed
from ..util import json_file
from ..vllm import kernels
from . import quality, request, requirements, run
from .quality import Position, Quality
from .request import QuantizeRequest
from .run import Say
from .scorer import Scorer

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import RequiredResult

WORK = "work" + store.PARTIAL


class QuantizedModel(TypedDict):
    """The result of `quantize`; `quality` is None if the model existed before."""

    model: str
    path: str
    changed: bool
    quality: dict[str, float] | None


class Arguments(TypedDict):
    """The arguments of the module roundhouse_quantize that this module uses."""

    quantizations: list[RequiredResult]
    store: str
    engine_path: str
    accelerator: str
    environment_path: str


def quantize(asked: QuantizeRequest, place: Path, environment: Path, scorer: Scorer, say: Say) -> QuantizedModel:
    """Quantize a model and return it. Raises RoundhouseError for unmet requirements or a failed quality gate."""
    with store.writing(place):
        store_layout.rename(place)
    name, base, final = asked.path.rpartition("/")[0], asked.base_name(), place / asked.path
    work = place / name / WORK
    if not quantized.is_made(final):
        _check_requirements(asked, place, environment, scorer)
    with store.locked(place, name, say, threading.Event()):
        if quantized.is_made(final):
            if (job := run.earlier(work)) and job["path"] == asked.path:  # a run was killed after it published
                store.remove(work)
            return {"model": name, "path": str(final), "changed": False, "quality": None}
        versions = run.quantized(asked, work, environment, say)
        try:
            found = _measured(asked, work / "model", scorer, place / ".scores", say)
            if not (job := run.earlier(work)) or job["stamp"] != own_folders.stamp(asked.base):
                raise RoundhouseError(
                    "base_changed", "{base} changed during quantization.", "Run the command again.", base=base
                )
        except RoundhouseError as error:
            if error.code in ("quality_gate_failed", "base_changed"):
                store.remove(work)
            raise
        (work / "model/README.md").write_text(model_card(asked, versions, found))
        _publish(asked, work / "model", final)
        store.remove(work)
        return {"model": name, "path": str(final), "changed": True, "quality": found._asdict()}


def quantize_all(given: Arguments, say: Say, pynvml: ModuleType | None = None) -> dict[str, object]:
    """Quantize the models that a roster needs; return {"changed", "models"}.

    Raises RoundhouseError for the first that fails. The active agent is not affected, because nothing is deployed yet.
    """
    place, made = Path(given["store"]), []
    if given["accelerator"] == "cuda":
        require_free_gpu()
    scorer = local_scorer(given["engine_path"], given["accelerator"], pynvml=pynvml)
    for required in given["quantizations"]:
        name, revision, recipe = required["model"], required["revision"], required["recipe"]
        base = Path(name) if name.startswith("/") else store.folder(place, name, revision or "main")
        say(f"quantizing {name} with {recipe}")
        try:
            asked = request.of(base, name, revision, recipe)
            made.append(quantize(asked, place, Path(given["environment_path"]), scorer, say))
        except RoundhouseError as error:
            if error.code in ("quality_gate_failed", "scoring_engine_failed"):
                error.remedy = f"Replace quantize: {recipe} in the roster by another recipe, or remove it."
            raise
    return {"changed": any(each["changed"] for each in made), "models": made}


def local_scorer(
    engine: str, accelerator: str, offload_gib: float | None = None, pynvml: ModuleType | None = None
) -> Scorer:
    """Return a scorer on this host's first card that works, or on its CPU."""
    cards = gpu.facts(answer=gpu.read(pynvml))["gpus"] if accelerator == "cuda" else []
    usable = (card for card in cards if gpu_problem.of(card) is None)
    return Scorer(engine, accelerator, offload_gib, next(usable, None))


def busy_card() -> str | None:
    """Return a sentence if an agent of the deployed plan uses the card, None otherwise."""
    for agent in deployed.load()["agents"] if deployed.PATH.exists() else []:
        if systemd.show(agent["unit"]).state in ("ready", "starting"):
            return f"{agent['name']} uses the card that the quality gate needs. Run `systemctl stop {agent['unit']}`."
    return None


def require_free_gpu() -> None:
    """Raise UsageError if an agent of the deployed plan uses the card."""
    if problem := busy_card():
        raise UsageError("gpu_in_use", "{problem}", problem=problem)


def model_card(asked: QuantizeRequest, versions: dict[str, str], found: Quality) -> str:
    """Return the model card in Markdown: base, recipe, versions, and the measurements of the quality gate."""
    recipe = asked.recipe
    calibration = f"{asked.samples} texts from {asked.texts.source}" if recipe.samples else "none"
    rows = {
        "base": f"{asked.model}, {'as stamped' if asked.model.startswith('/') else 'revision'} {asked.revision}",
        "recipe": f"{asked.recipe_name}: {recipe.about}",
        "scheme": f"{recipe.scheme}" + (f", groups of {asked.group_size}" if recipe.group_size else ""),
        "calibration": calibration,
        "sha256 of the texts": asked.texts.sha256,
        "seed": asked.seed,
        "made with": ", ".join(f"{package} {number}" for package, number in versions.items()),
        "KL divergence": f"{found.kl:.5f} nats per token (at most {recipe.bounds.kl})",
        "top-1 agreement": f"{found.top1:.4f} (at least {recipe.bounds.top1})",
        "perplexity": f"{found.perplexity:.3f}; the base has {found.base_perplexity:.3f}",
        "measured with": f"vLLM, on {found.tokens} held-out tokens",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {asked.base_name()}, {asked.recipe_name}\n\nMade by Roundhouse.\n\n| | |\n|---|---|\n{lines}\n"


def _check_requirements(asked: QuantizeRequest, place: Path, environment: Path, scorer: Scorer) -> None:
    model = requirements.read(asked.base)
    problems = requirements.problems(model, asked.recipe, asked.group_size, place)
    if scorer.accelerator == "cpu" and (obstacle := kernels.obstacle(asked.recipe.form)):
        problems.append(obstacle)
    problems += requirements.card_problems(model, asked.recipe, scorer.card) if scorer.card else []
    if problems := problems or run.text_problems(asked, environment):
        what = f"{asked.base_name()} with {asked.recipe_name}"
        sentences = "\n".join(f"{what}: {problem}" for problem in problems)
        raise UsageError("quantize_requirements_unmet", "{sentences}", sentences=sentences, problems=problems)


def _measured(asked: QuantizeRequest, other: Path, scorer: Scorer, cache: Path, say: Say) -> Quality:
    """Return the quality of the other model relative to the base. Raises RoundhouseError if it misses a bound."""
    found, different = None, quality.other_vocabulary(asked.base, other)
    if different:
        missed = [different]
    else:
        say("scoring the base model")
        base = _base_scores(asked, scorer, cache)
        say("scoring the quantized model")
        found = quality.compare(base, scorer.score(other, asked.texts.held_out, cache))
        missed = quality.refusals(found, asked.recipe.bounds)
    if missed or found is None:
        raise RoundhouseError(
            "quality_gate_failed",
            "{model} failed the quality gate, and {base} is not replaced: {missed}",
            "Use another recipe.",
            model=asked.path.rpartition("/")[0],
            base=asked.base_name(),
            missed=" ".join(missed),
            quality=found and found._asdict(),
        )
    return found


def _base_scores(asked: QuantizeRequest, scorer: Scorer, cache: Path) -> list[Position]:
    """Return the base's scores, cached by a hash of its weights, the texts and the engine."""
    stated = manifest.read(asked.base)
    content = json.dumps(stated.sha256 if stated else _hashes(asked.base), sort_keys=True)
    key = hashlib.sha256(f"{content} {asked.texts.sha256} {scorer.engine_path}".encode()).hexdigest()
    path = cache / f"{key[:24]}.json"
    if path.exists():
        return [Position(actual, likeliest) for actual, likeliest in json.loads(path.read_text())]
    store.make_folder(cache)
    found = scorer.score(asked.base, asked.texts.held_out, cache)
    json_file.write(path, found)
    return found


def _publish(asked: QuantizeRequest, folder: Path, final: Path) -> None:
    name, _, key = asked.path.rpartition("/")
    hashes = _hashes(folder)
    files = [File(one, (folder / one).stat().st_size, f"sha256:{value}") for one, value in hashes.items()]
    held = manifest.Manifest(name, key, files, asked="main", source=f"{asked.base_name()}, quantized here")
    for file in files:
        held.record(folder, file, hashes[file.path])
    store.publish(folder, final, held)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != manifest.NAME):
        digest = Digest(File(path.name, path.stat().st_size, "sha256:"))
        digest.read(path)
        found[path.name] = digest.sha256()
    return found
