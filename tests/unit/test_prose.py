"""Tests of `lab/lint_prose.py`: each kind of text is read, and each kind of problem is found."""

import subprocess
import sys
from pathlib import Path

import lint_prose
import pytest

ROOT = Path(__file__).resolve().parents[2]
LONG = "The command " + "really " * 24 + "ends."  # 27 words


def found(reader, source):
    """Return the problems of a text, each with its line."""
    return [(piece.line, problem) for piece in reader(source) for problem in lint_prose.problems(piece)]


@pytest.mark.parametrize(
    ("reader", "source", "line"),
    [
        (lint_prose.markdown, f"# Title\n\n{LONG}\n", 3),
        (lint_prose.markdown, f"- one\n- {LONG}\n", 2),
        (lint_prose.markdown, f"| a | b |\n|---|---|\n| x | {LONG} |\n", 3),
        (lint_prose.python, f'"""Module.\n\n{LONG}\n"""\n', 1),
        (lint_prose.python, f"x = 1\n# {LONG}\n", 2),
        (lint_prose.python, f"x = 1\nraise ValueError(f'{LONG} {{x}}')\n", 2),
        (lint_prose.yaml, f"- name: {LONG}\n", 1),
        (lint_prose.yaml, f"a: 1  # {LONG}\n", 1),
        (lint_prose.template, "a = b\n{# " + LONG + " #}\n", 2),
        (lint_prose.hashed, f"#!/bin/sh\n# {LONG}\n", 2),
        (lint_prose.makefile, f"# Ours.\nall: one ## {LONG}\n", 2),
        (lint_prose.makefile, f"all: one\n# {LONG}\n", 2),
        (lint_prose.lua, f"local a = 1\n-- {LONG}\n", 2),
        (lint_prose.lua, f"local a = 1 -- {LONG}\n", 1),
    ],
)
def test_a_long_sentence_is_found_in_every_kind_of_text(reader, source, line):
    assert found(reader, source) == [(line, "27 words in a sentence (at most 25): " + LONG[:57] + "...")]


def test_a_sentence_over_several_lines_of_a_comment_is_one_sentence():
    words = LONG.split()
    source = "# " + " ".join(words[:14]) + "\n# " + " ".join(words[14:]) + "\n"
    assert [line for line, _ in found(lint_prose.python, source)] == [1]


@pytest.mark.parametrize(
    ("text", "banned"),
    [
        ("The port of who answers is open.", "of who"),
        ("Nobody starts it.", "Nobody"),
        ("The value is no number.", "is no"),
        ("The switch goes\non.", "goes on"),
        ("It is told which agent runs.", "is told"),
    ],
)
def test_a_banned_phrase_is_found(text, banned):
    assert [problem.split(":")[0] for _, problem in found(lint_prose.markdown, text)] == [repr(banned)]


@pytest.mark.parametrize(
    ("source", "banned"),
    [
        ("def test_nobody(): ...", "nobody"),
        ("def test_it_goes_on(host): ...", "goes on"),
        ("def wait_as_is_told(host): ...", "is told"),
        ("async def _it_goes_on(): ...", "goes on"),
        ("class ItGoesOn: ...", "Goes On"),
    ],
)
def test_a_banned_phrase_in_a_name_is_found(source, banned):
    assert [(line, problem.split(":")[0]) for line, problem in found(lint_prose.python, source)] == [(1, repr(banned))]


@pytest.mark.parametrize("name", ["nobody", "is_no", "test_" + "_".join(["long"] * 30)])
def test_short_names_and_the_length_of_names_are_not_checked(name):
    assert found(lint_prose.python, f"def {name}(): ...\n") == []


def test_comments_behind_lines_of_lua_are_separate():
    source = "".join(f"local v{number} = 1 -- {' '.join(['word'] * 20)}\n" for number in range(3))
    assert found(lint_prose.lua, source) == []


@pytest.mark.parametrize(
    ("text", "word", "term"),
    [
        ("The agent that serves answers.", "agent that serves", "active agent"),
        ("It returns an exit code.", "exit code", "exit status"),
        ("The directory is empty.", "directory", "folder"),
    ],
)
def test_a_word_that_the_glossary_excludes_is_found(text, word, term):
    problem = f"{word!r}: write {term!r}, the term for it"
    assert found(lint_prose.markdown, text) == [(1, problem)]


def test_no_term_of_the_glossary_is_excluded_by_it():
    for term in lint_prose.RULES["terms"]:
        assert found(lint_prose.markdown, f"The {term} is named.") == []


def test_every_tracked_kind_of_file_has_its_reader():
    names = {Path(name).name: name for name in lint_prose.tracked()}
    assert {"Makefile", "hold.lua", "README.md", "prose.toml"} - names.keys() == {"prose.toml"}
    assert lint_prose.reader("roles/x/files/y.lua") is lint_prose.lua
    assert lint_prose.reader("LICENSE") is None


@pytest.mark.parametrize(
    "text",
    [
        "There is no plan on this host.",
        "The engine is no longer running.",
        "A user who has a key may ask.",
        "Use vLLM 0.32.0, e.g. with `who serves`. It starts.",
        "The agent and its engine run on [the host](https://example.org/who-serves).",
    ],
)
def test_plain_english_passes(text):
    assert found(lint_prose.markdown, text) == []


def test_a_docstring_that_starts_with_a_question_word_is_found():
    assert "starts with 'What'" in found(lint_prose.python, '"""What it does."""\n')[0][1]
    assert found(lint_prose.python, '"""Return what it does."""\n') == []


def test_code_blocks_and_generated_blocks_are_not_prose():
    assert found(lint_prose.markdown, f"```text\n{LONG}\n```\n\n<!-- {LONG} -->\n") == []


def test_the_program_names_file_and_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Fine.\n\nNobody starts it.\n")
    command = [sys.executable, "lab/lint_prose.py", str(page)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"{page}:3: 'Nobody': write ")
