"""Answer the question whether one model fits one kind of card."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

from ..catalog import gpus
from ..catalog.architecture import Model, Unknown
from ..catalog.gpus import HostCard
from ..errors import RoundhouseError, UsageError
from ..fit import beside, report, request, rough
from ..fit.estimate import FITS, UNKNOWN, Fit, Question, fit
from ..fit.request import NotedQuestion
from ..models import known
from ..plan import host_cards
from ..plan.decide import Host
from ..schema.facts import ModelConfig
from ..util.pairs import pairs
from ..vllm import defaults

NAMELESS = "a card"  # a card of --vram-gib alone


def answer(args: argparse.Namespace) -> tuple[str, int]:
    """Return the answer to a question about one model as text or JSON, and the exit status: 0 if the model fits.

    Without --max-model-len, a shorter length than the model's maximum is sufficient.
    """
    asked = _ask(args)
    if isinstance(asked, RoundhouseError):
        if not args.json:
            raise asked
        unknown = report.as_json(Fit(UNKNOWN, (asked.message,)), ())
        return json.dumps(unknown | {"ok": False, "errors": [asked.as_json()]}), 1
    found = fit(asked.question)
    rows = report.rows(asked.question, found) if args.explain else []
    status = 0 if report.holds(asked.question, found, any_length=args.max_model_len is None) else 1
    if args.json:
        return json.dumps(
            report.as_json(found, asked.notes, asked.question) | ({"explain": rows} if args.explain else {})
        ), status
    return "\n".join([report.text(asked, found), *([report.explanation(rows)] if rows else [])]), status


def _ask(args: argparse.Namespace) -> NotedQuestion | RoundhouseError:
    request.check(vars(args))
    card, taken = _card(args)
    found = _model(args)
    if isinstance(found, RoundhouseError):
        return found
    question = Question(
        model=found,
        card_gib=card.cuda_gib or 0.0,
        max_model_len=request.max_model_len(args.max_model_len, found),
        gpu_memory_utilization=args.gpu_memory_utilization or defaults.UTILIZATION,
        kv_cache_dtype=args.kv_cache_dtype or "auto",
        tensor_parallel_size=args.tensor_parallel_size or 1,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        enforce_eager=args.enforce_eager,
        capability=card.capability,
        bandwidth_gb_s=card.bandwidth_gb_s,
        a100="a100" in card.name.lower(),
        shared_display=args.shared_display or card.shared_display,
        desktop_gib=card.desktop_gib,
        system_gib=card.system_gib,
        tries_kernels={"cold": True, "warm": False}.get(args.compile_cache),
        unified=card.system_gib is not None,
        engine=defaults.version(args.engine_version) or defaults.PINNED_VERSION,
        mtp=bool(args.mtp),
        drafts=args.mtp or 0,
        adapters=args.lora or 0,
        cpu_offload_gib=args.cpu_offload_gib or 0.0,
        pipeline_parallel_size=args.pipeline_parallel_size or 1,
        images=not args.language_model_only,
        free_gib=args.free_gib,
    )
    if args.mtp and not found.architecture.draft_layers:
        text, remedy = "--mtp is {value} and {model} has no layers for multi-token prediction.", "Omit --mtp."
        raise UsageError("mtp_without_layers", text, remedy, value=args.mtp, model=found.name)
    notes = (*request.notes(question, None if card.name == NAMELESS else card.name), *taken)
    shown = None if card.capability is None else card.name
    unlisted = card.name if card.capability is None and card.name != NAMELESS else None
    return NotedQuestion(question, shown, (*notes, *_more_cards(question, args.gpus)), unlisted)


def _card(args: argparse.Namespace) -> tuple[HostCard, tuple[str, ...]]:
    """Return the card of the options, else this machine's first, and sentences on the assumptions."""
    if args.gpu is None and args.vram_gib is None:
        card = next(card for card in own_cards() if not card.unusable)
        if card.cuda_gib is None:
            text, remedy = "The memory of this machine's {gpu} is unknown.", "Add --vram-gib with its total memory."
            raise UsageError("gpu_memory_unknown", text, remedy, gpu=card.name)
        return card, ()
    known, total = request.card(args.gpu, args.vram_gib)
    made = imagined(known, 1, total_gib=total).cards[0]
    name = made.name if known else args.gpu or made.name
    return made._replace(name=name), request.card_notes(known, args.vram_gib, total)


def _model(args: argparse.Namespace) -> Model | RoundhouseError:
    """Return the model; the error where it is not known or the formulas do not cover it. Raises UsageError."""
    try:
        configs = known.configs(_known_file(args))
        found = request.model(args.model, args.quantization, _with_hub(args, configs))
        if isinstance(found, Unknown) and args.rough and args.hub:
            from ..models import lock

            found = rough.rough(known.read(_known_file(args))[lock.key(args.model, None)], args.model)
    except UsageError:
        raise
    except RoundhouseError as error:
        return error
    if isinstance(found, Unknown):
        text = "The fit of {model} is unknown: {reason}"
        remedy = "Use another model, or set policy: exact in the roster to deploy it without a computed fit."
        return RoundhouseError("model_not_covered", text, remedy, model=found.name, reason=found.reason)
    return found


def _known_file(args: argparse.Namespace) -> Path:
    """Return the file with what hubs stated, beside the roster."""
    folder: Path = args.roster.parent
    return folder / known.NAME


def _with_hub(args: argparse.Namespace, configs: Mapping[str, ModelConfig]) -> Mapping[str, ModelConfig]:
    """Return the known config.json files, with --hub also that of the model, which is read and kept."""
    if not args.hub or not re.fullmatch(r"[\w.-]+/[\w.-]+", args.model):
        return configs
    from ..models import lock, remote  # a program for hosts, which few questions need
    from ..models.hub import Hub

    entry = remote.read(Hub(), args.model, "main")
    known.record(_known_file(args), lock.key(args.model, None), entry)
    return {**configs, args.model: {**entry["config"], known.FIELD: entry["held"]}}


def _more_cards(question: Question, gpus: int | None) -> tuple[str, ...]:
    """Return a sentence when more of the host's cards make the model fit."""
    if not gpus or gpus <= question.tensor_parallel_size or fit(question).verdict == FITS:
        return ()
    for ranks in range(question.tensor_parallel_size + 1, gpus + 1):
        if fit(question._replace(tensor_parallel_size=ranks)).verdict == FITS:
            return (f"With --tensor-parallel-size {ranks} it fits.",)
    return (f"It does not fit on {gpus} cards either.",)


def own_cards() -> tuple[HostCard, ...]:
    """Return this machine's cards by number. Raises UsageError without an NVIDIA GPU that an agent can use."""
    from ..host import gpu  # with ctypes; not needed for cards that the command names

    facts = gpu.facts()["gpus"]
    if not facts:
        raise request.gpu_missing()
    numbered = [fact for fact in facts if fact["number"] is not None]
    cards = host_cards.of_facts(facts)
    old = [
        request.gpu_too_old(card.name, card.capability)
        if gpus.is_too_old(card.capability) or fact["architecture"] == gpu.PRE_TURING
        else None
        for card, fact in pairs(cards, numbered)
    ]
    if old and old[0] and all(old):
        raise old[0]
    cards = tuple(card._replace(unusable=why.message) if why else card for card, why in pairs(cards, old))
    if all(card.unusable for card in cards):
        whys = [card.unusable for card in cards] + [each["problem"] for each in host_cards.without_driver(facts)]
        reason = " ".join(why for why in whys if why)
        raise UsageError("gpu_unusable", "{reason}", 'Add --gpu NAME, such as "RTX 4090".', reason=reason)
    return cards


def imagined(card: gpus.Card | None, count: int, *, total_gib: float | None = None, display: bool = False) -> Host:
    """Return a host with `count` cards of a kind, or of `total_gib` GiB for an unknown kind."""
    one = HostCard(
        number=0,
        name=card.name if card else NAMELESS,
        cuda_gib=total_gib or (gpus.total_gib(card) if card else None),
        capability=card.capability if card else None,
        bandwidth_gb_s=card.bandwidth_gb_s if card else None,
        shared_display=display,
        system_gib=beside.SYSTEM_FLOOR_GIB if card and card.name in gpus.UNIFIED else None,
    )
    return Host(tuple(one._replace(number=number) for number in range(count)))
