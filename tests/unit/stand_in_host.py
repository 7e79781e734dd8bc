"""A host of one folder: a plan, a systemctl and a docker that answer from files, and engines on loopback.

`benchmarks/command.py` and the tests of the command's start run programs on it.
"""

import json
import os
import shlex
from http.server import BaseHTTPRequestHandler
from pathlib import Path

READY, STOPPED = "active", "inactive"
_UNIT = """\
ActiveState={state}
SubState=running
NRestarts=0
ExecMainStatus=0
ExecMainCode=0
Result=success
ActiveEnterTimestamp=Sun 2026-11-29 15:45:32 UTC
ExecMainStartTimestampMonotonic=0
MainPID=0
Job=0
LoadState=loaded
InvocationID=a
"""
# `list-jobs` answers that a stop of the first agent is queued.
_SYSTEMCTL = """\
#!/bin/sh
case $1 in
  show) cat {units} ;;
  list-jobs) echo "1 roundhouse-agent-0.service stop running" ;;
esac
"""
# The package keeps the plan's path as a default, and the state's folder as a constant.
_PROGRAM = """\
import sys
sys.argv, sys.path[:0] = {argv}, [{source}]
import pathlib
from roundhouse.plan import deployed
deployed.PATH = pathlib.Path({plan})
deployed.load.__defaults__ = (deployed.PATH,)
if sys.argv[1] != "--help":  # which reads no state
    from roundhouse.state import serving
    serving.FOLDER = pathlib.Path({state})
from roundhouse.cli.main import main
status = main()
{after}
raise SystemExit(status)
"""


def agent(number, port, *, gpus=()):
    """Return an agent of the plan; its engine listens on the port."""
    name = f"agent-{number}"
    return {
        **{"name": name, "unit": f"roundhouse-{name}.service", "host": "127.0.0.1", "port": port, "engine_port": port},
        **{"model": "owner/model", "model_path": "/m", "conflicts": [], "config_path": "/c", "environment": {}},
        **{"config": {}, "gpus": list(gpus), "max_model_len": 8192, "gpu_memory_utilization": 0.9},
    }


class Host:
    """A host with these agents; `states` has systemd's ActiveState of each."""

    def __init__(self, folder, agents, states, accelerator="cpu"):
        self.folder, self.agents = Path(folder), agents
        self.plan = {"schema": 1, "accelerator": accelerator, "engine_path": "/e", "agents": agents, "problems": []}
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        (self.folder / "plan.json").write_text(json.dumps(self.plan))
        (self.folder / "units").write_text("\n".join(_UNIT.format(state=state) for state in states))
        self._install("systemctl", _SYSTEMCTL.format(units=shlex.quote(str(self.folder / "units"))))
        self._install("docker", "#!/bin/sh\n")

    def _install(self, name, text):
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def environment(self):
        """Return the environment of a program on this host."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ROUNDHOUSE_"))}
        return {**kept, "PATH": f"{self.folder / 'bin'}:{kept['PATH']}", "ROUNDHOUSE_ON": "local", "COLUMNS": "120"}

    def program(self, source, *words, after=""):
        """Return Python's options for `roundhouse WORDS` of the package in `source`; `after` are further statements."""
        values = {"argv": ["roundhouse", *words], "source": str(source)}
        values |= {"plan": str(self.folder / "plan.json"), "state": str(self.folder / "state")}
        return ["-c", _PROGRAM.format(after=after, **{name: repr(value) for name, value in values.items()})]


class Engine(BaseHTTPRequestHandler):
    """Answers what `status` asks an engine."""

    def do_GET(self):
        """Answer."""
        models = {"data": [{"id": "agent-0", "root": "/m", "max_model_len": 8192}]}
        answers = {
            "/v1/models": json.dumps(models),
            "/version": '{"version": "0.32.0"}',
            "/metrics": "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.4\n",
        }
        body = answers[self.path].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Log nothing."""
