#!/usr/bin/env python3
"""Record a switch on a lab host for the screens of the documents: `docs/record.py HOST AGENT FILE WHAT`.

HOST is a lab host's container with agents deployed: of `make demo` (real engines on the CPU), or of molecule's scenario
switch-faults (fake engines, a stand-in card); WHAT says so in words. While `roundhouse AGENT` runs there, what watch
shows is looked at twice a second, with the host's own installed command. FILE then holds, a JSON object a line: how it
was made, what the switch said, and each look that is another than the one before. docs/screens.py shows it with the
program's own code, so that a document shows what today's program makes of a real run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Runs on the host, with its own Python and the installed package.
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
    """Return the looks without those that equal the one before; times are counted from the first."""
    begun, kept = looks[0]["at"], []
    for look in looks:
        if not kept or look["view"] != kept[-1]["view"]:
            kept.append(look | {"at": round(look["at"], 1)})
    return [look | {"seconds": round(look["at"] - begun, 1)} for look in kept]


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:5]))
