"""Define a model as the fit sees it: the numbers of its config.json, and the format of its weights."""

from __future__ import annotations

from typing import NamedTuple

from ..vllm.formats import Format


class Recurrent(NamedTuple):
    """Hold the layers that keep a state for each sequence instead of keys: Gated DeltaNet, or Mamba 2.

    Mamba 2 under these names: `key_heads` are its groups, `key_dim` the size of its state, `value_heads` x `value_dim`
    its inner size. `state_bytes` is the size of a number of the state; the convolution's state has 16 bits.
    """

    layers: int
    key_heads: int
    key_dim: int
    value_heads: int
    value_dim: int
    conv_kernel: int
    state_bytes: int
    mamba: bool = False


class Window(NamedTuple):
    """Hold the attention layers that keep the last `tokens` of a sequence only. `layers` have weights.

    `cached_layers` keep keys of their own; other layers reuse those. The full layers have their own counts of key
    heads and head size in Gemma 4. `shared_keys`: the full layers' values are their keys.
    """

    tokens: int
    layers: int
    cached_layers: int
    cached_full_layers: int
    full_key_heads: int
    full_head_dim: int
    shared_keys: bool = False


class Latent(NamedTuple):
    """Hold the sizes of multi-head latent attention (MLA). `query_rank` 0: the query is not compressed."""

    query_rank: int
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


class Vision(NamedTuple):
    """Hold an image encoder. `parameters` have 16 bits in every format; the ranks split them.

    `image_tokens` is the number of tokens of the largest image, each of `merged` patches of `hidden_size`.
    """

    parameters: int
    hidden_size: int
    intermediate_size: int
    image_tokens: int
    merged: int


class Architecture(NamedTuple):
    """Hold the numbers of a config.json, under its names. Counts of experts are 0 for a dense model.

    `moe_layers` of the layers hold `num_experts` experts of `moe_intermediate_size`; `dense_layers` hold a dense block
    of `intermediate_size`, None: the others. `max_position_embeddings` is None where it is unknown. `attention_layers`
    have attention of any kind, None: all but the recurrent ones. `gated`: the blocks have a gate, so three matrices.
    """

    name: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    max_position_embeddings: int | None
    source: str
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    moe_layers: int = 0
    shared_expert_intermediate_size: int = 0
    shared_expert_gate: bool = True
    dense_layers: int | None = None
    attention_layers: int | None = None
    gated: bool = True
    query_gate: bool = False  # the query projection also has a gate.
    output_bias: bool = False  # also of the experts, in gpt-oss.
    rotary_dim: int = 0  # 0: all.
    mrope: bool = False  # positions in three dimensions, for images.
    layer_embedding: int = 0  # size of each layer's own embedding of a token (Gemma's PLE).
    draft_layers: int = 0  # layers of multi-token prediction, which vLLM loads only to draft
    recurrent: Recurrent | None = None
    window: Window | None = None
    latent: Latent | None = None
    vision: Vision | None = None

    @property
    def mixing_layers(self) -> int:
        """Return the number of layers with attention, full or windowed."""
        if self.attention_layers is not None:
            return self.attention_layers
        return self.num_hidden_layers - (self.recurrent.layers if self.recurrent else 0)

    @property
    def plain_layers(self) -> int:
        """Return the number of layers with a dense block."""
        return self.num_hidden_layers - self.moe_layers if self.dense_layers is None else self.dense_layers


class Model(NamedTuple):
    """Hold a model in one format. `stated` is False when the caller chose the format, not the checkpoint.

    `kv_cache_dtype` is the type that auto means for this checkpoint. `parts` are the formats of parts of the model that
    differ from `form`, by the roles of fit/linears.py. `held` are the checkpoint's bytes by its own headers, None for
    a model that is computed from its architecture.
    """

    name: str
    architecture: Architecture
    form: Format
    source: str
    stated: bool = True
    kv_cache_dtype: str = "auto"
    parts: tuple[tuple[str, Format], ...] = ()
    held: Held | None = None
    band: float = 0.0  # half-width of the weights' bytes as a share of them, of a model planned from its files' sizes


class Held(NamedTuple):
    """Hold the bytes of a checkpoint's tensors by their headers; `skipped` ones are not loaded to serve.

    `split` tensors are divided between the ranks, `replicated` ones are on each. `experts` is the part of `split` that
    one token reads only partly, and `table` the embedding's part, which a token does not read. `draft` are the tensors
    of multi-token prediction, and `images` the encoder's part of `split`.
    """

    split: int
    replicated: int
    experts: int
    table: int
    draft: int
    skipped: int
    images: int = 0

    @property
    def total(self) -> int:
        """Return the bytes of all tensors."""
        return self.split + self.replicated + self.draft + self.skipped


class Unknown(NamedTuple):
    """Hold the name of a model that the formulas do not cover, and the reason as a sentence."""

    name: str
    reason: str
