"""Compute the bytes of a model's weights: on disk, resident on each rank, read for each token.

The resident size is more than the sum of the tensors. For a tensor of 10 MiB or more, PyTorch's caching allocator takes
segments in steps of 2 MiB. It splits off the end of a segment only when more than 1 MiB is left. A shorter end
counts as the tensor's (c10/cuda/CUDACachingAllocator.cpp: kRoundLarge, kMinLargeAlloc, kSmallSize). Since 0.21 vLLM
never splits segments of 20 MiB and more during the load of weights (vllm#41268). With both rules, the computed sizes
differ from those of start logs by a few MiB.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..catalog.architecture import Architecture, Held
from ..util.units import MIB
from ..vllm.defaults import PINNED_VERSION, Version
from ..vllm.formats import WEIGHT_FORMATS, Format
from .linears import Linear, absorbed, linears, sixteen_bit

BYTES_16BIT = 2
NEVER_SPLIT_SINCE: Version = (0, 21)
_LARGE_BYTES = 10 * MIB
_SEGMENT_BYTES = 2 * MIB
_SMALL_BYTES = 1 * MIB
_NEVER_SPLIT_BYTES = 20 * MIB
# vLLM reads qweight as 32-bit words and pads the vocabulary to 64 (vocab_parallel_embedding.py).
_VOCAB_PADDING = 64
# vLLM enlarges the table of three-dimensional positions (rotary_embedding/mrope.py).
_MROPE_TABLES = 4
_16BIT = WEIGHT_FORMATS["bf16"]
Parts = tuple[tuple[str, Format], ...]


class Weights(NamedTuple):
    """Hold the bytes of one rank; `disk` is the size of the whole checkpoint's tensors.

    `read_per_token` is the number of bytes that one decode step of one sequence reads: without the embedding, and with
    the chosen experts only. `rounding` is the allocator's part of `resident`.
    """

    resident: int
    disk: int
    read_per_token: int
    rounding: int = 0


@lru_cache(maxsize=4096)
def weights(
    architecture: Architecture,
    form: Format,
    tensor_parallel_size: int,
    parts: Parts = (),
    engine: Version = PINNED_VERSION,
) -> Weights:
    """Return the bytes of a model; the ranks must divide its heads and its intermediate size.

    The formula has the linear layers in the format, and embeddings, lm_head, norms and biases in 16 bit. It differs by
    0.00 % to 0.09 % from six published checkpoints. `parts` have their own formats.
    """
    ranks, forms = tensor_parallel_size, dict(parts)
    resident = read = exact = 0
    for linear in linears(architecture, ranks):
        used = _form(linear.role, form, forms)
        tensors = _tensors(_padded(linear, used), used)
        resident += linear.layers * sum(_allocated(size, engine) for size in tensors)
        exact += linear.layers * sum(tensors)
        read += linear.layers * sum(tensors) * linear.used // linear.stacked
    matrices = linears(architecture, 1, stored=True)
    disk = sum(each.layers * _on_disk(each, _form(each.role, form, forms)) for each in matrices)
    whole, mine = sixteen_bit(architecture, ranks)
    everything = sum(sixteen_bit(architecture, 1))
    tables = _tables(architecture, ranks, forms)
    held = sum(_allocated(size, engine) for size in tables)
    rounding = resident - exact + held - sum(tables)
    resident += (whole + mine) * BYTES_16BIT + held + _encoder(architecture, ranks)
    resident += _positions(architecture) + absorbed(architecture, ranks) * BYTES_16BIT
    read += (whole + mine) * BYTES_16BIT
    disk += everything * BYTES_16BIT + _tables_on_disk(architecture, forms)
    return Weights(resident, disk, read + head_bytes(architecture, ranks, forms), rounding)


def from_headers(held: Held, architecture: Architecture, ranks: int, *, drafts: bool, images: bool = True) -> Weights:
    """Return the bytes of a checkpoint whose headers were read, without the allocator's rounding."""
    split = held.split - (0 if images else held.images)
    mine = split // ranks + held.replicated + (held.draft // ranks if drafts else 0)
    experts, chosen = held.experts // ranks, architecture.num_experts_per_tok
    unused = experts - experts * chosen // architecture.num_experts if architecture.num_experts else 0
    table = held.table // ranks
    more = _positions(architecture) + absorbed(architecture, ranks) * BYTES_16BIT
    return Weights(mine + more, held.total, max(0, mine - table - unused))


def draft_bytes(architecture: Architecture, form: Format, ranks: int) -> int:
    """Return the bytes of the layers for multi-token prediction: full attention, a block, and a projection of 2 inputs.

    vLLM shares embedding and lm_head with the model (models/qwen3_5_mtp.py and deepseek_mtp.py of 0.32).
    """
    layers = architecture.draft_layers
    if not layers:
        return 0
    one = architecture._replace(
        num_hidden_layers=layers,
        moe_layers=min(layers, architecture.moe_layers),
        dense_layers=None if architecture.dense_layers is None else min(layers, architecture.dense_layers),
        attention_layers=None,
        recurrent=None,
        window=None,
        vision=None,
    )
    total = sum(each.layers * sum(_tensors(each, form)) for each in linears(one, ranks))
    projections = layers * 2 * architecture.hidden_size * architecture.hidden_size
    return total + (sum(sixteen_bit(one, ranks)) + projections) * BYTES_16BIT


def adapter_bytes(architecture: Architecture, ranks: int, *, adapters: int, rank: int) -> int:
    """Return the bytes of `adapters` LoRA slots: two 16-bit matrices beside each linear layer (vllm/lora/layers).

    Experts get adapters only if vLLM is asked for it, so they have none here. An RTX 4090 with one slot of rank 16
    stated 7.63 GiB for Qwen3-4B instead of 7.56; the formula gives 7.62. Unsloth asks for rank 64.
    """
    each = sum(
        linear.layers * (linear.parts * linear.inputs + linear.outputs)
        for linear in linears(architecture, ranks)
        if linear.role != "experts"
    )
    # lm_head has a pair of its own, whole on each rank (lora/layers/logits_processor.py).
    each += architecture.hidden_size + architecture.vocab_size
    return adapters * rank * each * BYTES_16BIT


def stage(architecture: Architecture, stages: int) -> Architecture:
    """Return the largest stage of a pipeline: its part of the layers, and one table of the vocabulary.

    The first stage has the embedding and the last one lm_head (vLLM 0.32, models/utils.py: PPMissingLayer).
    """
    if stages == 1:
        return architecture

    def share(count: int) -> int:
        return -(-count // stages)

    states, window = architecture.recurrent, architecture.window
    return architecture._replace(
        num_hidden_layers=share(architecture.num_hidden_layers),
        moe_layers=share(architecture.moe_layers),
        dense_layers=None if architecture.dense_layers is None else share(architecture.dense_layers),
        attention_layers=None if architecture.attention_layers is None else share(architecture.attention_layers),
        tie_word_embeddings=True,
        recurrent=states and states._replace(layers=share(states.layers)),
        window=window
        and window._replace(
            layers=share(window.layers),
            cached_layers=share(window.cached_layers),
            cached_full_layers=share(window.cached_full_layers),
        ),
    )


def embedding_bytes(arch: Architecture, ranks: int, bits: int = 16) -> int:
    """Return the bytes of one rank's part of the embedding table, which has 16 bits unless a part is stated."""
    padded = -(-arch.vocab_size // _VOCAB_PADDING) * _VOCAB_PADDING
    return -(-padded // ranks) * arch.hidden_size * bits // 8


def head_bytes(arch: Architecture, ranks: int, forms: dict[str, Format]) -> int:
    """Return the bytes of one rank's part of lm_head."""
    form = forms.get("embedding" if arch.tie_word_embeddings else "lm_head", _16BIT)
    return embedding_bytes(arch, ranks) if form is _16BIT else sum(_tensors(_head(arch, ranks), form))


def _head(arch: Architecture, ranks: int) -> Linear:
    return Linear("lm_head", 1, arch.hidden_size, embedding_bytes(arch, ranks) // (2 * arch.hidden_size))


def _tables(arch: Architecture, ranks: int, forms: dict[str, Format]) -> list[int]:
    """Return the bytes of embedding, lm_head, and the layers' own embeddings."""
    table = forms.get("embedding", _16BIT)
    made = [embedding_bytes(arch, ranks, table.weight_bits)]
    made += [] if arch.tie_word_embeddings else [head_bytes(arch, ranks, forms)]
    return [*made, embedding_bytes(arch._replace(hidden_size=arch.layer_embedding * arch.num_hidden_layers), ranks)]


def _encoder(arch: Architecture, ranks: int) -> int:
    return arch.vision.parameters * BYTES_16BIT // ranks if arch.vision else 0


def _tables_on_disk(arch: Architecture, forms: dict[str, Format]) -> int:
    table = arch.vocab_size * arch.hidden_size * BYTES_16BIT
    head = forms.get("lm_head", _16BIT)
    whole = table * forms.get("embedding", _16BIT).weight_bits // 16
    if not arch.tie_word_embeddings:
        whole += (
            table if head is _16BIT else sum(_tensors(Linear("lm_head", 1, arch.hidden_size, arch.vocab_size), head))
        )
    own = arch.vocab_size * arch.layer_embedding * arch.num_hidden_layers
    return whole + (own + (arch.vision.parameters if arch.vision else 0)) * BYTES_16BIT


def _positions(arch: Architecture) -> int:
    """Return the bytes of RotaryEmbedding's cos and sin; all layers share them (rotary_embedding/base.py)."""
    positions = arch.max_position_embeddings or 32768
    width = (arch.rotary_dim or arch.head_dim) * (_MROPE_TABLES if arch.mrope else 1)
    if arch.window and arch.window.full_head_dim != arch.head_dim:
        width += arch.window.full_head_dim
    return positions * width * BYTES_16BIT


def _form(role: str, form: Format, forms: dict[str, Format]) -> Format:
    if role in forms:
        return forms[role]
    return _16BIT if form.experts_only and role != "experts" else form


def _padded(linear: Linear, form: Format) -> Linear:
    """Return the matrices as a kernel for MXFP4 holds them: both sizes rounded up (fused_moe/oracle/mxfp4.py)."""
    hidden, inner = form.round_up
    if hidden == 1 and inner == 1:
        return linear

    def up(size: int, step: int) -> int:
        return -(-size // step) * step

    if linear.parts > 1:
        half = up(linear.outputs // linear.parts, inner)
        return linear._replace(inputs=up(linear.inputs, hidden), outputs=half * linear.parts)
    return linear._replace(inputs=up(linear.inputs, inner), outputs=up(linear.outputs, hidden))


def _tensors(linear: Linear, form: Format) -> list[int]:
    """Return the bytes of the weight, the scales and the zero points of one layer."""
    weights_count = linear.stacked * linear.inputs * linear.outputs
    main = weights_count * form.weight_bits // 8
    if form.name == "fp8-block":
        return [main, 4 * weights_count // (form.group_size * form.group_size)]
    groups = linear.stacked * linear.outputs * (linear.inputs // form.group_size if form.group_size else 1)
    sizes = [main, groups * form.scale_bytes]
    # A symmetric GPTQ checkpoint stores zero points; the engine drops them for Marlin's kernel.
    if form.zero_bits and not form.index_bytes:
        sizes.append(groups * form.zero_bits // 8)
    return sizes


def _on_disk(linear: Linear, form: Format) -> int:
    size = sum(_tensors(linear, form))
    if form.index_bytes:
        groups = linear.stacked * linear.outputs * (linear.inputs // form.group_size if form.group_size else 1)
        size += groups * form.zero_bits // 8
        size += linear.stacked * linear.parts * linear.inputs * form.index_bytes
    return size


def _allocated(size: int, engine: Version) -> int:
    if size < _LARGE_BYTES:
        return size
    end = -size % _SEGMENT_BYTES
    whole = end <= _SMALL_BYTES or (engine >= NEVER_SPLIT_SINCE and size >= _NEVER_SPLIT_BYTES)
    return size + end if whole else size
