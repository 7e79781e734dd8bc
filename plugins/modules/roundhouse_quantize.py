"""Ansible module: make the quantized models of a roster. A shim over roundhouse.quantize.pipeline."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_quantize
short_description: Quantize models of the store, each admitted by the quality gate or not kept
description:
  - Makes each result by its recipe, serves base and result with the engine, and admits it when their answers agree. Run
    it with C(async) and C(poll=0); the action of the same name waits for it and reports its progress.
options:
  quantizations:
    description: The results, each with model, revision, recipe and path.
    type: list
    elements: dict
    required: true
  store:
    description: The folder that models are put in.
    type: path
    required: true
  engine_path:
    description: The engine's environment, which measures the quality.
    type: path
    required: true
  accelerator:
    description: What the engine runs on.
    type: str
    choices: [cuda, cpu]
    required: true
  environment_path:
    description: The quantization environment.
    type: path
    required: true
  progress_path:
    description: The file in which progress stands as JSON lines while it runs.
    type: path
author: Roundhouse
"""

EXAMPLES = """
- name: Quantize what the roster asks for
  roundhouse_quantize:
    quantizations: "{{ plan.agents | roundhouse_quantizations }}"
    store: /var/lib/roundhouse/models
    engine_path: /opt/roundhouse/engine/0.32.0
    accelerator: cuda
    environment_path: /opt/roundhouse/quantize/0.14
  async: 172800
  poll: 0
"""

RETURN = """
models:
  description: For each result its name, path, whether it was made now, and its quality by the quality gate.
  type: list
  elements: dict
  returned: success
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.quantize import pipeline
from ansible.module_utils.roundhouse.util import progress

try:
    from ansible.module_utils import pynvml
except ImportError:  # a controller that was not made by `make setup`: then the host's own, if it has one
    pynvml = None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "quantizations": {"type": "list", "elements": "dict", "required": True},
            "store": {"type": "path", "required": True},
            "engine_path": {"type": "path", "required": True},
            "accelerator": {"type": "str", "choices": ["cuda", "cpu"], "required": True},
            "environment_path": {"type": "path", "required": True},
            "progress_path": {"type": "path"},
        }
    )
    given = module.params
    written = Path(given["progress_path"] or os.devnull)
    try:
        with progress.in_file(written) as shown:
            done = pipeline.quantize_all(given, shown.note, pynvml)
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    finally:
        if written != Path(os.devnull):
            written.unlink()
    module.exit_json(**done)


if __name__ == "__main__":
    main()
