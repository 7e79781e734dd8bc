"""Which safetensors repository a model of Ollama's is: by what its file says of itself, else by its library name.

Only repositories of the catalog are answered with; None for all others, which are many.

What Ollama's parameters and instructions are in a roster, and what is the client's to say from now on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..catalog import models
from ..roster import fields
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Said

_OWNERS = ("Qwen", "meta-llama", "mistralai", "microsoft")
# Ollama's library: the repository of a size, and the size of its bare name and of `latest`.
_LIBRARY = {
    "qwen2.5": ("Qwen/Qwen2.5-{}-Instruct", "7B"),
    "qwen2.5-coder": ("Qwen/Qwen2.5-Coder-{}-Instruct", "7B"),
    "qwen3": ("Qwen/Qwen3-{}", "8B"),
    "qwq": ("Qwen/QwQ-{}", "32B"),
    "llama3": ("meta-llama/Meta-Llama-3-{}-Instruct", "8B"),
    "llama3.1": ("meta-llama/Llama-3.1-{}-Instruct", "8B"),
    "llama3.2": ("meta-llama/Llama-3.2-{}-Instruct", "3B"),
    "llama3.3": ("meta-llama/Llama-3.3-{}-Instruct", "70B"),
    "mistral": ("mistralai/Mistral-{}-Instruct-v0.3", "7B"),
    "phi4": ("microsoft/phi-4", "14B"),
}
_SIZE = re.compile(r"(?:^|-)(?P<size>\d+(?:\.\d+)?b(?:-a\d+b)?)(?:-|$)", re.IGNORECASE)
_QUANTIZED = re.compile(r"-?(?:(?:i?q\d\w*)|fp16|f16|bf16)$", re.IGNORECASE)
# A size is counted roundly: 0.6B are 0.75 with the output layer, 7B are 7.6.
_ROUNDLY = 1.35


class Nearest(NamedTuple):
    """A repository, and what says so."""

    repo: str
    evidence: str


def by_head(head: Mapping[str, object]) -> Nearest | None:
    """Return the repository that a GGUF's own name means."""
    name = str(head.get("general.name") or "").strip()
    parts = [str(head.get(f"general.{part}") or "") for part in ("basename", "size_label", "finetune", "version")]
    for told in (name, "-".join(part for part in parts if part)):
        plain = re.sub(r"[\s_]+", "-", told)
        for each in (plain, plain.removeprefix("Meta-")):
            if repo := _owned(each):
                return Nearest(repo, f"its file calls itself {told!r}")
    return None


def by_name(name: str, tag: str, parameters: str | None = None) -> Nearest | None:
    """Return the repository of a name of Ollama's library; `parameters` is what its configuration counts."""
    if name not in _LIBRARY:
        plain = re.sub(r"-gguf$", "", name, flags=re.IGNORECASE)
        repo = _owned(plain)
        return Nearest(repo, f"it is named {name}") if repo else None
    pattern, usual = _LIBRARY[name]
    variant = _QUANTIZED.sub("", tag)
    match = _SIZE.search(variant)
    size = match["size"].upper() if match else usual
    rest = re.sub(r"^-|-$", "", (variant.replace(match["size"], "", 1) if match else variant).replace("latest", ""))
    if "{}" in pattern and rest not in ("", "instruct"):
        base = pattern.format(size).removesuffix("-Instruct")
        words = [part.capitalize() for part in rest.split("-") if part]
        repo = base if rest in ("base", "text") else "-".join([base, *words])
    else:
        repo = pattern.format(size)
    if models.find(repo) is None or not _as_large(size, parameters):
        return None
    return Nearest(repo, f"it is {name}:{tag} of Ollama's library")


def _owned(name: str) -> str | None:
    if not re.fullmatch(r"[\w.-]+", name):
        return None
    return next((repo for owner in _OWNERS if models.find(repo := f"{owner}/{name}")), None)


def _as_large(size: str, parameters: str | None) -> bool:
    """Return whether a size is the one that is counted; where nothing is counted the name has the word."""
    told = re.fullmatch(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[MB])", parameters or "")
    if not told:
        return True
    counted = float(told["number"]) / (1000 if told["unit"] == "M" else 1)
    named = float(size.partition("B")[0])
    return counted / named < _ROUNDLY and named / counted < _ROUNDLY


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
    for problem in fields.problems(field, field, meant):
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
    for problem in fields.problems(field, field, meant):
        return Said(LEFT, problem)
    return Said(BECAME, why, {field: meant}, f"{option} {meant}")
