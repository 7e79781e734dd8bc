"""What a plan depends on and only the host knows: gathered there, handed to the planner on the controller."""

from __future__ import annotations

from typing import Any

from . import containers, gpu, measured, nvml, plan, quantised
from .errors import UsageError
from .roster_models import own_configs


def gather(agents: Any, pynvml: Any = None) -> dict[str, Any]:
    """Return gpu.facts() and what `decision.host_of` reads beside them.

    `configs`: the config.json of each folder that the roster names; `stamps`: what stands for the revision of one that
    is to be quantised; `means`: what the container engine offers; `measured`: what engines stated here;
    `deployed`: the plan that is there, None when there is none or it cannot be understood (then all is decided anew).
    """
    try:
        deployed = plan.load()
    except UsageError:
        deployed = None
    found = gpu.facts(answer=nvml.read(pynvml))
    own = {"configs": own_configs(agents), "stamps": quantised.stamps(agents), "means": containers.means()}
    return {**found, **own, "measured": measured.load(), "deployed": deployed}
