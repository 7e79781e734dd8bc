"""Every configuration that the bundle can render means the same to the pinned vLLM.

The parser is the real one, in the lab's engine; `make test` fills that volume first.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from roundhouse import lock, plan

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = {
    "name": "every-option",
    "models": [{"model": "own/model", "revision": "v1", "quantization": "gptq"}],
    "port": 8003,
    "max_model_len": 1024,
    "gpu_memory_utilization": 1.0,
    "temperature": 0,
    "top_p": 1.0,
    "gpus": [0, 1],
    "max_num_seqs": 4,
    "enforce_eager": True,
}


def understood(configs):
    """Return what vLLM's own parser makes of the configurations."""
    image = subprocess.run([ROOT / "lab/image.sh", "bookworm"], capture_output=True, text=True, check=True)
    engine = lock.engine_path("cpu", "python3.11")
    command = ["docker", "run", "--rm", "--interactive", "--network=none"]
    command += ["--volume=roundhouse-lab-engine:/opt/roundhouse/engine:ro"]
    command += [f"--volume={ROOT}/tests/contract:/contract:ro"]
    command += [image.stdout.split()[-1], f"{engine}/bin/python", "/contract/parse_flags.py"]
    done = subprocess.run(command, input=json.dumps(configs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def agents():
    """Return the planned agents of the shipped roster, and one with every option."""
    roster = yaml.safe_load((ROOT / "group_vars/all/agents.yml").read_text())["agents"]
    made = plan.build(
        [*roster, EVERYTHING], accelerator="cuda", engine_path="/e", models_store="/m", start_timeout_seconds=1
    )
    return made["agents"]


def test_vllm_understands_each_configuration_as_it_was_meant(agents):
    configs = [agent["config"] for agent in agents]
    for config, parsed in zip(configs, understood(configs), strict=True):
        meant = config | {"served-model-name": [config["served-model-name"]]}
        assert parsed == meant


def test_vllm_refuses_an_option_that_it_does_not_have(agents):
    assert understood([agents[0]["config"] | {"max-model-length": 1}]) == [{"exit": 2}]
