"""List GPUs by name, with what the fit needs before a driver can be asked. An unknown value is None, never a guess.

`cuda_gib` is the total that CUDA states. It is below the marketing size, because the driver and ECC reserve memory. It
is None where no start log states it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import NamedTuple

from ..vllm.formats import OLDEST_CAPABILITY, Capability
from . import tables


class Card(NamedTuple):
    """Hold one kind of card: `marketing_gb` as on the box, `bandwidth_gb_s` in 10^9 bytes per second, `capability`."""

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
RTX 2060          |   6 |          |  336 |        7.5 |
RTX 2060 SUPER    |   8 |          |  448 |        7.5 |
RTX 2070          |   8 |          |  448 |        7.5 |
RTX 2070 SUPER    |   8 |          |  448 |        7.5 |
RTX 2080          |   8 |          |  448 |        7.5 |
RTX 2080 SUPER    |   8 |          |  496 |        7.5 |
RTX 2080 Ti       |  11 |          |  616 |        7.5 |
TITAN RTX         |  24 |          |  672 |        7.5 |
A10               |  24 |    22.06 |  600 |        8.6 | total of the A10G, the same chip
A10G              |  24 |    22.06 |  600 |        8.6 | total from start logs
A30               |  24 |          |  933 |        8.0 |
A40               |  48 |          |  696 |        8.6 |
A100 40GB         |  40 |    39.49 | 1555 |        8.0 | total from start logs
A100 80GB         |  80 |    79.15 | 2039 |        8.0 | total from start logs; the SXM board, PCIe has 1935 GB/s
RTX A4000         |  16 |          |  448 |        8.6 |
RTX A5000         |  24 |          |  768 |        8.6 |
RTX A6000         |  48 |          |  768 |        8.6 |
RTX 3060          |  12 |          |  360 |        8.6 |
RTX 3060 Ti       |   8 |          |  448 |        8.6 | GDDR6; boards with GDDR6X have 608 GB/s
RTX 3070          |   8 |          |  448 |        8.6 |
RTX 3070 Ti       |   8 |          |  608 |        8.6 |
RTX 3080 10GB     |  10 |          |  760 |        8.6 |
RTX 3080 12GB     |  12 |          |  912 |        8.6 |
RTX 3080 Ti       |  12 |          |  912 |        8.6 |
RTX 3090          |  24 |    23.56 |  936 |        8.6 | total from start logs
RTX 3090 Ti       |  24 |          | 1008 |        8.6 |
RTX 4060          |   8 |          |  272 |        8.9 |
RTX 4060 Ti 8GB   |   8 |          |  288 |        8.9 |
RTX 4060 Ti 16GB  |  16 |          |  288 |        8.9 |
RTX 4070          |  12 |          |  504 |        8.9 |
RTX 4070 SUPER    |  12 |          |  504 |        8.9 |
RTX 4070 Ti       |  12 |          |  504 |        8.9 |
RTX 4070 Ti SUPER |  16 |          |  672 |        8.9 |
RTX 4080          |  16 |          |  717 |        8.9 |
RTX 4080 SUPER    |  16 |          |  736 |        8.9 |
RTX 4090          |  24 |    23.52 | 1008 |        8.9 | total from start logs
L4                |  24 |    22.06 |  300 |        8.9 | total from start logs
L40S              |  48 |     44.4 |  864 |        8.9 | total from start logs
RTX 6000 Ada      |  48 |          |  960 |        8.9 |
RTX 5060          |   8 |          |  448 |       12.0 |
RTX 5060 Ti 8GB   |   8 |          |  448 |       12.0 |
RTX 5060 Ti 16GB  |  16 |          |  448 |       12.0 |
RTX 5070          |  12 |          |  672 |       12.0 |
RTX 5070 Ti       |  16 |          |  896 |       12.0 |
RTX 5080          |  16 |          |  960 |       12.0 |
RTX 5090          |  32 |    31.37 | 1792 |       12.0 | total from a start log in vllm#14452
RTX PRO 6000      |  96 |          | 1792 |       12.0 | the Server Edition has 1597 GB/s
H100 80GB         |  80 |    79.18 | 3350 |        9.0 | total from start logs; the SXM board, PCIe has 2000 GB/s
H200              | 141 |    139.8 | 4800 |        9.0 | total from start logs
DGX Spark         | 128 |          |  273 |       12.1 | memory is shared with the CPU and the system
"""
# Cards that vLLM does not support, without their sizes. Source: developer.nvidia.com/cuda-legacy-gpus; its earlier
# version for 3.x; the GT 1030 and the GTX 1050 Ti have the generation of the GTX 1050.
_LEGACY_TABLE = """
capability | names
       7.0 | V100, Quadro GV100, TITAN V
       6.1 | P40, P4, Quadro P6000, Quadro P5200, Quadro P5000, Quadro P4200, Quadro P4000, Quadro P3200, Quadro P3000
       6.1 | Quadro P2200, Quadro P2000, Quadro P1000, Quadro P620, Quadro P600, Quadro P500, Quadro P400, TITAN Xp
       6.1 | TITAN X, GTX 1080 Ti, GTX 1080, GTX 1070 Ti, GTX 1070, GTX 1060, GTX 1050 Ti, GTX 1050, GT 1030
       6.0 | P100, Quadro GP100
       5.2 | M60, M40, Quadro M6000, Quadro M5000, Quadro M4000, Quadro M2000, Quadro M5500M, Quadro M2200, Quadro M620
       5.2 | GTX TITAN X, GTX 980 Ti, GTX 980, GTX 970, GTX 960, GTX 950
       5.0 | Quadro K2200, Quadro K1200, Quadro K620, Quadro M1200, Quadro M520, Quadro M5000M, Quadro M4000M
       5.0 | Quadro M3000M, Quadro M2000M, Quadro M1000M, GTX 750 Ti, GTX 750
       3.7 | K80
       3.5 | K40, K20, Quadro K6000, Quadro K5200, GTX TITAN, GTX TITAN Black, GTX TITAN Z, GTX 780 Ti, GTX 780, GT 710
       3.0 | K10, Quadro K5000, Quadro K4200, Quadro K4000, Quadro K2000, GTX 770, GTX 760, GTX 690, GTX 680, GTX 670
       3.0 | GTX 660 Ti, GTX 660, GTX 650 Ti, GTX 650
"""
# Names of GPUs of other makers, compiled only for an unknown card. Roundhouse installs NVIDIA's driver and vLLM for
# CUDA.
_OTHER_MAKER = (
    r"\b(apple|m[1-5]|amd|radeon|rx ?\d+|vega|instinct|mi\d{2,3}[ax]?|firepro|ryzen|\d{4} ?(xt|xtx|gre)"
    r"|intel|arc|iris|a3[18]0|a580|a7[57]0|b5[78]0)\b"
)


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


class LegacyCard(NamedTuple):
    """Hold a card that vLLM does not support, so that its memory and bandwidth do not matter."""

    name: str
    capability: Capability


def _legacy(row: Mapping[str, str]) -> list[LegacyCard]:
    major, minor = row["capability"].split(".")
    return [LegacyCard(name, (int(major), int(minor))) for name in row["names"].split(", ")]


LEGACY_CARDS = tuple(itertools.chain.from_iterable(map(_legacy, tables.rows(_LEGACY_TABLE))))
# The driver and the CUDA runtime reserve this of the memory that NVML states. Totals from start logs: 24564 MiB are
# CUDA's 23.52 GiB on a 4090, and 81559 MiB are 79.18 GiB on an H100. On an A10G 23028 MiB are 22.06 GiB, and on a 5090
# 32607 MiB are 31.37 GiB.
DRIVER_KEEPS_GIB = 0.45
# The difference from the marketing size, for cards without ECC: 24 GB is 23.52 or 23.56 GiB, 32 GB 31.37 GiB.
BOX_HOLDS_BACK_GIB = 0.5
# Words that a name may leave out or add.
_NOISE = re.compile(
    r"\b(nvidia|geforce|tesla|graphics|gpu|laptop|sxm\d?|pcie|hbm3e?|blackwell|workstation edition|generation)\b"
)
_SERIES = re.compile(r"^(quadro|rtx|gtx?)(?=[akmp]?\d)")  # of "RTX 3090"; people write 3090
_SIZE = re.compile(r"(\d+) ?gi?b\b")


class HostCard(NamedTuple):
    """Hold one card of a host, by its number in NVML's order; `cuda_gib` is None while its memory is unknown.

    `kernels` states whether the host has FlashInfer's compiled kernels (vllm/kernels.py). `desktop_gib` is the measured
    memory of the desktop on it. `system_gib` is the memory that the host's other processes use, if the card shares the
    host's memory; None for a card with its own. `unusable` is the sentence why no agent can use the card.
    """

    number: int
    name: str
    cuda_gib: float | None
    capability: Capability | None
    bandwidth_gb_s: float | None
    shared_display: bool = False
    kernels: bool = True
    uuid: str | None = None
    desktop_gib: float | None = None
    system_gib: float | None = None
    unusable: str | None = None


# These cards share the host's memory, so the available amount depends on the host.
UNIFIED = ("DGX Spark",)
_OTHER_NAMES = {"gb10": "dgxspark"}  # NVML states the chip


def total_gib(card: Card) -> float | None:
    """Return CUDA's total in GiB: from a log, else the marketing size less the reserve; None for shared memory."""
    if card.cuda_gib is not None or card.name in UNIFIED:
        return card.cuda_gib
    return card.marketing_gb - BOX_HOLDS_BACK_GIB


def find(name: str, near_gib: float | None = None) -> Card | None:
    """Return the card of a name; None for an unknown name, and for a name of several cards without a size.

    `near_gib` is a total from another source: it distinguishes an A100 of 40 GB from one of 80. A laptop's GPU has the
    name of a desktop card and another memory bus, so it stays unknown.
    """
    found = candidates(name)
    if len(found) > 1 and near_gib is not None:
        found = [card for card in found if abs(card.marketing_gb - near_gib) < 0.15 * card.marketing_gb]
    return found[0] if len(found) == 1 else None


def candidates(name: str) -> list[Card]:
    """Return all cards that a name may mean, those of its size where the name states one; [] for an unknown name."""
    if "laptop" in name.lower():
        return []
    wanted, size = _key(name)
    return [card for card in CARDS if _key(card.name)[0] == wanted and size in (None, card.marketing_gb)]


def legacy(name: str) -> LegacyCard | None:
    """Return the card that vLLM does not support, by its name; None for another name."""
    wanted, _ = _key(name)
    return next((card for card in LEGACY_CARDS if _key(card.name)[0] == wanted), None)


def is_of_other_maker(name: str) -> bool:
    """Return whether a name is that of a GPU by Apple, AMD or Intel."""
    words = name.lower().replace("-", " ")
    return not re.search(r"\b(nvidia|geforce|tesla|quadro)\b", words) and bool(re.search(_OTHER_MAKER, words))


def similar(name: str) -> list[str]:
    """Return up to three names of cards that are close to an unknown one; of another size first."""
    wanted, _ = _key(name)
    import difflib  # only for an unknown card

    keys: dict[str, list[str]] = {}
    for card in CARDS:
        keys.setdefault(_key(card.name)[0], []).append(card.name)
    close = difflib.get_close_matches(wanted, keys, n=3, cutoff=0.75)
    return [each for key in close for each in keys[key]][:3]


def is_too_old(capability: Capability | None) -> bool:
    """Return whether vLLM refuses a card; a card of unknown capability is not refused."""
    return capability is not None and capability < OLDEST_CAPABILITY


def _key(name: str) -> tuple[str, int | None]:
    words = _NOISE.sub("", name.lower().replace("-", " "))
    size = _SIZE.search(words)
    key = re.sub(r"[^a-z0-9]+", "", _SIZE.sub("", words))
    key = _SERIES.sub("", key)
    return _OTHER_NAMES.get(key, key), int(size[1]) if size else None
