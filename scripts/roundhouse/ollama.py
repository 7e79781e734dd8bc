"""Ollama on the same host: how it is known on a card, and what frees the card of it. Nothing of it is deleted."""

from __future__ import annotations

# The service, its runner, and the runner's older name (ollama_llama_server).
_PROGRAM = "ollama"
CURE = (
    "It is Ollama: `ollama stop MODEL` frees the card until its next request, `sudo systemctl stop ollama` until the "
    "next boot, `sudo systemctl disable --now ollama` for good; ollama_policy: stop or disable lets site.yml do that. "
    "Killing its process alone brings a new one."
)


def is_it(name: str | None) -> bool:
    """Return whether a process is Ollama's, by the program's name or its path."""
    return (name or "").partition(" ")[0].rpartition("/")[2].startswith(_PROGRAM)
