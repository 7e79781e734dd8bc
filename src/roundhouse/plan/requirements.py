"""Convert an agent of the roster into the requirements of the choice, a fingerprint, and notes for the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from ..catalog import model_families
from ..catalog.architecture import Model
from ..catalog.gpus import HostCard
from ..catalog.recipes import RECIPES
from ..roster import models as roster_models
from ..roster.fields import GIVE_UP, MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS
from ..schema.roster import WantedAgent, WantedModel
from ..vllm import engine_options
from ..vllm.option_owners import COMPUTED
from .candidates import Requirements
from .choose import Choice

# The settings of the roster that affect the choice.
_DEPENDS_ON = (
    "models",
    "max_model_len",
    "max_model_len_min",
    "give_up",
    "policy",
    "kv_cache_dtype",
    "gpus",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "gpu_memory_utilization",
    "speculative_config",
)


def requirements_of(agent: WantedAgent, configs: roster_models.Configs) -> Requirements:
    """Return the requirements of a valid agent of the roster."""
    draft = agent["speculative_config"].get("model") if "speculative_config" in agent else None
    batched = agent.get("max_num_batched_tokens", MAX_NUM_BATCHED_TOKENS)
    passed = agent.get("engine_options", {})
    return Requirements(
        models=tuple(roster_models.find(entry, configs) for entry in agent["models"]),
        max_model_len=agent["max_model_len"],
        gpu_memory_utilization=agent["gpu_memory_utilization"],
        give_up=tuple(agent.get("give_up", GIVE_UP)),
        max_model_len_min=agent.get("max_model_len_min"),
        exact=agent.get("policy") == "exact",
        kv_cache_dtype=agent.get("kv_cache_dtype", "auto"),
        gpus=tuple(agent["gpus"]) if "gpus" in agent else None,
        # vLLM refuses a max_num_seqs above max_num_batched_tokens (config/scheduler.py).
        max_num_seqs=agent.get("max_num_seqs", min(MAX_NUM_SEQS, batched)),
        max_num_batched_tokens=batched,
        enforce_eager=agent.get("enforce_eager", False),
        draft=roster_models.find({"model": draft}, configs) if draft else None,
        speculates="speculative_config" in agent,
        cpu_offload_gib=engine_options.cpu_offload_gib(passed),
        images=not passed.get("language-model-only", False),
    )


def fingerprint(agent: WantedAgent, wanted: Requirements, cards: tuple[HostCard, ...]) -> str:
    """Return a hash of the agent's requirements and the cards; an equal hash means that the choice is kept."""
    settings: Mapping[str, object] = agent
    asked = {name: settings.get(name) for name in _DEPENDS_ON}
    passed = agent.get("engine_options", {})
    # Added only if present, so that the fingerprints of other agents are those of earlier versions.
    asked |= {name: passed[name] for name in COMPUTED if name in passed}
    # Without the memory of a desktop or of the system, which changes all the time: decide._stays compares it.
    facts = [
        [card.cuda_gib and round(card.cuda_gib, 1), card.capability, card.shared_display, card.kernels]
        for card in cards
        if card.unusable is None
    ]
    models = [[model.name, isinstance(model, Model)] for model in wanted.models]
    return hashlib.sha256(json.dumps([asked, facts, models], sort_keys=True).encode()).hexdigest()[:16]


def notes_on_choice(agent: WantedAgent, wanted: Requirements, made: Choice) -> list[str]:
    """Return sentences about unexpected results of the choice, and about simpler alternatives."""
    found = []
    question, share = made.question, wanted.gpu_memory_utilization
    if question and made.fit and question.gpu_memory_utilization < share:
        outside = sum(term.gib for term in made.fit.terms if not term.inside)
        found.append(
            f"gpu_memory_utilization {share:g} is lowered to {question.gpu_memory_utilization:g}: the engine needs "
            f"about {outside:.2f} GiB of the card outside its share."
        )
    found += notes_on_model(agent["models"][made.model])
    if wanted.exact and len(wanted.models) > 1:
        found.append("With policy exact only the first model is considered.")
    return found


def notes_on_model(entry: WantedModel) -> list[str]:
    """Return a sentence if the hub already has the model that an entry's recipe would make, else []."""
    recipe = RECIPES.get(entry.get("quantize", ""))
    known = model_families.quantized(entry["model"], recipe.bits) if recipe else None
    return [f"{known} is published with the same bits: name it instead to avoid quantizing here."] if known else []
