"""What the Ansible modules roundhouse_resolve and roundhouse_pull do with their arguments on a host.

The token is an argument that Ansible hides, and is put into this process's environment: a task's
`environment:` would stand in the argument list of the shell that Ansible starts.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import RoundhouseError, UsageError
from ..models import hub, lock, manifest, planned, pull
from ..models.download import Patience, Source
from ..models.folder_source import FolderSource
from ..models.pull_job import Wish
from ..util import progress

ARGUMENTS: dict[str, dict[str, Any]] = {
    "wishes": {"type": "list", "elements": "dict", "required": True},
    "source": {"type": "str", "default": ""},
    "token": {"type": "str", "default": "", "no_log": True},
    # One string of JSON: it may hold a proxy's password, and each value of a dict would be struck from every text.
    "environment": {"type": "json", "default": "{}", "no_log": True},
}

Given = dict[str, Any]


def run(module: Any, work: Callable[[Given], Given]) -> None:
    """End the AnsibleModule with the work's result, or with its sentence."""
    given = module.params
    try:
        environment = {name: str(value) for name, value in json.loads(given["environment"]).items()}
        if "HF_TOKEN" in environment:
            raise UsageError("pull", "models_environment holds HF_TOKEN: put it into models_token, which no log shows.")
        # Of a proxy's URL: no sentence of a client may show it either.
        module.no_log_values.update(word for text in environment.values() if (word := urlsplit(text).password))
        os.environ.update(environment)
        os.environ.pop("HF_TOKEN", None)
        if given["token"]:
            os.environ["HF_TOKEN"] = given["token"]
        module.exit_json(**work(given))
    except RoundhouseError as error:
        module.fail_json(msg=error.message)


def resolve(given: Given) -> Given:
    """Return {"found": entries of the lock file} for the wishes."""
    found = {}
    with _progress(given) as shown:
        source, patience, stop = _source(given), Patience(), threading.Event()
        for wish in given["wishes"]:
            model, asked = wish["model"], wish["asked"]

            def ask(model: str = model, asked: str = asked) -> Given:
                revision = source.resolve(model, asked)
                files = manifest.wanted(source.files(model, revision), model)
                return {"revision": revision, "files": manifest.as_json(files)}

            with shown.doing(f"asking {source.name} what {model} at {asked} is"):
                found[lock.key(model, asked)] = patience.call(model, ask, shown.note, stop)
    return {"changed": False, "found": found}


def bring(given: Given) -> Given:
    """Pull the wishes; return {"changed", "models"}."""
    if given["files_at_once"] < 1:
        raise UsageError("pull", f"models_files_at_once is {given['files_at_once']}: write a number from 1.")
    wishes = [
        Wish(wish["model"], wish["revision"], wish["asked"], _files(wish.get("files"))) for wish in given["wishes"]
    ]
    with _progress(given) as shown:
        source = _source(given)
        with shown.doing(f"asking {source.name} for results that were made elsewhere"):
            wishes += [wish for wish in planned.results(given.get("results") or []) if _offered(source, wish, shown)]
        done = pull.Pull(Path(given["store"]), source, shown, workers=given["files_at_once"]).run(wishes)
    return {"changed": any(row["changed"] for row in done), "models": done}


def _offered(source: Source, wish: Wish, shown: progress.Progress) -> bool:
    return Patience().call(wish.model, lambda: planned.is_offered(source, wish), shown.note, threading.Event())


@contextmanager
def _progress(given: Given) -> Iterator[progress.Progress]:
    """Write the progress into the file that the action reads, and take it away at the end."""
    path = given.get("progress_path")
    try:
        with progress.in_file(Path(path or os.devnull)) as shown:
            yield shown
    finally:
        if path:
            Path(path).unlink()


def _files(held: dict[str, str] | None) -> list[manifest.File] | None:
    try:
        return None if held is None else manifest.from_json(held)
    except ValueError as error:
        raise UsageError(
            "pull", f"the lock file states {error}, which is no file of a model: ask anew with models_relock=true."
        ) from None


def _source(given: Given) -> Source:
    source: str = given["source"]
    if source and not source.startswith(("http://", "https://")):
        return FolderSource(Path(source))
    return hub.Hub(source or None)
