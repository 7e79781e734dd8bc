"""What the gateway has of each agent: requests that wait for it, that run on it, and that it had so far."""

from __future__ import annotations

from . import gateway
from .scheduler import Load

_HEAD = "# pxname,"


def read(names: list[str]) -> dict[str, Load] | None:
    """Return it by the agents' names, None where the gateway does not run."""
    try:
        told = gateway.ask_workers(["show stat -1 2 -1", "roundhouse waiting"])
    except OSError:
        return None
    found = dict.fromkeys(names, Load())
    for text in told:
        for name, load in _of_worker(text).items():
            if name in found:
                found[name] = _sum(found[name], load)
    return found


def _of_worker(text: str) -> dict[str, Load]:
    found: dict[str, Load] = {}
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith(_HEAD):
            columns = line.removeprefix("# ").split(",")
        elif line.startswith("waiting "):
            _, name, many, oldest = line.split()
            found[name] = found.get(name, Load())._replace(waiting=int(many), oldest_seconds=int(oldest) / 1000)
        elif columns and "," in line:
            row = dict(zip(columns, line.split(","), strict=False))
            found[row["pxname"]] = Load(running=int(row["scur"]), total=int(row["stot"]))
    return found


def _sum(one: Load, other: Load) -> Load:
    return Load(
        one.waiting + other.waiting,
        max(one.oldest_seconds, other.oldest_seconds),
        one.running + other.running,
        one.total + other.total,
    )
