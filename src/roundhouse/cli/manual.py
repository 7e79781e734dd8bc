"""Make the list of commands, the man page and the shell's completion from the help of the commands."""

from __future__ import annotations

from ..util import console
from . import command

PAGES = ("man", "completion")
ABOUT_AN_AGENT = ("switch", "chat", "bench", "logs", "stop")  # an agent's name follows
EPILOG = """\
exit status:
  0    done
  1    failed; the message states the cause, and after a switch the active agent
  2    wrong usage, or no valid plan
  130  interrupted
"""

_COMPLETION = """\
# bash completion of roundhouse, made by `roundhouse help completion`.
_roundhouse() {{
  local command="" at words="" options current=${{COMP_WORDS[COMP_CWORD]}} agents
  agents=$(python3 -c 'import json; print(*(a["name"] for a in json.load(open("{plan}"))["agents"]))' 2>/dev/null)
  for ((at = 1; at < COMP_CWORD; at++)); do
    case "${{COMP_WORDS[at]}}" in --on) ((at++)) ;; -*) ;; *) command=${{COMP_WORDS[at]}}; break ;; esac
  done
  case "$command" in
    "") words="$agents {names}" options="--help --json --on" ;;
{cases}
    *) options="{switch}" ;;
  esac
  [[ $current == -* ]] && words=$options
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _roundhouse roundhouse switch.py
"""


def overview(program: str | None = None) -> console.Parser:
    """Return the parser with the list of commands in its help."""
    called = program or console.command_name()
    made = console.Parser(
        prog=called,
        usage=f"{called} COMMAND [ARGUMENT ...] [OPTION ...]\n       {called} AGENT [OPTION ...]",
        description="Switch the LLM agent on the GPU, and manage agents, models and clients.",
        epilog="\n\n".join([*(_group(title, helps) for title, helps in command.GROUPS.items()), EPILOG]),
    )
    made.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    made.add_argument("--on", metavar="HOST", help=command.ON_SHORT)
    made.add_argument("--check", metavar="PLAN", help="check whether a plan file is valid")
    return made


def _group(title: str, helps: dict[str, str]) -> str:
    lines = [f"{title}:", *(f"  {name:<14}{text}" for name, text in helps.items())]
    if title == "switch":
        lines.append("  AGENT         same as switch AGENT")
    return "\n".join(lines)


def of_command(name: str, program: str | None = None) -> console.Parser:
    """Return the parser of a command. Raises UsageError."""
    return command.load(name).parser(program)


def completion(plan: str) -> str:
    """Return a script for bash that completes agents, commands and each command's options; `plan` is plan.json."""
    names = " ".join(command.NAMES)
    words = dict.fromkeys(ABOUT_AN_AGENT, "$agents") | {"help": f"{' '.join(PAGES)} {names}"}
    cases = [f'    {name}) words="{words.get(name, "")}" options="{_options(name)}" ;;' for name in command.NAMES]
    return _COMPLETION.format(plan=plan, names=names, cases="\n".join(cases), switch=_options("switch"))


def _options(name: str) -> str:
    return " ".join(sorted(option for option in of_command(name).options() if option.startswith("--")))


def page() -> str:
    """Return the manual page, for man: the list of commands, then the help of each."""
    usage, _, rest = console.help_text(overview("roundhouse"), console.MAN_WIDTH).partition("\n\n")
    about, *sections = rest.rstrip().split("\n\n")
    parts = [
        '.TH ROUNDHOUSE 1 "" "Roundhouse"',
        ".SH NAME",
        f"roundhouse \\- {_escaped(about[:1].lower() + about[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        ".nf",
        _escaped("\n".join(line.strip() for line in usage.removeprefix("usage: ").splitlines())),
        ".fi",
    ]
    for section in sections:
        title, _, body = section.partition(":")
        body = body.removeprefix("\n") if body.startswith("\n") else body.strip()
        parts += [f".SH {title.upper()}", ".nf", _escaped(body.rstrip()), ".fi"]
    parts.append(".SH COMMANDS")
    for name in command.NAMES:
        text = console.help_text(of_command(name, "roundhouse"), console.MAN_WIDTH).rstrip()
        parts += [f".SS {name}", ".nf", _escaped(text), ".fi"]
    return "\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    r"""Return the text escaped for troff: no line begins with a dot or a quote, a hyphen is \-."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{each}" if each.startswith((".", "'")) else each for each in plain.splitlines())
