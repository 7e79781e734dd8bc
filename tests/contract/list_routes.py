"""Print every path of the pinned vLLM's server as JSON, with the development paths. Runs with the engine's Python."""

import json
import os
import sys

os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # read when the server is built

from vllm.entrypoints.cli import serve
from vllm.entrypoints.openai import api_server
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
subparsers = parser.add_subparsers(dest="subparser")
for command in serve.cmd_init():
    command.subparser_init(subparsers)
app = api_server.build_app(parser.parse_args(["serve", "/model"]), ("generate",))
json.dump(sorted({route.path for route in app.routes}), sys.stdout)
