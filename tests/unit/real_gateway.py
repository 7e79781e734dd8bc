"""A real HAProxy on loopback, configured by the role's own templates, with fake engines behind it."""

from __future__ import annotations

import functools
import grp
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import jinja2
from clock import TIMEOUT_SECONDS, until

from roundhouse.gateway import config as gateway_config
from roundhouse.gateway import haproxy, haproxy_config, keys
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build
from roundhouse.provision import gateway_files
from roundhouse.state import serving

ROLE = ROOT / "roles/gateway"
WAIT_SECONDS = TIMEOUT_SECONDS
CLAIMS = []  # sockets that stay open until the process ends
TURNS = itertools.count()
OPTIONS = ("enable-auto-tool-choice", "tool-call-parser")
DEFAULTS = {  # the role has others
    **{"listen": "127.0.0.1", "key_required": None, "tls": None, "certificate": "", "connections": 4096},
    **{"source_connections": 64, "metrics_connections": 64, "memory_mib": 4096, "held_mib": 256, "header_kib": 32},
    **{"header_seconds": 10, "body_seconds": 30, "hosts": []},
    **{"requests_per_minute": 10000, "requests_at_once": 1000, "waiting": 8, "wait_seconds": 60},
    **{"on_demand": False, "min_active_seconds": 1, "max_wait_seconds": 2, "in_use_seconds": 1, "idle_seconds": 0},
    **{"default_agents": [], "pinned": [], "cors_origins": []},
}


def version():
    """Return HAProxy's version, (0,) where there is none."""
    if not shutil.which("haproxy"):
        return (0,)
    told = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, told.split()[2].partition("-")[0].split(".")[:2]))


def folder_of_3_0():
    """Return the folder of Debian 13's HAProxy, None where `make setup` did not unpack it."""
    done = subprocess.run([ROOT / "lab/haproxy.sh", "--cached"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def create_files(folder, monkeypatch):
    """Give the gateway's files a folder of their own, with the group of whoever runs the tests; dev is active."""
    monkeypatch.setattr(gateway_config, "FOLDER", str(folder))
    monkeypatch.setattr(haproxy, "RUNTIME", str(folder))
    monkeypatch.setattr(haproxy, "_TIMEOUT_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(serving, "FOLDER", folder)
    monkeypatch.setattr(serving, "LOCK", folder / "switch.lock")
    monkeypatch.setattr(keys, "PATH", folder / "keys.json")
    monkeypatch.setattr(keys, "MAP", folder / "keys.map")
    monkeypatch.setattr(keys, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    serving.record("dev", ["po"])
    return folder


def free_port():
    """Return a port that is free with the next two, all their metrics' and engines'; Linux gives none of them away.

    Each call returns another port, because a client may keep its connection to the last server.
    """
    for turn in itertools.islice(TURNS, 30):
        port = own_ports() + turn % 30 * 3
        if all(is_free(port + more + next_one) for more in (0, 100, 20000) for next_one in range(3)):
            return port
    raise AssertionError("no port is free")


@functools.cache
def own_ports():
    """Return the first of 200 ports that no other process of these tests takes before this one has ended."""
    for first in range(5000, 12000, 200):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0roundhouse-tests-{first}")
        except OSError:
            claim.close()
        else:
            CLAIMS.append(claim)
            return first
    raise AssertionError("other tests have all ports")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def render(config, template="haproxy.cfg.j2"):
    """Print a template of the role as Ansible does."""
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # As Ansible, which keeps the last newline of the file and none of an included one.
    return environment.get_template(template).render(__gateway_config=config, ansible_managed="test") + "\n"


def starting(folder, **always):
    """Yield a function that starts gateways, for a fixture; end them afterwards."""
    running = []

    def start(**settings):
        running.append(Gateway(folder, **always | settings))
        return running[-1].start()

    yield start
    for each in running:
        each.end()


class Gateway:
    """The gateway of the agents `dev` and `po`; its files lie in `folder`."""

    def __init__(self, folder, tool_call_parser=None, **settings):
        self.folder = folder
        self.ports = SimpleNamespace(any=free_port())
        self.ports.dev, self.ports.po = self.ports.any + 1, self.ports.any + 2
        common = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
        common |= {"tool_call_parser": tool_call_parser} if tool_call_parser else {}
        roster = [
            {"name": name, "port": port, "models": [{"model": "/m"}], **common}
            for name, port in (("dev", self.ports.dev), ("po", self.ports.po))
        ]
        self.plan = build.build(roster, build.Settings("cpu", "/e", "/m", 1, self.ports.any))
        self.settings = gateway_config.Settings(**DEFAULTS | settings)
        self.process, self.engines = None, {}
        self.trusting = None  # with TLS, what its certificate is checked by

    def write(self):
        config = gateway_config.build(self.plan, self.settings)
        haproxy_config.template_path().write_text(render(config))
        for name in gateway_files.LUA:
            shutil.copy(ROLE / "files" / name, self.folder)
        if config["needs_key"] and not (self.folder / "keys.map").exists():
            (self.folder / "keys.map").write_text("")
        self.publish()
        haproxy_config.write(self.plan)
        return config

    def start(self):
        config = self.write()
        words = ["haproxy", "-W", "-f", self.folder / "haproxy.cfg", "-S", config["master"]]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log)
        until(self._answers)
        return self

    def _answers(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.ask("GET", "/health").status == 200
        except OSError:
            return False

    def publish(self, **told):
        """Send routes to HAProxy: those of the disk, or the given ones."""
        if not told:
            haproxy.publish_routes(self.plan, print)
        else:
            lines = [f"set map {haproxy.routes_path()} {name} {line}" for name, line in told.items()]
            assert haproxy.send(lines) is None

    def engine(self, name, *faults):
        agent = next(each for each in self.plan["agents"] if each["name"] == name)
        config = self.folder / f"{name}.yaml"
        options = {"model": "/m", "served-model-name": name, "host": agent["host"], "port": agent["engine_port"]}
        options |= {"shutdown-timeout": 30} | {key: agent["config"][key] for key in OPTIONS if key in agent["config"]}
        config.write_text("".join(f"{key}: {value}\n" for key, value in options.items()))
        words = [sys.executable, ROOT / "lab/fake/vllm", "serve", "--config", config, *faults]
        with (self.folder / f"{name}.log").open("w") as log:
            quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
            self.engines[name] = subprocess.Popen(words, stdout=log, stderr=log, env=quiet)

    def serve(self, name, *faults):
        """Start an engine and wait until the gateway sees it."""
        self.engine(name, *faults)
        until(lambda: self.ask("GET", "/health", port=getattr(self.ports, name)).status == 200)

    def hold(self, name):
        """Serve as that agent, without a token as long as the file is there that is returned."""
        file = self.folder / "hold"
        file.touch()
        self.serve(name, "--answer-while", file)
        return file

    def ask(self, method, path, body=None, *, port=None, timeout=WAIT_SECONDS, **headers):
        where = ("localhost", port or self.ports.any)
        kind = functools.partial(http.client.HTTPSConnection, context=self.trusting) if self.trusting else None
        connection = (kind or http.client.HTTPConnection)(*where, timeout=timeout)
        try:
            payload = json.dumps(body) if isinstance(body, dict) else body
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer
        finally:
            connection.close()

    def complete(self, model, *, tokens=1, prompt="go on", **options):
        return self.ask("POST", "/v1/completions", {"prompt": prompt, "max_tokens": tokens, "model": model}, **options)

    def log(self):
        return (self.folder / "log").read_text()

    def end(self):
        for process in [*self.engines.values(), *([self.process] if self.process else [])]:
            process.send_signal(signal.SIGTERM if process is self.process else signal.SIGKILL)
            process.wait(WAIT_SECONDS)
        # As systemd does (RuntimeDirectory=). Each command waits for the socket of a starting HAProxy.
        (self.folder / "master.sock").unlink(missing_ok=True)
