"""`roundhouse quantise`: make a quantised model of a base by a recipe, and admit it only when it still speaks.

Preflight, the recipe in its own environment, the gate on the real engine, a model card, and then the
final name (quantised.py). What was quantised when a run was killed
before the gate had spoken is not quantised again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import gate, manifest, quantise_check, quantise_work, quantised, store
from .errors import RoundhouseError, UsageError
from .gate import Position, Quality
from .judge import Judge
from .model_files import Digest, File
from .quantise_wanted import Wanted

WORK = "work" + store.PARTIAL
MAX_TOKENS = 512
# Imported so that Ansible ships it too; it runs as a program of its own, on another Python.
_WORK_MODULE = quantise_work.__name__.rpartition(".")[2]
SAY_SECONDS = 10.0

Say = Callable[[str], None]


def make(wanted: Wanted, place: Path, environment: Path, judge: Judge, say: Say) -> dict[str, Any]:
    """Return {"model", "path", "changed", "quality"} of the admitted model; `quality` is None where it was there.

    Raises RoundhouseError with what stands in the way, or by how much the gate was missed.
    """
    name, base, final = wanted.path.rpartition("/")[0], wanted.base_name(), place / wanted.path
    if not quantised.is_made(final):
        _refuse_what_cannot_end_well(wanted, place)
    with store.locked(place, name, say, threading.Event()):
        if quantised.is_made(final):
            return {"model": name, "path": str(final), "changed": False, "quality": None}
        work = place / name / WORK
        versions = _quantised(wanted, work, environment, say)
        different = gate.other_vocabulary(wanted.base, work / "model")
        quality = None if different else _judged(wanted, work / "model", judge, place / ".scores", say)
        missed = gate.refusals(quality, wanted.recipe.bounds) if quality else [str(different)]
        if missed or quality is None:
            store.remove(work)
            raise RoundhouseError("gate", f"{name} is not admitted, and {base} stays in service: {' '.join(missed)}")
        (work / "model/README.md").write_text(card(wanted, versions, quality))
        _name_it(wanted, work, final)
        return {"model": name, "path": str(final), "changed": True, "quality": quality._asdict()}


def _refuse_what_cannot_end_well(wanted: Wanted, place: Path) -> None:
    found = quantise_check.problems(quantise_check.read(wanted.base), wanted.recipe, wanted.group_size, place)
    if found:
        raise UsageError("quantise", "\n".join(f"{wanted.base_name()} by {wanted.recipe_name}: {one}" for one in found))


def _judged(wanted: Wanted, other: Path, judge: Judge, kept: Path, say: Say) -> Quality:
    """Return how far the other model is from the base."""
    say("the base on the engine")
    first = _base_scores(wanted, judge, kept)
    say("the quantised model on the engine")
    return gate.compare(first, judge.score(other, wanted.texts.held_out))


def _quantised(wanted: Wanted, work: Path, environment: Path, say: Say) -> dict[str, str]:
    """Run the recipe, unless an earlier run of the same job had come to its end; return the versions."""
    job = {
        "base": str(wanted.base),
        "folder": str(work / "model"),
        "method": wanted.recipe.method,
        "scheme": wanted.recipe.scheme,
        "group_size": wanted.group_size if wanted.recipe.group_size else 0,
        "texts": wanted.texts.calibration[: wanted.samples] if wanted.recipe.samples else [],
        "max_tokens": MAX_TOKENS,
        "seed": wanted.seed,
    }
    done, asked = work / "versions.json", work / "job.json"
    if done.exists() and json.loads(asked.read_text()) == job:
        say("quantised by an earlier run; going on with the gate")
    else:
        if work.exists():
            store.remove(work)
        store.make_folder(work)
        asked.write_text(json.dumps(job))
        _run(environment, asked, work / "log", say)
    versions: dict[str, str] = json.loads(done.read_text())
    return versions


def _run(environment: Path, job: Path, log: Path, say: Say) -> None:
    """Run quantise_work in the environment of quantising; say its last line now and then."""
    variables = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        command = [str(environment / "bin/python"), "-m", f"roundhouse.{_WORK_MODULE}", str(job)]
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=out, stderr=out)
        begun = time.monotonic()
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=SAY_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"quantising for {time.monotonic() - begun:.0f} s: {_last_line(log)}")
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        raise RoundhouseError("quantise", f"llm-compressor ended with {process.returncode}: {_last_line(log)} ({log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")[:200]


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
    held = manifest.Manifest(name, key, files, asked="main", source=f"{wanted.base_name()}, quantised here")
    for file in files:
        (folder / file.path).chmod(0o644)
        held.note(folder, file, hashes[file.path])
    held.verified_at = manifest.now()
    held.write(folder)
    folder.chmod(0o755)
    if final.exists():
        store.remove(final)
    folder.rename(final)
    store.remove(work)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != manifest.NAME):
        digest = Digest(File(path.name, path.stat().st_size, "sha256:"))
        digest.read(path)
        found[path.name] = digest.sha256()
    return found


def card(wanted: Wanted, versions: dict[str, str], quality: Quality) -> str:
    """Return the model card: what it was made of, by what, and what the gate measured."""
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
