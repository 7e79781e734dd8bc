"""`bench [AGENT]`: measure the active agent, into a table, a JSON file and a chart."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ...bench import plot, report
from ...bench import run as measuring
from ...bench import target as bench_target
from ...bench.load import Load
from ...bench.run import Result
from ...errors import RoundhouseError, UsageError
from ...plan import deployed
from ...state import serving
from ...util import console, files, json_file
from .. import remote, target_host
from ..command import Answer

INTERRUPTED = "Interrupted: no file was written, and the agent is still active."
FOLDER = serving.FOLDER.parent / "bench"
PARALLEL = "1,4,16"
EPILOG = """\
The load comes from `vllm bench serve`: random prompts, and answers of a fixed length. The command does not switch;
requests of other clients at that time count.

With --against the same load also goes to another endpoint, after each level of the agent. A ratio is the agent's
figure divided by the other's. A second engine does not fit beside an agent on its GPU: run that on another host.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the load and the endpoint to compare with."""
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="an active agent (default: the only one)")
    parser.add_argument(
        "--parallel", default=PARALLEL, metavar="N,...", help="parallel requests of each level (default: %(default)s)"
    )
    parser.add_argument(
        "--requests",
        type=int,
        metavar="N",
        help="requests of each level (default: 4 times the parallel ones, at least 8)",
    )
    parser.add_argument(
        "--input-tokens", type=int, default=512, metavar="N", help="length of a prompt (default: %(default)s)"
    )
    parser.add_argument(
        "--output-tokens", type=int, default=128, metavar="N", help="length of an answer (default: %(default)s)"
    )
    parser.add_argument("--against", metavar="URL", help="another OpenAI endpoint, such as Ollama's or llama.cpp's")
    parser.add_argument("--against-model", metavar="NAME", help="model of that endpoint, if it has several")
    parser.add_argument(
        "--against-key", type=Path, metavar="FILE", help="file of this machine with the API key of that endpoint"
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help=f"folder of this machine for the JSON and the SVG (default: {FOLDER}; another host: this folder)",
    )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for an invalid load."""
    _load(args)


def run(args: argparse.Namespace) -> Answer:
    """Measure."""
    plan = deployed.load()
    agent = measuring.chosen(plan, args.agent)
    against = bench_target.other(args.against, args.against_model, args.against_key) if args.against else None
    measured = measuring.measure(plan, agent, _load(args), against, console.progress())
    errors = [RoundhouseError("requests_failed", sentence).as_json() for sentence in measuring.problems(measured)]
    result = {"schema": console.SCHEMA, "ok": not errors, "errors": errors, **measured}
    return _written(measured, result, (args.to or FOLDER).absolute())


def elsewhere(args: argparse.Namespace, target: str) -> Answer:
    """Measure on another host, and write the files on this machine."""
    key = bench_target.read_key(args.against_key)
    words = target_host.without(args.arguments, "--on", "--to", "--against-key")
    words = [*(word for word in words if word != "--json"), "--json"]
    if key is not None:
        words += ["--against-key", "/dev/stdin"]  # neither in a list of processes nor on the host's disk
    answer = remote.answer(target, words, stdin=key)
    if "measured" not in answer:
        raise remote.error_of(answer)
    names = (*Result.__required_keys__, "schema", "ok", "errors")
    result = {name: answer[name] for name in answer if name in names}
    return _written(cast("Result", result), result, (args.to or Path()).absolute())


def _written(measured: Result, result: dict[str, Any], folder: Path) -> Answer:
    """Write the files; return the answer that names them."""
    written = _files(measured, result, folder)
    text = [report.text(measured), "", *(error["message"] for error in result["errors"]), *written.values()]
    return result | {"files": written}, "\n".join(text)


def _files(measured: Result, result: Mapping[str, object], folder: Path) -> dict[str, str]:
    """Write the JSON and its chart; return their paths."""
    stem = folder / f"{re.sub('[-:]', '', measured['at'])}-{measured['agent']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        json_file.write(Path(f"{stem}.json"), result, durable=False)
        files.write(Path(f"{stem}.svg"), plot.svg(measured), durable=False)
    except OSError as error:
        text, fields = "{folder} cannot be written ({why}).", {"folder": str(folder), "why": error.strerror}
        raise RoundhouseError("folder_not_writable", text, "Write another folder: --to FOLDER.", **fields) from None
    return {"json": f"{stem}.json", "svg": f"{stem}.svg"}


def _load(args: argparse.Namespace) -> Load:
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", args.parallel):
        remedy = "Write numbers from 1, such as 1,4,16."
        raise UsageError("parallel_invalid", "--parallel is {value!r}.", remedy, value=args.parallel)
    for name, least in (("input_tokens", "1"), ("output_tokens", "2 (a rate needs two tokens)"), ("requests", "1")):
        value = getattr(args, name)
        if value is not None and value < int(least[0]):
            fields = {"option": f"--{name.replace('_', '-')}", "value": value, "least": least}
            raise UsageError(f"{name}_invalid", "{option} is {value}.", "Write a whole number from {least}.", **fields)
    if args.against is None and (args.against_model or args.against_key):
        raise UsageError(
            "against_missing", "--against-model and --against-key need --against URL.", "Add it, or leave them out."
        )
    levels = tuple(dict.fromkeys(int(each) for each in args.parallel.split(",")))
    return Load(args.input_tokens, args.output_tokens, levels, args.requests)
