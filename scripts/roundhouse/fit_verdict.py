"""The verdict: the worst of what the card can run, what the share holds and what the rest of the card has to hold."""

from __future__ import annotations

from . import attention, fit_kv, fit_overhead, fit_terms
from .fit_question import FITS, NO, TIGHT, Question
from .fit_terms import Term
from .formats import obstacle

Limit = tuple[str, str]  # a verdict and its sentence


def verdict(
    question: Question, resident: float, terms: list[Term], gap: float, unsure: float
) -> tuple[str, tuple[str, ...]]:
    """Return the verdict and a sentence for each limit. GiB on each rank: weights, what is missing, its uncertainty."""
    if heavy := heavier(resident, question):
        limits = [(NO, heavy)]
    else:
        limits = [*_in_the_share(question, gap, unsure), *_beside_the_share(question, terms)]
    limits += _whatever_the_memory(question)
    verdicts = [found for found, _ in limits]
    worst = NO if NO in verdicts else TIGHT if TIGHT in verdicts else FITS
    return worst, tuple(reason for _, reason in limits)


def heavier(weights_gib: float, question: Question) -> str | None:
    """Return a sentence when the weights alone are more than the engine's share, None otherwise."""
    share = question.share_gib
    if weights_gib <= share:
        return None
    return f"The weights take {weights_gib:.2f} GiB and the engine's share is {share:.2f} GiB."


def _whatever_the_memory(question: Question) -> list[Limit]:
    own_limit = question.model.architecture.max_position_embeddings
    found = []
    if own_limit and question.max_model_len > own_limit:
        found.append(f"max_model_len is {question.max_model_len} and the model goes to {own_limit}.")
    fp8, oldest = fit_kv.KV_DTYPE_BYTES[question.kv_dtype] == 1, attention.kv_fp8_since(kernels=question.kernels)
    if fp8 and question.capability is not None and question.capability < oldest:
        have, want = (".".join(map(str, each)) for each in (question.capability, oldest))
        other = "" if question.kernels else ", or agents_runtime: compose"
        found.append(f"An 8-bit KV cache wants compute capability {want} and the card has {have}: take auto{other}.")
    against = obstacle(question.model.form, question.capability, question.engine)
    return [(NO, reason) for reason in [*found, *([against] if against else [])]]


def _in_the_share(question: Question, gap: float, unsure: float) -> list[Limit]:
    if gap <= -unsure:
        return []
    length = question.max_model_len
    if gap > 0:
        missing = f"One request of {length} tokens needs {gap:.2f} GiB more KV cache than is left"
        return [(TIGHT if gap <= unsure else NO, f"{missing} (the overhead is known to {unsure:.2f} GiB).")]
    left = f"One request of {length} tokens leaves {-gap:.2f} GiB of the KV cache"
    return [(TIGHT, f"{left}, less than the overhead's uncertainty, {unsure:.2f} GiB.")]


def _beside_the_share(question: Question, terms: list[Term]) -> list[Limit]:
    left = question.card_gib - question.share_gib
    outside = sum(term.gib for term in terms if not term.inside)
    margin = fit_overhead.uncertainty(terms, inside=False)
    if not outside or outside + margin <= left:
        return []
    # An engine starts without the room that only a full batch of its sampler takes, and may fail under it.
    to_start = outside - sum(term.gib for term in terms if term.name == fit_terms.SAMPLING)
    reason = (
        f"gpu_memory_utilization {question.gpu_memory_utilization:g} leaves {left:.2f} GiB of the card and about "
        f"{outside:.2f} GiB are needed there: lower it."
    )
    return [(NO if to_start - margin > left else TIGHT, reason)]
