"""Find the flavour of the kernel's meta-package, such as generic-hwe-24.04, which names its prebuilt NVIDIA modules.

A kernel's meta-package (linux-image-FLAVOUR) depends on the image of its newest kernel. A host may have several of
them, so the flavour is that of the meta-package that brought the running kernel, not the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_IMAGE = re.compile(r"linux-image-(?:unsigned-)?(\d[^\s,|(]*)")
# The kernel's virtual flavour has fewer modules. Its NVIDIA modules are those of the generic flavour.
_VIRTUAL = re.compile(r"^virtual\b")


def flavours(running: str, newest: str, metas: Mapping[str, str]) -> list[str]:
    """Return the flavours of the running kernel's meta-package, and of the newest one's if it has a different one.

    `metas` are the installed meta-packages with their dependencies. The list is empty if none brought the kernel.
    """
    found = (_flavour(kernel, newest, metas) for kernel in (running, newest))
    return list(dict.fromkeys(filter(None, found)))


def _flavour(kernel: str, newest: str, metas: Mapping[str, str]) -> str | None:
    """Return the flavour of a kernel. After an update its meta-package names a newer kernel of the same series.

    A meta-package may also change its series, as HWE kernels do. Then it names the newest installed kernel.
    """
    images = {name: set(_IMAGE.findall(depends)) for name, depends in metas.items()}
    same = (
        lambda image: image == kernel,
        lambda image: _series(image) == _series(kernel),
        lambda image: image == newest and _series(image)[1] == _series(kernel)[1],
    )
    for rule in same:
        if found := [name for name in images if any(map(rule, images[name]))]:
            return _ordered(name.removeprefix("linux-image-") for name in found)[0]
    return None


def _series(kernel: str) -> tuple[str, str]:
    """Return the upstream release and the flavour: 6.8.0 and generic of 6.8.0-90-generic."""
    release, _, rest = kernel.partition("-")
    return release, rest.partition("-")[2]


def _ordered(found: Iterable[str]) -> list[str]:
    """Return the flavours without duplicates; a shorter name is less special, such as generic before its edge."""
    return sorted({_VIRTUAL.sub("generic", name) for name in found}, key=lambda name: (len(name), name))
