"""The command: `scripts/switch.py` in a checkout, `roundhouse` on a host."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import doctor, measured, models_cli, output, plan_text, remote, resume, status, switch, units
from . import plan as plans
from .errors import RoundhouseError, UsageError

EPILOG = """\
words:
  AGENT         switch to that agent: ready, and answering, or the one before is back
  status        who serves, with which model, since when
  logs AGENT    the engine's log (-f follows, -n LINES)
  plan          what is deployed: how the cards' memory divides, what was given up, what engines stated
  doctor        what is wrong with this host's driver, and the cure
  resume        bring back who served last; restart who runs with an older configuration
  models        the store: what is there, whose, since when verified; also pull, verify, prune, export,
                quantise (switch.py pull --help)

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
    made.add_argument("-n", type=int, default=100, metavar="LINES", dest="lines", help="logs: how many (default: 100)")
    made.add_argument("--check", type=Path, metavar="PLAN", help="only say whether a plan file is valid")
    made.add_argument("--no-wait", action="store_true", help="resume: start them and return (at boot)")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in models_cli.WORDS:
        return models_cli.main(arguments)
    # A lost connection or a supervisor's time limit ends a switch as Ctrl-C does: with the way back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
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
    if args.word in models_cli.WORDS:
        raise UsageError("usage", f"{args.word} stands first: switch.py {args.word} ...")
    if args.agent is not None and args.word not in WORDS_ABOUT_AN_AGENT:
        raise UsageError("usage", f"{args.agent!r} is one word too many after {args.word!r}.")
    if args.word == "doctor":  # of a host that nothing was deployed to, too
        return _doctor(args)
    return WORDS.get(args.word, _switch)(plans.load(), args)


def _doctor(args: argparse.Namespace) -> dict[str, Any]:
    found = doctor.rows()
    sick = [{"stage": row["part"], "message": f"{row['sentence']} {row['cure']}"} for row in found if not row["ok"]]
    if not args.json:
        print(doctor.text(found))
    return {"ok": not sick, "errors": sick, "checks": found}


def _switch(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    result = switch.ensure_ready(plan, args.word, _progress())
    if not args.json:
        seconds = ", ".join(f"{stage} {value} s" for stage, value in result["stages"].items())
        print(f"{result['agent']} serves on port {plans.find(plan, args.word)['port']} ({seconds})")
    return result


def _resume(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    result = {"serving": resume.start_only(plan)} if args.no_wait else resume.resume(plan, _progress())
    if not args.json:
        print(f"{'starting' if args.no_wait else 'serving'}: {', '.join(result['serving'])}")
    return result


def _ready(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    main_pid = os.environ.get("MAINPID")  # systemd sets it for an ExecStartPost
    switch.wait_until_healthy(plans.find(plan, _agent(args)), int(main_pid) if main_pid else None)
    return {"agent": args.agent}


def _status(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    rows = status.rows(plan)
    if not args.json:
        print(status.table(rows))
        for row in rows:
            if row["problem"]:
                print(f"{row['agent']}: {row['problem']}")
    return {"agents": rows}


def _plan(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    starts = measured.load()
    if not args.json:
        print(plan_text.text(plan, starts))
    return {"agents": [agent | {"measured": measured.of(agent, starts)} for agent in plan["agents"]]}


def _logs(plan: dict[str, Any], args: argparse.Namespace) -> dict[str, Any] | None:
    agent = plans.find(plan, _agent(args))
    if args.lines < 0 or (args.json and args.follow):
        raise UsageError("usage", "logs takes -n with a number from 0, and -f only without --json.")
    if args.json:
        return {"agent": agent["name"], "lines": units.log(agent["unit"], args.lines)}
    command = ["journalctl", "--unit", agent["unit"], "--lines", str(args.lines), "--no-pager"]
    if subprocess.run([*command, "--follow"] if args.follow else command, check=False).returncode != 0:
        raise RoundhouseError("logs", "journalctl failed, see its own words above: run this as root.")
    return None


def _agent(args: argparse.Namespace) -> str:
    if args.agent is None:
        raise UsageError("usage", f"{args.word} wants an agent: switch.py {args.word} AGENT.")
    return str(args.agent)


def _progress() -> switch.Report:
    begun = time.monotonic()
    return lambda text: print(f"[{time.monotonic() - begun:5.1f} s] {text}", file=sys.stderr, flush=True)


def _target(args: argparse.Namespace) -> str | None:
    """Return where to run: --on, ROUNDHOUSE_ON, this machine if it has a plan, else a running lab."""
    if args.check:
        return None
    chosen = args.on or os.environ.get("ROUNDHOUSE_ON")
    if chosen or plans.PATH.exists() or not remote.lab_is_up():
        return chosen
    print("no plan on this machine: running on the lab host (--on lab)", file=sys.stderr)
    return remote.LAB_WORD


WORDS: dict[str, Callable[[dict[str, Any], argparse.Namespace], dict[str, Any] | None]] = {
    "status": _status,
    "logs": _logs,
    "plan": _plan,
    "resume": _resume,
    "ready": _ready,  # what a unit runs after its engine: not for people, so not in the help
}
WORDS_ABOUT_AN_AGENT = ("logs", "ready")
