"""What the hub's client raises, as something that passes by itself or as a sentence for a person.

The hub, through huggingface_hub's own client: revisions, lists of files, and the bytes of a file.

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

from ..errors import RoundhouseError, UsageError
from .manifest import READ_BYTES, File

_PASSING = (408, 429, 500, 502, 503, 504)
_OWN_CHARACTERS = 300  # of the hub's own words
# What a host answers that offers its store, and cannot read the model's manifest there.
DAMAGED = 422


class Again(Exception):
    """Something that passes by itself: `reason` says what, `wait_seconds` what the hub asked for, if it did."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


def broken() -> type[Exception]:
    """Return what the client's own HTTP raises for a connection that broke."""
    found: type[Exception] = importlib.import_module("httpx2").TransportError
    return found


def _odd() -> tuple[type[Exception], ...]:
    """Return what is raised for an answer that is no JSON, or another's, or leads nowhere, and for what is no URL."""
    http = importlib.import_module("httpx2")
    return (ValueError, KeyError, TypeError, AttributeError, http.InvalidURL, http.TooManyRedirects, http.DecodingError)


def no_hub(name: str, model: str) -> RoundhouseError:
    """Return the sentence about an answer that no hub gives."""
    return RoundhouseError(
        "pull",
        f"{name} answers with something else than a hub does for {model}, such as a page to log in: see "
        "whether HF_ENDPOINT and the proxy in models_environment are right.",
    )


@contextmanager
def sentences(errors: Any, name: str, model: str, revision: str, *, has_token: bool) -> Iterator[None]:
    """Turn the errors of the client (its module `errors`) into Again, or into a sentence about the hub of that name."""
    try:
        yield
    except errors.GatedRepoError:
        raise RoundhouseError(
            "pull",
            f"{model} is gated: accept its licence on {name}, and put a token of that account into "
            "models_token (a vault variable) or HF_TOKEN.",
        ) from None
    except errors.RepositoryNotFoundError:
        given = "the token that was given does not see it" if has_token else "no token was given"
        raise RoundhouseError(
            "pull",
            f"{model} was not found on {name}: mend its name in the roster; if it is private, {given}: "
            "put one into models_token or HF_TOKEN.",
        ) from None
    except errors.RevisionNotFoundError:
        raise RoundhouseError(
            "pull", f"{model} has no revision {revision!r} on {name}: write a branch, a tag or a commit of it."
        ) from None
    except errors.EntryNotFoundError as error:
        raise RoundhouseError("pull", f"{model} at {revision} lacks a file of its own list: {error}") from None
    except errors.HfHubHTTPError as error:
        raise _by_status(name, model, error.response) from None
    except errors.OfflineModeIsEnabled:
        raise RoundhouseError(
            "pull",
            f"HF_HUB_OFFLINE is set, so {name} is not asked for {model}: unset it, there or in "
            "models_environment, or name a folder as models_source (pull --from).",
        ) from None
    except _odd():
        raise no_hub(name, model) from None
    except broken() as error:
        raise Again(f"{name}: {error or type(error).__name__}") from None


def _by_status(name: str, model: str, response: Any) -> Exception:
    status = response.status_code
    if status in _PASSING:
        wait = response.headers.get("Retry-After", "")
        return Again(f"{name} answers {status}", float(wait) if wait.isdigit() else None)
    own = "".join(letter for letter in response.headers.get("X-Error-Message", "") if letter.isprintable())
    said = f" ({own[:_OWN_CHARACTERS]})" if own else ""
    return RoundhouseError("pull", f"{name} answers {status}{said} for {model}: {_said(status)}")


def _said(status: int) -> str:
    """Return what to do about a status that does not pass by itself."""
    if status == 401:
        return "the token in models_token or HF_TOKEN is not valid there."
    if status == 403:
        return (
            "the token in models_token or HF_TOKEN may not read it: give it the right to read this repository "
            "(a fine-grained token names them), or take another."
        )
    if status == DAMAGED:
        return "mend it there."
    return "see whether HF_ENDPOINT and the proxy in models_environment are right."


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
                    raise no_hub(self.name, model)
            begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            yield int(begins[1]) if begins else 0, self._pieces(response, model, revision)

    def _url(self, model: str, revision: str, file: File) -> str:
        return str(self._client.hf_hub_url(model, file.path, revision=revision, endpoint=self.endpoint))

    def _sentences(self, model: str, revision: str) -> AbstractContextManager[None]:
        return sentences(self._client.errors, self.name, model, revision, has_token=bool(self._token))

    def _pieces(self, response: Any, model: str, revision: str) -> Iterator[bytes]:
        with self._sentences(model, revision):
            yield from _joined(response.iter_raw(), broken())


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
