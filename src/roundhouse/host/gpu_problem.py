"""Name the reason why no agent can use a card of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..vllm.formats import OLDEST_CAPABILITY

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card

LOST, UNBOUND, MIG, TOO_OLD = "card_lost", "card_without_driver", "card_in_mig_mode", "card_too_old"


class Problem(NamedTuple):
    """A reason with the code of its error, the sentence, and the remedy."""

    code: str
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.text} {self.remedy}".rstrip()


def of(card: Card) -> Problem | None:
    """Return the reason why no agent can use a card, None if one can. A host without a driver has no such reason."""
    at = f"The card {card['address']} ({card['name'] or '10de:' + card['device_id']})"
    if card["error"] is not None:
        text = f"{at} does not answer: NVML reports error {card['error']}."
        remedy = "Read `journalctl --dmesg --grep NVRM`, check its power and its seat, and reboot the host."
        return Problem(LOST, text, remedy)
    if card["number"] is None:
        driver = f"the driver {card['driver']}" if card["driver"] else "no driver"
        return Problem(UNBOUND, f"{at} has {driver}, so no agent uses it.", "")
    if _is_too_old(card):
        oldest = ".".join(map(str, OLDEST_CAPABILITY))
        text = f"{at} is older than the Turing generation: the engine requires compute capability {oldest} or higher."
        return Problem(TOO_OLD, text, "Use a card of the Turing generation (T4, RTX 20 series) or newer.")
    if card["mig"]:
        # vLLM 0.32 looks up the UUID of an instance and then its parent's memory (platforms/cuda.py; vllm#46132).
        text = f"{at} is divided into MIG instances, which the engine does not support."
        remedy = f"Run `nvidia-smi --id {card['number']} --multi-instance-gpu 0` as root, or use another card."
        return Problem(MIG, text, remedy)
    return None


def _is_too_old(card: Card) -> bool:
    """Return true if the engine refuses the card. Before a driver is loaded, its generation decides."""
    capability = card["compute_capability"]
    if capability:
        return tuple(capability) < OLDEST_CAPABILITY
    # gpu.PRE_TURING or gpu.PRE_MAXWELL. Their module imports ctypes, which a plan of named cards does not need.
    return str(card["architecture"]).startswith("pre-")
