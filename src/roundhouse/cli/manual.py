"""The words about models, each with its line of help. Apart from what they do: who switches must not load that.

The man page and the shell's completion, made of the command's own help: one text, three places.
"""

from __future__ import annotations

import argparse
import re

from ..util import console

WORDS = {
    "pull": "Bring models into the store: what is missing, whole or not at all.",
    "verify": "Read every byte of the store again, without a network.",
    "models": "List what the store holds, whose it is, and since when it is verified.",
    "prune": "Remove what no plan and no way back needs; asks first.",
    "quantize": "Make a quantized model, and admit it when the engine says that it still speaks.",
    "export": "Pull models into a folder for a host without internet: models_source there.",
}


ABOUT_AN_AGENT = ("bench", "logs", "stop")  # words that an agent's name follows
PAGES = ("man", "completion")

_COMPLETION = """\
# bash completion of roundhouse, made by `roundhouse help completion`.
_roundhouse() {{
  local agents
  agents=$(python3 -c 'import json; print(*(a["name"] for a in json.load(open("{plan}"))["agents"]))' 2>/dev/null)
  case "${{COMP_WORDS[COMP_CWORD-1]}}" in
    {about}) COMPREPLY=($(compgen -W "$agents" -- "${{COMP_WORDS[COMP_CWORD]}}")); return ;;
    help) COMPREPLY=($(compgen -W "{pages}" -- "${{COMP_WORDS[COMP_CWORD]}}")); return ;;
  esac
  COMPREPLY=($(compgen -W "$agents {words}" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -F _roundhouse roundhouse switch.py
"""


def completion(parser: argparse.ArgumentParser, plan: str) -> str:
    """Return a script for bash that completes agents, words and options."""
    told = re.findall(r"^  ([a-z][a-z-]+) ", parser.epilog or "", re.MULTILINE)
    options = sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", console.help_text(parser))))
    words = " ".join([*dict.fromkeys([*told, *WORDS]), *options])
    return _COMPLETION.format(plan=plan, about="|".join(ABOUT_AN_AGENT), pages=" ".join(PAGES), words=words)


def page(parser: argparse.ArgumentParser) -> str:
    """Return the manual page, for man: the help's own sections under a manual's headings."""
    usage, _, rest = console.help_text(parser).partition("\n\n")
    synopsis = " ".join(usage.removeprefix("usage: ").split()).replace("switch.py", "roundhouse")
    about = (parser.description or "").rstrip(".")
    parts = [
        '.TH ROUNDHOUSE 1 "" "Roundhouse"',
        ".SH NAME",
        f"roundhouse \\- {_escaped(about[:1].lower() + about[1:])}",
        ".SH SYNOPSIS",
        _escaped(synopsis),
    ]
    for section in rest.split("\n\n")[1:]:
        title, _, body = section.partition(":\n")
        if not body:
            title, _, body = section.partition(": ")
        parts += [f".SH {title.upper()}", ".nf", _escaped(body.rstrip()), ".fi"]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    r"""Return text that troff takes as it is: a line must not begin with a dot or a quote, a hyphen is \-."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{each}" if each.startswith((".", "'")) else each for each in plain.splitlines())
