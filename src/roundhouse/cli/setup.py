"""`scripts/setup_vllm.py`: site.yml in the words of the migration guide, on one screen."""

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RoundhouseError, UsageError
from ..state import serving
from ..util import console
from . import setup_run, setup_screen
from .setup_run import DONE, Event, Run, Wanted

# What each of the guide's words is in site.yml.
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
        prog="setup_vllm.py",
        allow_abbrev=False,
        description="Turn a host into one that serves the roster's agents.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        args = parser().parse_args(sys.argv[1:] if argv is None else argv)
        wanted = _wanted(args)
        run = Run(setup_run.stages(wanted))
        return _go(wanted, run, _kept(wanted))
    except RoundhouseError as error:
        return console.refuse(error, as_json=False)


def tags(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the tags of what was asked for; () for all of it."""
    named = [word for word in TAGS if getattr(args, word)]
    if not named or {"install_dependencies", "setup_docker", "download_models"} <= set(named):
        return ()
    return tuple(tag for word in named for tag in TAGS[word])


def _wanted(args: argparse.Namespace) -> Wanted:
    inventory = Path(args.inventory)
    place = inventory if inventory.is_absolute() or inventory.exists() else setup_run.ROOT / inventory
    if not place.exists():
        # An inventory that is not there would make Ansible take an empty one, and say that all is well.
        raise UsageError("usage", f"--inventory is {args.inventory!r}, which is not there: name a file or a folder.")
    if importlib.util.find_spec("ansible_runner") is None:
        raise RoundhouseError("setup", "ansible-runner is not there: run make setup first.")
    password = getpass.getpass("sudo password: ") if args.ask_become_pass else None
    return Wanted(tags(args), str(place), tuple(args.words), password)


def _go(wanted: Wanted, run: Run, kept: Path) -> int:
    before = _before(kept)
    status = _shown(wanted, run, before) if sys.stdout.isatty() else _logged(wanted, run)
    run.end(now := time.time(), good=status == "successful")
    print(setup_screen.summary(run, now, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    whole = {stage.name: round(stage.seconds(now) or 0.0, 1) for stage in run.stages if stage.state == DONE}
    kept.parent.mkdir(parents=True, exist_ok=True)
    serving.write(kept, before | whole, durable=False)
    if status == "canceled":
        told = "interrupted: what is done stays, a pull goes on by itself, and the same command completes the rest."
        return console.refuse(RoundhouseError("interrupted", told), as_json=False)
    for host, sentence in run.failed.items():
        print(f"{host}: {sentence}", file=sys.stderr)
    if status != "successful" and not run.failed:
        print("ansible-playbook ended without a task that failed: run it by hand to see its words.", file=sys.stderr)
    return 0 if status == "successful" else 1


def _logged(wanted: Wanted, run: Run) -> str:
    """Run it with a line for each thing that is news; return how it ended."""
    log = setup_screen.Log()

    def feed(each: Event) -> None:
        run.feed(each)
        if told := log.line(each, run):
            print(f"{time.strftime('%H:%M:%S', time.localtime(each.at))} {told}", flush=True)

    return setup_run.run(wanted, feed)


def _shown(wanted: Wanted, run: Run, before: dict[str, float]) -> str:
    """Run it on one screen that stays when it ends; return how it ended."""

    def look() -> Any:
        return text(setup_screen.screen(run, shutil.get_terminal_size().columns, time.time(), before))

    text: Callable[[str], Any] = importlib.import_module("rich.text").Text
    live = importlib.import_module("rich.live").Live(get_renderable=look, refresh_per_second=2, transient=True)
    with live:
        return setup_run.run(wanted, run.feed)


def _kept(wanted: Wanted) -> Path:
    """Return where the seconds of an inventory's stages are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roundhouse"
    name = str(Path(wanted.inventory).resolve()).strip("/").replace("/", "-")
    return cache / f"setup-{name}.json"


def _before(kept: Path) -> dict[str, float]:
    if not kept.exists():
        return {}
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(kept.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):  # another version's: the time left is not told, once
        return {}
