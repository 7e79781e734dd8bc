#!/usr/bin/env python3
"""Break one promise at a time in a copy of this checkout, run the tests, and print which test fails first.

    mutations.py [--stop-after STAGE] [NAME...]        make mutations runs all of them

The stages are the unit tests, the contract with vLLM and the scenario default, as in `make test`. First all stages must
pass without a mutation, unless --unproven skips that. The exit status is 1 if a mutation is not detected, or if a stage
ends without a failed test. Run `make test` before, because it prepares the later stages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/roundhouse"


class Mutation(NamedTuple):
    """A file, and a text in it to replace, which occurs once."""

    file: str
    text: str
    instead: str


MUTATIONS = {
    "rollback": Mutation(
        f"{PACKAGE}/switch/rollback.py",
        "for other in now.previous:\n        now.report(",
        "for other in []:\n        now.report(",
    ),
    "drain": Mutation(f"{PACKAGE}/agents/drain.py", "limit = self._drain_seconds", "limit = 0.0"),
    "free-vram": Mutation(
        f"{PACKAGE}/agents/gpu_memory.py", "return total_gib * (1 - share) + _TOLERANCE_GIB >= used_gib", "return True"
    ),
    "hold": Mutation("roles/gateway/files/hold.lua", "if one.at - one.begun >= longest_ms then", "if true then"),
    "verification": Mutation(f"{PACKAGE}/models/download.py", "return self.digest.matches()", "return True"),
    "receipt": Mutation(f"{PACKAGE}/host/receipt.py", "if after == before:", "if after == after:"),
    "option": Mutation(f"{PACKAGE}/vllm/options.py", '"max-model-len": decided', '"max-model-length": decided'),
    "conflicts": Mutation("roles/agents/templates/agent.service.j2", "Conflicts={% for", "# Conflicts={% for"),
}
STAGES = {
    # test_mutations.py is left out, because it reads the texts to replace and fails with each mutation.
    "unit": ["pytest", "tests/unit", "--ignore=tests/unit/test_mutations.py", "-n", "2", "--exitfirst", "-q"],
    "contract": ["pytest", "tests/contract", "--exitfirst", "-q"],
    "default": ["molecule", "test", "--scenario-name", "default"],
}
FAILED = re.compile(r"^(?:.*?)((?:FAILED|ERROR) \S*\.py::[^\n]*)", re.MULTILINE)


def copy_to(folder: Path) -> None:
    """Copy the files that git tracks or would track, and install the tools there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    subprocess.run([folder / "lab/tools.sh"], check=True, stdout=subprocess.DEVNULL)
    # Some tests read the list of tracked files.
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)


def first_failure(mutation: Mutation | None, stages: list[str]) -> str | None:
    """Return the stage and the first test that fails with the mutation, None if all pass.

    Raises SystemExit if the text to replace does not occur once, or if a stage ends without a failed test.
    """
    with tempfile.TemporaryDirectory(prefix="roundhouse-mutation-") as name:
        folder = Path(name)
        copy_to(folder)
        if mutation:
            apply(mutation, folder / mutation.file)
        for stage in stages:
            environment = {**os.environ, "COLUMNS": "160", "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"}
            done = subprocess.run(
                STAGES[stage], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
                if not (found := FAILED.search(plain)):
                    raise SystemExit(f"{stage} ended with {done.returncode} and no failed test:\n{plain[-3000:]}")
                return f"{stage}: {found[1]}"
    return None


def apply(mutation: Mutation, path: Path) -> None:
    """Replace the text in the file. Raises SystemExit if it does not occur once."""
    before = path.read_text()
    if before.count(mutation.text) != 1:
        raise SystemExit(f"{mutation.file}: {mutation.text!r} occurs {before.count(mutation.text)} times, not once.")
    path.write_text(before.replace(mutation.text, mutation.instead))


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MUTATIONS)}; all when left out")
    parser.add_argument("--stop-after", choices=STAGES, default="default", help="the last stage to run")
    parser.add_argument("--unproven", action="store_true", help="do not run the stages without a mutation first")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in MUTATIONS]:
        parser.error(f"unknown: {', '.join(unknown)}. Known: {', '.join(MUTATIONS)}.")
    stages = list(STAGES)[: list(STAGES).index(args.stop_after) + 1]
    if not args.unproven:
        if failed := first_failure(None, stages):
            raise SystemExit(f"without a mutation there is a failure already: {failed}")
        sys.stdout.write("no mutation   all stages pass\n")
    missed = 0
    for name in args.names or MUTATIONS:
        found = first_failure(MUTATIONS[name], stages)
        missed += found is None
        sys.stdout.write(f"{name:<13} {found or 'NOT CAUGHT'}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
