"""`scripts/setup_vllm.py`: run site.yml on one screen, with the options of the migration guide."""

from __future__ import annotations

import argparse
import getpass
import importlib
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ..errors import RoundhouseError, UsageError
from ..util import console, json_file
from . import setup_log, setup_run, setup_screen
from .setup_run import DONE, Event, Run, Wanted

LOCAL = setup_log.LOCAL
# The tags of site.yml for each option.
TAGS = {
    "install_dependencies": ("driver", "engine"),
    "setup_docker": ("containers",),
    "download_models": ("models",),
    "deploy_agents": ("agents", "gateway"),
}
EPILOG = """\
Each of the first four options selects a part of site.yml. Without one, or with the first three, the whole site.yml
runs. Write other options of ansible-playbook behind --, such as -- -vvv. The command can be run again at any time, also
after Ctrl-C or a failure: completed work is kept. Each run writes a log; the last lines of its output name the log and
the next command.
"""
# Options of ansible-playbook: (names, metavar, help); without a metavar a flag.
_PASSED = (
    (("-C", "--check"), "", "only show what would change; nothing is changed"),
    (("-D", "--diff"), "", "write the differences of files into the log"),
    (("-l", "--limit"), "HOSTS", "only these hosts of the inventory"),
    (("-t", "--tags"), "TAGS", "only tasks with these tags, such as agents"),
    (("--skip-tags",), "TAGS", "no tasks with these tags"),
    (("-e", "--extra-vars"), "VARS", "set variables: name=value, JSON or @FILE; may be repeated"),
)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="scripts/setup_vllm.py", description="Run site.yml: from a bare host to running agents.", epilog=EPILOG
    )
    made.add_argument("--install-dependencies", action="store_true", help="the NVIDIA driver and the engine")
    made.add_argument("--setup-docker", action="store_true", help="Docker and NVIDIA's toolkit, if agents need them")
    made.add_argument("--download-models", action="store_true", help="the models of the plan, verified")
    made.add_argument("--deploy-agents", action="store_true", help="the plan, the units, the command and the gateway")
    made.add_argument("-i", "--inventory", default=LOCAL, metavar="PATH", help="(default: %(default)s, this machine)")
    made.add_argument("-K", "--ask-become-pass", action="store_true", help="ask for the password of sudo first")
    group = made.add_argument_group("passed on to ansible-playbook")
    for names, metavar, help_text in _PASSED:
        if metavar:
            group.add_argument(*names, action="append", default=[], metavar=metavar, help=help_text)
        else:
            group.add_argument(*names, action="store_true", help=help_text)
    group.add_argument("words", nargs="*", metavar="-- OPTION", help="other options of ansible-playbook")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        wanted = _wanted(_parsed(sys.argv[1:] if argv is None else argv))
        run = Run(setup_run.stages(wanted))
        with setup_log.opened(_kept(wanted)) as log:
            return _go(wanted, run, log)
    except RoundhouseError as error:
        return console.refuse(error, as_json=False)


def _parsed(argv: list[str]) -> argparse.Namespace:
    """Return the arguments; `words` are those of ansible-playbook. Raises UsageError."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    args = parser().parse_args(own)
    if args.words:
        text, remedy = "{program} does not take the argument {word!r}.", "Put options of ansible-playbook behind `--`."
        raise UsageError("unexpected_argument", text, remedy, program=parser().prog, word=args.words[0])
    args.words = [*_passed(args), *argv[len(own) + 1 :]]
    return args


def _passed(args: argparse.Namespace) -> list[str]:
    """Return the options of ansible-playbook that the command has itself."""
    found: list[str] = []
    for names, metavar, _ in _PASSED:
        value = getattr(args, names[-1].removeprefix("--").replace("-", "_"))
        found += [word for each in value for word in (names[-1], each)] if metavar else [names[-1]] * value
    return found


def tags(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the tags of the chosen parts; () for all of site.yml."""
    named = [option for option in TAGS if getattr(args, option)]
    if {"install_dependencies", "setup_docker", "download_models"} <= set(named):
        return ()
    return tuple(tag for option in named for tag in TAGS[option])


def _wanted(args: argparse.Namespace) -> Wanted:
    if not (setup_run.ROOT / "ansible.cfg").exists():
        text = "{folder} is not a checkout of Roundhouse: it has no ansible.cfg and no playbooks."
        remedy = "Run scripts/setup_vllm.py of a checkout."
        raise UsageError("checkout_missing", text, remedy, folder=str(setup_run.ROOT))
    inventory = Path(args.inventory)
    place = inventory if inventory.is_absolute() or inventory.exists() else setup_run.ROOT / inventory
    if not place.exists():  # Ansible would use an empty inventory and end without an error
        text = "--inventory {path!r} does not exist."
        raise UsageError("inventory_missing", text, "Name a file or a folder.", path=args.inventory)
    if importlib.util.find_spec("ansible_runner") is None:
        raise RoundhouseError("ansible_runner_missing", "ansible-runner is not installed.", "Run make setup first.")
    password = _password() if args.ask_become_pass else None
    return Wanted(tags(args), str(place), tuple(args.words), password)


def _password() -> str:
    try:
        return getpass.getpass("sudo password: ")
    except KeyboardInterrupt:
        raise RoundhouseError("interrupted", "Interrupted. Nothing was changed.") from None
    except (EOFError, OSError):  # Ctrl-D, or neither a terminal nor standard input
        text, remedy = (
            "No password was entered.",
            "Run it in a terminal, or set ansible_become_password in the inventory.",
        )
        raise UsageError("password_missing", text, remedy) from None


def _go(wanted: Wanted, run: Run, log: TextIO) -> int:
    kept = _kept(wanted)
    before = _seconds_before(kept)
    screen = sys.stdout.isatty()
    status = _on_screen(wanted, run, before, log) if screen else _as_log(wanted, run, log)
    run.end(now := time.time(), good=status == "successful")
    print(setup_screen.summary(run, now, shutil.get_terminal_size().columns if screen else None))
    if not wanted.words:  # else some tasks may have been left out
        whole = {stage.name: round(stage.seconds(now) or 0.0, 1) for stage in run.stages if stage.state == DONE}
        json_file.write(kept, before | whole, durable=False)
    print(f"log: {log.name}", flush=True)
    if status == "canceled":
        text = "Interrupted. Completed work is kept, and a running download continues on its host."
        raise RoundhouseError("interrupted", text, "Run the same command again to complete the rest.")
    if status != "successful":
        problems = [f"{host}: {sentence}" for host, sentence in run.failed.items()]
        problems = problems or setup_log.errors(Path(log.name))
        problems = problems or ["ansible-playbook failed without a message; the log has its output."]
        print("\n".join([*problems, setup_log.AFTER_FAILURE]), file=sys.stderr)
        return 1
    print(setup_log.next_steps(wanted, [*run.hosts]))
    return 0


def _as_log(wanted: Wanted, run: Run, output: TextIO) -> str:
    """Run it with a line for each change, stage and report; return its end."""
    log = setup_screen.Log()

    def feed(each: Event) -> None:
        run.feed(each)
        if line := log.line(each, run):
            print(f"{time.strftime('%H:%M:%S', time.localtime(each.at))} {line}", flush=True)

    return setup_run.run(wanted, feed, output)


def _on_screen(wanted: Wanted, run: Run, before: dict[str, float], output: TextIO) -> str:
    """Run it on one screen; return its end."""
    text = importlib.import_module("rich.text").Text

    def render() -> Any:
        width, height = shutil.get_terminal_size()
        return text(setup_screen.screen(run, width, time.time(), before, height - 1))

    with importlib.import_module("rich.live").Live(get_renderable=render, refresh_per_second=2, transient=True):
        return setup_run.run(wanted, run.feed, output)


def _kept(wanted: Wanted) -> Path:
    """Return the file that keeps the seconds of the stages for an inventory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse"
    return cache / f"setup-{str(Path(wanted.inventory).resolve()).strip('/').replace('/', '-')}.json"


def _seconds_before(kept: Path) -> dict[str, float]:
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):  # the first run, or a file of another version
        return {}
