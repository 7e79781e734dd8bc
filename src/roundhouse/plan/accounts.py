"""Name the account of each engine, and its cache: the only folder of the host that an engine may write.

An engine has its own account, so one that is taken over cannot read another's cache, signal it or debug it.
"""

from __future__ import annotations

# An agent's cache is a folder of its name in this one, which belongs to root.
CACHES = "/var/cache/roundhouse"
PREFIX = "roundhouse-"
# All engines had this account before each had its own. Earlier plans on a host still use it.
FORMER = "roundhouse"


def account(agent: str) -> str:
    """Return the account of an agent's engine. systemd accepts names of at most 31 characters."""
    return PREFIX + agent


def cache(agent: str) -> str:
    """Return the folder of an agent's cache, which is also the home of its account."""
    return f"{CACHES}/{agent}"
