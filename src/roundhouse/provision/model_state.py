"""Which of the wanted models are on a host: shared by the modules roundhouse_preflight and roundhouse_model_info."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..models import quantized, safetensors, verify


def inspect(
    store: str, folders: Iterable[str], wishes: list[dict[str, Any]], quantizations: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the wishes that are not verified in the store, the results that are missing, and the problems.

    `folders` are the roster's own models. Raises RoundhouseError for a model whose manifest cannot be read.
    """
    to_make = quantized.to_make(quantizations)
    return {
        "to_pull": verify.to_pull(Path(store), wishes, to_make),
        "to_quantize": to_make,
        "problems": [found for folder in folders if (found := safetensors.own_problem(folder))],
    }
