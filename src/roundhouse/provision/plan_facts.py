"""What a plan depends on and only the host knows: gathered there, handed to the planner on the controller."""

from __future__ import annotations

from typing import Any

from ..agents import containers
from ..errors import UsageError
from ..host import disk, gpu
from ..models import quantized
from ..plan import deployed as plan_deployed
from ..plan import measured
from ..roster.models import own_configs
from ..state import start_phases


def gather(agents: Any, store: str, pynvml: Any = None) -> dict[str, Any]:
    """Return gpu.facts(), NVML's `answer` for a second look, and what `decision.host_of` reads beside them.

    `configs`: the config.json of each folder that the roster names; `stamps`: what stands for the revision of one that
    is to be quantized; `disk`: how much weights there are in those folders and in the `store` of models, and how fast
    they come; `means`: what the container engine offers; `measured`: what engines stated here; `starts`: how long they
    took to be ready; `deployed`: the plan that is there, None when there is none or it cannot be understood (then all
    is decided anew).
    """
    try:
        deployed = plan_deployed.load()
    except UsageError:
        deployed = None
    answer = gpu.read(pynvml)
    found = {**gpu.facts(answer=answer), "answer": answer._asdict()}
    configs = own_configs(agents)
    own = {"configs": configs, "stamps": quantized.stamps(agents), "means": containers.means()}
    told = {"measured": measured.load(), "starts": start_phases.load(), "deployed": deployed}
    return {**found, **own, "disk": disk.facts([store, *configs]), **told}
