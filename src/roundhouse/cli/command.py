"""The commands by name and group. Each is a module of `commands`, imported when its name is used.

A module has `run(args)`, which returns an Answer. It may have EPILOG, ON, RAW, INTERRUPTED,
`add_arguments(parser)`, and these functions:

- `check(args)` raises UsageError before a host is asked.
- `is_local(args)` returns whether a call runs on this machine whatever the target is.
- `elsewhere(args, target)` replaces `run` if the target is another host and the command uses files of this machine.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..plan import deployed
from ..util import console
from ..util.suggest import RENAMED, did_you_mean

if TYPE_CHECKING:
    from ..schema.plan import Plan

# The help of each command is here, so that the list of all imports no command.
GROUPS = {
    "switch": {
        "switch": "activate an agent; if that fails, restore the previous one",
        "stop": "stop the active agent, or a named one; its GPU stays idle",
        "resume": "start the last active agent, also after an interrupted switch",
    },
    "inspect": {
        "status": "show each agent: state, model, requests, memory, drift",
        "watch": "refresh the status until Ctrl-C; in a pipe, print changes",
        "logs": "show the log of an agent's engine",
        "gpu": "show each GPU: memory, use, temperature, power, processes",
        "doctor": "find problems: the cause, its evidence and the remedy",
        "history": "list switches and crashes: outcome, cause, seconds of each phase",
        "bench": "measure the active agent: first token, tokens/s, requests/min",
    },
    "plans": {
        "plan": "show the deployed plan: models, GPU memory, reduced settings",
        "plans": "list the deployed plans, newest last: engine, models, date",
        "rollback": "deploy the previous plan again, or a named one",
    },
    "models": {
        "suggest": "list models for each role on a card, and write a roster of them",
        "models": "list the models of the store: size, agents, date of check",
        "pull": "download models into the store and verify their checksums",
        "verify": "compare the store's models with their checksums, offline",
        "prune": "remove models that no plan and no rollback needs; asks first",
        "export": "copy models into a folder for a host without internet",
        "quantize": "quantize a model, and compare its answers with the original's",
    },
    "clients": {
        "chat": "talk to an agent in the terminal, or ask one question",
        "client-config": "write a client's configuration, such as curl, vscode or aider",
        "keys": "list, show, add or revoke keys of the API; print its certificate",
        "import": "convert compose or env files, or Ollama's models, to a roster",
    },
    "help": {
        "help": "show this list, a command's help, the man page or completion",
    },
}
NAMES = tuple(name for helps in GROUPS.values() for name in helps)
# Commands for units and plays; not in the help.
HOOKS = ("clear", "control", "ended", "failover", "ready", "recover", "routes", "watchdog")
_OF_PLAYS = {"deploy": "deploy a plan that a play has written into a folder"}
HIDDEN = (*_OF_PLAYS, *HOOKS)
_HELP = {name: text for helps in (*GROUPS.values(), _OF_PLAYS) for name, text in helps.items()}
_LISTED = "{program} --help lists the commands."

# Where a command runs: on the target host (target_host.of), or always on this machine.
ON_PLAN, ON_NONE = "plan", "none"
ON_SHORT = "the target host: local (this machine), lab, or ssh://user@host"
ON_HELP = f"{ON_SHORT} (default: ROUNDHOUSE_ON, this machine if it has a plan, else a running lab)"

Result = dict[str, Any]
Word = Callable[["Plan", argparse.Namespace], "Result | None"]
# The object that --json prints, None for a command without a result; and the text that is printed without --json.
Answer = tuple["Result | None", str]


class Command(NamedTuple):
    """One command."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], Answer]
    add_arguments: Callable[[argparse.ArgumentParser], object]
    check: Callable[[argparse.Namespace], object]
    epilog: str = ""
    on: str = ON_PLAN
    interrupted: str = "Interrupted."
    raw: bool = False  # its text is a file, or fits already: it is printed as it is, not wrapped
    is_local: Callable[[argparse.Namespace], bool] = lambda _: False
    elsewhere: Callable[[argparse.Namespace, str], Answer] | None = None

    def parser(self, program: str | None = None) -> console.Parser:
        """Return the command's parser; `program` is its name in the help, None for the name it was called by."""
        made = console.Parser(
            prog=f"{program or console.command_name()} {self.name}",
            description=f"{self.help[:1].upper()}{self.help[1:]}.",
            epilog=self.epilog,
        )
        self.add_arguments(made)
        made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        if self.on == ON_PLAN:
            made.add_argument("--on", metavar="HOST", help=ON_HELP)
        made.set_defaults(word=self.name)
        return made


def load(name: str) -> Command:
    """Return the command of that name. Raises UsageError."""
    if name in HOOKS:
        return _hook(name)
    if name not in (*NAMES, *HIDDEN):
        raise unknown(name)
    path = {"import": "import_"}.get(name, name.replace("-", "_"))
    module = importlib.import_module(f".commands.{path}", __package__)
    return Command(
        name=name,
        help=_HELP[name],
        run=module.run,
        add_arguments=getattr(module, "add_arguments", _nothing),
        check=getattr(module, "check", _nothing),
        epilog=getattr(module, "EPILOG", ""),
        on=getattr(module, "ON", ON_PLAN),
        interrupted=getattr(module, "INTERRUPTED", "Interrupted."),
        raw=getattr(module, "RAW", False),
        is_local=getattr(module, "is_local", lambda _: False),
        elsewhere=getattr(module, "elsewhere", None),
    )


def unknown(name: str, agents: Sequence[str] = ()) -> UsageError:
    """Return the error for a word that is not a command and not an agent."""
    if name in RENAMED:
        text, fields = "{old} is now {new}: {program} {new} ...", {"old": name, "new": RENAMED[name]}
        return UsageError("command_renamed", text, program=console.command_name(), **fields)
    otherwise = "The agents are {agents}; {program} --help lists the commands." if agents else _LISTED
    remedy = did_you_mean(name, (*agents, *NAMES), otherwise)
    text, fields = "{word!r} is not an agent or a command.", {"word": name, "agents": ", ".join(agents)}
    return UsageError("unknown_command", text, remedy, program=console.command_name(), **fields)


def _hook(name: str) -> Command:
    from . import unit_hooks

    return Command(
        name=name,
        help="called by a unit",
        run=lambda args: (unit_hooks.WORDS[name](deployed.load(), args), ""),
        add_arguments=_HOOK_ARGUMENTS.get(name, lambda parser: parser.add_argument("agent", metavar="AGENT")),
        check=_nothing,
        on=ON_NONE,
    )


def _nothing(_: object) -> None:
    """Do nothing: the command has only the common options."""


def _template(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--template", type=Path, metavar="FILE")


# The other hooks are about one agent.
_HOOK_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], object]] = {
    "control": _nothing,
    "recover": _nothing,
    "routes": _template,
}
