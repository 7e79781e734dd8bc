"""`import FILE...` and `import ollama`: convert an old set-up into a roster. No other file is changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ...errors import RoundhouseError, UsageError
from ...migrate import compose_file, env_file, modelfile, ollama, roster_file
from ...migrate import report as migrate_report
from ...migrate.agent import import_source
from ...migrate.names import in_file_name
from ...migrate.report import Imported, Line, Source
from ...models import own_folders
from ...roster import validate
from ...util import console
from ...util.suggest import did_you_mean
from .. import command, remote, target_host

OLLAMA = "ollama"
_OWN = ("--json", "--overwrite")
EPILOG = """\
The roster goes to stdout, or into a file with --to. A report of each old line goes to stderr, or to stdout with --to.

marks:
  ->  converted
  ~>  converted to the nearest setting
  ==  the default already
  --  without a meaning here, or not supported
  +>  added, because an agent needs it

exit status:
  0  the roster is valid
  1  the roster is incomplete; the message names what is missing
  2  wrong usage, or a file cannot be read

Files and --to are on this machine. They need PyYAML and python-dotenv, which the controller has. `import ollama` reads
the models of the target host and needs neither.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the files to read and the file to write."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE|ollama",
        help="a compose file, a file of KEY=VALUE, a Modelfile, or the word ollama",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="write the roster to that file of this machine, such as inventory/local/host_vars/HOST.yml",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    parser.add_argument("--model", metavar="OWNER/NAME", help="the model, for files without one")
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="Ollama's models on the target host (default: OLLAMA_MODELS, else its usual folders)",
    )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for --on with files: files are read on this machine."""
    if args.on and args.on != target_host.LOCAL_WORD and args.files != [OLLAMA]:
        text = "--on is only for `import ollama`; files are read on this machine."
        raise UsageError("on_not_allowed", text, "Leave --on out.", on=args.on)


def is_local(args: argparse.Namespace) -> bool:
    """Return whether files of this machine are read, and not Ollama's models on the target host."""
    return bool(args.files != [OLLAMA])


def elsewhere(args: argparse.Namespace, target: str) -> command.Answer:
    """Convert Ollama's models on another host; the roster is written on this machine."""
    words = [*(word for word in target_host.without(args.arguments, "--on", "--to") if word not in _OWN), "--json"]
    answer = remote.answer(target, words)
    if "roster" not in answer:
        raise remote.error_of(answer)
    # Ansible evaluates the file on this machine, so the host's text is not used.
    problems = [str(error["message"]) for error in answer["errors"]]
    answer["roster"] = _roster(args, roster_file.of_host(answer["agents"]), problems)
    if args.to:
        _write(args.to, answer["roster"], overwrite=args.overwrite)
    if not args.json:
        _print(args, answer["roster"], [Line(**line) for line in answer["lines"]], problems)
    return answer, ""


def run(args: argparse.Namespace) -> command.Answer:
    """Convert them."""
    agents, lines = ollama.import_store(args.store) if args.files == [OLLAMA] else _files(args)
    problems = list(validate.problems(agents, own_folders.configs(agents)))
    if any("models" not in agent for agent in agents) and args.files != [OLLAMA]:
        problems.append("A file has no model: add --model OWNER/NAME.")
    content = _roster(args, agents, problems)
    if args.to:
        _write(args.to, content, overwrite=args.overwrite)
    if not args.json:
        _print(args, content, lines, problems)
    result = {"agents": agents, "lines": [line._asdict() for line in lines], "roster": content}
    errors = [RoundhouseError("roster", problem).as_json() for problem in problems]
    return {"ok": not problems, "errors": errors, **result}, ""


def _roster(args: argparse.Namespace, agents: list[dict[str, Any]], problems: list[str]) -> str:
    said = ["Made by `roundhouse import`, which reports each old line."]
    said += [f"Of {Path(file).name}." for file in args.files]
    said += [f"Not valid yet: {each}" for each in problems]
    return roster_file.yaml(agents, said)


def _files(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Line]]:
    made: list[Imported] = []
    others: list[Line] = []
    for path in map(Path, args.files):
        if str(path) == OLLAMA and len(args.files) > 1 and not path.exists():
            text = "The word ollama cannot be combined with files, and there are {count}."
            remedy = "Import the files and Ollama's models separately."
            raise UsageError("ollama_with_files", text, remedy, count=len(args.files) - 1)
        if not path.is_file():
            remedy = did_you_mean(str(path), [OLLAMA], "Name an old compose or env file, or write ollama.")
            raise UsageError("import_file_missing", "{path} is not a file.", remedy, path=str(path))
        try:
            found, rest = _read(path, args.model)
        except (OSError, UnicodeDecodeError) as error:
            text = "{path} cannot be read ({why})."
            remedy = "Name a readable text file."
            raise UsageError("import_file_unreadable", text, remedy, path=str(path), why=str(error)) from None
        made += found
        others += rest
    if not made:
        text = "{files} contains no vLLM service: none has its image or variables."
        remedy = "Name a file with an image of vLLM or its variables."
        raise UsageError("no_engine_imported", text, remedy, files=", ".join(args.files))
    agents, lines = roster_file.combine(made)
    return agents, [*lines, *others]


def _read(path: Path, model: str | None) -> tuple[list[Imported], list[Line]]:
    """Return the agents of one file, and its lines about other services."""
    if path.suffix in (".yml", ".yaml"):
        sources, others = compose_file.sources(path)
        return [import_source(source, model) for source in sources], others
    if modelfile.is_modelfile(path):
        return [import_source(modelfile.source(path), model)], []
    assignments, others_of_it = env_file.read(path)
    if not assignments:
        text = "{path} is not a compose file (.yml), a file of KEY=VALUE, or a Modelfile."
        raise UsageError("import_file_unknown", text, "Name a file of one of these kinds.", path=str(path))
    source = Source(str(path), 1, (in_file_name(path),), (*assignments, *others_of_it))
    return [import_source(source, model)], []


def _print(args: argparse.Namespace, content: str, lines: list[Line], problems: list[str]) -> None:
    report = sys.stdout if args.to else sys.stderr
    if not args.to:
        print(content, end="")
    report_text = f"{migrate_report.text(lines)}\n\n{len(lines)} lines: {migrate_report.summary(lines)}."
    print(console.wrapped(console.printable(report_text)), file=report)
    for problem in problems:
        console.say(problem)
    check = f"Check the fit with scripts/plan.py --roster {args.to or 'FILE'} --gpu NAME (on its host without --gpu)."
    print(console.wrapped(check), file=report)


def _write(path: Path, content: str, *, overwrite: bool) -> None:
    there = path.exists()
    if there and not overwrite:
        remedy = "Name another file, or add --overwrite."
        raise UsageError("file_exists", "{path} exists and was not changed.", remedy, path=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    except OSError as error:
        text = "{path} cannot be written ({why})."
        remedy = "Name another file with --to."
        raise RoundhouseError("file_not_written", text, remedy, path=str(path), why=error.strerror) from None
    console.say(f"{path}: {'replaced' if there else 'written'}")
