"""Jinja filters of Roundhouse: shims over scripts/roundhouse.

Each imports its part of the package when it is called. Ansible loads all files of filters in every task that uses any
filter, be it `default`, and does so anew each time, because a task is a process: the whole package would cost each of
them 40 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand an error on as its sentence alone."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from roundhouse.errors import RoundhouseError

        try:
            return function(*args, **kwargs)
        except RoundhouseError as error:
            raise AnsibleFilterError(error.message) from None

    return wrapped


def gateway(plan: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return what the gateway's templates print."""
    from roundhouse.gateway import config as gateway_config

    return gateway_config.build(plan, gateway_config.Settings(**settings))


def gateway_files(config: dict[str, Any]) -> dict[str, Any]:
    """Return what the gateway's role writes."""
    from roundhouse.provision import gateway_files as provision_gateway_files

    return provision_gateway_files.of(config)


def gateway_control(written: dict[str, Any]) -> dict[str, Any]:
    """Return the units of the control service that are to be started or restarted after that."""
    from roundhouse.provision import gateway_files as provision_gateway_files

    return provision_gateway_files.control(written)


def agent_files(plan: dict[str, Any], staged: str) -> dict[str, Any]:
    """Return the folders and files of a plan's agents, below the folder in which they are staged."""
    from roundhouse.provision import agent_files as provision_agent_files

    return provision_agent_files.of(plan, staged)


def outcomes(hosts: Any, names: Any) -> str:
    """Return what a switch of several hosts came to, as a table."""
    from roundhouse.provision import switch_report

    return switch_report.text(hosts, names)


def outcome_rows(hosts: Any, names: Any) -> list[dict[str, Any]]:
    """Return the same, as rows for a program."""
    from roundhouse.provision import switch_report

    return switch_report.rows(hosts, names)


def switched(result: Any) -> bool:
    """Return whether a host's switch changed who serves."""
    from roundhouse.provision import switch_report

    return switch_report.changed(result)


def switch_problem(result: Any) -> str:
    """Return why a host's switch failed; empty when it did not."""
    from roundhouse.provision import switch_report

    return switch_report.problem(result)


def wishes(agents: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Return the hub's models that planned agents name."""
    from roundhouse.models import lock

    return lock.wishes(agents, Path(path))


def quantizations(agents: Any) -> list[Any]:
    """Return the quantized models that planned agents ask for."""
    from roundhouse.models import quantized

    return list(quantized.wishes(agents))


def engine_path(accelerator: str, python: str) -> str:
    """Return the folder of the engine's environment."""
    from roundhouse import pins

    return pins.engine_path(accelerator, python)


def engine_lock(accelerator: str) -> str:
    """Return the file of the engine's pins."""
    from roundhouse import pins

    return str(pins.lock_file(accelerator))


def quantize_path(accelerator: str, python: str) -> str:
    """Return the folder of the environment of quantizing."""
    from roundhouse import pins

    return pins.quantize_path(accelerator, python)


def quantize_lock(accelerator: str) -> str:
    """Return the file of the pins of quantizing."""
    from roundhouse import pins

    return str(pins.lock_file(accelerator, what="quantize"))


def hub_path(python: str) -> str:
    """Return the folder of the environment of the hub's client."""
    from roundhouse import pins

    return pins.hub_path(python)


def image(source: str, path: str, **settings: Any) -> str:
    """Return the containers' image as Docker knows it, with its digest once that is in the lock file."""
    from roundhouse import pins

    return pins.reference(pins.Wanted(source, **settings), Path(path))


def image_tag(name: str, accelerator: str) -> str:
    """Return an image's name with its tag."""
    from roundhouse import pins

    return pins.tagged(name, accelerator)


class FilterModule:
    """What playbooks ask of the package."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "roundhouse_gateway": _plain(gateway),
            "roundhouse_gateway_files": _plain(gateway_files),
            "roundhouse_gateway_control": _plain(gateway_control),
            "roundhouse_agent_files": _plain(agent_files),
            "roundhouse_outcomes": _plain(outcomes),
            "roundhouse_outcome_rows": _plain(outcome_rows),
            "roundhouse_switched": _plain(switched),
            "roundhouse_switch_problem": _plain(switch_problem),
            "roundhouse_wishes": _plain(wishes),
            "roundhouse_quantizations": _plain(quantizations),
            "roundhouse_engine_path": _plain(engine_path),
            "roundhouse_engine_lock": _plain(engine_lock),
            "roundhouse_quantize_path": _plain(quantize_path),
            "roundhouse_hub_path": _plain(hub_path),
            "roundhouse_image": _plain(image),
            "roundhouse_image_tag": _plain(image_tag),
            "roundhouse_quantize_lock": _plain(quantize_lock),
        }
