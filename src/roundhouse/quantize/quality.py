"""The quality of a quantized model: its engine's probabilities against its base's, on the same tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypedDict

from ..catalog.recipes import Bounds

# A file whose content decides how text becomes tokens.
TOKENIZER = "tokenizer.json"
# How many of the likeliest tokens are compared: all of a small vocabulary, and of a large one nearly all probability.
LIKELIEST = 256


class Position(NamedTuple):
    """The log-probability of one token of the text, and those of the likeliest tokens by id."""

    actual: float
    likeliest: dict[str, float]


class Listed(TypedDict):
    """One token of vLLM's prompt_logprobs, by its id."""

    logprob: float
    rank: int  # from 1


class Quality(NamedTuple):
    """The distance of a model from its base: nats a token, a share, both perplexities, and over how many tokens."""

    kl: float
    top1: float
    perplexity: float
    base_perplexity: float
    tokens: int


def compare(base: list[Position], other: list[Position]) -> Quality:
    """Return the distance of `other` from `base`, over the same tokens."""
    if len(base) != len(other) or not base:
        raise ValueError(f"{len(base)} positions of the base and {len(other)} of the other")
    same = sum(_first(one.likeliest) == _first(two.likeliest) for one, two in zip(base, other, strict=True))
    return Quality(
        kl=sum(divergence(one.likeliest, two.likeliest) for one, two in zip(base, other, strict=True)) / len(base),
        top1=same / len(base),
        perplexity=_perplexity(other),
        base_perplexity=_perplexity(base),
        tokens=len(base),
    )


def divergence(base: dict[str, float], other: dict[str, float]) -> float:
    """Return KL(base || other) in nats from the likeliest tokens of both, as log-probabilities.

    A token that the other does not list has at most the probability of its last one, and what neither
    lists is one outcome: so this is never above the true divergence, and equal to it where all are listed.
    """
    least = min(other.values())
    total, base_rest, other_rest = 0.0, 1.0, 1.0
    for token, ln in base.items():
        probability = math.exp(ln)
        total += probability * (ln - other.get(token, least))
        base_rest -= probability
        other_rest -= math.exp(other[token]) if token in other else 0.0
    if base_rest > 1e-9:
        total += base_rest * math.log(base_rest / max(other_rest, 1e-12))
    return max(total, 0.0)


def refusals(found: Quality, bounds: Bounds) -> list[str]:
    """Return a sentence for each bound that is missed, with both numbers; none means admitted."""
    ratio = found.perplexity / found.base_perplexity
    checks = (
        (found.kl <= bounds.kl, f"the KL divergence is {found.kl:.4f} nats a token, at most {bounds.kl} is allowed"),
        (found.top1 >= bounds.top1, f"the likeliest token agrees in {found.top1:.1%}, at least {bounds.top1:.0%} must"),
        (
            ratio <= bounds.perplexity,
            f"the perplexity is {found.perplexity:.2f} where the base has {found.base_perplexity:.2f}, "
            f"{ratio:.3f} times it; at most {bounds.perplexity} is allowed",
        ),
    )
    return [f"{sentence}." for good, sentence in checks if not good]


def other_vocabulary(base: Path, other: Path) -> str | None:
    """Return a sentence when the two folders do not make the same tokens of a text."""
    sizes = [json.loads((folder / "config.json").read_text()).get("vocab_size") for folder in (base, other)]
    if sizes[0] != sizes[1]:
        return f"its vocabulary has {sizes[1]} tokens where the base has {sizes[0]}: it is another model."
    words = [_vocabulary(folder) for folder in (base, other)]
    if words[0] != words[1]:
        return f"its {TOKENIZER} makes other tokens than the base's: it is another model."
    return None


def positions(prompt_logprobs: list[dict[str, Listed] | None], tokens: list[int]) -> Iterator[Position]:
    """Yield the position of each token but the first, which has no context.

    The engine lists the text's own token too where it is not among the likeliest; what it has is then no bound of what
    the others have that are not listed.
    """
    for token, found in zip(tokens[1:], prompt_logprobs[1:], strict=True):
        listed = {name: float(entry["logprob"]) for name, entry in (found or {}).items()}
        likeliest = {name: listed[name] for name, entry in (found or {}).items() if entry["rank"] <= LIKELIEST}
        yield Position(listed[str(token)], likeliest)


def _first(likeliest: dict[str, float]) -> str:
    return max(likeliest, key=lambda token: likeliest[token])


def _perplexity(found: list[Position]) -> float:
    return math.exp(-sum(position.actual for position in found) / len(found))


def _vocabulary(folder: Path) -> object:
    path = folder / TOKENIZER
    return json.loads(path.read_text()) if path.exists() else None
