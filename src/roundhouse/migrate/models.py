"""From a model's name in an old set-up to the `models` of a roster: the nearest that vLLM loads, best first.

Only names of the catalog are proposed. Who publishes what in which format is `catalog`'s; Qwen3's AWQ repositories are
taken from 4B on.

What an agent needs and its source does not say, each with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..catalog import models as catalog_models
from ..catalog.models import ARCHITECTURES, Model
from ..vllm import defaults
from ..vllm.formats import FAMILIES, FORMATS, canonical, members, nearest
from . import report
from .report import Line

_SIZE = re.compile(r"-(?P<size>\d+(?:\.\d+)?)B(?![A-Za-z0-9])")
_TAG = re.compile(r":(?P<tag>[\w.-]+)$")
# What fits no card of the host is given up for the next; two sizes down another model is better chosen by a person.
_SMALLER = 2
_QWEN3_AWQ_FROM = 4.0

Entry = dict[str, Any]


class Proposal(NamedTuple):
    """The `models` of an agent, and the sentence that says why these. An empty list is not known, and says so."""

    models: list[Entry]
    why: str
    exact: bool  # whether the first of them is what was named


def propose(name: str, wanted: str | None = None) -> Proposal:
    """Return what serves a model of that name; `wanted` is the format that was asked for, in whoever's words."""
    repo, tag = _without_tag(name)
    gguf = "gguf" in repo.lower() or bool(tag)
    base = re.sub(r"-gguf$", "", repo, flags=re.IGNORECASE)
    known = catalog_models.find(base)
    form = wanted or tag or ("gguf" if gguf else None)
    if known is None:
        return _unknown(name, base, gguf=gguf, wanted=wanted)
    if known.form.name != "bf16":
        found = [entry(base), *smaller(base)]
        return Proposal(found, f"It is quantized already ({known.form.name}){_told(found[1:])}", not gguf)
    close = nearest(form) if form else None
    asked = _asked(base, form, close)
    found = [*asked, *smaller(base)]
    if close:
        word = f"{form} is a llama.cpp file type, which vLLM does not load"
        why = f"{word}; the nearest is {_named(asked[0])}{_told(found[1:])}"
        return Proposal(found, why, exact=False)
    return Proposal(found, f"The first that fits the card is taken{_told(found[1:])}", exact=True)


def entry(repo: str) -> Entry:
    """Return a model of the catalog as an entry of `models`."""
    model = catalog_models.find(repo)
    word = _word(model) if model else None
    return {"model": repo} | ({"quantization": word} if word else {})


def smaller(repo: str) -> list[Entry]:
    """Return the family's next smaller models in AWQ, the largest first: for a card that does not hold this one."""
    plain = re.sub(r"-(AWQ|GPTQ-Int[48]|FP8)$", "", repo)
    size = _SIZE.search(plain)
    if not size:
        return []
    sizes = {float(match["size"]) for name in ARCHITECTURES if (match := _SIZE.search(name)) and "A3B" not in name}
    below = sorted((each for each in sizes if each < float(size["size"])), reverse=True)
    names = [f"{plain[: size.start()]}-{each:g}B{plain[size.end() :]}" for each in below]
    found = [awq for name in names if catalog_models.find(name) and (awq := in_awq(name))]
    return [entry(name) for name in found[:_SMALLER]]


def in_awq(repo: str) -> str | None:
    """Return the family's AWQ repository of a 16-bit model, None when it has none."""
    size = _SIZE.search(repo)
    if repo.startswith("Qwen/Qwen3") and (not size or float(size["size"]) < _QWEN3_AWQ_FROM or "A3B" in repo):
        return None
    awq = f"{repo}-AWQ"
    return awq if catalog_models.find(awq) else None


def _asked(base: str, form: str | None, close: str | None) -> list[Entry]:
    """Return the model itself, in the format that was asked for where one was."""
    awq, eight = in_awq(base), f"{base}-GPTQ-Int8"
    has_eight = catalog_models.find(eight) is not None and not base.startswith("Qwen/Qwen3")
    if close == "gptq" and has_eight:
        return [entry(eight), *([entry(awq)] if awq else [])]
    if close or (form and canonical(form) == "awq"):
        # Nobody of the family publishes it in 4 bit: 8 bit is made while it loads, 4 bit is made once and for all.
        made: list[Entry] = [{"model": base, "quantization": "fp8_per_channel"}, {"model": base, "quantize": "awq"}]
        return [entry(awq)] if awq else made
    if form and form.lower() in ("fp8", "fp8_per_channel", "fp8_per_tensor"):
        return [{"model": base, "quantization": "fp8_per_channel"}]
    if form and members(form):
        suffixes = {"gptq-int4": "GPTQ-Int4", "gptq-int8": "GPTQ-Int8"}
        names = [f"{base}-{suffixes[each]}" for each in members(form) if each in suffixes]
        found = [entry(name) for name in names if catalog_models.find(name) and not base.startswith("Qwen/Qwen3")]
        if found:
            return found[:1]
    return [{"model": base}, *([entry(awq)] if awq else [])]


def _unknown(name: str, base: str, *, gguf: bool, wanted: str | None) -> Proposal:
    if gguf:
        return Proposal(
            [], f"vLLM loads no GGUF, and {base} is not in the catalog: name its safetensors repository", False
        )
    kept: Entry = {"model": name}
    if wanted and wanted.lower() in FORMATS:
        kept["quantization"] = wanted.lower()
    why = "It is not in the catalog, so its memory is not known before its config.json is there: see scripts/plan.py"
    return Proposal([kept], why, exact=True)


def _without_tag(name: str) -> tuple[str, str | None]:
    match = _TAG.search(name)
    return (name[: match.start()], match["tag"]) if match and "/" in name else (name, None)


def _word(model: Model) -> str | None:
    """Return the roster's `quantization` of a model of the catalog, None for 16 bit."""
    form = model.form.name
    return next((word for word in FORMATS if form in (word, *FAMILIES.get(word, ()))), None)


def _told(others: list[Entry]) -> str:
    if not others:
        return ""
    return f"; where the card does not hold it: {', '.join(map(_named, others))}"


def _named(each: Entry) -> str:
    """Return an entry for a sentence; what is made of a model is not what its name says."""
    if each.get("quantize"):
        return f"{each['model']} quantized to {each['quantize']} here"
    return f"{each['model']} in 8 bit" if each.get("quantization") == "fp8_per_channel" else str(each["model"])


Agent = dict[str, Any]

# Below this a plan gives up no more tokens by itself: an agent with fewer is of little use.
FEWEST_TOKENS = 8192
_UNKNOWN_TOKENS = 8192
_MOST_TOKENS = 32768


_OF_VLLM = "it is vLLM's own, where neither a request nor the model's author says another."
SAMPLING = {"temperature": (1.0, _OF_VLLM), "top_p": (1.0, _OF_VLLM)}


def complete(agent: Agent, file: str, sampling: Mapping[str, tuple[float, str]] = SAMPLING) -> list[Line]:
    """Add what is missing to an agent and return the report of it. Its port is given where all agents are known.

    `sampling` are the values that counted where the source says none, and why.
    """
    lines: list[Line] = []

    def add(field: str, value: Any, why: str) -> None:
        agent[field] = value
        lines.append(report.added(file, field, value, why))

    limit = longest(agent)
    if "max_model_len" not in agent and limit:
        add("max_model_len", min(limit, _MOST_TOKENS), f"Nothing was said; the model goes to {limit}.")
    elif "max_model_len" not in agent:
        add("max_model_len", _UNKNOWN_TOKENS, "Nothing was said, and the model's own limit is not known: write yours.")
    elif limit and agent["max_model_len"] > limit:
        add("max_model_len", limit, f"Its models go no further, and {agent['max_model_len']} was asked for.")
    if agent["max_model_len"] > FEWEST_TOKENS and "max_model_len_min" not in agent:
        add("max_model_len_min", FEWEST_TOKENS, "So far the plan may go down where the card does not hold more.")
    if "gpu_memory_utilization" not in agent:
        share = defaults.UTILIZATION
        add("gpu_memory_utilization", share, "Nothing was said; it is vLLM's default.")
    for field, (value, why) in sampling.items():
        if field not in agent:
            add(field, value, f"Nothing was said; {why}")
    return lines


def given(agent: Agent, file: str, model: str | None) -> list[Line]:
    """Add the model that the caller names where the source names none, and return the report of it."""
    if "models" in agent or not model:
        return []
    found = propose(model)
    if found.models:
        agent["models"] = found.models
        return [report.added(file, "models", found.models, f"As --model says. {found.why}.")]
    return [Line(file, None, f"--model {model}", report.LEFT, "", "", f"{found.why}.")]


def longest(agent: Agent) -> int | None:
    """Return how far the agent's models go, None when one of them is not known."""
    own = [catalog_models.find(each["model"]) for each in agent.get("models", [])]
    limits = [found.architecture.max_position_embeddings if found else None for found in own]
    return None if None in limits or not limits else max(limit for limit in limits if limit)
