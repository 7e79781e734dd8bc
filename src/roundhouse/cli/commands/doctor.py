"""`doctor`: examine the driver, the host and the agents."""

from __future__ import annotations

import argparse

from ...doctor.diagnosis import Finding
from ...errors import RoundhouseError
from ...plan import deployed
from ..command import Answer


def run(args: argparse.Namespace) -> Answer:
    """Show the findings; also on a host without a plan."""
    from ...checkup import checkup
    from ...host import driver as host_driver
    from ...host import gpu as host_gpu

    plan = deployed.load() if deployed.PATH.exists() else None
    rows, facts = checkup.of_plan(host_driver.rows(), plan), host_gpu.facts()
    found = checkup.examine(plan, checkup.of_driver(rows, facts), facts=facts)
    errors, findings = [_error(each).as_json() for each in found], [each._asdict() for each in found]
    result = {"ok": not found, "errors": errors, "checks": rows, "findings": findings}
    return result, f"{host_driver.text(rows)}\n\n{checkup.text(found)}"


def _error(found: Finding) -> RoundhouseError:
    error = RoundhouseError(found.code, found.text, found.remedy)
    error.fields = {"agent": found.agent, "evidence": found.evidence}
    return error
