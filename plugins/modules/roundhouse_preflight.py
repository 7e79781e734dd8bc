"""Ansible module: what a host lacks and has. Over provision/preflight.py and host_state.py."""

from __future__ import annotations

DOCUMENTATION = """
---
module: roundhouse_preflight
short_description: Find what a host lacks, and what of the roles' is there, before anything is changed
description:
  - Reads the system, the cards and who uses them, the disk, the ports and the packages of others; changes nothing.
options:
  agents:
    description: The agents of the plan.
    type: list
    elements: dict
    required: true
  required_models:
    description: The hub's models, each with model, revision and files (from the lock, or null).
    type: list
    elements: dict
    required: true
  accelerator:
    description: What the engine runs on.
    type: str
    choices: [cuda, cpu]
    required: true
  engine_path:
    description: Where the engine's environment will be.
    type: path
    required: true
  engine_python:
    description: The Python of the engine's environment, by the name that the host's PATH has.
    type: str
    required: true
  quantize_path:
    description: Where the environment of quantizing will be, where an agent asks for it.
    type: path
    required: true
  models_store:
    description: Where pulled models will be.
    type: path
    required: true
  folders:
    description: The roster's own folders.
    type: list
    elements: path
    default: []
  quantizations:
    description: The results of recipes that the plan names, each with model, revision, recipe and path.
    type: list
    elements: dict
    default: []
  hub_path:
    description: Where the environment of the hub's client will be.
    type: path
    required: true
  nvml:
    description: What NVML said, as roundhouse_plan_facts returned it (answer); nvidia-ml-py is not sent again for it.
    type: dict
    required: true
  gateway_port:
    description: The gateway's port of all agents; none without a gateway.
    type: int
  image:
    description: The image that has the engine; none where the engine is an environment of the host's.
    type: str
  runtime_image:
    description: The image of the agents' containers; none where they are no containers.
    type: str
  runtime:
    description: How the agents run.
    type: str
    choices: [native, compose]
    required: true
  components:
    description: >-
      The settings of the roles for driver, engine and toolkit, as M(roundhouse_component_info) documents them. A
      component without settings has no row.
    type: dict
    default: {}
  apt_sources:
    description: >-
      The apt repositories that these roles add, by component and source of packages, each with name, uri, suites and
      components.
    type: dict
    default: {}
author: Roundhouse
"""

EXAMPLES = """
- name: Look at the host
  roundhouse_preflight:
    agents: "{{ plan.agents }}"
    required_models: "{{ plan.agents | roundhouse_required_models(models_lock) }}"
    accelerator: cuda
    engine_path: /opt/roundhouse/engine/0.32.0
    engine_python: python3
    quantize_path: /opt/roundhouse/quantize/0.14
    models_store: /var/lib/roundhouse/models
    hub_path: /opt/roundhouse/hub/2.4.0
    nvml: "{{ plan_facts.answer }}"
    runtime: native
"""

RETURN = """
findings:
  description: One sentence for each thing to mend first.
  type: list
  elements: str
  returned: always
rows:
  description: >-
    The table, a row for each part of the host, with component, found, action (empty, skip, keep, install, upgrade or
    refuse), reason, problems and warnings.
  type: list
  elements: dict
  returned: always
host:
  description:
    - What is there, with packages (names), environments (folders), hub_current (where the link leads), models (to_pull,
      to_quantize, problems), image, command (its folder's name), users, gateway (unit, control, keys, certificate) and
      ollama (enabled, state).
  type: dict
  returned: always
code:
  description: The error's code; C(remedy) and C(fields) belong to it.
  type: str
  returned: failure
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.roundhouse.errors import RoundhouseError
from ansible.module_utils.roundhouse.host import gpu
from ansible.module_utils.roundhouse.provision import component_options, host_state, preflight, preflight_components


def main() -> None:
    wanted = {
        "agents": {"type": "list", "elements": "dict", "required": True},
        "required_models": {"type": "list", "elements": "dict", "required": True},
        "accelerator": {"type": "str", "choices": ["cuda", "cpu"], "required": True},
        "engine_path": {"type": "path", "required": True},
        "engine_python": {"type": "str", "required": True},
        "quantize_path": {"type": "path", "required": True},
        "models_store": {"type": "path", "required": True},
        "gateway_port": {"type": "int"},
        "image": {"type": "str"},
        "runtime": {"type": "str", "choices": ["native", "compose"], "required": True},
    }
    more = {
        "folders": {"type": "list", "elements": "path", "default": []},
        "quantizations": {"type": "list", "elements": "dict", "default": []},
        "hub_path": {"type": "path", "required": True},
        "nvml": {"type": "dict", "required": True},
        "runtime_image": {"type": "str"},
        "components": {"type": "dict", "options": component_options.OPTIONS, "default": {}},
        "apt_sources": {"type": "dict", "default": {}},
    }
    module = AnsibleModule(argument_spec={**wanted, **more}, supports_check_mode=True)
    given = module.params
    asked = host_state.Asked(
        environments=[given["engine_path"], given["quantize_path"], given["hub_path"]],
        current=str(Path(given["hub_path"]).parent / "current"),
        store=given["models_store"],
        folders=given["folders"],
        required_models=given["required_models"],
        quantizations=given["quantizations"],
        image=given["runtime_image"],
    )
    try:
        asked_of_roles = preflight_components.Asked(given["components"], given["apt_sources"])
        asked_of_host = preflight.Wanted(**{name: given[name] for name in wanted})
        rows = preflight.check(asked_of_host, gpu.Answer(**given["nvml"]), asked_of_roles)
        state = host_state.inspect(asked)
    except RoundhouseError as error:
        module.fail_json(**error.as_result())
    table = [row.as_json() for row in rows]
    module.exit_json(changed=False, findings=preflight.problems(rows), rows=table, host=state)


if __name__ == "__main__":
    main()
