"""Read from config.json the layers that differ from full attention: states, windows, MLA, and the image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .architecture import Latent, Recurrent, Vision, Window
from .hf_formats import listed

Config = Mapping[str, Any]
_STATE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Uncovered(ValueError):
    """A field of config.json has a value that the formulas do not cover; the text names it."""


def count(config: Config, *names: str, default: int | None = None) -> int:
    """Return the first stated count of several field names. Raises Uncovered for another value."""
    for name in names:
        value = config.get(name)
        if value is None or value is False:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise Uncovered(f"{name} is {value!r}, not a count")
        return value
    if default is None:
        raise Uncovered(f"{names[0]} is missing")
    return default


_MOST = 1 << 40


def kinds(config: Config, layers: int) -> list[str]:
    """Return the kind of each layer: "full", "linear", "sliding", "mamba", "block" or "experts"."""
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return [_letter(letter) for letter in pattern[:_LONGEST]]
    stated = listed(config.get("layer_types")) or listed(config.get("layers_block_type"))
    if stated:
        return [_word(word) for word in stated[:_LONGEST]]
    interval = count(config, "full_attention_interval", default=0)
    if interval:
        return ["linear" if (layer + 1) % interval else "full" for layer in range(layers)]
    pattern = count(config, "sliding_window_pattern", "_sliding_window_pattern", default=0)
    if pattern and config.get("sliding_window"):
        return ["sliding" if (layer + 1) % pattern else "full" for layer in range(layers)]
    return []


_LONGEST = 4096
_WORDS = {
    **{"full_attention": "full", "attention": "full", "linear_attention": "linear", "sliding_attention": "sliding"},
    **{"mamba": "mamba", "moe": "experts", "mlp": "block"},
}


def _word(word: object) -> str:
    if not isinstance(word, str) or word not in _WORDS:
        raise Uncovered(f"layer_types has {word!r}")
    return _WORDS[word]


def _letter(letter: str) -> str:
    found = {"M": "mamba", "*": "full", "E": "experts", "-": "block"}.get(letter)
    if found is None:
        raise Uncovered(f"hybrid_override_pattern has {letter!r}")
    return found


def recurrent(config: Config, layers: list[str]) -> Recurrent | None:
    """Return the layers that keep a state; None without one.

    Qwen3.5's config.json states the type of the state, and vLLM follows it (models/config.py of 0.32). Qwen3-Next's
    states none, so the state has the model's 16 bits.
    """
    if number := layers.count("linear"):
        return Recurrent(
            layers=number,
            key_heads=count(config, "linear_num_key_heads"),
            key_dim=count(config, "linear_key_head_dim"),
            value_heads=count(config, "linear_num_value_heads"),
            value_dim=count(config, "linear_value_head_dim"),
            conv_kernel=count(config, "linear_conv_kernel_dim"),
            state_bytes=_STATE_BYTES.get(str(config.get("mamba_ssm_dtype")), 2),
        )
    if number := layers.count("mamba"):
        # vLLM's default for Nemotron-H is float32 (NemotronHForCausalLMConfig in models/config.py of 0.32).
        return Recurrent(
            layers=number,
            key_heads=count(config, "n_groups", "mamba_n_groups"),
            key_dim=count(config, "ssm_state_size", "mamba_d_state"),
            value_heads=count(config, "mamba_num_heads", "mamba_n_heads"),
            value_dim=count(config, "mamba_head_dim", "mamba_d_head"),
            conv_kernel=count(config, "conv_kernel", "mamba_d_conv"),
            state_bytes=_STATE_BYTES.get(str(config.get("mamba_ssm_cache_dtype", "float32")), 4),
            mamba=True,
        )
    return None


def window(config: Config, layers: list[str], key_heads: int, head_dim: int) -> Window | None:
    """Return the layers with a sliding window; None without one."""
    number = layers.count("sliding")
    if not number:
        return None
    own = layers[: len(layers) - count(config, "num_kv_shared_layers", default=0)]
    shared = config.get("attention_k_eq_v") is True
    return Window(
        tokens=count(config, "sliding_window"),
        layers=number,
        cached_layers=own.count("sliding"),
        cached_full_layers=own.count("full"),
        full_key_heads=count(config, "num_global_key_value_heads", default=key_heads) if shared else key_heads,
        full_head_dim=count(config, "global_head_dim", default=head_dim),
        shared_keys=shared,
    )


def latent(config: Config) -> Latent:
    """Return the sizes of multi-head latent attention."""
    return Latent(
        query_rank=count(config, "q_lora_rank", default=0),
        kv_rank=count(config, "kv_lora_rank"),
        rope_dim=count(config, "qk_rope_head_dim"),
        nope_dim=count(config, "qk_nope_head_dim"),
        value_dim=count(config, "v_head_dim"),
    )


# The largest image of Qwen's processors has 16,384 tokens of 28 x 28 or 32 x 32 pixels.
_QWEN_IMAGE_TOKENS = 16384


def vision(config: Config, layout: str, hidden_size: int) -> Vision:
    """Return an image encoder; `hidden_size` is the language model's. Raises Uncovered.

    The parameters follow vLLM 0.32's models: qwen2_vl.py, qwen2_5_vl.py, qwen3_vl.py, gemma4_mm.py, siglip.py and
    pixtral.py.
    """
    depth = count(config, "depth", "num_hidden_layers")
    # Qwen2-VL names the encoder's width embed_dim, and its hidden_size is the language model's.
    wide = count(config, "embed_dim", default=0) if layout == "qwen2" else 0
    width = wide or count(config, "hidden_size")
    inner = count(config, "intermediate_size", default=4 * width)
    patch, merge = count(config, "patch_size"), count(config, "spatial_merge_size", default=2)
    frames = count(config, "temporal_patch_size", default=2 if layout.startswith("qwen") else 1)
    gated = layout in ("qwen2.5", "gemma4", "pixtral")
    bias = layout.startswith("qwen") or layout == "siglip"
    block = 4 * width * width + (3 if gated else 2) * width * inner
    block += (4 * width + (2 if gated else 1) * inner + width if bias else 0) + 4 * width
    merged = merge * merge * width
    patches = 3 * frames * patch * patch * width
    merger = merged * merged + merged * hidden_size + 2 * width if layout.startswith("qwen") else width * hidden_size
    extra = len(listed(config.get("deepstack_visual_indexes"))) * (merger + 2 * merged)
    table = count(config, "num_position_embeddings", default=0) * width
    if layout == "gemma4":
        table = 2 * count(config, "position_embedding_size", default=10240) * width
    if layout == "pixtral":
        merger = merged * width + width * hidden_size + hidden_size * hidden_size
    return Vision(
        parameters=depth * block + patches + merger + extra + table,
        hidden_size=width,
        intermediate_size=inner,
        image_tokens=_QWEN_IMAGE_TOKENS if layout.startswith("qwen") else _OTHER_IMAGE_TOKENS[layout],
        merged=merge * merge if layout != "gemma4" else 9,
    )


def gemma_audio(config: Config, hidden_size: int) -> int:
    """Return the parameters of Gemma 4's audio encoder: two blocks, attention and a convolution in each layer.

    Source: vLLM 0.32, models/gemma4_mm.py, with transformers' Gemma4AudioConfig and its defaults.
    """
    width, layers = count(config, "hidden_size", default=1024), count(config, "num_hidden_layers", default=12)
    inner, kernel = 4 * width, count(config, "conv_kernel_size", default=5)
    layer = 4 * width * inner + 5 * width * width + 3 * width * width + kernel * width
    out = count(config, "output_proj_dims", default=1536)
    return layers * layer + width * width + width * out + out * hidden_size


# Gemma's images have 256 or 280 tokens, and Pixtral's the tokens of 1540 x 1540 pixels.
_OTHER_IMAGE_TOKENS = {"siglip": 256, "gemma4": 280, "pixtral": 3025}
