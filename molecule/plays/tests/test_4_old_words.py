"""The users' old words, as they stand in the migration guide: scripts/agent_manager.py, scripts/setup_vllm.py."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import HOSTS as ALL
from hosts import INVENTORY, ROOT

# They are thin doors: one host is enough.
HOSTS = ALL[:1]
SCRIPTS = ROOT / "scripts"
WIDTH = 80


@pytest.fixture(scope="module")
def manager(host, name):
    """Return the command, run on the host beside what is installed there, with its exit status and what it said."""
    folder = host.check_output("dirname $(readlink -f /usr/local/bin/roundhouse)")
    subprocess.run(["docker", "cp", "--quiet", SCRIPTS / "agent_manager.py", f"{name}:/tmp/"], check=True)

    def run(*words):
        done = host.run(f"PYTHONPATH={folder} python3 /tmp/agent_manager.py {' '.join(words)}")
        return done.rc, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("words", "status", "pattern", "left"),
    [
        (("--launch", "po"), 0, "po is active on port 8002", ["po"]),
        (("--status",), 0, r"^\* po +state: ready +port: 8002 ", ["po"]),
        (("--gpu-stats",), 0, "RTX 5060 Ti", ["po"]),
        (("--launch", "nobody"), 2, "nobody", ["po"]),
        (("--stop",), 0, "^po stopped ", []),
        (("--launch", "dev"), 0, "dev is active on port 8001", ["dev"]),
        (("--logs", "dev", "-n", "5"), 0, "INFO", ["dev"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and value else None,
)
def test_agent_manager_does_what_the_guide_says(manager, serving, words, status, pattern, left):
    rc, said = manager(*words)
    assert rc == status, said
    assert re.search(pattern, said, re.MULTILINE), said
    assert serving() == left


def test_agent_manager_has_the_log_of_an_agent_that_left(manager, host):
    rc, said = manager("--logs", "architect", "-n", "20")
    assert rc == 0, said
    assert said.strip() == host.check_output("journalctl --unit roundhouse-architect --lines 20 --no-pager").strip()


@pytest.fixture
def setup(name):
    """Return the command line of setup_vllm.py on this host."""
    return lambda words: [str(SCRIPTS / "setup_vllm.py"), *words, "--inventory", INVENTORY, "--", "--limit", name]


@pytest.mark.parametrize("words", [("--install-dependencies", "--download-models", "--setup-docker")], ids=" ".join)
def test_setup_in_a_pipe_is_a_log_of_lines(setup, words):
    done = subprocess.run(setup(words), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert re.search(r"^\d\d:\d\d:\d\d == Install the engine$", done.stdout, re.MULTILINE)
    assert re.search(r"^\+ Deploy the agents +\d+ tasks, \d+ changed, ", done.stdout, re.MULTILINE)
    assert "PLAY RECAP" in Path(re.search(r"^log: (.+)$", done.stdout, re.MULTILINE)[1]).read_text()
    assert re.search(r"^next: scripts/switch.py --on ssh://\S+ status ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [("--download-models",)], ids=" ".join)
def test_setup_in_a_terminal_is_one_screen_of_80_columns(setup, words):
    told = in_terminal(setup(words))
    frames = [re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", frame) for frame in told.split("\x1b[2K")]
    lines = [line.strip("\r") for frame in frames for line in frame.split("\n")]
    assert [line for line in lines if len(line) > WIDTH and not line.startswith(("log: ", "next: "))] == []
    # Whichever stage runs for long enough to be drawn: one with nothing to do may be over between two frames.
    assert any(line.startswith("> ") for line in lines)
    stage, log, after = [line for line in lines if line][-3:]
    assert stage.startswith("+ Download the models")
    assert (log.split()[0], after.split()[:2]) == ("log:", ["next:", "scripts/setup_vllm.py"])


def in_terminal(words):
    """Run it in a terminal of 80 columns; return all that was written to it."""
    leader, terminal = pty.openpty()
    sized = [
        sys.executable,
        "-c",
        f"import os; os.system('stty cols {WIDTH} rows 24'); os.execvp({words[0]!r}, {words!r})",
    ]
    own = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    with subprocess.Popen(sized, stdin=terminal, stdout=terminal, stderr=terminal, env=own) as running:
        os.close(terminal)
        told = b""
        while part := _read(leader):
            told += part
    assert running.returncode == 0, told
    return told.decode()


def _read(leader):
    try:
        return os.read(leader, 65536)
    except OSError:  # how Linux says that the other end is closed
        return b""
