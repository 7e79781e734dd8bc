"""Write a complete model folder as on a hub, or nothing: configuration, tokenizer, weights in bfloat16.

The module needs numpy, tokenizers and jinja2. It avoids torch and transformers, because their imports take longer than
the work here.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from tokenizers import Tokenizer

_HEADER = struct.Struct("<Q")  # a safetensors file begins with the length of its JSON header


class Checkpoint(NamedTuple):
    """The content of a folder; `tensors` yields (Hugging Face's name, float32 array), each once."""

    config: dict[str, Any]
    tokenizer: Tokenizer
    chat_template: str
    tensors: Iterable[tuple[str, np.ndarray]]


def write(made: Checkpoint, target: Path) -> None:
    """Write the folder under a temporary name, check its content, and rename it. Raises ValueError."""
    partial = target.with_name(target.name + ".partial")
    for leftover in (partial, target):
        if leftover.exists():
            shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    made.tokenizer.save(str(partial / "tokenizer.json"))
    words = {key: made.tokenizer.id_to_token(made.config[f"{key}_id"]) for key in ("eos_token", "pad_token")}
    own = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": made.config["max_position_embeddings"]}
    (partial / "tokenizer_config.json").write_text(json.dumps(own | words))
    (partial / "chat_template.jinja").write_text(made.chat_template)
    (partial / "config.json").write_text(json.dumps(made.config, indent=2))
    _write_weights({name: bfloat16(values) for name, values in made.tensors}, partial / "model.safetensors")
    if wrong := problem(partial):
        raise ValueError(f"{target.name}: {wrong}")
    for file in partial.iterdir():
        file.chmod(0o644)  # the engine runs as another user
        _sync(file)
    _sync(partial)
    partial.rename(target)
    _sync(target.parent)


def problem(folder: Path) -> str | None:
    """Return why an engine could not load a folder, as a sentence; None if the folder is complete and consistent."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() > config["vocab_size"]:
        return f"the tokenizer has {tokenizer.get_vocab_size()} tokens, config.json's vocab_size is less."
    asked = [{"role": "user", "content": "To be found again"}]
    template = jinja2.Environment(autoescape=False).from_string((folder / "chat_template.jinja").read_text())  # noqa: S701 - no HTML
    prompt = template.render(messages=asked, add_generation_prompt=True)
    if asked[0]["content"] not in tokenizer.decode(tokenizer.encode(prompt).ids):
        return "the chat template loses the message."
    found, wanted = dict(_shapes(folder / "model.safetensors")), expected(config)
    if odd := sorted({*found.items()} ^ {*wanted.items()}):
        return f"{odd[0][0]} is {found.get(odd[0][0])} in the weights, and {wanted.get(odd[0][0])} by config.json."
    return None


def expected(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that a Llama or Qwen2 of this configuration has."""
    hidden, wide, vocabulary = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = hidden // config["num_attention_heads"]
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    layer: dict[str, tuple[int, ...]] = {
        **{"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)},
        **{"self_attn.q_proj.weight": (queries, hidden), "self_attn.o_proj.weight": (hidden, queries)},
        **{"self_attn.k_proj.weight": (keys, hidden), "self_attn.v_proj.weight": (keys, hidden)},
        **{"mlp.gate_proj.weight": (wide, hidden), "mlp.up_proj.weight": (wide, hidden)},
        "mlp.down_proj.weight": (hidden, wide),
    }
    if config["model_type"] == "qwen2":
        layer |= {"self_attn.q_proj.bias": (queries,), "self_attn.k_proj.bias": (keys,)}
        layer["self_attn.v_proj.bias"] = (keys,)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    found["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (vocabulary, hidden)
    for number in range(config["num_hidden_layers"]):
        found |= {f"model.layers.{number}.{name}": shape for name, shape in layer.items()}
    return found


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Return the bits of values rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def _write_weights(tensors: dict[str, np.ndarray], file: Path) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, values in tensors.items():
        end = at + values.nbytes
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": [at, end]}
        at = end
    told = json.dumps(header).encode()
    told += b" " * (-len(told) % 8)  # the format requires alignment to 8 bytes
    with file.open("wb") as out:
        out.write(_HEADER.pack(len(told)) + told)
        for values in tensors.values():
            out.write(values.tobytes())


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of a safetensors file. Raises ValueError if its length differs from its header's."""
    with file.open("rb") as source:
        (length,) = _HEADER.unpack(source.read(_HEADER.size))
        header = json.loads(source.read(length))
    promised = _HEADER.size + length + max(told["data_offsets"][1] for name, told in header.items() if name[0] != "_")
    if promised != file.stat().st_size:
        raise ValueError(f"{file.name} has {file.stat().st_size} bytes, its header promises {promised}.")
    for name, told in header.items():
        if name != "__metadata__":
            yield name, tuple(told["shape"])


def _sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
