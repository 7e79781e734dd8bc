"""`bench [AGENT]`: how fast who serves is, as a table, a JSON file and a picture."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from ..bench import load as bench_load
from ..bench import report, run
from ..bench import target as bench_target
from ..bench.load import Load
from ..errors import RoundhouseError, UsageError
from ..plan import deployed
from ..state import serving
from ..util import console
from . import remote

FOLDER = serving.FOLDER.parent / "bench"
PARALLEL = "1,4,16"
EPILOG = """\
The load is made by vLLM's own `vllm bench serve`: random prompts, each answer as long as asked. Nothing is switched:
whoever serves is measured, and others' requests at that time count. With --against the same load goes to another
endpoint, level by level in turn, and the ratios are the agent's figure divided by the other's. Beside a card's agent
another engine has no room: let that run on a host of its own, or measure it first with --against a second host.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="switch.py bench",
        allow_abbrev=False,
        description="Measure who serves: first token, tokens per second, requests per minute.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("agent", nargs="?", metavar="AGENT", help="one that serves (default: the one that does)")
    made.add_argument("--parallel", default=PARALLEL, metavar="N,...", help="requests at once (default: %(default)s)")
    made.add_argument(
        "--requests", type=int, metavar="N", help="of each level (default: 4 times those at once, from 8)"
    )
    made.add_argument("--input-tokens", type=int, default=512, metavar="N", help="of a prompt (default: %(default)s)")
    made.add_argument("--output-tokens", type=int, default=128, metavar="N", help="of an answer (default: %(default)s)")
    made.add_argument("--against", metavar="URL", help="another OpenAI endpoint: Ollama's, llama.cpp's, another host's")
    made.add_argument("--against-model", metavar="NAME", help="its model, where it has several")
    made.add_argument("--against-key", type=Path, metavar="FILE", help="its key, where it wants one")
    made.add_argument("--to", type=Path, metavar="FOLDER", help=f"for the JSON and the PNG (default: {FOLDER})")
    made.add_argument("--on", metavar="HOST", help="run it there: lab, or ssh://user@host; its files stay there")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    return made


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    try:
        args = parser().parse_args(arguments[1:])
        load = _load(args)
        if target := remote.target(args.on):
            return remote.run(target, remote.without_on(arguments), terminal=False)
        result = _run(args, load)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        stopped = RoundhouseError("interrupted", "interrupted: nothing was written, and who serves goes on.")
        return console.refuse(stopped, as_json="--json" in arguments)
    if args.json:
        print(json.dumps(result))
    else:
        print(report.text(result))
        print("\n".join(["", *(error["message"] for error in result["errors"]), *result["files"].values()]))
    return 0 if result["ok"] else 1


def _run(args: argparse.Namespace, load: Load) -> dict[str, Any]:
    plan = deployed.load()
    agent = run.chosen(plan, args.agent)
    against = bench_target.other(args.against, args.against_model, args.against_key) if args.against else None
    measured = run.measure(plan, agent, load, against, console.progress())
    errors = [{"code": "bench", "message": sentence} for sentence in run.problems(measured)]
    result = {"schema": console.SCHEMA, "ok": not errors, "errors": errors, **measured}
    return result | {"files": _files(result, (args.to or FOLDER).absolute(), bench_load.of(plan, agent))}


def _files(result: dict[str, Any], folder: Path, tool: bench_load.Tool) -> dict[str, str]:
    """Write the JSON and its picture, which the engine's own Python draws: the package has nothing to draw with."""
    stem = folder / f"{re.sub('[-:]', '', result['at'])}-{result['agent']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        serving.write(Path(f"{stem}.json"), result, durable=False)
    except OSError as error:
        raise RoundhouseError(
            "bench", f"{folder} cannot be written ({error.strerror}): name another with --to."
        ) from None
    tool.draw(Path(f"{stem}.json"), Path(f"{stem}.png"))
    return {"json": f"{stem}.json", "png": f"{stem}.png"}


def _load(args: argparse.Namespace) -> Load:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", args.parallel):
        raise UsageError("usage", f"--parallel is {args.parallel!r}: write numbers from 1, such as 1,4,16.")
    for name in ("input_tokens", "output_tokens", "requests"):
        value = getattr(args, name)
        if value is not None and value < (2 if name == "output_tokens" else 1):
            least = "2, for a rate needs two tokens" if name == "output_tokens" else "1"
            raise UsageError("usage", f"--{name.replace('_', '-')} is {value}: write a whole number from {least}.")
    if args.against is None and (args.against_model or args.against_key):
        raise UsageError("usage", "--against-model and --against-key are of --against URL: name that too.")
    levels = tuple(dict.fromkeys(int(each) for each in args.parallel.split(",")))
    return Load(args.input_tokens, args.output_tokens, levels, args.requests)
