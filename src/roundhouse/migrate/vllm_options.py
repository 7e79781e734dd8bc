"""vLLM's options as old set-ups have them, as flags or as variables, and what each is in a roster.

The guide's variables (VLLM_TEMPERATURE and its like) are none of vLLM's: it warned and went on with its defaults. They
are named after options, so one table has both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..roster import fields as roster_fields
from .compose_keys import ONE_KEY
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said
from .speculation import SPECULATION

Values = Mapping[str, "str | None"]  # every option of the same source, by its name
Reader = Callable[["str | None", Values], Said]

FALSE = ("0", "false", "no", "off")


def truth(value: str | None) -> bool:
    """Return what a bare flag, or a variable such as VLLM_X=1, says."""
    return value is None or value.strip().lower() not in (*FALSE, "")


def tokens(value: str) -> int | None:
    """Return a number of tokens as vLLM reads it: 16k is 16000, 16K is 16384; None for auto."""
    if value.strip().lower() in ("auto", "-1", ""):
        return None
    factor = {"k": 1000, "K": 1024}.get(value.strip()[-1], 1)
    return int(float(value.strip().rstrip("kK")) * factor)


def checked(field: str, value: Any, why: str, vllm: str, fate: str = BECAME) -> Said:
    """Return a setting, or the roster's own sentence where it cannot be meant."""
    for problem in roster_fields.problems(field, field, value):
        return Said(LEFT, problem)
    return Said(fate, why, {field: value}, vllm)


def _of(field: str, convert: Callable[[str], Any], why: str, option: str) -> Reader:
    def read(value: str | None, values: Values) -> Said:
        try:
            meant = convert(value or "")
        except ValueError:
            return Said(LEFT, f"{value!r} is no value for {field}.")
        return checked(field, meant, why, f"--{option} {meant}")

    return read


def _share(value: str | None, values: Values) -> Said:
    why = "The most of the whole card that the engine takes: weights, work space and KV cache, not the KV cache alone."
    try:
        share = float((value or "").rstrip("%"))
    except ValueError:
        return Said(LEFT, f"{value!r} is no share of a card.")
    fate = BECAME
    if 5 <= share <= 100:  # in percent, which vLLM refuses
        share, fate = share / 100, NEAREST
    return checked("gpu_memory_utilization", share, why, f"--gpu-memory-utilization {share:g}", fate)


def _length(value: str | None, values: Values) -> Said:
    try:
        length = tokens(value or "")
    except (ValueError, OverflowError):  # no number, or an endless one
        return Said(LEFT, f"{value!r} is no number of tokens.")
    if length is None:
        return Said(ALREADY, "The model's own limit, which is written where nothing else is said.")
    why = "Tokens of prompt and answer together, not of the prompt alone."
    return checked("max_model_len", length, why, f"--max-model-len {length}")


def _sampling(field: str) -> Reader:
    def read(value: str | None, values: Values) -> Said:
        try:
            meant = float(value or "")
        except ValueError:
            return Said(LEFT, f"{value!r} is no number.")
        told = f"--override-generation-config '{{\"{field}\": {meant:g}}}'"
        zero = " Only 0 is greedy." if field == "temperature" and 0 < meant < 0.2 else ""
        return checked(field, meant, f"What is taken where a request says nothing.{zero}", told)

    return read


def _generation(value: str | None, values: Values) -> Said:
    try:
        said = dict(json.loads(value or ""))
        fields = {name: float(said[name]) for name in ("temperature", "top_p") if name in said}
        rest = [name for name in said if name not in fields]
    except (ValueError, TypeError):
        return Said(LEFT, "it is no JSON object of numbers.")
    for name, number in fields.items():
        for problem in roster_fields.problems(name, name, number):
            return Said(LEFT, problem)
    others = f" {', '.join(rest)}: a request says it." if rest else ""
    if not fields:
        return Said(LEFT, f"The roster has temperature and top_p.{others}")
    return Said(BECAME, f"What is taken where a request says nothing.{others}", fields, "--override-generation-config")


def _prefix_caching(value: str | None, values: Values) -> Said:
    if truth(value):
        return Said(ALREADY, "vLLM has it on by default. It saves reading a prompt's beginning again, no decoding.")
    return Said(BECAME, "Off, as it was said.", {"enable_prefix_caching": False}, "--no-enable-prefix-caching")


def _no_prefix_caching(value: str | None, values: Values) -> Said:
    return _prefix_caching("0" if truth(value) else "1", values)


def _eager(value: str | None, values: Values) -> Said:
    if not truth(value):
        return Said(ALREADY, "CUDA graphs are vLLM's default.")
    why = "No CUDA graphs: starts faster, answers slower."
    return Said(BECAME, why, {"enforce_eager": True}, "--enforce-eager")


def _kv_dtype(value: str | None, values: Values) -> Said:
    word = (value or "").lower()
    if word in ("auto", "fp8"):
        return checked("kv_cache_dtype", word, "fp8 holds twice the tokens.", f"--kv-cache-dtype {word}")
    if word.startswith(("fp8", "q8", "int8")):
        why = f"{value} is not in the roster; fp8 is the 8-bit KV cache that the plan counts with."
        return Said(NEAREST, why, {"kv_cache_dtype": "fp8"}, "--kv-cache-dtype fp8")
    return Said(LEFT, "The plan counts with auto (16 bit) or fp8.")


def _parser(value: str | None, values: Values) -> Said:
    return checked("tool_call_parser", value or "", "How tool calls are read.", f"--tool-call-parser {value}")


def _fixed(fate: str, why: str) -> Reader:
    return lambda value, values: Said(fate, why)


def _seqs(value: str) -> int:
    return int(value)


_LOGS = "Logs go to the journal: roundhouse logs AGENT."
_STORE = "Models lie in Roundhouse's own store (models_store), pulled and verified there."
_GONE = "This option has left vLLM."
_NO_SETTING = "vLLM has it and a roster does not."

WORDS: dict[str, Reader] = {
    "gpu-memory-utilization": _share,
    "device-memory-utilization": _share,
    "max-model-len": _length,
    "temperature": _sampling("temperature"),
    "top-p": _sampling("top_p"),
    "override-generation-config": _generation,
    "generation-config": _fixed(ALREADY, "Sampling is the roster's and nothing else's."),
    "enable-prefix-caching": _prefix_caching,
    "no-enable-prefix-caching": _no_prefix_caching,
    "max-num-seqs": _of("max_num_seqs", _seqs, "Requests that may run at once.", "max-num-seqs"),
    "max-num-batched-tokens": _of("max_num_batched_tokens", _seqs, "Tokens of a step.", "max-num-batched-tokens"),
    "enforce-eager": _eager,
    "kv-cache-dtype": _kv_dtype,
    "tool-call-parser": _parser,
    "enable-auto-tool-choice": _fixed(ALREADY, "It goes with tool_call_parser."),
    **SPECULATION,
    "host": _fixed(LEFT, ONE_KEY),
    "api-key": _fixed(LEFT, ONE_KEY),
    "dtype": _fixed(ALREADY, "The engine takes the checkpoint's own."),
    "trust-remote-code": _fixed(LEFT, "Roundhouse runs no model's own code."),
    "load-format": _fixed(LEFT, "Safetensors only: vLLM's core has left GGUF (0.24) and bitsandbytes (0.28)."),
    "tokenizer": _fixed(ALREADY, "The model's own is taken."),
    "chat-template": _fixed(ALREADY, "The model's own is taken."),
    "download-dir": _fixed(ALREADY, _STORE),
    "enable-chunked-prefill": _fixed(ALREADY, "vLLM has it on by default."),
    "cpu-offload-gb": _fixed(LEFT, "Weights in the host's memory are read anew for each token: the plan keeps off it."),
    "pipeline-parallel-size": _fixed(LEFT, "The plan splits a model by tensor parallelism: see gpus."),
    "data-parallel-size": _fixed(LEFT, "An agent is one engine."),
    "disable-log-requests": _fixed(ALREADY, "vLLM does not log requests unless it is asked to."),
    **dict.fromkeys(("disable-log-stats", "uvicorn-log-level", "logging-level"), _fixed(LEFT, _LOGS)),
    **dict.fromkeys(
        ("swap-space", "use-v2-block-manager", "device", "max-seq-len-to-capture", "guided-decoding-backend"),
        _fixed(NOTHING, _GONE),
    ),
    **dict.fromkeys(
        ("enable-lora", "lora-modules", "reasoning-parser", "hf-overrides", "seed", "block-size", "compilation-config"),
        _fixed(LEFT, _NO_SETTING),
    ),
    "shutdown-timeout": _fixed(ALREADY, "Roundhouse sets it, so that running requests may end."),
}
