"""Hold a conversation with an agent in a terminal, with commands that begin with a slash."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from ..chat import api
from ..chat.api import Message, Part
from ..chat.endpoint import Endpoint
from ..errors import RoundhouseError
from ..schema.plan import Agent
from ..util import console
from ..util.suggest import did_you_mean
from . import chat_lines
from .chat_waiting import Waiting
from .chat_wrap import Wrap

HELP = """\
/switch AGENT   activate another agent, and continue with it
/system TEXT    set the system prompt; without TEXT, remove it
/clear          start a new conversation; the system prompt stays
/help           show this list
/quit           end, as Ctrl-D

A line that ends in \\ continues on the next line. Lines between \"\"\" are one message.
Ctrl-C stops an answer. A message that begins with / needs a space before it."""
# A model must not control the terminal; tabs and line breaks remain.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


class Answer(NamedTuple):
    """Hold an answer; `reason` is None for one that was stopped."""

    text: str
    reason: str | None
    usage: dict[str, int] | None


def receive(
    at: Endpoint, agent: Agent, messages: list[Message], show: Callable[[Part], None], max_tokens: int | None = None
) -> Answer:
    """Return the whole answer; each part is shown as it arrives. Raises RoundhouseError.

    KeyboardInterrupt ends the answer at the agent too, and goes to the caller as `Stopped`.
    """
    said: list[str] = []
    reason, usage, waiting = None, None, Waiting(agent)
    with closing(api.ask(at, messages, waiting, max_tokens)) as parts:
        try:
            for part in parts:
                waiting.clear()
                said.append(part.text)  # first: what Ctrl-C leaves on the screen is part of the conversation
                show(part)
                reason, usage = part.reason or reason, part.usage or usage
        except KeyboardInterrupt:
            raise Stopped("".join(said)) from None
        finally:
            waiting.clear()
    return Answer("".join(said), reason, usage)


class Stopped(KeyboardInterrupt):
    """Raised for an answer that Ctrl-C stopped; `text` is its beginning."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Connection(NamedTuple):
    """Hold an agent of the plan, and where it answers."""

    agent: Agent
    at: Endpoint


class Session:
    """One conversation. `connect` finds an agent by its name; `switch` activates it and reports its progress."""

    def __init__(
        self,
        connection: Connection,
        connect: Callable[[str], Connection],
        switch: Callable[[list[str]], str],
        system: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._connection, self._connect, self._switch = connection, connect, switch
        self._system, self._max_tokens = system, max_tokens
        self._messages: list[Message] = []
        self._ended = False  # by a signal: the terminal or the host ends
        self._commands: dict[str, Callable[[str], None]] = {
            "/switch": self._switch_to,
            "/system": self._set_system,
            "/clear": self._clear,
            "/help": lambda _: print(console.wrapped(HELP)),
        }

    def run(self, history: chat_lines.History) -> None:
        """Read messages and show the answers until Ctrl-D or /quit. Raises KeyboardInterrupt for a signal."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end)
        history.load()
        name, model = self._name, self._connection.agent["model"]
        print(console.wrapped(f"{name} ({model}). /help lists the commands; Ctrl-D ends."))
        while True:
            try:
                message = chat_lines.read_message(f"{self._name}> ", history.read_line)
                if message.strip() in ("/quit", "/exit"):
                    return
                self._handle(message)
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()
                if self._ended:
                    raise
            except RoundhouseError as error:
                console.refuse(error, as_json=False)
                if self._ended:  # while a switch was rolled back
                    raise KeyboardInterrupt from None

    @property
    def _name(self) -> str:
        return self._connection.agent["name"]

    def _end(self, number: int, frame: object) -> None:
        self._ended = True
        raise KeyboardInterrupt

    def _handle(self, message: str) -> None:
        """Do a command, or ask the agent."""
        if message.startswith("/"):
            word, _, rest = message.partition(" ")
            if word not in self._commands:
                remedy = did_you_mean(word, self._commands, "/help lists the commands.")
                raise RoundhouseError("unknown_chat_command", "{word} is not a command.", remedy, word=word)
            self._commands[word](rest.strip())
        elif message.strip():
            self._ask(message.strip())

    def _ask(self, question: str) -> None:
        asked: Message = {"role": "user", "content": question}
        system: list[Message] = [{"role": "system", "content": self._system}] if self._system else []
        connection, show = self._connection, Screen()
        messages = [*system, *self._messages, asked]
        try:
            answer = receive(connection.at, connection.agent, messages, show.part, self._max_tokens)
        except Stopped as stopped:
            self._keep(asked, stopped.text)
            print("\n(stopped)" if show.began else "", end="" if show.began else "(stopped)", flush=True)
            raise
        except RoundhouseError:
            if show.began:
                print()
            raise
        self._keep(asked, answer.text)
        print()
        if answer.reason == "length":
            print("(the answer ended at the limit of its length)")

    def _keep(self, asked: Message, text: str) -> None:
        """Keep a question with its answer; a question without one is forgotten, because roles have to alternate."""
        if text:
            self._messages += [asked, {"role": "assistant", "content": text}]

    def _switch_to(self, rest: str) -> None:
        if not rest:
            raise RoundhouseError("agent_missing", "/switch has no agent.", "Write /switch AGENT.")
        print(console.wrapped(self._switch(rest.split())), flush=True)
        self._connection = self._connect(rest.split(maxsplit=1)[0])
        many = len(self._messages)
        kept = f"The conversation continues, with {many} messages; /clear starts a new one." if many else ""
        print(console.wrapped(f"The model is now {self._connection.agent['model']}. {kept}".rstrip()))

    def _set_system(self, text: str) -> None:
        self._system = text or None
        print("The system prompt is set." if text else "The system prompt is removed.")

    def _clear(self, _: str) -> None:
        self._messages = []
        print("The conversation is empty.")


class Screen:
    """Prints the parts of one answer, broken at words; reasoning is dim."""

    def __init__(self) -> None:
        self.began = False
        self._dim = False
        self._wrap = Wrap(console.width())

    def part(self, part: Part) -> None:
        """Print a part."""
        if part.reasoning:
            self._print(part.reasoning, dim=True)
        if part.text:
            self._print(part.text, dim=False)

    def _print(self, text: str, *, dim: bool) -> None:
        mark = "" if dim == self._dim else _DIM if dim else _PLAIN
        between = "\n\n" if self._dim and not dim else ""
        self.began, self._dim = True, dim
        sys.stdout.write(mark + self._wrap.add(between + _CONTROL.sub("", text)))
        sys.stdout.flush()
