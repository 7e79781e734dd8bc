"""Pull the image of the agents' containers on a host, for the Ansible module roundhouse_image_pull."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any, TypedDict

from ..errors import RoundhouseError
from ..host import docker, docker_pull
from ..models.retry import Retry, TransientError
from ..util import progress

RETRY = Retry()
_DONE = ("Download complete", "Pull complete", "Already exists")


class Arguments(TypedDict):
    """The arguments of the module."""

    image: str
    username: str
    password: str
    progress_path: str | None


class Layers:
    """Add up the bytes of an image's layers. The engine names a layer's size when it begins to download it."""

    def __init__(self, shown: progress.Progress) -> None:
        self._shown, self._bytes = shown, dict[str, tuple[int, int]]()
        self._steps, self._unpacking = ExitStack(), False

    def update(self, message: docker_pull.Message) -> None:
        """Count a message of the engine."""
        layer, status, detail = message.get("id"), message.get("status"), message.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._bytes[str(layer)] = (detail["current"], detail["total"])
        elif status in _DONE and layer in self._bytes:
            self._bytes[str(layer)] = (self._bytes[str(layer)][1],) * 2
        came, total = (sum(each[part] for each in self._bytes.values()) for part in (0, 1))
        self._shown.expect(total, came)
        if status == "Downloading":
            self.end()
        elif status == "Extracting" and came == total and not self._unpacking:
            self._unpacking = True
            self._steps.enter_context(self._shown.doing("unpacking the image"))

    def end(self) -> None:
        """End the step that is shown."""
        self._steps.close()
        self._unpacking = False


def pull(given: Arguments) -> dict[str, object]:
    """Pull the image if the host lacks it; return {"changed"}. A tag is always pulled. Raises RoundhouseError."""
    image = given["image"]
    if "@" in image and docker.has_image(image):
        return {"changed": False}
    login = docker_pull.Login(given["username"], given["password"])
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        layers = Layers(shown)
        try:
            docker_pull.pull(image, login, layers.update)
        except docker_pull.PullError as error:
            if error.permanent or tries >= RETRY.tries:
                raise _failure(image, error, tries) from None
            raise TransientError(error.reason) from None
        finally:
            layers.end()

    with progress.in_play(given["progress_path"]) as shown:
        RETRY.call(image, attempt, shown.note, threading.Event())
    return {"changed": True}


def run(module: Any) -> None:
    """Pull, and exit the AnsibleModule with the result or the error."""
    try:
        module.exit_json(**pull(module.params))
    except RoundhouseError as error:
        module.fail_json(**error.as_result())


def _failure(image: str, error: docker_pull.PullError, tries: int) -> RoundhouseError:
    fields = {"image": image, "reason": error.reason, "tries": tries}
    if error.refused:
        return RoundhouseError(
            "image_access_denied",
            "The registry refuses to serve {image} ({reason}).",
            "Set container_image_registry_username and container_image_registry_password, or correct the image's name.",
            **fields,
        )
    if error.permanent:
        return RoundhouseError(
            "image_not_pulled",
            "Docker cannot pull {image} ({reason}).",
            "Correct container_image or container_image_registry_mirror, or what the message names.",
            **fields,
        )
    return RoundhouseError(
        "image_unreachable",
        "Docker did not pull {image} in {tries} tries ({reason}).",
        "Check the host's network, host_proxy_url and container_image_registry_mirror, and run the playbook again.",
        **fields,
    )
