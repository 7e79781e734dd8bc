"""What the hub's client raises, as something that passes by itself or as a sentence for a person."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import RoundhouseError

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
