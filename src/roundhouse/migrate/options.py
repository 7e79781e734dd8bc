"""The rules of settings whose value decides: vLLM's options, Ollama's parameters, ports and volumes of Compose.

A rule may raise ValueError, and need not check what the roster allows: `rules.outcome` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..roster.ports import METRICS_ABOVE
from ..vllm.formats import nearest
from . import models
from .report import ALREADY, BECAME, LEFT, NEAREST, NOTHING, Outcome, Setting, Source

Rule = Callable[[Setting, Source], Outcome]

_API_PORT = "8000"  # vLLM's own default
_CACHE = re.compile(r"huggingface|/hub\b|\.cache|transformers", re.IGNORECASE)
STORE = "Models lie in Roundhouse's own store (models_store), pulled and verified there"
SAMPLING = "What is taken where a request says nothing."


def is_on(value: str) -> bool:
    """Return whether a switch such as VLLM_X=1 is on."""
    return value.strip().lower() not in ("0", "false", "no", "off", "")


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object. Raises ValueError for anything else."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"{text} is no JSON object")
    return value


def of(field: str, convert: Callable[[str], Any], why: str) -> Rule:
    """Return the rule of an option that is a field of the roster."""
    return lambda setting, source: Outcome(BECAME, why, {field: convert(setting.value)})


def max_model_len(setting: Setting, source: Source) -> Outcome:
    """Read a length as vLLM does: 16k is 16000, 16K is 16384."""
    value = setting.value.strip()
    if value.lower() in ("auto", "-1", ""):
        return Outcome(ALREADY, "The model's own limit, which is written where nothing else is said.")
    of_ollama = source.model or setting.kind == "service"
    cut = "; vLLM refuses what is longer, where Ollama cut it silently" if of_ollama else ", not of the prompt alone"
    tokens = int(float(value.rstrip("kK")) * {"k": 1000, "K": 1024}.get(value[-1], 1))
    return Outcome(BECAME, f"Tokens of prompt and answer together{cut}.", {"max_model_len": tokens})


def gpu_memory_utilization(setting: Setting, source: Source) -> Outcome:
    """Read a share of the card; vLLM refuses one in percent."""
    share = float(setting.value.rstrip("%"))
    percent = 5 <= share <= 100
    why = "The most of the whole card that the engine takes: weights, work space and KV cache, not the KV cache alone."
    return Outcome(NEAREST if percent else BECAME, why, {"gpu_memory_utilization": share / 100 if percent else share})


def generation_config(setting: Setting, source: Source) -> Outcome:
    """Read the sampling parameters of --override-generation-config."""
    config = json_object(setting.value)
    fields: dict[str, Any] = {name: float(config[name]) for name in ("temperature", "top_p") if name in config}
    others = ", ".join(name for name in config if name not in fields)
    others = f" {others}: a request says it." if others else ""
    if not fields:
        return Outcome(LEFT, f"The roster has temperature and top_p.{others}")
    return Outcome(BECAME, f"{SAMPLING}{others}", fields)


def switch(field: str, default: bool, why_default: str, why: str) -> Rule:
    """Return the rule of an option with a no- form, that is a field of the roster where it is not vLLM's default."""

    def rule(setting: Setting, source: Source) -> Outcome:
        value = is_on(setting.value) != setting.option.startswith("no-")
        return Outcome(ALREADY, why_default) if value == default else Outcome(BECAME, why, {field: value})

    return rule


def kv_cache_dtype(setting: Setting, source: Source) -> Outcome:
    """Read vLLM's --kv-cache-dtype, or Ollama's OLLAMA_KV_CACHE_TYPE."""
    value = setting.value.lower()
    if value in ("auto", "fp8"):
        return Outcome(BECAME, "fp8 holds twice the tokens.", {"kv_cache_dtype": value})
    if value.startswith(("fp8", "q", "int8")):
        why = f"{setting.value} is not in the roster; fp8 is the 8-bit KV cache that the plan counts with."
        return Outcome(NEAREST, why, {"kv_cache_dtype": "fp8"})
    return Outcome(LEFT, "The plan counts with auto (16 bit) or fp8.")


def quantization(setting: Setting, source: Source) -> Outcome:
    """Read --quantization; the models' rule takes it into account."""
    if close := nearest(setting.value):
        why = f"{setting.value} is a llama.cpp file type: vLLM ends with 'Unknown quantization method'."
        return Outcome(NOTHING, f"{why} The nearest that it loads is {close}; the models say it.")
    return Outcome(BECAME, "The models say it: a format is the checkpoint's, and vLLM reads it there.")


def model(setting: Setting, source: Source) -> Outcome:
    """Read --model: a repository, or a folder as it is on the host."""
    name = setting.value
    if not name.startswith(("/", "./", "~")):
        return models.propose(name, source.value("quantization"))
    for outside, inside in (volume.split(":")[:2] for volume in source.items("volumes") if ":" in volume):
        inner = inside.rstrip("/")
        if inner and f"{name}/".startswith(f"{inner}/"):
            name = str((Path(source.file).resolve().parent / Path(outside).expanduser()).resolve()) + name[len(inner) :]
            break
    return Outcome(BECAME, "A folder of the host; the plan reads its config.json there.", {"models": [{"model": name}]})


def port(setting: Setting, source: Source) -> Outcome:
    """Read --port, which is the container's where Compose publishes another."""
    if source.items("ports"):
        return Outcome(LEFT, "It is the container's; what compose published is taken.")
    return Outcome(BECAME, "Its API answers there, on loopback.", {"port": int(setting.value)})


def published_port(setting: Setting, source: Source) -> Outcome:
    """Read an item of Compose's `ports`."""
    outside, _, inside = setting.value.rpartition(":")
    inside, own = inside.partition("/")[0], source.value("port") or _API_PORT
    if own.isdecimal() and inside == str(int(own) + METRICS_ABOVE):
        why = f"The gateway has the engine's metrics {METRICS_ABOVE} above its agent's port, at /metrics."
        return Outcome(ALREADY, why)
    if inside != own:
        return Outcome(NOTHING, "vLLM listens on the port of its API alone.")
    published = outside.rpartition(":")[2]
    if not published.isdecimal():
        return Outcome(LEFT, "It names no port of the host.")
    if outside.startswith("127."):
        return Outcome(BECAME, "Its API answers there.", {"port": int(published)})
    why = "Its API answers there, on loopback; compose published it to all."
    return Outcome(NEAREST, why, {"port": int(published)})


def volume(setting: Setting, source: Source) -> Outcome:
    """Read an item of Compose's `volumes`."""
    if _CACHE.search(setting.value):
        return Outcome(ALREADY, f"{STORE}; this cache is left alone.")
    return Outcome(LEFT, "An engine sees its own model of the host: one in a folder of yours is named by its path.")
