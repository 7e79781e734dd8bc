"""The gateway's tests know all paths of the pinned vLLM, and the gateway passes on only paths among them."""

import json
import subprocess

from roundhouse import pins
from roundhouse.gateway import config
from roundhouse.paths import CHECKOUT as ROOT

KNOWN = json.loads((ROOT / "tests/fixtures/vllm-routes.json").read_text())


def test_the_gateways_tests_cover_all_paths_of_the_engine():
    image = subprocess.run([ROOT / "lab/image.sh", "bookworm"], capture_output=True, text=True, check=True)
    command = ["docker", "run", "--rm", "--network=none", "--env=HOME=/tmp"]
    command += ["--volume=roundhouse-lab-engine:/opt/roundhouse/engine:ro"]
    command += [f"--volume={ROOT}/tests/contract:/contract:ro", image.stdout.split()[-1]]
    command += [f"{pins.engine_path('cpu', 'python3.11')}/bin/python", "/contract/list_routes.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == KNOWN
    assert {*config.READS, *config.WRITES} <= {*KNOWN}
