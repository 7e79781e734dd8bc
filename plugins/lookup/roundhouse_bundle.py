"""Ansible lookup: the command as an archive for the hosts. A shim over provision/bundle.py."""

from __future__ import annotations

DOCUMENTATION = """
name: roundhouse_bundle
short_description: The command of Roundhouse as a reproducible archive on the controller
description:
  - Returns a dict with the path of a tar archive and the name of its only folder, which ends in a hash of the content.
author: Roundhouse
"""

from typing import Any

from ansible.plugins.lookup import LookupBase

from roundhouse.provision.bundle import make


class LookupModule(LookupBase):
    """lookup('roundhouse_bundle') -> {"path", "name"}."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[dict[str, str]]:
        return [make()]
