"""Query the model hub with huggingface_hub's client: revisions, lists of files, and the content of a file.

The client's hf-xet is not used, because it writes the file itself. The file could then neither be hashed while it
arrives nor resumed at a byte after a kill. The hub serves the same files over HTTP with ranges. `HF_ENDPOINT` names a
mirror. The token is read only from `HF_TOKEN`.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType
from typing import Any, TypeVar

from ..errors import RoundhouseError, UsageError
from . import hub_limits, hub_settings, manifest
from .manifest import COMMIT, READ_BYTES, UNREADABLE_MANIFEST, File
from .retry import RangeRefusedError, TransientError

# A connection without data for this long counts as broken.
TIMEOUT_SECONDS = 30.0
# The client's own limit for plain HTTP (constants.MAX_HTTP_DOWNLOAD_SIZE).
LARGEST_BYTES = 50_000_000_000
# Of one repository; the largest model has a few hundred.
_MOST_ENTRIES = 20_000
_LISTING_SECONDS = 300.0
_ANSWER_SECONDS = 60.0
Result = TypeVar("Result")
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_FORBIDDEN, _RANGE_REFUSED = 403, 416
_REASON_CHARACTERS = 300  # upper limit for the hub's own message
_CHECK_ENDPOINT = "Check HF_ENDPOINT in models_environment, and host_proxy_url."
_SETTING = "models_token (in a vault) or HF_TOKEN"
# The client's permanent errors -> code, text and remedy. A subclass precedes its base class.
_ERRORS = {
    "GatedRepoError": (
        "model_gated",
        "{model} is gated on {hub}.",
        f"Accept its licence there, and put a token of that account into {_SETTING}.",
    ),
    "RepositoryNotFoundError": (
        "model_not_found",
        "{model} was not found on {hub}.",
        f"Correct its name in the roster, or put a token with access to it into {_SETTING}.",
    ),
    "RevisionNotFoundError": (
        "revision_not_found",
        "{model} has no revision {revision} on {hub}.",
        "Name one of its branches, tags or commits.",
    ),
    "EntryNotFoundError": (
        "hub_file_not_found",
        "{hub} lists a file of {model} at {revision} but does not serve it.",
        "Pull again later, or use another source.",
    ),
    "OfflineModeIsEnabled": (
        "hub_offline",
        "HF_HUB_OFFLINE is set, so {model} is not fetched from {hub}.",
        "Unset it, also in models_environment, or name a folder as models_source (pull --from).",
    ),
}
# HTTP status -> code and remedy.
_STATUS = {
    401: ("hub_token_invalid", "The hub refuses the token in models_token or HF_TOKEN: create a new one."),
    _FORBIDDEN: ("hub_access_denied", "Give the token in models_token or HF_TOKEN the right to read this repository."),
    UNREADABLE_MANIFEST: ("shared_manifest_unreadable", "Repair the store of that host."),
}


def available() -> bool:
    """Return true if this Python has the client."""
    return importlib.util.find_spec("huggingface_hub") is not None


class Hub:
    """Query one hub. Every method raises TransientError for a temporary and RoundhouseError for a permanent failure."""

    def __init__(self, endpoint: str | None = None) -> None:
        # The client reads these variables at its import.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # retry.py reports retries, one line each
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self.name = hub_settings.name(self.endpoint)
        # False, because with None the client searches for a token in the current user's home.
        self._token: str | bool = hub_settings.token(os.environ.get("HF_TOKEN", ""))
        if not available():
            raise UsageError(
                "hub_client_missing",
                "Python has no package huggingface_hub.",
                "Run `make setup` in the checkout, or deploy with `ansible-playbook site.yml` first.",
            )
        self._client = importlib.import_module("huggingface_hub")
        self._api = self._client.HfApi(endpoint=self.endpoint, token=self._token, headers=hub_limits.HEADERS)

    def resolve(self, model: str, asked: str) -> str:
        """Return the 40-hex revision of a branch, a tag or a commit."""
        if COMMIT.fullmatch(asked):
            return asked
        with self._errors(model, asked):
            found = self._ask(lambda: self._api.model_info(model, revision=asked, timeout=TIMEOUT_SECONDS).sha)
        # The value is used as the name of a folder, so anything else is refused.
        if not COMMIT.fullmatch(str(found)):
            raise unexpected_response(self.name, model)
        return str(found)

    def files(self, model: str, revision: str) -> list[File]:
        """Return all files of a revision."""

        def listed() -> list[Any]:  # pages follow as long as the hub names another
            entries = self._api.list_repo_tree(model, recursive=True, revision=revision)
            return list(itertools.islice(entries, _MOST_ENTRIES + 1))

        with self._errors(model, revision):
            try:
                tree = hub_limits.ask(self._hooks(), listed, _LISTING_SECONDS)
            except hub_limits.ExceededError:
                raise self._endless(model) from None
            if len(tree) > _MOST_ENTRIES:
                raise ValueError
            return [_file(entry) for entry in tree if isinstance(entry, self._client.hf_api.RepoFile)]

    def _endless(self, model: str) -> RoundhouseError:
        return RoundhouseError(
            "hub_listing_endless",
            "{hub} lists the files of {model} on more than {pages} pages or for more than {seconds} s.",
            _CHECK_ENDPOINT,
            hub=self.name,
            model=model,
            pages=hub_limits.MOST_ANSWERS,
            seconds=round(_LISTING_SECONDS),
        )

    def _hooks(self) -> list[hub_limits.Hook]:
        found: list[hub_limits.Hook] = self._client.utils.get_session().event_hooks["response"]
        return found

    def _ask(self, question: Callable[[], Result]) -> Result:
        """Return the answer to a question of one request. Raises TransientError after its time."""
        try:
            return hub_limits.ask(self._hooks(), question, _ANSWER_SECONDS)
        except hub_limits.ExceededError:
            raise TransientError(f"{self.name} did not answer within {_ANSWER_SECONDS:.0f} s") from None

    def check_rights(self, model: str, revision: str, missing: list[File]) -> None:
        """Request one file without its content. This is needed because a gated repository lists its files publicly."""
        if large := next((file for file in missing if file.size > LARGEST_BYTES), None):
            raise RoundhouseError(
                "hub_file_too_large",
                "{model} {path} has {size} bytes, but the hub serves files over 50 GB only by its own protocol.",
                "Download it with the hub's own command, and name its folder in the roster.",
                model=model,
                path=large.path,
                size=large.size,
            )
        smallest = min(missing, key=lambda file: file.size)
        with self._errors(model, revision):
            url = self._url(model, revision, smallest)
            self._ask(lambda: self._client.get_hf_file_metadata(url, token=self._token))

    @contextmanager
    def open(
        self, model: str, revision: str, file: File, start: int, end: int | None = None
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Open a file at a byte offset; yield the actual offset (0 if the hub ignores ranges) and the pieces.

        `end` is the offset behind the last byte, None for the rest of the file.
        """
        headers = self._client.utils.build_hf_headers(token=self._token)
        headers["Accept-Encoding"] = "identity"  # ranges of a compressed body have different offsets
        if start or end:
            headers["Range"] = f"bytes={start}-{end - 1 if end else ''}"
        session = self._client.utils.get_session()
        # The yield is outside of the error handler, so that the caller's errors are not reported as the hub's.
        with ExitStack() as held:
            with self._errors(model, revision, started=start > 0):
                url = self._url(model, revision, file)
                response = held.enter_context(session.stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS))
                self._client.utils.hf_raise_for_status(response)
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    raise unexpected_response(self.name, model)
            begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
            yield int(begins[1]) if begins else 0, self._pieces(response, model, revision)

    def _url(self, model: str, revision: str, file: File) -> str:
        return str(self._client.hf_hub_url(model, file.path, revision=revision, endpoint=self.endpoint))

    def _errors(self, model: str, revision: str, *, started: bool = False) -> AbstractContextManager[None]:
        return translated(self._client.errors, self.name, model, revision, started=started)

    def _pieces(self, response: Any, model: str, revision: str) -> Iterator[bytes]:
        with self._errors(model, revision):
            yield from _joined(response.iter_raw(), _transport_error())


@contextmanager
def translated(errors: ModuleType, hub: str, model: str, revision: str, *, started: bool = False) -> Iterator[None]:
    """Convert errors of the client (`errors` is its module) into TransientError or RoundhouseError.

    `started`: the hub has sent the first bytes of the file already, so the token has the right to read it.
    """
    known = {getattr(errors, name): error for name, error in _ERRORS.items()}
    try:
        yield
    except tuple(known) as error:
        found = next(known[kind] for kind in known if isinstance(error, kind))
        raise RoundhouseError(*found, hub=hub, model=model, revision=revision) from None
    except errors.HfHubHTTPError as error:
        if started and (transient := _in_mid_file(hub, error.response.status_code)):
            raise transient from None
        raise _by_status(hub, model, error.response) from None
    except _malformed():
        raise unexpected_response(hub, model) from None
    except _transport_error() as error:
        raise TransientError(f"{hub}: {error or type(error).__name__}") from None


def unexpected_response(hub: str, model: str) -> RoundhouseError:
    """Return the error for a response that is not the hub's."""
    return RoundhouseError(
        "hub_unexpected_response",
        "{hub} returned an unexpected response for {model}, such as a login page.",
        _CHECK_ENDPOINT,
        hub=hub,
        model=model,
    )


def _in_mid_file(hub: str, status: int) -> TransientError | None:
    """Return the error of a download that has begun: a link that expired, or a range that a cache does not have."""
    if status == _FORBIDDEN:
        return TransientError(f"{hub} answered {status} in the middle of a file")
    if status == _RANGE_REFUSED:
        return RangeRefusedError(f"{hub} answered {status} in the middle of a file")
    return None


def _by_status(hub: str, model: str, response: Any) -> Exception:
    status = response.status_code
    if status in _TRANSIENT:
        wait = response.headers.get("Retry-After", "")
        return TransientError(f"{hub} answered {status}", float(wait) if wait.isdigit() else None)
    own = "".join(letter for letter in response.headers.get("X-Error-Message", "") if letter.isprintable())
    code, remedy = _STATUS.get(status, ("hub_request_failed", _CHECK_ENDPOINT))
    reason = own[:_REASON_CHARACTERS]
    text = "{hub} answered {status} ({reason}) for {model}." if reason else "{hub} answered {status} for {model}."
    return RoundhouseError(code, text, remedy, hub=hub, status=status, reason=reason, model=model)


def _transport_error() -> type[Exception]:
    """Return the exception class of the client's HTTP library for a broken connection."""
    found: type[Exception] = importlib.import_module("httpx2").TransportError
    return found


def _malformed() -> tuple[type[Exception], ...]:
    """Return the exception classes for a response with unexpected content, and for an invalid URL."""
    http = importlib.import_module("httpx2")
    of_client = (http.InvalidURL, http.TooManyRedirects, http.DecodingError)
    return (ValueError, KeyError, TypeError, AttributeError, RecursionError, *of_client)


def _file(entry: Any) -> File:
    """Return the hub's entry as a File, with sha256 for a large file and git's checksum for a small one.

    Raises ValueError for a size or a checksum that is none.
    """
    checksum = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git-sha1:{entry.blob_id}"
    return manifest.checked(str(entry.path), str(int(entry.size)), checksum)


def _joined(pieces: Iterator[bytes], broken: type[Exception]) -> Iterator[bytes]:
    """Join the network's pieces of a few KiB into pieces of 1 MiB, which are cheaper to hash and write."""
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
            # Bytes that arrived before the connection broke are kept, so that they are not fetched again.
            if size:
                yield b"".join(held)
            held, size = [], 0
        if end:
            raise end
        if not piece:
            return
