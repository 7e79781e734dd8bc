"""Find the models that a host lacks, for the modules roundhouse_preflight and roundhouse_model_info."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..models import quantized, safetensors, store_layout, verify

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import ModelState, RequiredModel, RequiredResult


def inspect(
    store: str, folders: Iterable[str], required_models: list[RequiredModel], quantizations: list[RequiredResult]
) -> ModelState:
    """Return the models to pull and to quantize, the problems, and true if the store has the layout of old versions.

    `folders` are the roster's own model folders. Raises RoundhouseError for a model whose manifest cannot be read.
    """
    to_make = quantized.to_make(quantizations)
    return {
        "to_pull": verify.to_pull(Path(store), required_models, to_make),
        "to_quantize": to_make,
        "problems": [found for folder in folders if (found := safetensors.own_problem(folder))],
        "is_old_layout": store_layout.is_old(Path(store)),
    }
