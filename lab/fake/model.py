#!/usr/bin/python3
"""Write a minimal model folder: a configuration, a tokenizer, and a complete safetensors file with one tensor.

model.py FOLDER
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
WEIGHTS = bytes(8192)


def main(folder: Path) -> None:
    """Write the three files, the configuration last, because it marks the folder as complete."""
    folder.mkdir(parents=True, exist_ok=True)
    tensor = {"model.norm.weight": {"dtype": "BF16", "shape": [4096], "data_offsets": [0, len(WEIGHTS)]}}
    header = json.dumps(tensor).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + WEIGHTS)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps(CONFIG))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
