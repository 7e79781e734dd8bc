#!/usr/bin/env python3
"""Record a switch on a lab host for the screens of the documents: `docs/record.py HOST AGENT FILE WHAT`.

HOST is the container of a lab host with deployed agents. `make demo` makes one with real engines on the CPU, molecule's
scenario switch-faults one with fake engines and a stand-in card. WHAT describes the engines.

`roundhouse AGENT` runs on the host, and the state that `watch` shows is read twice a second, by the installed package.
FILE gets a JSON object a line: the origin, the output of the switch, and each state that differs from the one before.
docs/screens.py prints it with the current code.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Runs on the host, with its Python and the installed package.
LOOK = """
import json, select, sys, time
sys.path.insert(0, sys.argv[1])
from roundhouse.agents import watch
from roundhouse.plan import deployed
planned = deployed.load()
while not select.select([sys.stdin], [], [], 0.5)[0]:  # until that is closed
    print(json.dumps({"at": time.time(), "view": watch.observe(planned, cards=True)._asdict()}), flush=True)
"""
AROUND_SECONDS = 2


def main(host: str, agent: str, file: str, what: str) -> int:
    """Record, write the file and return the switch's exit status."""
    inside = ["docker", "exec", "--interactive", host]
    folder = _output(*inside, "readlink", "-f", "/usr/local/bin/roundhouse").rpartition("/")[0]
    with tempfile.TemporaryFile("w+") as kept:
        with subprocess.Popen([*inside, "python3", "-c", LOOK, folder], stdin=subprocess.PIPE, stdout=kept) as looking:
            time.sleep(AROUND_SECONDS)
            done = subprocess.run([*inside, "roundhouse", agent], capture_output=True, text=True, check=False)
            time.sleep(AROUND_SECONDS)
            looking.communicate()  # closes its input
        kept.seek(0)
        looks = [json.loads(line) for line in kept]
    release = _output(*inside, "sh", "-c", ". /etc/os-release; echo $PRETTY_NAME")
    made = {"on": time.strftime("%Y-%m-%d"), "by": f"docs/record.py {host} {agent}", "what": f"{release}, {what}"}
    lines = [made, {"said": done.stderr.splitlines(), "printed": done.stdout.strip()}, *_changes(looks)]
    Path(file).write_text("".join(json.dumps(each) + "\n" for each in lines))
    return done.returncode


def _changes(looks: list[dict]) -> list[dict]:
    """Return the states without repetitions, with the seconds since the first."""
    begun, kept = looks[0]["at"], []
    for look in looks:
        if not kept or look["view"] != kept[-1]["view"]:
            kept.append(look | {"at": round(look["at"], 1)})
    return [look | {"seconds": round(look["at"] - begun, 1)} for look in kept]


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:5]))
