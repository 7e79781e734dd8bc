"""Convert a model's name in an old setup into the roster's `models`: the closest that vLLM loads, best first.

Only repositories of the catalog are proposed, because the catalog knows the published formats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..catalog import model_families as catalog
from ..schema.roster import WantedModel
from ..vllm.formats import FAMILIES, FORMATS, canonical, members, nearest
from .report import APPROXIMATED, CONVERTED, DROPPED, Outcome

_SIZE = re.compile(r"-(?P<size>\d+(?:\.\d+)?)B(?![A-Za-z0-9])")
_GPTQ = {"gptq-int4": "GPTQ-Int4", "gptq-int8": "GPTQ-Int8"}
# The number of smaller models to propose for cards that are too small. Below two sizes the user should choose.
_SMALLER = 2


def propose(name: str, wanted: str = "") -> Outcome:
    """Return the models for a name; `wanted` is the requested format, by any of its names."""
    repo, _, tag = name.partition(":") if "/" in name else (name, "", "")
    base = re.sub(r"-gguf$", "", repo, flags=re.IGNORECASE)
    gguf = "gguf" in repo.lower() or bool(tag)
    known = catalog.find(base)
    if known is None and gguf:
        why = f"vLLM does not load GGUF, and {base} is not in the catalog: name its safetensors repository."
        return Outcome(DROPPED, why)
    if known is None:
        entry: WantedModel = {"model": name}
        if wanted.lower() in FORMATS:
            entry["quantization"] = wanted.lower()
        why = "The catalog does not have it, so its memory is unknown without its config.json: see scripts/plan.py."
        return Outcome(CONVERTED, why, {"models": [entry]})
    others = _smaller(base)
    if known.form.name != "bf16":
        why = f"It is already quantized ({known.form.name}){_otherwise(others)}."
        return Outcome(APPROXIMATED if gguf else CONVERTED, why, {"models": [_entry(base), *others]})
    form = wanted or tag or ("gguf" if gguf else "")
    first, *rest = [*_in_format(base, form), *others]
    why = "The plan uses the first that fits the card"
    if nearest(form):
        why = f"{form} is a llama.cpp file type, which vLLM does not load; the closest is {_described(first)}"
    kind = APPROXIMATED if nearest(form) else CONVERTED
    return Outcome(kind, f"{why}{_otherwise(rest)}.", {"models": [first, *rest]})


def longest(wanted: Sequence[WantedModel]) -> int | None:
    """Return the highest max_model_len that the models support, None if one of them is unknown."""
    found = [catalog.find(each["model"]) for each in wanted]
    limits = [each.architecture.max_position_embeddings if each else None for each in found]
    return None if None in limits or not limits else max(limit for limit in limits if limit)


def _in_format(base: str, form: str) -> list[WantedModel]:
    """Return the entries for a 16-bit model in the requested format; without one, in 16 bits and AWQ."""
    close = nearest(form)
    awq = _published(f"{base}-AWQ")
    if close == "gptq" and (eight := _published(f"{base}-GPTQ-Int8")):
        return [*eight, *awq]
    if close or canonical(form) == "awq":
        # Without a published 4-bit model: 8 bits, quantized by the engine when it loads, or 4 bits, quantized here.
        return awq or [{"model": base, "quantization": "fp8_per_channel"}, {"model": base, "quantize": "awq"}]
    if form.lower() in ("fp8", "fp8_per_channel", "fp8_per_tensor"):
        return [{"model": base, "quantization": "fp8_per_channel"}]
    for member in members(form):
        if member in _GPTQ and (found := _published(f"{base}-{_GPTQ[member]}")):
            return found
    return [{"model": base}, *awq]


def _smaller(repo: str) -> list[WantedModel]:
    """Return the family's next smaller models in AWQ, the largest first, for a card that is too small."""
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
    return f"; if it does not fit: {', '.join(map(_described, others))}" if others else ""


def _described(entry: WantedModel) -> str:
    if "quantize" in entry:
        return f"{entry['model']} quantized to {entry['quantize']} on the host"
    return f"{entry['model']} in 8 bit" if entry.get("quantization") == "fp8_per_channel" else entry["model"]
