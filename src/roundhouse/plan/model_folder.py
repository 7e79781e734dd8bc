"""Compute the folder of a planned model. Programs that only read the plan do not import this."""

from __future__ import annotations


def path_of(model: str, store: str, revision: str | None = None, quantize: str | None = None) -> str:
    """Return the folder of a model: the roster's own path, else its folder (quantized with `quantize`) in the store."""
    if quantize:
        from ..models import quantized  # imports hashes and manifests

        return f"{store}/{quantized.path(model, revision, quantize)}"
    return model if model.startswith("/") else f"{store}/{model}/{revision or 'main'}"
