"""A recipe in its own environment: what is asked of it, what an earlier run had done of that, and how far it is."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import paths
from ..errors import RoundhouseError
from ..models import store
from ..models.quantized import stamp
from ..util import files
from . import requirements, token_count, worker
from .request import Wanted

MAX_TOKENS = 512
# Imported so that Ansible ships them too; each runs as a program of its own, on another Python.
_WORKER, _TOKEN_COUNT = paths.program(worker), paths.program(token_count)
_VARIABLES = {"PYTHONPATH": str(paths.IMPORT_ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
SAY_SECONDS = 10.0

Say = Callable[[str], None]


def text_problems(wanted: Wanted, environment: Path) -> list[str]:
    """Count the tokens of the texts by the base's own tokenizer, in the environment, which has one to run it."""
    parts = {"calibrate with": _calibration(wanted), "judge by": wanted.texts.held_out}
    command = [str(environment / "bin/python"), "-m", _TOKEN_COUNT, str(wanted.base)]
    try:
        done = subprocess.run(
            command, env=os.environ | _VARIABLES, input=json.dumps(parts), capture_output=True, text=True, check=True
        )
        counted: dict[str, int] = json.loads(done.stdout)
    except FileNotFoundError:
        return [f"{command[0]} is not there: run ansible-playbook playbooks/quantize.yml."]
    except (subprocess.CalledProcessError, ValueError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return [f"its tokenizer cannot be used: {said.strip().splitlines()[-1]}"]
    return requirements.short(counted, wanted.texts.source)


def job(wanted: Wanted, work: Path, environment: Path) -> dict[str, Any]:
    """Return what quantize_work is asked to do, and what its result belongs to."""
    recipe = wanted.recipe
    return {
        **{"base": str(wanted.base), "folder": str(work / "model"), "method": recipe.method, "scheme": recipe.scheme},
        "group_size": wanted.group_size if recipe.group_size else 0,
        "texts": _calibration(wanted),
        "max_tokens": MAX_TOKENS,
        "seed": wanted.seed,
        # The base of that name may be another one by the time a run goes on; so may what quantizes.
        "path": wanted.path,
        "revision": wanted.revision,
        "stamp": stamp(wanted.base),
        "form": recipe.form,
        "environment": str(environment),
    }


def _calibration(wanted: Wanted) -> list[str]:
    return wanted.texts.calibration[: wanted.samples] if wanted.recipe.samples else []


def earlier(work: Path) -> dict[str, Any]:
    """Return the job of an earlier run, empty where there is none."""
    path = work / "job.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def quantized(wanted: Wanted, work: Path, environment: Path, say: Say) -> dict[str, str]:
    """Run the recipe, unless an earlier run of the same job had come to its end; return the versions."""
    asked, done = job(wanted, work, environment), work / "versions.json"
    if done.exists() and earlier(work) == asked:
        say("quantized by an earlier run; going on with the gate")
    else:
        if work.exists():
            store.remove(work)
        store.make_folder(work)
        files.write(work / "job.json", json.dumps(asked))
        _run(environment, work / "job.json", work / "log", say)
    versions: dict[str, str] = json.loads(done.read_text())
    return versions


def _run(environment: Path, job: Path, log: Path, say: Say) -> None:
    """Run quantize_work in the environment of quantizing; say its last line now and then."""
    with log.open("wb") as out:
        command = [str(environment / "bin/python"), "-m", _WORKER, str(job)]
        process = subprocess.Popen(command, env=os.environ | _VARIABLES, stdout=out, stderr=out)
        begun = time.monotonic()
        try:
            while process.poll() is None:
                try:
                    process.wait(timeout=SAY_SECONDS)
                except subprocess.TimeoutExpired:
                    say(f"quantizing for {time.monotonic() - begun:.0f} s: {_last_line(log)}")
        finally:
            if process.poll() is None:
                process.kill()
    if process.returncode != 0:
        raise RoundhouseError("quantize", f"llm-compressor ended with {process.returncode}: {_last_line(log)} ({log})")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")[:200]
