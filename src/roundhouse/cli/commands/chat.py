"""`chat AGENT [QUESTION]`: ask an agent in the terminal."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError
from ...plan import deployed
from .. import command

if TYPE_CHECKING:
    from ..chat_session import Connection

EPILOG = """\
Without QUESTION, a terminal gets a conversation: /switch AGENT, /system TEXT, /clear, /help and /quit are its commands.
Ctrl-C stops an answer, and Ctrl-D ends. Without a terminal, the question is read from stdin. A request for an agent
that is not loaded waits until the agent is loaded. With on demand off, it fails; run switch AGENT.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent, the question and the settings of the conversation."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of this host")
    parser.add_argument("question", nargs="*", default=[], metavar="QUESTION", help="print the answer to it, and exit")
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer (default: up to max_model_len)")
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="the key of the gateway (default: this host's, which root reads)"
    )


def check(args: argparse.Namespace) -> None:
    """Raise UsageError for a number of tokens below 1."""
    if args.max_tokens is not None and args.max_tokens < 1:
        text, remedy = "--max-tokens is {value}.", "Write a whole number from 1."
        raise UsageError("max_tokens_invalid", text, remedy, value=args.max_tokens)


def run(args: argparse.Namespace) -> command.Answer:
    """Start a conversation, or answer one question."""
    if not args.question and not args.json and sys.stdin.isatty() and sys.stdout.isatty():
        return _converse(args)
    question = " ".join(args.question) or _piped()
    if not question.strip():
        text, remedy = "The question is empty.", "Write it behind the agent, or pipe it to stdin."
        raise UsageError("question_missing", text, remedy)
    return _answer(args, question)


def _piped() -> str:
    return sys.stdin.buffer.read().decode(errors="replace").strip()


def _answer(args: argparse.Namespace, question: str) -> command.Answer:
    from ...chat.api import Message, Part
    from .. import chat_session

    agent, at = _connect(args, args.agent)
    messages: list[Message] = [{"role": "system", "content": args.system}] if args.system else []
    messages.append({"role": "user", "content": question})

    screen = chat_session.Screen() if sys.stdout.isatty() else None

    def show(part: Part) -> None:
        if args.json:
            return
        if screen:
            screen.part(part._replace(reasoning=""))
        else:
            print(part.text, end="", flush=True)

    begun = time.monotonic()
    found = chat_session.receive(at, agent, messages, show, args.max_tokens)
    if not args.json:
        print()
    result = {
        "agent": args.agent,
        "model": agent["model"],
        "answer": found.text,
        "finish_reason": found.reason,
        "usage": found.usage,
        "seconds": round(time.monotonic() - begun, 3),
    }
    return result, ""


def _converse(args: argparse.Namespace) -> command.Answer:
    from .. import chat_lines, chat_session

    connection = _connect(args, args.agent)
    history = chat_lines.History(chat_lines.state_file(), (connection.at.key,) if connection.at.key else ())
    chat_session.Session(
        connection, lambda name: _connect(args, name), _switch, system=args.system, max_tokens=args.max_tokens
    ).run(history)
    return None, ""


def _connect(args: argparse.Namespace, name: str) -> Connection:
    from ...chat import endpoint
    from .. import chat_session

    plan = deployed.load()
    agent = deployed.find(plan, name)
    return chat_session.Connection(agent, endpoint.find(plan, agent, args.key))


def _switch(words: list[str]) -> str:
    """Run the command switch, which reports its progress on stderr, and return its result as a sentence."""
    switch = command.load("switch")
    args = switch.parser().parse_args(words)
    args.implicit = False
    switch.check(args)
    return switch.run(args)[1]
