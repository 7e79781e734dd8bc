#!/usr/bin/env python3
"""Print the errors in Markdown: `docs/error_table.py errors | gateway | driver`.

errors: each code of the package with its meaning and remedy. gateway: the HTTP answers of the gateway, from its
templates. driver: the states of the driver.
"""

from __future__ import annotations

import re
import sys

import error_codes
import jinja2
import markdown_table
from jinja2 import nodes

from roundhouse.gateway import config
from roundhouse.host import driver
from roundhouse.paths import CHECKOUT as ROOT

TEMPLATES = sorted((ROOT / "roles/gateway/templates").glob("*.j2"))
MOST = 2  # texts of a code in the table
# The remedy of errors whose cause has the remedy.
CAUSES = "See [Causes](causes.md)."
# The errors whose sentences are made while the program runs: meaning and remedy.
COMPUTED = {
    "canary_no_answer": ("An engine is ready and does not answer its canary.", "See `roundhouse logs AGENT`."),
    "card_unusable": (
        "AGENT cannot start, because a card of it is lost, too old, in MIG mode, or has no driver; the text names it.",
        "Reboot the host for a lost card, run `ansible-playbook site.yml` without a driver, or turn MIG off.",
    ),
    "choice_invalid": ("NAME is VALUE, which is not one of its values.", "Write one of CHOICES."),
    "command_renamed": ("The command has a new name; the text names it.", "Use the new name."),
    "disk_full": ("The disk of the store is too small or full; the text has the sizes.", "Free space on that disk."),
    "does_not_fit": (
        "An agent of the roster does not fit the card; the text has the gap in GiB.",
        "Change the roster.",
    ),
    "engine_ended_at_canary": ("AGENT was ready and ended at its first request; the text has the cause.", CAUSES),
    "engine_ended_before_ready": ("The engine of AGENT ended before it was ready.", CAUSES),
    "engine_exited": ("The engine ended before it was ready.", CAUSES),
    "engine_refused": ("The engine answered STATUS; the text has the answer.", "See `roundhouse logs AGENT`."),
    "engine_unanswered": ("The engine did not answer; the text has the reason.", "See `roundhouse logs AGENT`."),
    "failover_failed": ("AGENT failed, and no other agent started in its place.", CAUSES),
    "gpu_in_use": ("An agent uses the GPU that the command needs; the text names it.", "Run `roundhouse stop`."),
    "gpu_memory_utilization_invalid": (
        "--gpu-memory-utilization is VALUE.",
        "Write a share of the card, above 0 and at most 1.",
    ),
    "gpu_unusable": (
        "No agent can use a GPU of this machine; the text has the reasons.",
        'Add --gpu NAME, such as "RTX 4090".',
    ),
    "cpu_offload_gib_invalid": ("--cpu-offload-gib is VALUE.", "Write GiB, such as 4."),
    "engine_version_invalid": ("--engine-version is VALUE.", "Write a version such as 0.32."),
    "free_gib_invalid": ("--free-gib is VALUE.", "Write GiB, such as 4."),
    "lora_invalid": ("--lora is VALUE.", "Write a whole number from 1."),
    "mtp_invalid": ("--mtp is VALUE.", "Write a whole number from 1."),
    "pipeline_parallel_size_invalid": ("--pipeline-parallel-size is VALUE.", "Write a whole number from 1."),
    "gpus_invalid": ("--gpus is VALUE.", "Write a whole number from 1."),
    "import_file_missing": ("PATH is not a file.", "Name a compose or env file, or write `ollama`."),
    "interrupted": ("The command was interrupted.", "Run it again; after a switch, run `roundhouse status` first."),
    "key_unknown": ("No key is named NAME.", "Write a name of `roundhouse keys`."),
    "kv_cache_dtype_invalid": ("--kv-cache-dtype is VALUE.", "Write a format of the list in the text."),
    "manifest_invalid": ("A manifest of the store is damaged; the text names it.", "Run `roundhouse pull`."),
    "max_model_len_invalid": (
        "--max-model-len is VALUE.",
        "Write a whole number from 1, at most the maximum of the model.",
    ),
    "max_num_batched_tokens_invalid": ("--max-num-batched-tokens is VALUE.", "Write a whole number from 1."),
    "max_num_seqs_invalid": (
        "--max-num-seqs is VALUE.",
        "Write a whole number from 1, at most --max-num-batched-tokens.",
    ),
    "model_damaged": ("A file of a model differs from its checksum; the text names it.", "Run `roundhouse pull`."),
    "model_invalid": (
        "--model is MODEL, neither owner/name nor a folder.",
        "Write a hub's owner/name, or a folder with a config.json.",
    ),
    "model_unknown": (
        "MODEL is not in the catalog.",
        "Download its config.json with the command in the text, and name the folder.",
    ),
    "on_demand_setting_invalid": (
        "A setting of on-demand switching is invalid; the text names it.",
        "Change the setting, and deploy again.",
    ),
    "option_gone": ("OPTION was removed; the text names what replaces it.", "Omit it."),
    "plan_ambiguous": ("Two agents of the plan have the same name or port.", "Deploy again."),
    "plan_empty": ("The plan has no agents.", "Deploy again."),
    "plan_impossible": (
        "An agent of the roster does not fit; the text has the gap in GiB and the plan.",
        "Change the roster.",
    ),
    "plan_incomplete": (
        "The plan lacks a key, or a file that it names; the text names it.",
        "Deploy again, or name another plan of `roundhouse plans`.",
    ),
    "plan_schema_unknown": ("Another version of Roundhouse wrote the plan.", "Deploy again."),
    "plan_unreadable": ("The plan cannot be read, or is not JSON; the text has the path.", "Deploy again."),
    "playbook_invalid": (
        "ansible-playbook cannot read site.yml; the text has its message.",
        "Correct the file that it names.",
    ),
    "pull_failed": ("Several models were not downloaded; `fields.errors` has each error.", "See each error's remedy."),
    "quantization_invalid": ("--quantization is VALUE.", "Write a format of the list in the text."),
    "quantize_requirements_unmet": (
        "The model or the host does not meet a requirement of the recipe; the text names it.",
        "Use another recipe or model.",
    ),
    "requests_failed": (
        "Requests of `bench` failed; the text has the number and the first error.",
        "Run `roundhouse doctor`.",
    ),
    "resume_failed": ("`resume` failed for an agent; `fields.errors` has each error.", "See each error's remedy."),
    "rollback_failed": ("A transaction and its rollback failed; `fields.errors` has each error.", "See each remedy."),
    "roster": ("A converted agent is invalid as a roster; the text names the setting.", "Change it in the file."),
    "roster_invalid": ("The roster is invalid; the text has a line for each setting.", "Correct those settings."),
    "scoring_engine_failed": ("The engine of the quality gate failed; the text has its error.", "Use another recipe."),
    "start_failed": ("AGENT did not start; `fields.cause` has the cause.", CAUSES),
    "start_timeout": ("The engine was not ready after SECONDS s.", CAUSES),
    "switch_running": ("Another switch is running; the text has its agent, process and phase.", "Add --wait."),
    "tensor_parallel_size_invalid": ("--tensor-parallel-size is VALUE.", "Write a whole number from 1."),
    "unexpected": (
        "WHAT failed with an error that has no code; the text has it.",
        "Report it with the output of `roundhouse doctor`.",
    ),
    "unknown_gpu": (
        "--gpu is GPU, not a known card. Laptop GPUs are not in the table.",
        "Write a name of --list-gpus, or add --vram-gib with the card's total memory.",
    ),
    "unknown_option": ("PROGRAM has no option OPTION.", "`PROGRAM --help` lists the options."),
    "usage": ("The command line is not valid; the text has the reason.", "`PROGRAM --help` shows what is allowed."),
    "vram_gib_invalid": ("--vram-gib is VALUE.", "Write the card's total memory in GiB."),
    "yaml_invalid": (
        "A file is not valid YAML; the text has the line, the column and the reason.",
        "Correct that line, or put a value that contains a colon in quotes.",
    ),
    "yaml_key_twice": ("A key stands twice in one mapping; the text has both lines.", "Remove one of them."),
}
# Variables of the gateway's messages, and what the table shows for each.
READABLE = {"%[var(txn.seconds)]": "SECONDS", "{off}": "REASON", "{waiting}": "N", "{wait_seconds}": "N"}


def errors() -> str:
    """Return the table of codes."""
    rows = []
    for code, found in error_codes.all_errors().items():
        known = [each for each in found if error_codes.UNKNOWN not in each.text]
        texts = dict.fromkeys(each.text for each in known)
        remedies = dict.fromkeys(each.remedy for each in known if error_codes.UNKNOWN not in each.remedy)
        meaning, remedy = COMPUTED.get(code) or (_joined(texts), _joined(remedies))
        rows.append((f"`{code}`", meaning, remedy))
    return markdown_table.lines(("code", "meaning", "remedy"), rows)


def _joined(texts: dict[str, None]) -> str:
    return _fields(" / ".join(list(filter(None, texts))[:MOST])).replace("<", "&lt;")


def gateway() -> str:
    """Return the answers of the gateway: status, reason in the metrics, message."""
    found: dict[tuple[str, str], str] = {}
    for file in TEMPLATES:
        for why, status, message in answers(file.read_text()):
            found.setdefault((status, why), message)
    rows = [(status, f"`{why}`", _plain(message)) for (status, why), message in sorted(found.items())]
    rows += [("503", f"`{why}`", _plain(message)) for why, message in config.REFUSALS.items()]
    return markdown_table.lines(("status", "reason", "message"), rows)


def answers(template: str) -> list[tuple[str, str, str]]:
    """Return reason, status and message of each refusal in a template: when(condition, why, status, kind, message)."""
    tree = jinja2.Environment(autoescape=True).parse(template)
    constants = {each.target.name: each.node for each in tree.find_all(nodes.Assign)}
    calls = [each for each in tree.find_all(nodes.Call) if getattr(each.node, "attr", "") == "when"]
    return [(_value(each.args[1]), _value(each.args[2]), _value(each.args[4], constants)) for each in calls]


def _value(node: nodes.Node, constants: dict[str, nodes.Node] | None = None) -> str:
    """Return a constant, or a text with N for what the template fills in."""
    if isinstance(node, nodes.Const):
        return str(node.value)
    if isinstance(node, nodes.Concat):
        return "".join(_value(each) for each in node.nodes)
    if isinstance(node, nodes.Name) and constants and node.name in constants:
        return _value(constants[node.name])
    return "N"


def _plain(message: str) -> str:
    """Return a message with its variables in capitals: NAME is the agent, N a value of the configuration."""
    for found, shown in READABLE.items():
        message = message.replace(found, shown)
    return _fields(re.sub(r"@@\w+@@", "N", re.sub(r"%\[var\([\w.]+\)\]", "NAME", message)))


def driver_states() -> str:
    """Return the table of the driver's states."""
    rows = [(f"`{state}`", _fields(text), _fields(remedy)) for state, (text, remedy) in driver.STATES.items()]
    return markdown_table.lines(("state", "meaning", "remedy"), rows)


def _fields(text: str) -> str:
    """Return a text with its fields in capitals, as AGENT for {agent!r}."""
    return re.sub(r"\{(\w+)(?:\[\w+\])?(?:![rs])?(?::[^}]*)?\}", lambda found: found[1].upper(), text)


PARTS = {"errors": errors, "gateway": gateway, "driver": driver_states}

if __name__ == "__main__":
    print(PARTS[sys.argv[1]]())
