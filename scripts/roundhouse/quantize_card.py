"""The model card of a result: what it was made of, by what, and what the gate measured."""

from __future__ import annotations

from .gate import Quality
from .quantize_wanted import Wanted


def text(wanted: Wanted, versions: dict[str, str], quality: Quality) -> str:
    """Return the card, in Markdown."""
    recipe = wanted.recipe
    calibration = f"{wanted.samples} texts of {wanted.texts.source}" if recipe.samples else "none"
    rows = {
        "base": f"{wanted.model}, {'as stamped' if wanted.model.startswith('/') else 'revision'} {wanted.revision}",
        "recipe": f"{wanted.recipe_name}: {recipe.about}",
        "scheme": f"{recipe.scheme}" + (f", groups of {wanted.group_size}" if recipe.group_size else ""),
        "calibration": calibration,
        "sha256 of the texts": wanted.texts.sha256,
        "seed": wanted.seed,
        "made with": ", ".join(f"{package} {number}" for package, number in versions.items()),
        "KL divergence": f"{quality.kl:.5f} nats a token (at most {recipe.bounds.kl})",
        "top-1 agreement": f"{quality.top1:.4f} (at least {recipe.bounds.top1})",
        "perplexity": f"{quality.perplexity:.3f}, the base {quality.base_perplexity:.3f}",
        "judged by": f"the engine that serves it, over {quality.tokens} held-out tokens",
    }
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {wanted.base_name()}, {wanted.recipe_name}\n\nMade by Roundhouse.\n\n| | |\n|---|---|\n{lines}\n"
