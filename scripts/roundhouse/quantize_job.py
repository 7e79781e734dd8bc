"""The results that a roster asks for, made one after the other; and what by hand and by roster is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import gpu, nvml, quantize, quantize_wanted, store, units
from . import plan as plans
from .errors import RoundhouseError, UsageError
from .judge import Judge

Given = dict[str, Any]


def all_of(given: Given, say: quantize.Say, pynvml: Any = None) -> Given:
    """Return {"changed", "models"}; `given` has quantizations (quantized.wishes), and where store and parts are.

    Raises RoundhouseError at the first that is not admitted: what serves goes on, for nothing was deployed yet.
    """
    place, made = Path(given["store"]), []
    if given["accelerator"] == "cuda" and (said := busy_card()):
        raise UsageError("quantize", said)
    asked = judge(given["engine_path"], given["accelerator"], pynvml=pynvml)
    for wish in given["quantizations"]:
        name, revision = wish["model"], wish["revision"]
        base = Path(name) if name.startswith("/") else store.folder(place, name, revision)
        wanted = quantize_wanted.of(base, name, revision, wish["recipe"])
        say(f"{wish['model']} by {wish['recipe']}")
        try:
            made.append(quantize.make(wanted, place, Path(given["environment_path"]), asked, say))
        except RoundhouseError as error:
            if error.stage != "gate":
                raise
            cure = f"Name another recipe than quantize: {wish['recipe']} in the roster, or leave it out."
            raise RoundhouseError("gate", f"{error.message} {cure}") from None
    return {"changed": any(each["changed"] for each in made), "models": made}


def judge(engine: str, accelerator: str, offload_gib: float | None = None, pynvml: Any = None) -> Judge:
    """Return the judge on this host's first card, or on its CPU."""
    cards = gpu.facts(answer=nvml.read(pynvml))["gpus"] if accelerator == "cuda" else []
    return Judge(engine, accelerator, offload_gib, cards[0] if cards else None)


def busy_card() -> str | None:
    """Return a sentence when an agent of the deployed plan is on the card, which the gate needs free."""
    for agent in plans.load()["agents"] if plans.PATH.exists() else []:
        if units.show(agent["unit"]).state in ("ready", "starting"):
            return f"{agent['name']} holds the card, which the gate needs: first systemctl stop {agent['unit']}."
    return None
