"""The one exception that ends a command: a stage, and a sentence a person can act on."""

from __future__ import annotations


class RoundhouseError(Exception):
    """Something was not done. `stage` says where, `message` what and what to do instead."""

    exit_code = 1

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.message = message


class UsageError(RoundhouseError):
    """What was asked, or the plan it is asked of, is not valid: nothing was touched."""

    exit_code = 2
