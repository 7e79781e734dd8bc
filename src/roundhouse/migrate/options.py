"""Convert settings by their value: vLLM's options, Ollama's parameters, and Compose's ports and volumes.

A rule may raise ValueError. It does not validate roster fields, because `rules.outcome` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..roster.ports import METRICS_ABOVE
from ..util import json_file
from ..vllm.formats import nearest
from . import models
from .report import APPROXIMATED, CONVERTED, DEFAULT, DROPPED, UNSUPPORTED, Outcome, Setting, Source

Rule = Callable[[Setting, Source], Outcome]

_API_PORT = "8000"  # vLLM's own default
_CACHE = re.compile(r"huggingface|/hub\b|\.cache|transformers", re.IGNORECASE)
STORE = "Roundhouse pulls and verifies models in its own store (models_store)"
SAMPLING = "The default for requests that do not set it."


def is_on(value: str) -> bool:
    """Return true if a flag such as VLLM_X=1 is on."""
    return value.strip().lower() not in ("0", "false", "no", "off", "")


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for anything else."""
    value = json_file.parse(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is not a JSON object")
    return value


def of(field: str, convert: Callable[[str], Any], why: str) -> Rule:
    """Return the rule for an option that is also a field of the roster."""
    return lambda setting, source: Outcome(CONVERTED, why, {field: convert(setting.value)})


def max_model_len(setting: Setting, source: Source) -> Outcome:
    """Convert a length in tokens like vLLM: 16k is 16000, 16K is 16384."""
    value = setting.value.strip()
    if value.lower() in ("auto", "-1", ""):
        return Outcome(DEFAULT, "The model's own limit, which the import uses by default.")
    of_ollama = source.model or setting.kind == "service"
    cut = "; vLLM refuses a longer request, Ollama truncated it silently" if of_ollama else ", not of the prompt alone"
    tokens = int(float(value.rstrip("kK")) * {"k": 1000, "K": 1024}.get(value[-1], 1))
    return Outcome(CONVERTED, f"Tokens of prompt and answer together{cut}.", {"max_model_len": tokens})


def gpu_memory_utilization(setting: Setting, source: Source) -> Outcome:
    """Convert a share of the card; vLLM refuses a percentage."""
    share = float(setting.value.rstrip("%"))
    percent = 5 <= share <= 100
    why = "The limit for the engine's whole memory: weights, activations and KV cache, not the KV cache alone."
    return Outcome(
        APPROXIMATED if percent else CONVERTED, why, {"gpu_memory_utilization": share / 100 if percent else share}
    )


def generation_config(setting: Setting, source: Source) -> Outcome:
    """Convert the sampling parameters of --override-generation-config."""
    config = json_object(setting.value)
    fields: dict[str, Any] = {name: float(config[name]) for name in ("temperature", "top_p") if name in config}
    others = ", ".join(name for name in config if name not in fields)
    others = f" Set {others} in the request." if others else ""
    if not fields:
        return Outcome(DROPPED, f"The roster has only temperature and top_p.{others}")
    return Outcome(CONVERTED, f"{SAMPLING}{others}", fields)


def switch(field: str, default: bool, why_default: str, why: str) -> Rule:
    """Return the rule for a flag with a no- form, which the roster needs only if it differs from vLLM's default."""

    def rule(setting: Setting, source: Source) -> Outcome:
        value = is_on(setting.value) != setting.option.startswith("no-")
        return Outcome(DEFAULT, why_default) if value == default else Outcome(CONVERTED, why, {field: value})

    return rule


def kv_cache_dtype(setting: Setting, source: Source) -> Outcome:
    """Convert vLLM's --kv-cache-dtype or Ollama's OLLAMA_KV_CACHE_TYPE."""
    value = setting.value.lower()
    if value in ("auto", "fp8"):
        return Outcome(CONVERTED, "fp8 holds twice the tokens.", {"kv_cache_dtype": value})
    if value.startswith(("fp8", "q", "int8")):
        why = f"The roster does not support {setting.value}; fp8 is its 8-bit KV cache."
        return Outcome(APPROXIMATED, why, {"kv_cache_dtype": "fp8"})
    return Outcome(DROPPED, "The plan supports auto (16 bits) and fp8.")


def quantization(setting: Setting, source: Source) -> Outcome:
    """Convert --quantization; the rule for models applies it."""
    if close := nearest(setting.value):
        why = f"{setting.value} is a llama.cpp file type: vLLM exits with 'Unknown quantization method'."
        return Outcome(UNSUPPORTED, f"{why} The entries of `models` use {close}, the closest that it loads.")
    return Outcome(CONVERTED, "It is part of `models`; vLLM reads the format from the checkpoint.")


def model(setting: Setting, source: Source) -> Outcome:
    """Convert --model: a repository, or a folder of the host."""
    name = setting.value
    if not name.startswith(("/", "./", "~")):
        return models.propose(name, source.value("quantization"))
    for outside, inside in (volume.split(":")[:2] for volume in source.items("volumes") if ":" in volume):
        inner = inside.rstrip("/")
        if inner and f"{name}/".startswith(f"{inner}/"):
            name = str((Path(source.file).resolve().parent / Path(outside).expanduser()).resolve()) + name[len(inner) :]
            break
    return Outcome(CONVERTED, "A folder of the host, where the plan reads config.json.", {"models": [{"model": name}]})


def port(setting: Setting, source: Source) -> Outcome:
    """Convert --port. If Compose publishes ports, it is the port inside the container and is dropped."""
    if source.items("ports"):
        return Outcome(DROPPED, "It is the port inside the container; the port that Compose published is used.")
    return Outcome(CONVERTED, "The agent's API uses it, on loopback.", {"port": int(setting.value)})


def published_port(setting: Setting, source: Source) -> Outcome:
    """Convert an item of Compose's `ports`."""
    outside, _, inside = setting.value.rpartition(":")
    inside, own = inside.partition("/")[0], source.value("port") or _API_PORT
    if own.isdecimal() and inside == str(int(own) + METRICS_ABOVE):
        why = f"The gateway serves the engine's metrics {METRICS_ABOVE} above the agent's port, at /metrics."
        return Outcome(DEFAULT, why)
    if inside != own:
        return Outcome(UNSUPPORTED, "vLLM listens only on the port of its API.")
    published = outside.rpartition(":")[2]
    if not published.isdecimal():
        return Outcome(DROPPED, "It names no port of the host.")
    if outside.startswith("127."):
        return Outcome(CONVERTED, "The agent's API uses it.", {"port": int(published)})
    why = "The agent's API uses it on loopback; Compose published it on all interfaces."
    return Outcome(APPROXIMATED, why, {"port": int(published)})


def volume(setting: Setting, source: Source) -> Outcome:
    """Convert an item of Compose's `volumes`."""
    if _CACHE.search(setting.value):
        return Outcome(DEFAULT, f"{STORE}; this cache is not changed.")
    return Outcome(DROPPED, "An engine sees only its own model; name a model folder of yours by its path in `models`.")
