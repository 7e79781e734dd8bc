"""The command: `scripts/switch.py` in a checkout, `roundhouse` on a host."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import output, remote, words_cli, words_unit
from . import plan as plans
from .errors import RoundhouseError, UsageError
from .model_words import WORDS as MODEL_WORDS

EPILOG = """\
words:
  AGENT         switch to that agent: ready, and answering, or the one before is back
  status        who serves, with which model, since when; requests, KV use, memory by owner, drift from the plan
  logs AGENT    the engine's log (-f follows, -n LINES)
  plan          what is deployed: how the cards' memory divides, what was given up, what engines stated
  gpu           each card: memory, use, temperature, power, and who holds it
  doctor        what is wrong: the cause, the line that shows it, and a command that cures it
  watch         all of that as it goes on (--every SECONDS, --rounds N); without a terminal a line at each change
  history       the switches so far: from, to, seconds of each phase, outcome, cause
  resume        bring back who served last, after a killed switch too; restart who runs as deployed before
  stop          who serves leaves and nobody takes the place (stop AGENT: that one); for now: a reboot, a deployment
                or resume brings back who served last
  models        the store: what is there, whose, since when verified; also pull, verify, prune, export,
                quantise (switch.py pull --help)
  import        old compose files, env files, Modelfiles or Ollama's models as a roster (switch.py import --help)
  help          this; help man is the manual page, help completion what bash reads

exit status: 0 done; 1 not done, and the text says why (after a switch that failed, also who serves);
2 wrong usage or no valid plan; 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; the README's command block is its help text."""
    made = output.Parser(
        prog="switch.py",
        allow_abbrev=False,
        description="Put one LLM agent on the GPU, and look after it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("word", nargs="?", metavar="AGENT|WORD", help="an agent of this host, or a word from below")
    made.add_argument("agent", nargs="?", metavar="AGENT", help="the agent that the word is about")
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument(
        "--on", metavar="HOST", help="run it there: lab, or ssh://user@host (default: this machine, or a running lab)"
    )
    made.add_argument("-f", "--follow", action="store_true", help="logs: go on as lines come")
    made.add_argument(
        "-n", type=int, default=100, metavar="LINES", dest="lines", help="logs, history: how many (default: 100)"
    )
    made.add_argument(
        "--drain",
        type=float,
        default=plans.DRAIN_SECONDS,
        metavar="SECONDS",
        help="switch, stop: how long running requests may take to end, before they are cut (default: 30)",
    )
    made.add_argument(
        "--wait", action="store_true", help="switch, stop: when another switch is running, wait for its end"
    )
    made.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="watch: how often (default: 2)")
    made.add_argument("--rounds", type=int, metavar="N", help="watch: end after so many (default: never)")
    made.add_argument("--check", type=Path, metavar="PLAN", help="only say whether a plan file is valid")
    made.add_argument("--no-wait", action="store_true", help="resume: start them and return (at boot)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in MODEL_WORDS:
        from . import models_cli

        return models_cli.main(arguments)
    if arguments and arguments[0] == "import":
        from . import import_cli

        return import_cli.main(arguments[1:])
    # A lost connection or a supervisor's time limit ends a switch as Ctrl-C does: with the way back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if "--json" in arguments and {"-h", "--help"} & set(arguments):  # argparse would print it as it is, and exit
            arguments = ["help", "--json"]
        args = parser().parse_args(arguments)
        target = _target(args)
        if target:
            return remote.run(target, remote.without_on(arguments), terminal=sys.stdin.isatty() and sys.stdout.isatty())
        result = _run(args)
    except RoundhouseError as error:
        return output.refuse(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return output.refuse(RoundhouseError("interrupted", "interrupted."), as_json="--json" in arguments)
    if args.json and result is not None:
        print(json.dumps({"schema": output.SCHEMA, "ok": True, "errors": [], **result}))
    return 0 if result is None or result.get("ok", True) else 1


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _run(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.check:
        return {"agents": [agent["name"] for agent in plans.load(args.check)["agents"]]}
    if args.word is None:
        raise UsageError("usage", "say an agent or a word: switch.py --help lists them.")
    if args.word in (*MODEL_WORDS, "import"):
        raise UsageError("usage", f"{args.word} stands first: switch.py {args.word} ...")
    if args.word == "help":
        return words_cli.manual(parser(), args.agent, as_json=args.json)
    if args.agent is not None and args.word not in WORDS_ABOUT_AN_AGENT:
        raise UsageError("usage", f"{args.agent!r} is one word too many after {args.word!r}.")
    if args.word == "watch" and args.json:
        raise UsageError("usage", "watch has no end, and --json is one object: ask status --json repeatedly.")
    if args.word == "doctor":  # of a host that nothing was deployed to, too
        return words_cli.doctor(args)
    return WORDS.get(args.word, _switch)(plans.load(), args)


def _switch(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    from . import switch

    _check_drain(args)
    result = switch.ensure_ready(plan, args.word, output.progress(), drain_seconds=args.drain, wait=args.wait)
    if not args.json:
        seconds = ", ".join(f"{stage} {value} s" for stage, value in result["stages"].items())
        cut = f"; {result['cut']} requests were cut" if result["cut"] else ""
        print(f"{result['agent']} serves on port {plans.find(plan, args.word)['port']} ({seconds}{cut})")
    return result


def _resume(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    from . import resume

    report = output.progress()
    result = {"serving": resume.start_only(plan, report)} if args.no_wait else resume.resume(plan, report)
    if not args.json:
        print(f"{'starting' if args.no_wait else 'serving'}: {', '.join(result['serving'])}")
    return result


def _stop(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    from . import stop

    _check_drain(args)
    result = stop.stop(plan, args.agent, output.progress(), drain_seconds=args.drain, wait=args.wait)
    if not args.json:
        print(stop.text(result))
    return result


def _check_drain(args: argparse.Namespace) -> None:
    if not 0 <= args.drain < math.inf:
        raise UsageError("usage", f"--drain is {args.drain:g}: write seconds, such as 30, or 0 to wait for no request.")


def _plan(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    from . import measured, plan_text

    starts = measured.load()
    if not args.json:
        print(plan_text.text(plan, starts))
    return {"agents": [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]}


def _target(args: argparse.Namespace) -> str | None:
    """Return where to run: --on, ROUNDHOUSE_ON, this machine if it has a plan, else a running lab."""
    if args.check or args.word == "help":
        return None
    chosen = args.on or os.environ.get("ROUNDHOUSE_ON")
    if chosen or plans.PATH.exists() or not remote.lab_is_up():
        return chosen
    print("no plan on this machine: running on the lab host (--on lab)", file=sys.stderr)
    return remote.LAB_WORD


WORDS: dict[str, Callable[[dict[str, Any], argparse.Namespace], dict[str, Any] | None]] = {
    "plan": _plan,
    **words_cli.WORDS,
    "resume": _resume,
    "stop": _stop,
    **words_unit.WORDS,
}
WORDS_ABOUT_AN_AGENT = ("logs", "stop", *words_unit.WORDS)
