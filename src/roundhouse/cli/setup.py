"""`scripts/setup_vllm.py`: site.yml by the options of the migration guide, on one screen."""

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
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..util import console, json_file
from . import setup_run, setup_screen
from .setup_run import DONE, Event, Run, Wanted

# The tags of site.yml for each option.
TAGS = {
    "install_dependencies": ("driver", "engine"),
    "setup_docker": ("containers",),
    "download_models": ("models",),
    "deploy_agents": ("agents", "gateway"),
}
EPILOG = """\
Each is a stage of site.yml, checked first and run any number of times; what follows -- goes to ansible-playbook. The
guide's three together, or none, are all of site.yml, the agents too. Ctrl-C leaves a host that the next run completes.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = console.Parser(
        prog="scripts/setup_vllm.py", description="Turn a host into one that serves the roster's agents.", epilog=EPILOG
    )
    made.add_argument("--install-dependencies", action="store_true", help="NVIDIA's driver, and the engine")
    made.add_argument("--setup-docker", action="store_true", help="Docker and NVIDIA's toolkit, where agents want them")
    made.add_argument("--download-models", action="store_true", help="the models that the plan chose, verified")
    made.add_argument("--deploy-agents", action="store_true", help="the plan, the units, the command")
    made.add_argument("-i", "--inventory", default="inventory/local", metavar="PATH", help="(default: this machine)")
    made.add_argument("--ask-become-pass", action="store_true", help="ask for sudo's password first")
    made.add_argument("words", nargs="*", metavar="-- WORD", help="for ansible-playbook, such as -- --check")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        wanted = _wanted(_parsed(sys.argv[1:] if argv is None else argv))
        return _go(wanted, Run(setup_run.stages(wanted)))
    except RoundhouseError as error:
        return console.refuse(error, as_json=False)


def _parsed(argv: list[str]) -> argparse.Namespace:
    """Return the arguments; only what stands behind `--` goes to ansible-playbook. Raises UsageError."""
    own = argv[: argv.index("--")] if "--" in argv else argv
    args = parser().parse_args(own)
    if args.words:
        text, remedy = "{program} does not take {word!r}.", "Put what is for ansible-playbook behind `--`."
        raise UsageError("unexpected_argument", text, remedy, program=parser().prog, word=args.words[0])
    args.words = argv[len(own) + 1 :]
    return args


def tags(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the tags of what was asked for; () for all of it."""
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
    if not place.exists():  # Ansible would take an empty one, and say that all is well
        text = "--inventory is {path!r}, which is not there."
        raise UsageError("inventory_missing", text, "Name a file or a folder.", path=args.inventory)
    if importlib.util.find_spec("ansible_runner") is None:
        raise RoundhouseError("ansible_runner_missing", "ansible-runner is not installed.", "Run make setup first.")
    password = getpass.getpass("sudo password: ") if args.ask_become_pass else None
    return Wanted(tags(args), str(place), tuple(args.words), password)


def _go(wanted: Wanted, run: Run) -> int:
    kept = _kept(wanted)
    before = _seconds_before(kept)
    status = _on_screen(wanted, run, before) if sys.stdout.isatty() else _as_log(wanted, run)
    run.end(now := time.time(), good=status == "successful")
    print(setup_screen.summary(run, now, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    whole = {stage.name: round(stage.seconds(now) or 0.0, 1) for stage in run.stages if stage.state == DONE}
    json_file.write(kept, before | whole, durable=False)
    if status == "canceled":
        text = "Interrupted: what is done stays, and a download goes on by itself."
        raise RoundhouseError("interrupted", text, "The same command completes the rest.")
    for host, sentence in run.failed.items():
        print(f"{host}: {sentence}", file=sys.stderr)
    if status != "successful" and not run.failed:
        print("ansible-playbook failed without a failed task: run it by hand to see its output.", file=sys.stderr)
    return 0 if status == "successful" else 1


def _as_log(wanted: Wanted, run: Run) -> str:
    """Run it with a line for each thing that is news; return how it ended."""
    log = setup_screen.Log()

    def feed(each: Event) -> None:
        run.feed(each)
        if line := log.line(each, run):
            print(f"{time.strftime('%H:%M:%S', time.localtime(each.at))} {line}", flush=True)

    return setup_run.run(wanted, feed)


def _on_screen(wanted: Wanted, run: Run, before: dict[str, float]) -> str:
    """Run it on one screen; return how it ended."""
    text = importlib.import_module("rich.text").Text

    def render() -> Any:
        return text(setup_screen.screen(run, shutil.get_terminal_size().columns, time.time(), before))

    with importlib.import_module("rich.live").Live(get_renderable=render, refresh_per_second=2, transient=True):
        return setup_run.run(wanted, run.feed)


def _kept(wanted: Wanted) -> Path:
    """Return where the seconds of an inventory's stages are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse"
    return cache / f"setup-{str(Path(wanted.inventory).resolve()).strip('/').replace('/', '-')}.json"


def _seconds_before(kept: Path) -> dict[str, float]:
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):  # the first run, or another version's file
        return {}
