"""List the models that are known without a download, with the numbers that the fit needs of their architectures.

`hf_config` reads the config.json of a downloaded model; this table answers before the download.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from ..vllm.formats import WEIGHT_FORMATS, Format
from . import tables


class Architecture(NamedTuple):
    """Hold the numbers of a config.json, under its names. Counts of experts are 0 for a dense model.

    `moe_layers` of the layers hold `num_experts` experts of `moe_intermediate_size`, the others a dense
    block of `intermediate_size`. `max_position_embeddings` is None where it is unknown.
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


class Model(NamedTuple):
    """Hold a model in one format. `stated` is False when the caller chose the format, not the checkpoint.

    `kv_cache_dtype` is the type that auto means for this checkpoint.
    """

    name: str
    architecture: Architecture
    form: Format
    source: str
    stated: bool = True
    kv_cache_dtype: str = "auto"


class Unknown(NamedTuple):
    """Hold the name of a model that the formulas do not cover, and the reason as a sentence."""

    name: str
    reason: str


_SOURCES = {
    "index": "public copies of the official config.json and model.safetensors.index.json",
    "family": "the family's public config.json; the parameter count agrees with the model card",
    "card": "the public config.json; the parameter count agrees with the model card",
    "llama": "the public config.json; weights agree with vllm-project/vllm#10511",
    "moe": "the public config.json; weights agree with vllm-project/vllm#17327",
    "phi": "the public config.json",
}
# `positions` are those of the Instruct models.
_TABLE = """
name            | hidden | layers | heads | kv | dim | inner |  vocab | tied | bias | norm | positions | source
Qwen2.5-0.5B    |    896 |     24 |    14 |  2 |  64 |  4864 | 151936 |  yes |  yes |   no |     32768 | family
Qwen2.5-1.5B    |   1536 |     28 |    12 |  2 | 128 |  8960 | 151936 |  yes |  yes |   no |     32768 | family
Qwen2.5-3B      |   2048 |     36 |    16 |  2 | 128 | 11008 | 151936 |  yes |  yes |   no |     32768 | family
Qwen2.5-7B      |   3584 |     28 |    28 |  4 | 128 | 18944 | 152064 |   no |  yes |   no |     32768 | index
Qwen2.5-14B     |   5120 |     48 |    40 |  8 | 128 | 13824 | 152064 |   no |  yes |   no |     32768 | family
Qwen2.5-32B     |   5120 |     64 |    40 |  8 | 128 | 27648 | 152064 |   no |  yes |   no |     32768 | family
Qwen2.5-72B     |   8192 |     80 |    64 |  8 | 128 | 29568 | 152064 |   no |  yes |   no |     32768 | family
QwQ-32B         |   5120 |     64 |    40 |  8 | 128 | 27648 | 152064 |   no |  yes |   no |     40960 | family
Qwen3-0.6B      |   1024 |     28 |    16 |  8 | 128 |  3072 | 151936 |  yes |   no |  yes |     40960 | family
Qwen3-1.7B      |   2048 |     28 |    16 |  8 | 128 |  6144 | 151936 |  yes |   no |  yes |     40960 | family
Qwen3-4B        |   2560 |     36 |    32 |  8 | 128 |  9728 | 151936 |  yes |   no |  yes |     40960 | family
Qwen3-8B        |   4096 |     36 |    32 |  8 | 128 | 12288 | 151936 |   no |   no |  yes |     40960 | family
Qwen3-14B       |   5120 |     40 |    40 |  8 | 128 | 17408 | 151936 |   no |   no |  yes |     40960 | family
Qwen3-32B       |   5120 |     64 |    64 |  8 | 128 | 25600 | 151936 |   no |   no |  yes |     40960 | family
Qwen3-30B-A3B   |   2048 |     48 |    32 |  4 | 128 |  6144 | 151936 |   no |   no |  yes |     40960 | moe
Llama-3-8B      |   4096 |     32 |    32 |  8 | 128 | 14336 | 128256 |   no |   no |   no |      8192 | llama
Llama-3.1-8B    |   4096 |     32 |    32 |  8 | 128 | 14336 | 128256 |   no |   no |   no |    131072 | llama
Llama-3.2-1B    |   2048 |     16 |    32 |  8 |  64 |  8192 | 128256 |  yes |   no |   no |    131072 | card
Llama-3.2-3B    |   3072 |     28 |    24 |  8 | 128 |  8192 | 128256 |  yes |   no |   no |    131072 | card
Llama-3.3-70B   |   8192 |     80 |    64 |  8 | 128 | 28672 | 128256 |   no |   no |   no |    131072 | card
Mistral-7B-v0.3 |   4096 |     32 |    32 |  8 | 128 | 14336 |  32768 |   no |   no |   no |     32768 | card
Phi-4-14B       |   5120 |     40 |    40 | 10 | 128 | 17920 | 100352 |   no |   no |   no |     16384 | phi
"""
_MIXTURES = {
    "Qwen3-30B-A3B": {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "moe_layers": 48}
}


def _architecture(row: Mapping[str, str]) -> Architecture:
    return Architecture(
        name=row["name"],
        hidden_size=int(row["hidden"]),
        num_hidden_layers=int(row["layers"]),
        num_attention_heads=int(row["heads"]),
        num_key_value_heads=int(row["kv"]),
        head_dim=int(row["dim"]),
        intermediate_size=int(row["inner"]),
        vocab_size=int(row["vocab"]),
        tie_word_embeddings=row["tied"] == "yes",
        qkv_bias=row["bias"] == "yes",
        qk_norm=row["norm"] == "yes",
        max_position_embeddings=int(row["positions"]),
        source=_SOURCES[row["source"]],
        **_MIXTURES.get(row["name"], {}),
    )


ARCHITECTURES = {row["name"]: _architecture(row) for row in tables.rows(_TABLE)}

_SUFFIXES = {"": "bf16", "AWQ": "awq", "GPTQ-Int4": "gptq-int4", "GPTQ-Int8": "gptq-int8", "FP8": "fp8-block"}
_REPO = re.compile(
    r"Qwen/(?P<family>Qwen2\.5|Qwen2\.5-Coder|Qwen3|QwQ)-(?P<size>[\d.]+B(?:-A3B)?)"
    r"(?P<variant>-Instruct-2507|-Thinking-2507|-Instruct|-Base)?(?:-(?P<suffix>AWQ|GPTQ-Int4|GPTQ-Int8|FP8))?"
)
_OTHER_REPOS = {
    "meta-llama/Meta-Llama-3-8B": "Llama-3-8B",
    "meta-llama/Meta-Llama-3-8B-Instruct": "Llama-3-8B",
    "meta-llama/Llama-3.1-8B": "Llama-3.1-8B",
    "meta-llama/Llama-3.1-8B-Instruct": "Llama-3.1-8B",
    "meta-llama/Llama-3.2-1B-Instruct": "Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B-Instruct": "Llama-3.2-3B",
    "meta-llama/Llama-3.3-70B-Instruct": "Llama-3.3-70B",
    "mistralai/Mistral-7B-Instruct-v0.3": "Mistral-7B-v0.3",
    "microsoft/phi-4": "Phi-4-14B",
}
# Their 72B quantized repositories pad the intermediate size, so that 8 ranks get whole groups of 128.
_PADDED_72B = 29696
_PADDED_FORMATS = ("awq", "gptq-int4", "gptq-int8")
# These families published some sizes in some formats only. Source: the family's lists of repositories on the hub; other
# names, such as Qwen3-1.7B-AWQ, are plausible and not published.
_QUANTIZED: dict[str, dict[str, tuple[str, ...]]] = {
    "Qwen3": {
        "AWQ": ("4B", "8B", "14B", "32B"),
        "GPTQ-Int4": ("30B-A3B",),
        "GPTQ-Int8": ("0.6B", "1.7B"),
        "FP8": ("0.6B", "1.7B", "4B", "8B", "14B", "32B", "30B-A3B"),
    },
    "QwQ": {"AWQ": ("32B",)},
}


def find(repo: str) -> Model | None:
    """Return the model of a hub's owner/name without a request to the hub, None for one that is not in the table."""
    if repo in _OTHER_REPOS:
        return in_format(repo, ARCHITECTURES[_OTHER_REPOS[repo]], "bf16")
    match = _REPO.fullmatch(repo)
    if not match:
        return None
    family, variant, suffix = match["family"], match["variant"] or "", match["suffix"] or ""
    found = ARCHITECTURES.get(f"{family.removesuffix('-Coder')}-{match['size']}")
    if found is None or not _published(family, match["size"], variant, suffix):
        return None
    if variant.endswith("-2507"):
        found = found._replace(max_position_embeddings=262144)
    elif variant == "-Base" or (family.startswith("Qwen2.5") and not variant):
        # The limit of a base model depends on its size, and the sources above do not state it.
        found = found._replace(max_position_embeddings=None)
    return in_format(repo, found, _SUFFIXES[suffix])


@cache
def known() -> tuple[str, ...]:
    """Return all repositories of the table, each as owner/name."""
    families = ("Qwen2.5", "Qwen2.5-Coder", "Qwen3", "QwQ")
    sizes = dict.fromkeys(name.partition("-")[2] for name in ARCHITECTURES)
    variants = ("", "-Instruct", "-Instruct-2507", "-Thinking-2507", "-Base")
    suffixes = [suffix and f"-{suffix}" for suffix in _SUFFIXES]
    names = (f"Qwen/{'-'.join(each)}" for each in itertools.product(families, sizes))
    repos = ("".join(parts) for parts in itertools.product(names, variants, suffixes))
    return (*filter(find, repos), *_OTHER_REPOS)


def similar(repo: str) -> list[str]:
    """Return up to three repositories of the table whose names are close to a name, with or without its owner."""
    import difflib  # only for an unknown model

    whole = {name.lower(): name for name in reversed(known())}
    names = {name.partition("/")[2]: each for name, each in whole.items()}
    owner, _, name = repo.lower().rpartition("/")
    close = difflib.get_close_matches(repo.lower(), whole, n=3, cutoff=0.75) if owner else []
    return [whole[each] for each in close] or [names[each] for each in difflib.get_close_matches(name, names, 3, 0.75)]


def quantized(repo: str, bits: int) -> str | None:
    """Return the family's repository of the same model with that number of bits per weight, None without one."""
    names = [f"{repo}-{suffix}" for suffix in _SUFFIXES if suffix]
    return next((name for name in names if (found := find(name)) and found.form.weight_bits == bits), None)


def _published(family: str, size: str, variant: str, suffix: str) -> bool:
    """Return whether the family published a repository of that name."""
    if family.startswith("Qwen2.5"):
        # The Instruct models are quantized, none of them to FP8; the Coder ends at 32B.
        named = variant == "-Instruct" or (variant == "" and not suffix)
        return named and suffix != "FP8" and (family, size) != ("Qwen2.5-Coder", "72B")
    if variant.endswith("-2507"):
        return family == "Qwen3" and size in ("4B", "30B-A3B") and suffix in ("", "FP8")
    if not suffix:
        return variant == "" or (variant == "-Base" and family == "Qwen3")
    return variant == "" and size in _QUANTIZED[family].get(suffix, ())


def in_format(name: str, shape: Architecture, form: str) -> Model:
    """Return an architecture of the table in a format of `formats.WEIGHT_FORMATS`."""
    if shape.intermediate_size == ARCHITECTURES["Qwen2.5-72B"].intermediate_size and form in _PADDED_FORMATS:
        shape = shape._replace(intermediate_size=_PADDED_72B)
    return Model(name=name, architecture=shape, form=WEIGHT_FORMATS[form], source=shape.source)
