"""Check that ranks can split a model, and that a model can draft for another, before any arithmetic."""

from __future__ import annotations

from ..catalog.architecture import Model


def obstacle(model: Model, ranks: int) -> str | None:
    """Return a sentence when `ranks` cannot split the model by tensor parallelism, None when they can."""
    return _heads(model, ranks) or _states(model, ranks) or _sizes(model, ranks)


def _states(model: Model, ranks: int) -> str | None:
    """Return a sentence when the ranks do not divide the heads of the layers with a state (mamba_utils.py: divide)."""
    states = model.architecture.recurrent
    at = f"tensor_parallel_size is {ranks} and does not divide"
    if states and states.value_heads % ranks:
        return f"{at} linear_num_value_heads, {states.value_heads}. Use a divisor."
    if states and not states.mamba and states.key_heads % ranks:
        return f"{at} linear_num_key_heads, {states.key_heads}. Use a divisor."
    return None


def _heads(model: Model, ranks: int) -> str | None:
    architecture, form = model.architecture, model.form
    heads, keys = architecture.num_attention_heads, architecture.num_key_value_heads
    at = f"tensor_parallel_size is {ranks}"
    if heads % ranks:
        return f"{at} and does not divide num_attention_heads, {heads}. Use a divisor."
    if architecture.latent is None and keys % ranks and ranks % keys:
        return f"{at}, which is neither a divisor nor a multiple of num_key_value_heads, {keys}. Use one of these."
    mine, head_dim = heads // ranks, architecture.head_dim
    if form.group_size and ranks > 1 and mine * head_dim % form.group_size:
        return (
            f"{at} and gives each rank {mine} heads of {head_dim}, which {form.name}'s groups of {form.group_size} "
            "do not divide. Use fewer ranks."
        )
    return None


def _sizes(model: Model, ranks: int) -> str | None:
    architecture, form = model.architecture, model.form
    shared = architecture.shared_expert_intermediate_size
    sizes = (architecture.intermediate_size, architecture.moe_intermediate_size, shared)
    at = f"tensor_parallel_size is {ranks}"
    if form.name == "mxfp4":
        return None  # its kernels pad the sizes
    for size in sizes if architecture.plain_layers else sizes[1:]:
        if size % ranks:
            return f"{at} and does not divide the intermediate size, {size}. Use a divisor."
        if form.group_size and size % form.group_size:
            return f"{form.name}'s groups of {form.group_size} do not divide the intermediate size, {size}."
        if form.group_size and size // ranks % form.group_size:
            return (
                f"{at} and gives each rank {size // ranks} of the intermediate size, which {form.name}'s groups of "
                f"{form.group_size} do not divide. Use fewer ranks."
            )
    return None


def draft_obstacle(draft: Model | None, target: Model, ranks: int) -> str | None:
    """Return a sentence when the draft model cannot draft for the target, None otherwise."""
    if draft is None:
        return None
    theirs, ours = draft.architecture.vocab_size, target.architecture.vocab_size
    if theirs != ours:
        # vLLM 0.32, config/speculative.py: "Target and draft model should have the same vocabulary size".
        return (
            f"The draft model {draft.name} has a vocabulary of {theirs} and {target.name} of {ours}; vLLM requires "
            "equal ones. Use a draft model of the same vocabulary, or method: ngram."
        )
    return obstacle(draft, ranks)
