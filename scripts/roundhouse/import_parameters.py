"""What Ollama's parameters and instructions are in a roster, and what is the client's to say from now on."""

from __future__ import annotations

from typing import Any

from . import roster_fields
from .import_source import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said

# Ollama's own defaults (its Modelfile reference), which counted where a model said nothing.
_OF_OLLAMA = "it is Ollama's default, which counted until now."
SAMPLING = {"temperature": (0.8, _OF_OLLAMA), "top_p": (0.9, _OF_OLLAMA)}

_LLAMA_CPP = (
    *("num_gpu", "main_gpu", "num_thread", "num_batch", "num_keep", "use_mmap", "use_mlock", "low_vram", "numa"),
    *("mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "penalize_newline", "num_gqa", "f16_kv", "vocab_only"),
)
_A_REQUEST = ("top_k", "min_p", "typical_p", "seed", "stop", "presence_penalty", "frequency_penalty")
_REPETITION = Said(LEFT, "A request says it: repetition_penalty, which vLLM counts over the whole text.")
_PARAMETERS = {
    "num_predict": Said(LEFT, "A request says it: max_tokens."),
    **dict.fromkeys(("repeat_penalty", "repeat_last_n"), _REPETITION),
    **{name: Said(LEFT, f"A request says it: {name}.") for name in _A_REQUEST},
    "draft_num_predict": Said(LEFT, "See speculative_config of the roster."),
    **dict.fromkeys(
        _LLAMA_CPP, Said(NOTHING, "It steers llama.cpp, which is inside Ollama; vLLM has nothing like it.")
    ),
}
_UNCHANGED = Said(ALREADY, "It changes nothing of how the model serves.")
_MESSAGES = Said(LEFT, "The client's: send these messages before the question.")
_INSTRUCTIONS = {
    "system": Said(LEFT, "The client's: send it as the first message, role system ({characters} characters)."),
    **dict.fromkeys(("message", "messages"), _MESSAGES),
    "template": Said(ALREADY, "vLLM takes the chat template of the model's own repository."),
    "adapter": Said(LEFT, "A roster has no adapters: merge it into the model and name the folder."),
    "projector": Said(LEFT, "It is for pictures, which the plan does not count."),
    **dict.fromkeys(("license", "requires", "capability"), _UNCHANGED),
}
_SETTINGS = {
    "OLLAMA_KEEP_ALIVE": Said(NOTHING, "An agent stays loaded until another is switched to, or roundhouse stop."),
    "OLLAMA_MODELS": Said(
        LEFT, "Ollama's files stay where they are; Roundhouse has a store of its own (models_store)."
    ),
    "OLLAMA_HOST": Said(LEFT, "Each agent has a port of its own, on loopback; Ollama keeps this one."),
}
_SHOWN = 60


def parameter(name: str, value: Any) -> Said:
    """Return what a parameter of a model means."""
    lowered = name.lower()
    if lowered in SAMPLING:
        return _number(lowered, value)
    if lowered == "num_ctx":
        return _length(value)
    return _PARAMETERS.get(lowered, Said(NOTHING, "It is no parameter that vLLM has."))


def instruction(word: str, text: str) -> Said:
    """Return what a part of a Modelfile besides FROM and PARAMETER means."""
    said = _INSTRUCTIONS.get(word.lower(), Said(NOTHING, "It is no part of a model that vLLM has."))
    return said._replace(why=said.why.format(characters=len(text)))


def setting(name: str, value: str) -> Said:
    """Return what a variable of Ollama's service means for each agent."""
    if name == "OLLAMA_CONTEXT_LENGTH":
        return _length(value)
    if name == "OLLAMA_NUM_PARALLEL":
        return _whole("max_num_seqs", value, "Requests at once; vLLM takes them into one batch.", "--max-num-seqs")
    if name == "OLLAMA_KV_CACHE_TYPE" and value.lower().startswith("q"):
        why = f"{value} is llama.cpp's; fp8 is the 8-bit KV cache that the plan counts with."
        return Said(NEAREST, why, {"kv_cache_dtype": "fp8"}, "--kv-cache-dtype fp8")
    return _SETTINGS.get(name, Said(NOTHING, "It is Ollama's own."))


def shortened(text: str) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def _number(field: str, value: Any) -> Said:
    try:
        meant = float(value)
    except (TypeError, ValueError):
        return Said(LEFT, f"{value!r} is no number.")
    for problem in roster_fields.problems(field, field, meant):
        return Said(LEFT, problem)
    told = f"--override-generation-config '{{\"{field}\": {meant:g}}}'"
    return Said(BECAME, "What is taken where a request says nothing.", {field: meant}, told)


def _length(value: Any) -> Said:
    why = "Tokens of prompt and answer together; vLLM refuses what is longer, where Ollama cut it silently."
    return _whole("max_model_len", value, why, "--max-model-len")


def _whole(field: str, value: Any, why: str, option: str) -> Said:
    try:
        meant = int(value)
    except (TypeError, ValueError):
        return Said(LEFT, f"{value!r} is no number.")
    for problem in roster_fields.problems(field, field, meant):
        return Said(LEFT, problem)
    return Said(BECAME, why, {field: meant}, f"{option} {meant}")
