"""List the accounts that the role agents creates, and their IDs, for the containers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from ..plan import accounts
from ..schema.plan import Plan

SHELL = "/usr/sbin/nologin"


class Account(TypedDict):
    """An account to create, in the terms of ansible.builtin.user."""

    name: str
    home: str
    shell: str


class Made(TypedDict, total=False):
    """The result of ansible.builtin.user for one account; the IDs are absent in check mode."""

    name: str
    uid: int
    group: int


def missing(plan: Plan, found: Mapping[str, Mapping[str, str | int]]) -> list[Account]:
    """Return the plan's accounts that the host lacks or has with another home or shell.

    `found` are the host's accounts by name, of HostState; {} if they are unknown.
    """
    wanted: list[Account] = [
        {"name": accounts.account(agent["name"]), "home": accounts.cache(agent["name"]), "shell": SHELL}
        for agent in plan["agents"]
    ]
    return [
        each
        for each in wanted
        if [found.get(each["name"], {}).get(key) for key in ("home", "shell")] != [each["home"], each["shell"]]
    ]


def ids(found: Mapping[str, Mapping[str, str | int]], made: Iterable[Made]) -> dict[str, str]:
    """Return UID:GID by account: of those that this run created, else of those that the host had."""
    known = {name: f"{user['uid']}:{user['gid']}" for name, user in found.items()}
    return known | {each["name"]: f"{each['uid']}:{each['group']}" for each in made if "uid" in each}
