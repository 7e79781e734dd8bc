"""Describe cards by name: what the fit needs of one before its driver can be asked. Unknown is None, never a guess.

`cuda_gib` is the total that CUDA states, below the marketing size by what the driver and ECC keep. It
is None where no log that states it was seen; then the total has to be given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..vllm.formats import Capability
from . import tables

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.cards import Card as CardFacts


class Card(NamedTuple):
    """`marketing_gb` as on the box, `bandwidth_gb_s` in 10^9 bytes a second, `capability` as CUDA counts."""

    name: str
    marketing_gb: int
    cuda_gib: float | None
    bandwidth_gb_s: float | None
    capability: Capability
    source: str


_SPECIFICATION = "NVIDIA's specification page; developer.nvidia.com/cuda-gpus"
_TABLE = """
name              |  GB | CUDA GiB | GB/s | capability | besides the specification
T4                |  16 |    14.56 |  320 |        7.5 | total from start logs
A10               |  24 |    22.06 |  600 |        8.6 | total of the A10G, the same chip
A10G              |  24 |    22.06 |  600 |        8.6 | total from start logs
A100 40GB         |  40 |    39.49 | 1555 |        8.0 | total from start logs
A100 80GB         |  80 |    79.15 | 2039 |        8.0 | total from start logs; the SXM board, PCIe has 1935 GB/s
RTX A6000         |  48 |          |  768 |        8.6 |
RTX 3060          |  12 |          |  360 |        8.6 |
RTX 3090          |  24 |    23.56 |  936 |        8.6 | total from start logs
RTX 3090 Ti       |  24 |          | 1008 |        8.6 |
RTX 4060 Ti 16GB  |  16 |          |  288 |        8.9 |
RTX 4070 Ti SUPER |  16 |          |  672 |        8.9 |
RTX 4080          |  16 |          |  717 |        8.9 |
RTX 4090          |  24 |    23.52 | 1008 |        8.9 | total from start logs
L4                |  24 |    22.06 |  300 |        8.9 | total from start logs
L40S              |  48 |     44.4 |  864 |        8.9 | total from start logs
RTX 6000 Ada      |  48 |          |  960 |        8.9 |
RTX 5060 Ti 16GB  |  16 |          |  448 |       12.0 |
RTX 5070 Ti       |  16 |          |  896 |       12.0 |
RTX 5080          |  16 |          |  960 |       12.0 |
RTX 5090          |  32 |    31.37 | 1792 |       12.0 | total from a start log in vllm#14452
RTX PRO 6000      |  96 |          | 1792 |       12.0 | the Server Edition has 1597 GB/s
H100 80GB         |  80 |    79.18 | 3350 |        9.0 | total from start logs; the SXM board, PCIe has 2000 GB/s
H200              | 141 |    139.8 | 4800 |        9.0 | total from start logs
DGX Spark         | 128 |          |  273 |       12.1 | memory is shared with the CPU and the system
"""


def _card(row: Mapping[str, str]) -> Card:
    major, minor = row["capability"].split(".")
    note = row["besides the specification"]
    return Card(
        name=row["name"],
        marketing_gb=int(row["GB"]),
        cuda_gib=float(row["CUDA GiB"]) if row["CUDA GiB"] else None,
        bandwidth_gb_s=float(row["GB/s"]),
        capability=(int(major), int(minor)),
        source=f"{_SPECIFICATION}; {note}" if note else _SPECIFICATION,
    )


CARDS = tuple(map(_card, tables.rows(_TABLE)))
# What the driver and the CUDA runtime keep of the memory that NVML states: 24564 MiB is CUDA's 23.52 GiB on a
# 4090, 81559 MiB 79.18 on an H100, 23028 MiB 22.06 on an A10G, 32607 MiB 31.37 on a 5090 (totals from start logs).
DRIVER_KEEPS_GIB = 0.45
# The same from what is on the box, for cards without ECC: 24 GB is 23.52 or 23.56, 32 GB 31.37.
BOX_HOLDS_BACK_GIB = 0.5
# Words that a name may leave out or bring along.
_NOISE = re.compile(r"\b(nvidia|geforce|tesla|graphics|gpu|laptop|sxm\d?|pcie|hbm3e?|blackwell|workstation edition)\b")
_SIZE = re.compile(r"\b(\d+) ?gi?b\b")


class HostCard(NamedTuple):
    """One card of a host, by its number in PCI order; `cuda_gib` is None while its memory is unknown.

    `kernels` says whether the engines there find FlashInfer's kernels compiled (vllm/kernels.py).
    """

    number: int
    name: str
    cuda_gib: float | None
    capability: Capability | None
    bandwidth_gb_s: float | None
    shared_display: bool = False
    kernels: bool = True


# Their memory is the host's, and what is left of it depends on the host.
_UNIFIED = ("DGX Spark",)


def total_gib(card: Card) -> float | None:
    """Return CUDA's total: the one that a log states, else the box's less what is held back, None where neither is."""
    if card.cuda_gib is not None or card.name in _UNIFIED:
        return card.cuda_gib
    return card.marketing_gb - BOX_HOLDS_BACK_GIB


def of_host(gpus: list[CardFacts], memory_gb: float | None = None) -> tuple[HostCard, ...]:
    """Return the cards of `gpu.facts()`. `memory_gb` is what is on the box, used until a driver states more."""
    return tuple(_host_card(number, gpu, memory_gb) for number, gpu in enumerate(gpus))


def _host_card(number: int, gpu: CardFacts, memory_gb: float | None) -> HostCard:
    stated, name = gpu.get("memory_gib"), gpu.get("name")
    cuda_gib = stated - DRIVER_KEEPS_GIB if stated else memory_gb - BOX_HOLDS_BACK_GIB if memory_gb else None
    known = find(name, stated) if name else None
    capability = gpu.get("compute_capability")
    return HostCard(
        number=number,
        name=name or f"10de:{gpu.get('device_id')}",
        cuda_gib=cuda_gib,
        capability=(capability[0], capability[1]) if capability else known.capability if known else None,
        bandwidth_gb_s=known.bandwidth_gb_s if known else None,
        shared_display=bool(gpu.get("display_active")),
    )


def find(name: str, near_gib: float | None = None) -> Card | None:
    """Return the card that a name means, None when it means none or, without a size, several.

    `near_gib` is a total that is known from elsewhere: it tells an A100 of 40 GB from one of 80.
    A laptop's card bears a desktop card's name and has another bus, so it is not known.
    """
    if "laptop" in name.lower():
        return None
    wanted, size = _key(name)
    found = [card for card in CARDS if _key(card.name)[0] == wanted]
    if size is not None:
        found = [card for card in found if card.marketing_gb == size]
    elif len(found) > 1 and near_gib is not None:
        found = [card for card in found if abs(card.marketing_gb - near_gib) < 0.15 * card.marketing_gb]
    return found[0] if len(found) == 1 else None


def _key(name: str) -> tuple[str, int | None]:
    words = _NOISE.sub("", name.lower().replace("-", " "))
    size = _SIZE.search(words)
    return re.sub(r"[^a-z0-9]+", "", _SIZE.sub("", words)), int(size[1]) if size else None
