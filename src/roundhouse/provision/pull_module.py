"""Resolve and pull models on a host, for the Ansible modules roundhouse_resolve and roundhouse_pull.

The token is an argument that Ansible hides, and this module puts it into its own environment. A task's `environment:`
would be visible in the argument list of the shell that Ansible starts.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from ..errors import RoundhouseError, UsageError
from ..host import proxy
from ..models import hub, lock, manifest, planned, pull, store_layout
from ..models.download import Source
from ..models.folder_source import FolderSource
from ..models.pull_job import PullRequest
from ..models.retry import Retry
from ..util import progress

if TYPE_CHECKING:
    # Absolute, so that Ansible does not ship it with modules.
    from roundhouse.schema.facts import LockedModel, RequiredModel, RequiredResult

ARGUMENTS: dict[str, dict[str, object]] = {
    "required_models": {"type": "list", "elements": "dict", "required": True},
    "source": {"type": "str", "default": ""},
    "token": {"type": "str", "default": "", "no_log": True},
    # True for another host of the inventory, which is reached without the host's proxy.
    "direct": {"type": "bool", "default": False},
    # A JSON string, because it may contain a proxy's password: Ansible would mask each value of a dict in all output.
    "environment": {"type": "json", "default": "{}", "no_log": True},
}


class Arguments(TypedDict):
    """The arguments of both modules that this module uses."""

    required_models: list[RequiredModel]
    source: str
    progress_path: str | None


class PullArguments(Arguments):
    """The arguments of roundhouse_pull that this module uses."""

    results: list[RequiredResult]
    store: str
    files_at_once: int


def run(module: Any, work: Callable[[Any], dict[str, object]]) -> None:
    """Run the work, and exit the AnsibleModule with its result or its error."""
    given = module.params
    try:
        environment = {name: str(value) for name, value in json.loads(given["environment"]).items()}
        if "HF_TOKEN" in environment:
            raise UsageError(
                "token_in_environment",
                "models_environment contains HF_TOKEN.",
                "Set models_token instead, which Ansible hides in its logs.",
            )
        # A proxy's URL may contain a password, which must not appear in a client's error.
        texts = [*environment.values(), *proxy.stored().values()]
        module.no_log_values.update(word for text in texts if (word := urlsplit(text).password))
        proxy.override(environment)
        proxy.apply(*filter(None, [urlsplit(given["source"]).hostname if given["direct"] else None]))
        os.environ.pop("HF_TOKEN", None)
        if given["token"]:
            os.environ["HF_TOKEN"] = given["token"]
        module.exit_json(**work(given))
    except RoundhouseError as error:
        module.fail_json(**error.as_result())


def resolve(given: Arguments) -> dict[str, object]:
    """Return {"found": entries of the lock file} for the required models."""
    found: dict[str, LockedModel] = {}
    with progress.in_play(given["progress_path"]) as shown:
        source, retry, stop = _source(given), Retry(), threading.Event()
        for required in given["required_models"]:
            model, asked = required["model"], required["asked"]

            def ask(model: str = model, asked: str = asked) -> LockedModel:
                revision = source.resolve(model, asked)
                files = manifest.wanted(source.files(model, revision), model)
                return {"revision": revision, "files": manifest.as_json(files)}

            with shown.doing(f"resolving {model} at {asked} on {source.name}"):
                found[lock.key(model, asked)] = retry.call(model, ask, shown.note, stop)
    return {"changed": False, "found": found}


def pull_models(given: PullArguments) -> dict[str, object]:
    """Pull the required models; return {"changed", "models"}."""
    if given["files_at_once"] < 1:
        raise UsageError(
            "files_at_once_invalid",
            "models_files_at_once is {value}.",
            "Write a whole number of at least 1.",
            value=given["files_at_once"],
        )
    place = Path(given["store"])
    requests = [
        PullRequest(each["model"], each["revision"], each["asked"], _files(each.get("files")))
        for each in given["required_models"]
    ]
    with progress.in_play(given["progress_path"]) as shown:
        source = _source(given)
        with shown.doing(f"looking for quantized models on {source.name}"):
            results = planned.results(given.get("results") or [])
            requests += [result for result in results if _has_result(source, result, shown)]
        renamed = store_layout.is_old(place)
        done = pull.Pull(place, source, shown, workers=given["files_at_once"]).run(requests)
    return {"changed": renamed or any(row["changed"] for row in done), "models": done}


def _has_result(source: Source, result: PullRequest, shown: progress.Progress) -> bool:
    return Retry().call(result.model, lambda: planned.has_model(source, result), shown.note, threading.Event())


def _files(held: dict[str, str] | None) -> list[manifest.File] | None:
    try:
        return None if held is None else manifest.from_json(held)
    except ValueError as error:
        raise UsageError(
            "lock_entry_invalid",
            "The lock file has an invalid entry of a model file, {entry}.",
            "Lock the models again with models_relock=true.",
            entry=str(error),
        ) from None


def _source(given: Arguments) -> Source:
    source = given["source"]
    if source and not source.startswith(("http://", "https://")):
        return FolderSource(Path(source))
    return hub.Hub(source or None)
