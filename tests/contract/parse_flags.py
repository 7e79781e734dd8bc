"""Parse engine configurations with the pinned vLLM's own parser. Runs with the engine's Python.

stdin: a JSON list of configurations. stdout: a JSON list with the parsed arguments of each configuration, or
{"exit": status} if vLLM refused it.
"""

import json
import sys
import tempfile

import yaml
from vllm.entrypoints.cli import serve
from vllm.utils.argparse_utils import FlexibleArgumentParser


def parse(config):
    """Return the values that `vllm serve --config FILE` starts with."""
    parser = FlexibleArgumentParser()
    subparsers = parser.add_subparsers(dest="subparser")
    for command in serve.cmd_init():
        command.subparser_init(subparsers)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config, file)
        try:
            args = vars(parser.parse_args(["serve", "--config", file.name]))
        except SystemExit as refused:
            return {"exit": refused.code}
    # A disabled switch is written as no-SWITCH.
    names = {name for key in config for name in (key, key.removeprefix("no-"))}
    return {name: named(args.get(name.replace("-", "_"), "absent"), config.get(name)) for name in names}


def named(value, meant):
    """Return the fields of vLLM's objects that the configuration names, without the fields that vLLM adds."""
    if not isinstance(meant, dict):
        return value
    found = value if isinstance(value, dict) else vars(value)
    return {key: named(found.get(key, "absent"), meant[key]) for key in meant}


json.dump([parse(config) for config in json.load(sys.stdin)], sys.stdout)
