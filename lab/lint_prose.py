#!/usr/bin/env python3
"""Check what people read: the length of sentences, banned words, the start of docstrings, subjects of commits.

    lint_prose.py [PATH...]

The check reads Markdown; docstrings, comments, messages and names of Python; names and comments of YAML. It also reads
the texts of the Makefile, and comments of Lua, shell scripts and templates. Without PATH it reads every tracked file.
`lab/prose.toml` has the rules and the glossary. The check prints a line `PATH:LINE: problem` for each problem. It exits
with 1 if there is a problem.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import tomllib

ROOT = Path(__file__).resolve().parents[1]
RULES = tomllib.loads((ROOT / "lab/prose.toml").read_text())
# The subjects that are checked are those of commits after the one that brought the check.
OWN = "lab/lint_prose.py"

# An abbreviation's full stop ends no sentence, nor does one within a number or a name.
_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)[.!?][\"')\]*_]*(?=\s|$)")
_WORD = re.compile(r"[^\W_][\w'./:=<>%+-]*")


# One pattern for each term: the words that the glossary excludes, and the term.
_TERMS = {rf"\b({'|'.join(words)})\b": f"{term!r}, the term for it" for term, words in RULES["terms"].items()}


class Text(NamedTuple):
    """A piece of prose: its first line, the text, and whether it is a docstring or a name in code."""

    line: int
    text: str
    docstring: bool = False
    name: bool = False


def sentences(text: str) -> list[str]:
    """Split prose into sentences, with each piece of code as one word."""
    plain = re.sub(r"``?[^`]+``?", "code", text)
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"<[^>\n]+>|https?://\S+", "code", plain)
    return [part.strip() for part in _END.split(re.sub(r"\s+", " ", plain)) if part.strip()]


def problems(piece: Text) -> Iterator[str]:
    """Yield what breaks a rule in a piece of prose."""
    for sentence in [] if piece.name else sentences(piece.text):
        count = len(_WORD.findall(sentence))
        if count > RULES["max_words"]:
            yield f"{count} words in a sentence (at most {RULES['max_words']}): {_short(sentence)}"
    flat = re.sub(r"\s+", " ", re.sub(r"``?[^`]+``?", "code", piece.text))
    for pattern, instead in {**RULES["banned"], **_TERMS}.items():
        for found in re.finditer(pattern, flat, re.IGNORECASE):
            yield f"{found[0].strip()!r}: write {instead}"
    if piece.docstring:
        for pattern, instead in RULES["docstring"].items():
            if re.match(pattern, piece.text.strip()):
                yield f"docstring starts with {piece.text.split()[0]!r}: {instead}"


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= 60 else sentence[:57] + "..."


def markdown(source: str) -> Iterator[Text]:
    """Yield paragraphs, list items, headings and table cells; code blocks and generated blocks are left out."""
    start, lines, within = 0, [], ""
    for number, line in enumerate([*source.splitlines(), ""], 1):
        stripped = line.strip()
        fence = re.match(r"(```+|~~~+)", stripped)
        if within:
            closes = stripped.startswith(within) if within != "-->" else "-->" in stripped
            within = "" if closes else within
            continue
        opens = "-->" if stripped.startswith("<!--") and "-->" not in stripped else fence[1] if fence else ""
        item = re.match(r"([-*+]|\d+\.|#+|>|\||!!!|\?\?\?|:)\s*", stripped)
        if lines and (not stripped or item or opens or stripped.startswith("<!--")):
            yield Text(start, " ".join(lines))
            lines = []
        within = opens
        if opens or not stripped or stripped.startswith("<!--"):
            continue
        if item and item[1] == "|":
            yield from (Text(number, cell.strip()) for cell in stripped.strip("|").split("|") if cell.strip(" :-"))
            continue
        if not lines:
            start = number
        lines.append(stripped[item.end() :] if item else stripped)


def _comments(rows: Iterable[tuple[int, str]]) -> Iterator[Text]:
    """Join comments on consecutive lines; a blank comment, a list item or a ruler starts a new piece."""
    start, last, lines = 0, -1, []
    for number, text in rows:
        body = text.strip()
        new_piece = number != last + 1 or not body or re.match(r"[-*]\s|\w+:$|\w+:\w+ {2}", body)
        if lines and new_piece:
            yield Text(start, " ".join(lines))
            lines = []
        last = number
        if not body or re.match(r"(noqa|type:|shellcheck|yamllint|!|\$ )", body):
            continue
        if not lines:
            start = number
        lines.append(body)
    if lines:
        yield Text(start, " ".join(lines))


def python(source: str) -> Iterator[Text]:
    """Yield docstrings, comments, string literals that are sentences, and names of functions and classes."""
    tree = ast.parse(source)
    documented = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _names(node)
            text = ast.get_docstring(node)
            if text:
                value = node.body[0].value
                documented.add(id(value))
                for index, part in enumerate(re.split(r"\n\s*\n", text)):
                    yield from _paragraph(value.lineno, part, docstring=index == 0)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        text = _literal(node) if id(node) not in documented | inner else None
        if text and _is_message(text):
            yield Text(node.lineno, text)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = (token for token in tokens if token.type == tokenize.COMMENT)
    yield from _comments((comment.start[0], comment.string.lstrip("#")) for comment in comments)


def _paragraph(line: int, text: str, docstring: bool) -> Iterator[Text]:
    """Yield a docstring's paragraph; an indented one is an example, and an item of a list is a piece of its own."""
    if text.startswith("    "):
        return
    for index, part in enumerate(re.split(r"\n(?=\s*[-*] |\s*[\w.]+: )", text)):
        yield Text(line, part, docstring and index == 0)


def _names(node: ast.AST) -> Iterator[Text]:
    """Yield the name of a test, or of a function or class with at least three words, as words."""
    if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).strip("_").split("_")
    if len(words) >= RULES["min_name_words"] or words[0] == "test":
        yield Text(node.lineno, " ".join(words), name=True)


def _literal(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "value" for part in node.values)
    return None


def _is_message(text: str) -> bool:
    """Return whether a literal is prose: several words of letters, without the marks of code."""
    if re.match(r"\w+(Error|Exception): ", text):
        return False  # another program's message, quoted
    words = text.split()
    letters = sum(word.strip(".,:;()'\"").isalpha() for word in words)
    return len(words) >= 4 and letters >= 0.6 * len(words) and "\n" not in text.strip() and "\\" not in text


def yaml(source: str) -> Iterator[Text]:
    """Yield names, descriptions and messages on one line, and comments."""
    rows = []
    for number, line in enumerate(source.splitlines(), 1):
        value = re.match(r"\s*(?:- )?(?:name|description|short_description|msg|fail_msg|success_msg|title): (.+)", line)
        if value and not value[1].startswith((">", "|", "&", "*", "[", "{")):
            yield Text(number, re.sub(r"\{\{.*?\}\}", "value", value[1].strip("\"'")))
        comment = re.search(r"(?:^|\s)# ?(.*)", line)
        if comment and line.count('"') % 2 == 0:
            rows.append((number, comment[1]))
    yield from _comments(rows)


def hashed(source: str) -> Iterator[Text]:
    """Yield comments that start with a hash at the start of a line."""
    lines = enumerate(source.splitlines(), 1)
    yield from _comments((number, line.strip()[1:]) for number, line in lines if re.match(r"\s*#(?!!)", line))


def template(source: str) -> Iterator[Text]:
    """Yield comments of a template: its own, and those of what it writes."""
    yield from hashed(source)
    for found in re.finditer(r"\{#-?(.*?)-?#\}", source, re.DOTALL):
        yield Text(source.count("\n", 0, found.start()) + 1, found[1])


def makefile(source: str) -> Iterator[Text]:
    """Yield the texts of targets, which `make help` prints, and comments."""
    yield from hashed(source)
    for number, line in enumerate(source.splitlines(), 1):
        target = re.match(r"[\w.-]+:[^#]*#+ (.+)", line)
        if target:
            yield Text(number, target[1])


def lua(source: str) -> Iterator[Text]:
    """Yield comments; one behind code is a piece of its own."""
    rows = []
    for number, line in enumerate(source.splitlines(), 1):
        comment = re.search(r"(^|\s)--+(?!\[)(.*)", line)
        if comment and line[: comment.start()].strip():
            yield Text(number, comment[2].strip())
        elif comment:
            rows.append((number, comment[2]))
    yield from _comments(rows)


READERS: dict[str, Callable[[str], Iterator[Text]]] = {
    ".md": markdown,
    ".py": python,
    ".yml": yaml,
    ".yaml": yaml,
    ".j2": template,
    ".sh": hashed,
    ".in": hashed,
    ".cfg": hashed,
    ".toml": hashed,
    ".lua": lua,
    "Makefile": makefile,
}


def reader(name: str) -> Callable[[str], Iterator[Text]] | None:
    """Return the reader for a path: by its suffix, or by its name if it has none."""
    return READERS.get(Path(name).suffix or Path(name).name)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True).stdout


def tracked() -> list[str]:
    """Return the files of the checkout that have a reader, without links and what is excluded."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    kept = [name for name in names if reader(name) and not name.startswith(tuple(RULES["exclude"]))]
    return [name for name in kept if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def check(name: str) -> Iterator[str]:
    """Yield the problems of a file, one line each."""
    read = reader(name)
    for piece in read((ROOT / name).read_text()) if read else ():
        yield from (f"{name}:{piece.line}: {problem}" for problem in problems(piece))


def subjects() -> Iterator[str]:
    """Yield the commits whose subject is too long or has no area, of those after the one that brought this check."""
    first = _git("log", "--diff-filter=A", "--format=%H", "--", OWN).split()
    log = _git("log", "--no-merges", "--format=%h %s", f"{first[-1]}..HEAD") if first else ""
    for commit, subject in (line.split(" ", 1) for line in log.splitlines()):
        if len(subject) > RULES["max_subject"]:
            yield f"commit {commit}: {len(subject)} characters in the subject (at most {RULES['max_subject']})"
        if not re.match(r"[\w./, -]+: \S", subject):
            yield f"commit {commit}: the subject {subject!r} is not of the form 'area: change'"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main() -> int:
    """Check the files that are named, or everything. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files to check (default: every tracked file)")
    arguments = parser.parse_args()
    named = [_name(Path(path).resolve()) for path in arguments.paths]
    found = [problem for name in named or tracked() for problem in check(name)]
    found += [] if named else subjects()
    print(*found, sep="\n", end="\n" if found else "")
    print(f"prose: {len(found)} problems" if found else "prose: no problems", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
