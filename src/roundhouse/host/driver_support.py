"""The supported driver branches, and the oldest driver that the engine and current kernels accept.

A test compares ENGINE_CUDA with the engine's lock (requirements/engine-cuda.txt).
"""

from __future__ import annotations

import re

# The CUDA release that the locked engine and the engine's image contain.
ENGINE_CUDA = (13, 0)
# The oldest driver for each CUDA major release (CUDA's release notes, minor version compatibility).
CUDA_MINIMUM = {12: "525.60.13", 13: "580.65.06"}
# The supported branches, and the end of NVIDIA's support.
BRANCHES = {580: "June 2028", 595: "March 2027", 620: "September 2029"}
# The first release that builds on current stable kernels, which changed pci_resize_resource()
# (from conftest.sh of each tag of open-gpu-kernel-modules). Later branches build with each release.
BUILD_MINIMUM = {580: "580.126.09"}
LAST_WITHOUT_OPEN = 580  # the last branch for Maxwell, Pascal and Volta
LAST_PROPRIETARY = 619  # branch 620 has only the open kernel modules (NVIDIA's driver guide 620)


def numbers(version: str) -> list[int]:
    """Return a release as a list of numbers, for comparisons; parts without a number are 0."""
    return [int(digits[0]) if (digits := re.match(r"\d+", part)) else 0 for part in version.split(".")]


def minimum() -> str:
    """Return the oldest driver release that the engine's CUDA accepts."""
    return CUDA_MINIMUM[ENGINE_CUDA[0]]


def needed() -> str:
    """Return the oldest driver release with its reason, as words."""
    return f"the engine's CUDA {'.'.join(map(str, ENGINE_CUDA))} needs {minimum()} or later"


def supported() -> str:
    """Return the supported branches as words."""
    return " or ".join(map(str, BRANCHES))


def too_old(version: str) -> str | None:
    """Return the reason why a release is not installed: its branch ended, or it fails to build on current kernels."""
    branch = numbers(version)[0]
    if branch not in BRANCHES and branch < max(BRANCHES):
        return f"branch {branch} is no longer maintained"
    if numbers(version) < numbers(BUILD_MINIMUM.get(branch, "0")):
        return f"{version} does not build on current stable kernels"
    return None


def below_minimum(version: str) -> bool:
    """Return true if a driver is too old for the engine's CUDA."""
    return numbers(version) < numbers(minimum())
