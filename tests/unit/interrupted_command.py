"""Run the command on a host below a folder. A program, for test_interrupts, which sends it signals.

python interrupted_command.py FOLDER WORD...
"""

import signal
import sys
from pathlib import Path

from roundhouse.agents import prestart_checks
from roundhouse.cli import main
from roundhouse.host import systemd
from roundhouse.models import prune, safetensors
from roundhouse.plan import deployed, measured, plan_sets
from roundhouse.state import serving
from roundhouse.switch import daemon_socket, resume, transaction


def place(folder: Path) -> None:
    """Let the package read and write below the folder what it has in /etc, /run and /var/lib."""
    deployed.PATH = folder / "plan.json"
    deployed.load.__defaults__ = (deployed.PATH,)
    plan_sets.FOLDER, prune.STAGED = folder / "plans", folder / "staged"
    systemd.FOLDER = str(folder / "units")
    serving.FOLDER, serving.LOCK = folder / "state", folder / "lock"
    measured.PATH, daemon_socket.PATH = folder / "measured.json", folder / "control.sock"
    safetensors.problem = lambda folder: None
    # The model and the port of an agent, which this host does not have.
    prestart_checks.check_host = transaction.check = resume.check = lambda agent, stopping: None


if __name__ == "__main__":
    # A test run in the background inherits SIGINT ignored, and Python would leave it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    place(Path(sys.argv[1]))
    raise SystemExit(main.main(sys.argv[2:]))
