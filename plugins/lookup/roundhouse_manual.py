"""Ansible lookup: the command's man page and completion. A shim over scripts/roundhouse/manual.py."""

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

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
from roundhouse import cli, manual, plan


class LookupModule(LookupBase):
    """lookup('roundhouse_manual', 'man') -> the page."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        parser = cli.parser()
        made = {"man": manual.page(parser), "completion": manual.completion(parser, str(plan.PATH))}
        return [made[term] for term in terms]
