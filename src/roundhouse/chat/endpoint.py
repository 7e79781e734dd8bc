"""Find the address of an agent's OpenAI API on this host, its key, and the certificate of its gateway."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import NamedTuple

from ..errors import RoundhouseError, UsageError
from ..gateway import certificate, client_config, config, keys
from ..schema.plan import Agent, Plan
from ..util import console

# X509_V_FLAG_PARTIAL_CHAIN of OpenSSL, which the module ssl names since Python 3.10.
_PARTIAL_CHAIN = 0x80000

_ANY = {"0.0.0.0": "127.0.0.1", "[::]": "::1", "*": "127.0.0.1"}  # noqa: S104 - addresses of a gateway, read


class Endpoint(NamedTuple):
    """Hold how to reach one agent; `tls` is None for plain HTTP, `key` for an API without keys."""

    agent: str
    host: str
    port: int
    engine_host: str
    engine_port: int
    key: str | None = None
    tls: ssl.SSLContext | None = None


def find(plan: Plan, agent: Agent, key_file: Path | None = None) -> Endpoint:
    """Return the agent's endpoint: its port of the gateway, or its engine without a gateway.

    Raises RoundhouseError when the gateway's configuration, its certificate or the key cannot be read.
    """
    listener = client_config.listener(plan)
    found = Endpoint(agent["name"], agent["host"], agent["port"], agent["host"], agent["engine_port"])
    key = _key(key_file) if listener.keyed or key_file else None
    if plan.get("gateway_port") is None:
        return found._replace(key=key)
    text = Path(config.FOLDER, "haproxy.cfg").read_text()
    bind = re.search(rf"^ *bind (\S+):{agent['port']}\b(?:.* ssl crt (\S+))?", text, re.MULTILINE)
    if bind is None:
        what, fields = "The gateway does not listen on port {port} of {agent}.", {"agent": agent["name"]}
        raise RoundhouseError("gateway_port_missing", what, "Deploy again.", port=agent["port"], **fields)
    host = _ANY.get(bind[1], bind[1].strip("[]"))
    return found._replace(host=host, key=key, tls=_trust(Path(bind[2])) if bind[2] else None)


def _key(file: Path | None) -> str:
    """Return the key of a file, else the default key of this host, else its first. Raises RoundhouseError."""
    if file is not None:
        try:
            return file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            text, remedy = "--key {file} cannot be read ({why}).", "Name a file that contains the key alone."
            raise UsageError("key_unreadable", text, remedy, file=str(file), why=str(error)) from None
    known = keys.load()
    if not known:
        text, remedy = "The gateway requires a key, and this host has none.", "Create one: {program} keys add NAME."
        raise RoundhouseError("key_missing", text, remedy, program=console.command_name())
    return known.get(keys.FIRST) or known[min(known)]


def _trust(file: Path) -> ssl.SSLContext:
    """Return a context that accepts the gateway's own certificate alone, under any host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the file identifies the gateway; its names are those of other hosts
    context.verify_flags |= _PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate.blocks(file)[0])
    return context
