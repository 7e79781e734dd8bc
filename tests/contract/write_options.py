#!/usr/bin/env python3
"""Write the list of the pinned vLLM's options, src/roundhouse/vllm/serve_options.json, one option a line."""

import json

from pinned_vllm import answer

from roundhouse.vllm import engine_options

if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(option)}" for name, option in answer("list_options.py").items()]
    engine_options.LIST.write_text("{\n" + ",\n".join(lines) + "\n}\n")
