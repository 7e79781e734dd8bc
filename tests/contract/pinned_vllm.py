"""Run a script of this folder with the pinned vLLM, that of the lab's engine; `make test` fills its volume first."""

import json
import subprocess

from roundhouse import pins
from roundhouse.paths import CHECKOUT as ROOT


def answer(script, sent=None):
    """Return the JSON value that the script prints last; `sent` is its input, a JSON value."""
    image = subprocess.run([ROOT / "lab/image.sh", "bookworm"], capture_output=True, text=True, check=True)
    command = ["docker", "run", "--rm", "--interactive", "--network=none", "--env=HOME=/tmp"]
    command += ["--volume=roundhouse-lab-engine:/opt/roundhouse/engine:ro"]
    command += [f"--volume={ROOT}/tests/contract:/contract:ro", image.stdout.split()[-1]]
    command += [f"{pins.engine_path('cpu', 'python3.11')}/bin/python", f"/contract/{script}"]
    done = subprocess.run(command, input=json.dumps(sent), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
