"""Provide the types of the roster (group_vars/all/agents.yml) as roster/validate.py accepts it."""

from __future__ import annotations

from typing import TypedDict


class Addressed(TypedDict):
    """The common keys of a wanted and a planned agent for roster/ports.py; pass them as Sequence[Addressed]."""

    name: str
    port: int


class _WantedModel(TypedDict):
    model: str  # a hub's owner/name, or the absolute path of a folder


class WantedModel(_WantedModel, total=False):
    """One entry of an agent's `models`."""

    revision: str  # branch, tag or commit; models/lock.py and models/quantized.py fill it in
    quantization: str  # one of vllm/formats.FORMATS; excludes quantize
    quantize: str  # one of catalog/recipes.RECIPES


class _Speculation(TypedDict):
    method: str  # ngram or draft_model
    num_speculative_tokens: int


class Speculation(_Speculation, total=False):
    """`speculative_config`, with vLLM's key names."""

    model: str  # only with method draft_model
    revision: str
    prompt_lookup_max: int
    prompt_lookup_min: int


class _Served(TypedDict):
    name: str  # roster/fields.py, NAME
    temperature: float  # 0 to 2
    top_p: float  # above 0 and at most 1


class Served(_Served, total=False):
    """The settings that an engine gets from the roster unchanged (vllm/options.py)."""

    enable_prefix_caching: bool  # absent: true
    tool_call_parser: str  # the name of a parser of vLLM
    speculative_config: Speculation
    engine_options: dict[str, object]  # vLLM's options by name, without -- (vllm/engine_options.py)


class _WantedAgent(Served):
    models: list[WantedModel]  # best first
    port: int  # 1024 to 65535
    max_model_len: int  # tokens of prompt and answer
    gpu_memory_utilization: float  # upper limit of the share of a card, above 0 and at most 1


class WantedAgent(_WantedAgent, total=False):
    """One agent of the roster as a user writes it, after roster/validate.require_valid."""

    description: str
    policy: str  # best_fit (default) or exact
    give_up: list[str]  # of roster/fields.GIVE_UP, the least important first.
    max_model_len_min: int  # tokens; without it max_model_len is not reduced
    kv_cache_dtype: str  # one of vllm/formats.KV_DTYPE_BYTES; absent: auto (16 bits).
    gpus: list[int]  # card numbers; absent: the plan chooses
    max_num_seqs: int
    max_num_batched_tokens: int
    system_prompt: str
    top_k: int  # tokens; 0: all
    min_p: float  # 0 to 1
    presence_penalty: float  # -2 to 2
    frequency_penalty: float  # -2 to 2
    repetition_penalty: float  # above 0, at most 2
    thinking: bool
    max_tokens: int  # of an answer
    enforce_eager: bool  # absent: true on a CPU, false on a GPU (vllm/options.is_eager)


Roster = list[WantedAgent]
