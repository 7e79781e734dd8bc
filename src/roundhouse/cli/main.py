"""The command: `scripts/switch.py` in a checkout, `roundhouse` on a host."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..plan import deployed
from ..util import console
from . import remote, unit_hooks, words_act, words_cli, words_plans
from .manual import WORDS as MODEL_WORDS

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
  plans         the plans that served here, the newest last: engine, models, since when
  rollback      back to the plan that served before (rollback PLAN: to that one), as a transaction; --dry-run only says
                what would become another
  stop          who serves leaves and nobody takes the place (stop AGENT: that one); for now: a reboot, a deployment
                or resume brings back who served last
  models        the store: what is there, whose, since when verified; also pull, verify, prune, export,
                quantize (switch.py pull --help)
  bench         how fast who serves is: first token, tokens per second, requests per minute (switch.py bench --help)
  client-config a client's file for this host: curl, python, langchain, continue, vscode, aider
                (switch.py client-config --help)
  keys          who may use the gateway's API: names; also keys show, add, revoke NAME
  import        old compose files, env files, Modelfiles or Ollama's models as a roster (switch.py import --help)
  help          this; help man is the manual page, help completion what bash reads

exit status: 0 done; 1 not done, and the text says why (after a switch that failed, also who serves);
2 wrong usage or no valid plan; 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; the README's command block is its help text."""
    made = console.Parser(
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
        default=deployed.DRAIN_SECONDS,
        metavar="SECONDS",
        help="switch, stop: how long running requests may take to end, before they are cut (default: 30)",
    )
    made.add_argument(
        "--wait", action="store_true", help="switch, stop: when another switch is running, wait for its end"
    )
    made.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="watch: how often (default: 2)")
    made.add_argument("--rounds", type=int, metavar="N", help="watch: end after so many (default: never)")
    made.add_argument("--check", type=Path, metavar="PLAN", help="only say whether a plan file is valid")
    made.add_argument("--dry-run", action="store_true", help="rollback: only say what would become another")
    made.add_argument("--no-start", action="store_true", help=argparse.SUPPRESS)  # deploy: agents_start is false
    made.add_argument("--no-wait", action="store_true", help="resume: start them and return (at boot)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in WITH_A_PARSER:
        module = importlib.import_module(f".{WITH_A_PARSER[arguments[0]]}", __package__)
        return int(module.main(arguments))
    # A lost connection or a supervisor's time limit ends a switch as Ctrl-C does: with the way back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if "--json" in arguments and {"-h", "--help"} & set(arguments):  # argparse would print it as it is, and exit
            arguments = ["help", "--json"]
        args = parser().parse_args(arguments)
        _refuse_what_cannot_be_meant(args)
        target = _target(args)
        if target:
            return remote.run(target, remote.without_on(arguments), terminal=sys.stdin.isatty() and sys.stdout.isatty())
        result = _run(args)
    except RoundhouseError as error:
        return console.refuse(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return console.refuse(RoundhouseError("interrupted", "interrupted."), as_json="--json" in arguments)
    if args.json and result is not None:
        print(json.dumps({"schema": console.SCHEMA, "ok": True, "errors": [], **result}))
    return 0 if result is None or result.get("ok", True) else 1


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _refuse_what_cannot_be_meant(args: argparse.Namespace) -> None:
    """Raise UsageError for it here, before any host is asked."""
    if args.check:
        return
    if args.word is None:
        raise UsageError("usage", "say an agent or a word: switch.py --help lists them.")
    if args.word in WITH_A_PARSER:
        raise UsageError("usage", f"{args.word} stands first: switch.py {args.word} ...")
    if args.agent is not None and args.word not in ("help", *WORDS_ABOUT_AN_AGENT, *WORDS_ABOUT_A_PLAN):
        raise UsageError("usage", f"{args.agent!r} is one word too many after {args.word!r}.")
    if args.word == "watch" and args.json:
        raise UsageError("usage", "watch has no end, and --json is one object: ask status --json repeatedly.")


def _run(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.check:
        return {"agents": [agent["name"] for agent in deployed.load(args.check)["agents"]]}
    if args.word == "help":
        return words_cli.manual(parser(), args.agent, as_json=args.json)
    if args.word == "doctor":  # of a host that nothing was deployed to, too
        return words_cli.doctor(args)
    if args.word == "gpu":  # likewise
        return words_cli.gpu({}, args)
    if args.word in words_plans.WORDS:
        return words_plans.WORDS[args.word](args)
    return WORDS.get(args.word, words_act.switch)(deployed.load(), args)


def _plan(plan: deployed.Plan, args: argparse.Namespace) -> dict[str, Any]:
    from ..plan import measured, report

    starts = measured.load()
    if not args.json:
        print(report.text(plan, starts))
    return {"agents": [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]}


def _target(args: argparse.Namespace) -> str | None:
    """Return where to run; what is about this program runs here."""
    return None if args.check or args.word == "help" else remote.target(args.on)


# Words with options of their own: the module whose main(argv) takes the word and what follows it.
WITH_A_PARSER = dict.fromkeys(MODEL_WORDS, "models") | {
    "bench": "bench",
    "client-config": "client_config",
    "import": "migrate",
    "keys": "keys",
}
WORDS: dict[str, words_cli.Word] = {
    "plan": _plan,
    **words_cli.WORDS,
    **words_act.WORDS,
    **unit_hooks.WORDS,
}
WORDS_ABOUT_AN_AGENT = ("logs", "stop", *unit_hooks.WORDS)
WORDS_ABOUT_A_PLAN = ("deploy", "rollback")
