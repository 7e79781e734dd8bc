#!/usr/bin/env python3
"""Record a run of site.yml for the screens of the documents: `docs/record_setup.py INVENTORY FILE WHAT`.

It runs what scripts/setup_vllm.py runs, on the hosts of INVENTORY; WHAT is in words. FILE then holds an object a line:
how it was made with the names of the stages, each event, and how it ended. docs/screens.py shows it with the program's
own code, so that a document shows what today's program makes of a real run.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
from roundhouse import setup_run
from roundhouse.setup_events import Event


def main(inventory: str, file: str, what: str) -> int:
    """Record, write the file, and return 0 when the run went well."""
    wanted = setup_run.Wanted((), str(Path(inventory).absolute()), ())
    made = {"on": time.strftime("%Y-%m-%d"), "by": "docs/record_setup.py", "what": what}
    events: list[Event] = []
    begun = time.time()
    made["stages"] = setup_run.stages(wanted)
    status = setup_run.run(wanted, events.append)
    told = [each._replace(at=round(each.at - begun, 1))._asdict() for each in events]
    ended = {"ended": round(time.time() - begun, 1), "status": status}
    Path(file).write_text("".join(json.dumps(each) + "\n" for each in (made, *told, ended)))
    return 0 if status == "successful" else 1


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
