"""The hub, through huggingface_hub's own client: revisions, lists of files, and the bytes of a file.

The client's hf-xet is not used: it rebuilds a file from chunks behind a path, so it can neither be
hashed while it comes nor go on at a byte after the process was killed. The hub offers the same files
over HTTP with ranges. `HF_ENDPOINT` names a mirror; the token is read from `HF_TOKEN` and from
nowhere else.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from . import hub_errors
from .errors import RoundhouseError, UsageError
from .model_files import READ_BYTES, File

COMMIT = re.compile(r"[0-9a-f]{40}")
# A connection over which nothing comes for so long is broken.
TIMEOUT_SECONDS = 30.0
# The client's own limit of what the hub gives over plain HTTP (constants.MAX_HTTP_DOWNLOAD_SIZE).
LARGEST_BYTES = 50_000_000_000


def available() -> bool:
    """Return whether this Python has the client."""
    return importlib.util.find_spec("huggingface_hub") is not None


class Hub:
    """One hub. Every method raises hub_errors.Again for what passes, and RoundhouseError for what does not."""

    def __init__(self, endpoint: str | None = None) -> None:
        # Read by the client when it is imported.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # what it retries is said here, in one line
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self.name = _name(self.endpoint)
        # False, not None: the client would look for a token in the home of whoever runs this.
        self._token: str | bool = _token(os.environ.get("HF_TOKEN", ""))
        if not available():
            raise UsageError(
                "pull", "this Python has no huggingface_hub: run it in a checkout after make setup, or deploy first."
            )
        self._client = importlib.import_module("huggingface_hub")
        self._api = self._client.HfApi(endpoint=self.endpoint, token=self._token)

    def resolve(self, model: str, asked: str) -> str:
        """Return the 40-hex revision that a branch, a tag or a revision means now."""
        if COMMIT.fullmatch(asked):
            return asked
        with self._sentences(model, asked):
            found = self._api.model_info(model, revision=asked, timeout=TIMEOUT_SECONDS).sha
        # It becomes the name of a folder.
        if not COMMIT.fullmatch(str(found)):
            raise RoundhouseError(
                "pull", f"{self.name} names no commit for {model} at {asked!r}: it is no hub, mend HF_ENDPOINT."
            )
        return str(found)

    def files(self, model: str, revision: str) -> list[File]:
        """Return all files of a revision."""
        with self._sentences(model, revision):
            tree = list(self._api.list_repo_tree(model, recursive=True, revision=revision))
        return [_file(entry) for entry in tree if isinstance(entry, self._client.hf_api.RepoFile)]

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Ask for one file without its bytes: a gated repository lists its files to everybody."""
        if large := next((file for file in missing if file.size > LARGEST_BYTES), None):
            raise RoundhouseError(
                "pull",
                f"{model} {large.path} has {large.size} bytes, and the hub gives files over 50 GB by its own protocol "
                "alone: bring it with the hub's own command, and name its folder in the roster.",
            )
        smallest = min(missing, key=lambda file: file.size)
        with self._sentences(model, revision):
            self._client.get_hf_file_metadata(self._url(model, revision, smallest), token=self._token)

    @contextmanager
    def open(self, model: str, revision: str, file: File, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte; yield where it really begins (0 when the hub ignores ranges) and its pieces."""
        headers = self._client.utils.build_hf_headers(token=self._token)
        headers["Accept-Encoding"] = "identity"  # a range of a compressed body would be another range
        if start:
            headers["Range"] = f"bytes={start}-"
        session = self._client.utils.get_session()
        # What goes wrong while somebody writes the pieces is not the hub's: that stands outside of its sentences.
        with ExitStack() as held:
            with self._sentences(model, revision):
                url = self._url(model, revision, file)
                response = held.enter_context(session.stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS))
                self._client.utils.hf_raise_for_status(response)
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    raise hub_errors.no_hub(self.name, model)
            begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            yield int(begins[1]) if begins else 0, self._pieces(response, model, revision)

    def _url(self, model: str, revision: str, file: File) -> str:
        return str(self._client.hf_hub_url(model, file.path, revision=revision, endpoint=self.endpoint))

    def _sentences(self, model: str, revision: str) -> AbstractContextManager[None]:
        return hub_errors.sentences(self._client.errors, self.name, model, revision, has_token=bool(self._token))

    def _pieces(self, response: Any, model: str, revision: str) -> Iterator[bytes]:
        with self._sentences(model, revision):
            yield from _joined(response.iter_raw(), hub_errors.broken())


def _name(endpoint: str) -> str:
    """Return the hub's name and port, without a user and a password. Raises UsageError."""
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        shown = endpoint.rpartition("@")[2]  # before it there may be a password
        raise UsageError(
            "pull", f"HF_ENDPOINT is {shown!r}, which is no URL: write such as https://mirror.example.org."
        )
    return parts.netloc.rpartition("@")[2]


def _token(given: str) -> str | bool:
    """Return the token, False for none. A block of YAML ends in a newline, which no header takes."""
    token = given.strip()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            "pull",
            "the token in models_token or HF_TOKEN holds a space, a line's end or a letter that no token has: "
            "write it on one line, as the hub shows it.",
        )
    return token or False


def _file(entry: Any) -> File:
    """Return the hub's entry as a File: the sha256 of a large file, git's checksum of a small one."""
    checksum = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git-sha1:{entry.blob_id}"
    return File(entry.path, int(entry.size), checksum)


def _joined(pieces: Iterator[bytes], broken: type[Exception]) -> Iterator[bytes]:
    """Join the network's pieces of some KiB: fewer turns of the interpreter's lock for hash and disk."""
    held: list[bytes] = []
    size = 0
    end: Exception | None = None
    while True:
        try:
            piece = next(pieces, b"")
        except broken as error:
            piece, end = b"", error
        held.append(piece)
        size += len(piece)
        if size >= READ_BYTES or not piece:
            # Also what had come before the connection broke, so that it is not fetched again.
            if size:
                yield b"".join(held)
            held, size = [], 0
        if end:
            raise end
        if not piece:
            return
