"""Ansible lookup: the command's man page and completion. A shim over roundhouse.cli.manual."""

from __future__ import annotations

DOCUMENTATION = """
name: roundhouse_manual
short_description: What the command's own help says, as a man page or as completion for bash
description:
  - Returns the text for each term, which is man or completion.
options:
  _terms:
    description: man or completion.
    required: true
author: Roundhouse
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

from roundhouse.cli import manual
from roundhouse.plan import deployed


class LookupModule(LookupBase):
    """lookup('roundhouse_manual', 'man') -> the page."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        made = {"man": manual.page(), "completion": manual.completion(str(deployed.PATH))}
        return [made[term] for term in terms]
