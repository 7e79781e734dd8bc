"""Sum the tensors of a checkpoint by the headers of its safetensors files, which are its first bytes.

A header has each tensor's type, shape and place. So a few hundred KB of a hub give the exact bytes of a model whose
weights have tens of GB. The sums are by what the engine does with a tensor: see `Held`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..catalog.architecture import Held
from ..util import json_file

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelConfig

# The length of a header, before it.
LENGTH_BYTES = 8
_MOST_BYTES = 100 * 1024 * 1024  # the safetensors format's own limit
# Not loaded: vLLM computes the first, and converts or drops the others for its kernels (auto_gptq.py).
_SKIPPED = re.compile(r"(rotary_emb\.inv_freq|\.g_idx|\.perm)$")
_DRAFT = re.compile(r"(^|\.)(mtp|nextn|eagle_module)\.")
_IMAGES = re.compile(r"(^|\.)(visual|vision_tower|vision_model|vision_encoder|multi_modal_projector|embed_vision)\.")
_TABLE = re.compile(r"(embed_tokens|embed_tokens_per_layer|wte|word_embeddings)\.\w+$")
_HEAD = re.compile(r"(^|\.)lm_head\.\w+$")
_EXPERT = re.compile(r"\.experts\.")
# On each rank whole: norms, routers, MLA's compressing matrices, and tensors of one number.
_WHOLE = re.compile(r"(norm|layernorm|\.gate|router|shared_expert_gate|q_a_proj|kv_a_proj_with_mqa)\.(weight|bias)$")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d{1,6})\.")


class Tensor(NamedTuple):
    """Hold one tensor of a header. `size` is in bytes."""

    name: str
    kind: str
    size: int
    dimensions: int


def length(start: bytes) -> int:
    """Return the length of a header by a file's first bytes. Raises ValueError."""
    found = int(struct.unpack("<Q", start[:LENGTH_BYTES])[0]) if len(start) >= LENGTH_BYTES else 0
    if not 2 <= found <= _MOST_BYTES:
        raise ValueError("it does not start with a safetensors header")
    return found


def tensors(header: bytes) -> Iterator[Tensor]:
    """Yield the tensors of a header. Raises ValueError."""
    content = json_file.parse(header)
    if not isinstance(content, dict):
        raise ValueError("its header is not an object")
    for name, entry in content.items():
        if name == "__metadata__":
            continue
        try:
            begin, end = entry["data_offsets"]
            yield Tensor(str(name), str(entry["dtype"]), _size(begin, end), len(entry["shape"]))
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"its header has an invalid entry for {str(name)[:80]!r}") from None


def _size(begin: object, end: object) -> int:
    if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin <= end < 1 << 62:
        raise ValueError
    return end - begin


def held(found: Iterable[Tensor], config: ModelConfig) -> Held:
    """Return the sums of a checkpoint's tensors by what the engine does with them."""
    text: Mapping[str, Any] = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    tied = bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False)))
    layers = text.get("num_hidden_layers")
    quantization = config.get("quantization_config")
    symmetric = isinstance(quantization, dict) and quantization.get("quant_method") == "gptq"
    sums = dict.fromkeys(Held._fields, 0)
    for tensor in found:
        role = _role(tensor, tied=tied, layers=layers if isinstance(layers, int) else None, drops_zeros=symmetric)
        sums[role] += tensor.size
        if role == "split":
            part = _part(tensor.name, tied=tied)
            if part:
                sums[part] += tensor.size
    return Held(**sums)


def _role(tensor: Tensor, *, tied: bool, layers: int | None, drops_zeros: bool) -> str:
    name = tensor.name
    at = _LAYER.search(name)
    if _DRAFT.search(name) or (at and layers is not None and int(at[1]) >= layers and not _IMAGES.search(name)):
        return "draft"
    if _SKIPPED.search(name) or (tied and _HEAD.search(name)) or (drops_zeros and name.endswith(".qzeros")):
        return "skipped"
    return "replicated" if tensor.dimensions == 0 or _WHOLE.search(name) else "split"


def _part(name: str, *, tied: bool) -> str | None:
    """Return the part of the split tensors that a token reads not at all or only partly."""
    if _IMAGES.search(name):
        return "images"
    if _EXPERT.search(name):
        return "experts"
    return "table" if not tied and _TABLE.search(name) else None
