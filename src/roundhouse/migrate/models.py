"""From a model's name in an old set-up to the `models` of a roster: the nearest that vLLM loads, best first.

Only repositories of the catalog are proposed, which knows what is published in which format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..catalog import model_families as catalog
from ..schema.roster import WantedModel
from ..vllm.formats import FAMILIES, FORMATS, canonical, members, nearest
from .report import BECAME, LEFT, NEAREST, Outcome

_SIZE = re.compile(r"-(?P<size>\d+(?:\.\d+)?)B(?![A-Za-z0-9])")
_GPTQ = {"gptq-int4": "GPTQ-Int4", "gptq-int8": "GPTQ-Int8"}
# What fits no card of the host is given up for the next; two sizes down another model is better chosen by a person.
_SMALLER = 2


def propose(name: str, wanted: str = "") -> Outcome:
    """Return the models that serve a name; `wanted` is the format that was asked for, by any name."""
    repo, _, tag = name.partition(":") if "/" in name else (name, "", "")
    base = re.sub(r"-gguf$", "", repo, flags=re.IGNORECASE)
    gguf = "gguf" in repo.lower() or bool(tag)
    known = catalog.find(base)
    if known is None and gguf:
        why = f"vLLM loads no GGUF, and {base} is not in the catalog: name its safetensors repository."
        return Outcome(LEFT, why)
    if known is None:
        entry: WantedModel = {"model": name}
        if wanted.lower() in FORMATS:
            entry["quantization"] = wanted.lower()
        why = "It is not in the catalog; its memory is not known before its config.json is there: see scripts/plan.py."
        return Outcome(BECAME, why, {"models": [entry]})
    others = _smaller(base)
    if known.form.name != "bf16":
        why = f"It is quantized already ({known.form.name}){_otherwise(others)}."
        return Outcome(NEAREST if gguf else BECAME, why, {"models": [_entry(base), *others]})
    form = wanted or tag or ("gguf" if gguf else "")
    first, *rest = [*_in_format(base, form), *others]
    why = "The first that fits the card is taken"
    if nearest(form):
        why = f"{form} is a llama.cpp file type, which vLLM does not load; the nearest is {_described(first)}"
    fate = NEAREST if nearest(form) else BECAME
    return Outcome(fate, f"{why}{_otherwise(rest)}.", {"models": [first, *rest]})


def longest(wanted: Sequence[WantedModel]) -> int | None:
    """Return the most tokens that models take, None when one of them is not known."""
    found = [catalog.find(each["model"]) for each in wanted]
    limits = [each.architecture.max_position_embeddings if each else None for each in found]
    return None if None in limits or not limits else max(limit for limit in limits if limit)


def _in_format(base: str, form: str) -> list[WantedModel]:
    """Return a 16-bit model in the format that was asked for, or else as it is."""
    close = nearest(form)
    awq = _published(f"{base}-AWQ")
    if close == "gptq" and (eight := _published(f"{base}-GPTQ-Int8")):
        return [*eight, *awq]
    if close or canonical(form) == "awq":
        # Its family does not publish it in 4 bit: the engine makes 8 bit while it loads, or 4 bit is made once.
        return awq or [{"model": base, "quantization": "fp8_per_channel"}, {"model": base, "quantize": "awq"}]
    if form.lower() in ("fp8", "fp8_per_channel", "fp8_per_tensor"):
        return [{"model": base, "quantization": "fp8_per_channel"}]
    for member in members(form):
        if member in _GPTQ and (found := _published(f"{base}-{_GPTQ[member]}")):
            return found
    return [{"model": base}, *awq]


def _smaller(repo: str) -> list[WantedModel]:
    """Return the family's next smaller models in AWQ, the largest first: for a card that does not hold this one."""
    plain = re.sub(r"-(AWQ|GPTQ-Int[48]|FP8)$", "", repo)
    size = _SIZE.search(plain)
    if not size:
        return []
    sizes = {float(match["size"]) for name in catalog.ARCHITECTURES if (match := _SIZE.search(name))}
    below = sorted((each for each in sizes if each < float(size["size"])), reverse=True)
    names = [f"{plain[: size.start()]}-{each:g}B{plain[size.end() :]}-AWQ" for each in below]
    return [entry for name in names for entry in _published(name)][:_SMALLER]


def _published(repo: str) -> list[WantedModel]:
    return [_entry(repo)] if catalog.find(repo) else []


def _entry(repo: str) -> WantedModel:
    model = catalog.find(repo)
    forms = {word: (word, *FAMILIES.get(word, ())) for word in FORMATS}
    word = next((word for word, names in forms.items() if model and model.form.name in names), None)
    return {"model": repo, "quantization": word} if word else {"model": repo}


def _otherwise(others: list[WantedModel]) -> str:
    return f"; where the card does not hold it: {', '.join(map(_described, others))}" if others else ""


def _described(entry: WantedModel) -> str:
    if "quantize" in entry:
        return f"{entry['model']} quantized to {entry['quantize']} here"
    return f"{entry['model']} in 8 bit" if entry.get("quantization") == "fp8_per_channel" else entry["model"]
