"""A gateway for benchmarks, with an engine that costs nearly nothing, and an HAProxy that only forwards beside it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from roundhouse.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "tests/unit"))
from real_gateway import Gateway, free_port, is_free, until

from roundhouse.gateway import config as gateway_config
from roundhouse.gateway import haproxy
from roundhouse.state import serving

# What the unit sets for glibc, and how HAProxy's memory behaves.
UNIT = CHECKOUT / "roles/gateway/templates/roundhouse-gateway.service.j2"
# An answer as long as that of a short completion.
ANSWER = json.dumps(
    {
        "object": "text_completion",
        "choices": [{"text": "x" * 300, "index": 0, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 100},
    }
)
# HAProxy itself answers, once it has the whole request: faster than any Python server.
ENGINE = """
global
    nbthread 1
    maxconn 8000
    tune.bufsize 1048576
defaults
    mode http
    timeout client 1h
frontend engine
    bind 127.0.0.1:{port}
    http-request wait-for-body time 10s if METH_POST
    http-request return status 200 content-type application/json string '{answer}'
"""
FORWARDER = """
global
    nbthread 1
defaults
    mode http
    option http-no-delay
    timeout connect 1s
    timeout client 1m
    timeout server 1m
listen forwarder
    bind 127.0.0.1:{port}
    server engine 127.0.0.1:{engine}
"""


class Way(NamedTuple):
    """A port that leads to the engine, and the HAProxy process behind it, None for the engine itself."""

    name: str
    port: int
    pid: int | None

    def cpu_seconds(self) -> float:
        """Return the processor time of the process, in seconds."""
        if self.pid is None:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> int:
        """Return the resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024


@contextlib.contextmanager
def haproxies(folder: Path, **texts: str) -> Iterator[dict[str, int]]:
    """Run an HAProxy for each configuration, and yield their pids by name."""
    with contextlib.ExitStack() as stack:
        pids = {}
        for name, text in texts.items():
            file = folder / f"{name}.cfg"
            file.write_text(text)
            process = stack.enter_context(subprocess.Popen(["haproxy", "-f", file]))
            stack.callback(process.terminate)
            pids[name] = process.pid
        yield pids


@contextlib.contextmanager
def engine(gateway: Gateway) -> Iterator[int]:
    """Run the fast engine as the agent dev, and yield its port."""
    port = int(gateway.plan["agents"][0]["engine_port"])
    with haproxies(gateway.folder, engine=ENGINE.format(port=port, answer=ANSWER)):
        until(lambda: gateway.ask("GET", "/health", port=gateway.ports.dev).status == 200)
        yield port


@contextlib.contextmanager
def gateway(**settings: object) -> Iterator[Gateway]:
    """Run a gateway with the unit's environment whose agent dev is active, but not yet started."""
    with tempfile.TemporaryDirectory() as folder:
        gateway_config.FOLDER = haproxy.RUNTIME = folder
        serving.FOLDER = Path(folder)
        serving.record("dev", ["po"])
        # Only for this HAProxy, not for the engine and the forwarder.
        os.environ.update(_unit_environment())
        made = Gateway(Path(folder), **settings).start()
        for name in _unit_environment():
            del os.environ[name]
        try:
            yield made
        except BaseException:
            sys.stderr.write(made.log())
            raise
        finally:
            made.end()


@contextlib.contextmanager
def ways() -> Iterator[list[Way]]:
    """Yield the engine, a forwarder and the gateway's shared port."""
    with gateway() as made, engine(made) as port:
        forwarder = free_port()
        with haproxies(made.folder, forwarder=FORWARDER.format(port=forwarder, engine=port)) as pids:
            until(lambda: not is_free(forwarder))
            yield [
                Way("engine", port, None),
                Way("forwarder", forwarder, pids["forwarder"]),
                Way("gateway", made.ports.any, worker(made)),
            ]


def worker(made: Gateway) -> int:
    """Return the pid of the gateway's only worker."""
    (pid,) = haproxy._workers()
    return pid


def _unit_environment() -> dict[str, str]:
    lines = [line.removeprefix("Environment=") for line in UNIT.read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if line.startswith("MALLOC_"))
