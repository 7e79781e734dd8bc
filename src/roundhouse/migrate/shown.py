"""Show the settings of an old file in the report without its secrets.

Only the value of a known option is shown. Any other value may be a token or a password, whatever its name.
"""

from __future__ import annotations

import re

from . import report, rules
from .report import Setting

HIDDEN = "..."
_SECRET = re.compile(r"TOKEN|SECRET|PASS|AUTH|CREDENTIAL|COOKIE|(?<![A-Z])KEY|API-KEY", re.IGNORECASE)
_COUNTS = re.compile(r"TOKENS|TOKENIZER", re.IGNORECASE)
_ASSIGNED = re.compile(r"(?<![\w.-])([A-Za-z_][\w.-]*)=\S+")
# An operator of a shell, after which another command follows.
_SHELL = re.compile(r"(?:^|(?<=\s))(?:&&|\|\|?|;|[<>]).*", re.DOTALL)
_NAME = re.compile(r"[\w.-]*")


def assignment(kind: str, name: str, value: str, joint: str = "=", written: str | None = None) -> str:
    """Return an assignment for the report; `written` is the name in the file if it differs."""
    label = _cut(name) if written is None else _cut_words(written)
    return f"{label}{joint}{_value(kind, name, value)}" if value else f"{label}{joint}".rstrip()


def name(written: str) -> str:
    """Return a name without a value, such as that of a variable of the shell."""
    return _cut(written)


def words(text: str) -> str:
    """Return the value of a known option, without assignments in it."""
    return _ASSIGNED.sub(rf"\1={HIDDEN}", report.redacted(text))


def is_known(kind: str, option: str) -> bool:
    """Return true if a rule names the option, which a rule for all others does not."""
    setting = Setting(None, kind, option, "", "")
    general = "option" if kind in ("env", "flag") else kind
    return f"{general} {setting.option}" in rules.RULES or f"{kind} {option}" in rules.RULES


def _value(kind: str, option: str, value: str) -> str:
    is_secret = _SECRET.search(option) and not _COUNTS.search(option)
    if is_secret or not is_known(kind, option):
        return HIDDEN
    return words(_SHELL.sub(HIDDEN, value) if kind == "flag" else value)


def _cut_words(written: str) -> str:
    return " ".join(map(_cut, written.split(" ", 1)))


def _cut(written: str) -> str:
    """Return the part of a name that can be one: the rest of a line such as `TOKEN x` is a value."""
    found = _NAME.match(written)
    label = report.redacted(found[0] if found else "")
    return label if label == written else f"{label}{HIDDEN}"
