"""Gather the host's facts that a plan depends on, for the planner on the controller."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..host import disk, docker, gpu
from ..models import own_folders
from ..plan import deployed as plan_deployed
from ..plan import measured
from ..state import start_phases

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import PlanFacts


def gather(agents: object, store: str, pynvml: ModuleType | None = None) -> PlanFacts:
    """Return the facts for the roster as written; `store` is the folder of the pulled models.

    A deployed plan that cannot be read counts as missing, so that all decisions are made again.
    """
    try:
        deployed = plan_deployed.load()
    except UsageError:
        deployed = None
    answer = gpu.read(pynvml)
    configs = own_folders.configs(agents)
    return {
        **gpu.facts(answer=answer),
        "answer": {
            "driver_version": answer.driver_version,
            "error": answer.error,
            "gpus": answer.gpus,
            "lost": answer.lost,
        },
        "configs": configs,
        "stamps": own_folders.stamps(agents),
        "means": docker.means(),
        "disk": disk.facts([store, *configs]),
        "measured": measured.load(),
        "starts": start_phases.load(),
        "deployed": deployed,
    }
