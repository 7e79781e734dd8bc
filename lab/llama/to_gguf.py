#!/usr/bin/env python3
"""Write one of the lab's Qwen2 models as GGUF with identical weights: `to_gguf.py FOLDER FILE`.

llama.cpp's own converter recognizes only known tokenizers, by the hash of a tokenized text, and rejects the lab's. The
program needs gguf, llama.cpp's own library (Debian's python3-gguf).
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

# llama.cpp's names of the tensors by Hugging Face's names.
NAMES = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, 64)


def settings(writer: gguf.GGUFWriter, config: dict) -> None:
    """Write the model's dimensions."""
    writer.add_name(config["model_type"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])


def words(writer: gguf.GGUFWriter, folder: Path, config: dict) -> None:
    """Write the tokenizer and the chat template."""
    told = json.loads((folder / "tokenizer.json").read_text())
    special = {entry["content"] for entry in told["added_tokens"]}
    vocabulary = sorted(told["model"]["vocab"].items(), key=lambda pair: pair[1])
    kinds = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word, _ in vocabulary]
    writer.add_tokenizer_model("gpt2")  # byte-level BPE
    writer.add_tokenizer_pre("gpt-2")  # and its rule for words, which is ByteLevel of the package tokenizers
    writer.add_token_list([word for word, _ in vocabulary])
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in told["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template((folder / "chat_template.jinja").read_text())


def tensors(writer: gguf.GGUFWriter, file: Path) -> None:
    """Write the weights: matrices unchanged in bfloat16, vectors in float32 as llama.cpp requires."""
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    head, begin = json.loads(raw[8 : 8 + length]), 8 + length
    for name, told in head.items():
        if name == "__metadata__":
            continue
        first, last = told["data_offsets"]
        bits = np.frombuffer(raw, np.uint16, (last - first) // 2, begin + first).reshape(told["shape"])
        own = NAMES.get_name(name, try_suffixes=(".weight", ".bias"))
        if bits.ndim == 1:
            writer.add_tensor(own, (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            bf16 = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(own, np.ascontiguousarray(bits).view(np.uint8), raw_dtype=bf16)


def main(source: str, target: str) -> int:
    """Write the file and return 0."""
    folder = Path(source)
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "qwen2")
    settings(writer, config)
    words(writer, folder, config)
    tensors(writer, folder / "model.safetensors")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:3]))
