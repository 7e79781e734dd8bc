"""From an agent of the roster to a wish, and whether it is the same wish as before."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from . import roster_models
from .candidates import MAX_NUM_SEQS, Wish
from .cards import HostCard
from .catalog import Model

Agent = dict[str, Any]

# The settings of the roster that a choice depends on.
_ASKED = (
    *("models", "max_model_len", "max_model_len_min", "give_up", "policy", "kv_cache_dtype", "gpus", "max_num_seqs"),
    *("max_num_batched_tokens", "enforce_eager", "gpu_memory_utilization", "speculative_config"),
)


def wish_of(agent: Agent, configs: roster_models.Configs) -> Wish:
    """Return what a valid agent of the roster asks for."""
    draft = (agent.get("speculative_config") or {}).get("model")
    same = ("max_model_len_min", "kv_cache_dtype", "max_num_seqs", "max_num_batched_tokens", "enforce_eager")
    settings: dict[str, Any] = {name: agent[name] for name in same if name in agent}
    settings |= {name: tuple(agent[name]) for name in ("give_up", "gpus") if name in agent}
    if "max_num_seqs" not in settings:
        # vLLM refuses more sequences than a step has tokens (config/scheduler.py).
        settings["max_num_seqs"] = min(MAX_NUM_SEQS, settings.get("max_num_batched_tokens", MAX_NUM_SEQS))
    return Wish(
        models=tuple(roster_models.find(entry, configs) for entry in agent["models"]),
        max_model_len=agent["max_model_len"],
        gpu_memory_utilization=agent["gpu_memory_utilization"],
        exact=agent.get("policy") == "exact",
        draft=roster_models.find({"model": draft}, configs) if draft else None,
        speculates="speculative_config" in agent,
        **settings,
    )


def key(agent: Agent, wish: Wish, known: tuple[HostCard, ...]) -> str:
    """Return a word that is the same as long as the agent asks for the same on the same cards."""
    asked = {name: agent.get(name) for name in _ASKED}
    facts = [
        [card.cuda_gib and round(card.cuda_gib, 1), card.capability, card.shared_display, card.kernels]
        for card in known
    ]
    models = [[model.name, isinstance(model, Model)] for model in wish.models]
    return hashlib.sha256(json.dumps([asked, facts, models], sort_keys=True).encode()).hexdigest()[:16]
