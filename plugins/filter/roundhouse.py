"""Jinja filters of Roundhouse, over functions of the package.

A filter imports its module when it is called. Each task is a process, and loads every file of filters if it uses any
filter, even `default`. To import the package there would cost 40 ms per task.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

# The filter roundhouse_NAME: the module and the function that it calls with its own arguments.
FUNCTIONS = {
    "account_ids": "provision.agent_accounts.ids",
    "agent_files": "provision.agent_files.build",
    "engine_path": "pins.engine_path",
    "gateway_control": "provision.gateway_files.control_units",
    "gateway_files": "provision.gateway_files.build",
    "hub_path": "pins.hub_path",
    "image_tag": "pins.tagged",
    "mirrored": "pins.mirrored",
    "missing_accounts": "provision.agent_accounts.missing",
    "outcome_rows": "provision.switch_report.rows",
    "outcomes": "provision.switch_report.text",
    "proxy_environment": "host.proxy.environment",
    "proxy_files": "host.proxy.files",
    "quantizations": "models.quantized.required_results",
    "quantize_path": "pins.quantize_path",
    "switch_problem": "provision.switch_report.problem",
    "switched": "provision.switch_report.changed",
}


def _module(name: str) -> Any:
    return import_module(f"roundhouse.{name}")


def engine_lock(accelerator: str) -> str:
    """Return the file of the engine's pins."""
    return str(_module("pins").lock_file(accelerator))


def quantize_lock(accelerator: str) -> str:
    """Return the file of the pins for quantization."""
    return str(_module("pins").lock_file(accelerator, what="quantize"))


def image(source: str, path: str, **settings: Any) -> str:
    """Return the containers' image as Docker knows it, with its digest once that is in the lock file."""
    pins = _module("pins")
    return str(pins.reference(pins.ImageSettings(source, **settings), Path(path)))


def gateway(plan: dict[str, Any], **settings: Any) -> Any:
    """Return what the gateway's templates print."""
    config = _module("gateway.config")
    return config.build(plan, config.Settings(**settings))


def required_models(agents: list[dict[str, Any]], path: str) -> Any:
    """Return the hub's models that planned agents name."""
    return _module("models.lock").required_models(agents, Path(path))


def _function(path: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        module, _, name = path.rpartition(".")
        return getattr(_module(module), name)(*args, **kwargs)

    return call


def _with_plain_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand an error on as its sentences alone."""

    def call(*args: Any, **kwargs: Any) -> Any:
        error_type = _module("errors").RoundhouseError
        try:
            return function(*args, **kwargs)
        except error_type as error:
            raise AnsibleFilterError(error.message) from None

    return call


class FilterModule:
    """The filters of the package."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        own = {each.__name__: each for each in (engine_lock, gateway, image, quantize_lock, required_models)}
        found = own | {name: _function(path) for name, path in FUNCTIONS.items()}
        return {f"roundhouse_{name}": _with_plain_errors(function) for name, function in found.items()}
