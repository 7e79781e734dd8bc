"""What a reader of the roster would not expect of the plan, or could have easier: the plan's notes."""

from __future__ import annotations

from typing import Any

from . import catalog
from .candidates import Wish
from .choice import Choice
from .recipes import RECIPES

Agent = dict[str, Any]


def of_choice(agent: Agent, wish: Wish, made: Choice) -> list[str]:
    """Return sentences on what a reader of the roster would not expect."""
    found = []
    question, asked = made.question, wish.gpu_memory_utilization
    if question and made.fit and question.gpu_memory_utilization < asked:
        outside = sum(term.gib for term in made.fit.terms if not term.inside)
        found.append(
            f"gpu_memory_utilization {asked:g} is lowered to {question.gpu_memory_utilization:g}: about "
            f"{outside:.2f} GiB of the card are needed beside it."
        )
    found += of_entry(agent["models"][made.model])
    if wish.exact and len(wish.models) > 1:
        found.append("policy exact looks at the first model only.")
    return found


def of_entry(entry: dict[str, Any]) -> list[str]:
    """Return a sentence where the hub has already what an entry's recipe would make."""
    recipe = RECIPES.get(entry.get("quantize") or "")
    known = catalog.quantized(entry["model"], recipe.bits) if recipe else None
    return [f"{known} is published with as many bits: named in its place, it spares the quantizing."] if known else []
