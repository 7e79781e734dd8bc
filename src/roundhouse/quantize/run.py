"""Run a recipe in its own environment: write its job, reuse an earlier run's result, and report the progress."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .. import paths
from ..errors import RoundhouseError
from ..models import store
from ..models.own_folders import stamp
from ..util import json_file, process
from . import requirements, token_count, worker
from .request import QuantizeRequest

MAX_TOKENS = 512
# Imported so that Ansible ships them too. Each runs as a separate program, with the environment's Python.
_WORKER, _TOKEN_COUNT = paths.program(worker), paths.program(token_count)
_VARIABLES = {"PYTHONPATH": str(paths.IMPORT_ROOT), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
SAY_SECONDS = 10.0

Say = Callable[[str], None]


def text_problems(asked: QuantizeRequest, environment: Path) -> list[str]:
    """Return a sentence for each part of the texts with too few tokens.

    The base's own tokenizer counts the tokens, in the quantization environment, which has a library for it.
    """
    parts = {"calibration": _calibration(asked), "evaluation": asked.texts.held_out}
    command = [str(environment / "bin/python"), "-m", _TOKEN_COUNT, str(asked.base)]
    try:
        done = process.run(command, env=os.environ | _VARIABLES, input=json.dumps(parts), check=True)
        counted: dict[str, int] = json.loads(done.stdout)
    except FileNotFoundError:
        return [f"{command[0]} does not exist: run ansible-playbook playbooks/quantize.yml."]
    except (subprocess.CalledProcessError, ValueError) as error:
        output = getattr(error, "stderr", "") or str(error)
        return [f"its tokenizer failed: {output.strip().splitlines()[-1]}"]
    return requirements.short(counted, asked.texts.source)


def job(asked: QuantizeRequest, work: Path, environment: Path) -> worker.Job:
    """Return the worker's job, with the values that identify its result."""
    recipe = asked.recipe
    return {
        "base": str(asked.base),
        "folder": str(work / "model"),
        "method": recipe.method,
        "scheme": recipe.scheme,
        "group_size": asked.group_size if recipe.group_size else 0,
        "texts": _calibration(asked),
        "max_tokens": MAX_TOKENS,
        "seed": asked.seed,
        "path": asked.path,
        "revision": asked.revision,
        "stamp": stamp(asked.base),
        "form": recipe.form,
        "environment": str(environment),
    }


def _calibration(asked: QuantizeRequest) -> list[str]:
    return asked.texts.calibration[: asked.samples] if asked.recipe.samples else []


def earlier(work: Path) -> worker.Job | None:
    """Return the job of an earlier run, None if there is none."""
    path = work / "job.json"
    found: worker.Job | None = json.loads(path.read_text()) if path.exists() else None
    return found


def quantized(asked: QuantizeRequest, work: Path, environment: Path, say: Say) -> dict[str, str]:
    """Run the recipe unless an earlier run of the same job completed it; return the packages' versions."""
    wanted, done = job(asked, work, environment), work / "versions.json"
    if done.exists() and earlier(work) == wanted:
        say("an earlier run quantized the model; continuing with the quality gate")
    else:
        if work.exists():
            store.remove(work)
        store.make_folder(work)
        json_file.write(work / "job.json", wanted)
        _run(environment, work / "job.json", work / "log", say)
    versions: dict[str, str] = json.loads(done.read_text())
    return versions


def _run(environment: Path, job: Path, log: Path, say: Say) -> None:
    """Run the worker in the quantization environment, and report its last line every 10 s."""
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
        raise RoundhouseError(
            "quantize_worker_failed",
            "llm-compressor exited with status {status}: {last_line}",
            "See {log}.",
            status=process.returncode,
            last_line=_last_line(log),
            log=str(log),
        )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting")[:200]
