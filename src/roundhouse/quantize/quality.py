"""Measure the quality of a quantized model: compare its token probabilities with its base's, on the same tokens."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypedDict

from ..catalog.recipes import Bounds
from ..util.pairs import pairs

# The file that defines how a text is split into tokens.
TOKENIZER = "tokenizer.json"
# The number of likeliest tokens that are compared: they hold nearly all probability, also of a large vocabulary.
LIKELIEST = 256


class Position(NamedTuple):
    """The log-probability of one token of the text, and those of the likeliest tokens by ID."""

    actual: float
    likeliest: dict[str, float]


class Listed(TypedDict):
    """One token in vLLM's prompt_logprobs, which are keyed by token ID."""

    logprob: float
    rank: int  # from 1


class Quality(NamedTuple):
    """The distance of a model from its base."""

    kl: float  # nats per token
    top1: float  # share of tokens with the same likeliest token, 0 to 1
    perplexity: float
    base_perplexity: float
    tokens: int  # the number of compared tokens


def compare(base: list[Position], other: list[Position]) -> Quality:
    """Return the distance of `other` from `base` on the same tokens. Raises ValueError for different lengths."""
    if len(base) != len(other) or not base:
        raise ValueError(f"{len(base)} positions of the base and {len(other)} of the other")
    same = sum(_first(one.likeliest) == _first(two.likeliest) for one, two in pairs(base, other))
    return Quality(
        kl=sum(divergence(one.likeliest, two.likeliest) for one, two in pairs(base, other)) / len(base),
        top1=same / len(base),
        perplexity=_perplexity(other),
        base_perplexity=_perplexity(base),
        tokens=len(base),
    )


def divergence(base: dict[str, float], other: dict[str, float]) -> float:
    """Return KL(base || other) in nats from the log-probabilities of the likeliest tokens of both.

    A token that `other` does not list has at most the probability of its last listed one. The tokens that neither
    lists count as one outcome. Therefore the result never exceeds the true divergence, and equals it if all tokens are
    listed.
    """
    least = min(other.values())
    total, base_unlisted, other_unlisted = 0.0, 1.0, 1.0
    for token, ln in base.items():
        probability = math.exp(ln)
        total += probability * (ln - other.get(token, least))
        base_unlisted -= probability
        other_unlisted -= math.exp(other[token]) if token in other else 0.0
    if base_unlisted > 1e-9:
        total += base_unlisted * math.log(base_unlisted / max(other_unlisted, 1e-12))
    return max(total, 0.0)


def refusals(found: Quality, bounds: Bounds) -> list[str]:
    """Return a sentence with value and limit for each missed bound; [] if the model passes."""
    ratio = found.perplexity / found.base_perplexity
    checks = (
        (found.kl <= bounds.kl, f"the KL divergence is {found.kl:.4f} nats per token, the limit is {bounds.kl}"),
        (found.top1 >= bounds.top1, f"the top-1 agreement is {found.top1:.1%}, the minimum is {bounds.top1:.0%}"),
        (
            ratio <= bounds.perplexity,
            f"the perplexity is {found.perplexity:.2f}, {ratio:.3f} times the base's {found.base_perplexity:.2f}; "
            f"the limit is {bounds.perplexity} times",
        ),
    )
    return [f"{sentence}." for good, sentence in checks if not good]


def other_vocabulary(base: Path, other: Path) -> str | None:
    """Return a sentence if the two models split a text into different tokens, None otherwise."""
    sizes = [json.loads((folder / "config.json").read_text()).get("vocab_size") for folder in (base, other)]
    if sizes[0] != sizes[1]:
        return f"its vocabulary has {sizes[1]} tokens, but the base has {sizes[0]}."
    words = [_vocabulary(folder) for folder in (base, other)]
    if words[0] != words[1]:
        return f"its {TOKENIZER} differs from the base's."
    return None


def positions(prompt_logprobs: list[dict[str, Listed] | None], tokens: list[int]) -> Iterator[Position]:
    """Yield the position of each token except the first, which has no context.

    The engine also lists the text's own token if it is not among the likeliest. It is excluded from `likeliest`,
    because its probability is not an upper bound for unlisted tokens.
    """
    for token, found in pairs(tokens[1:], prompt_logprobs[1:]):
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
