"""Each line of the users' guide has a row in the migration table, or a reason why it needs none.

The guide is not in this repository. With the guide, run `docs/guide.py GUIDE` to compare it with the facts here and to
print each line's verdict.
"""

import re
import subprocess
import sys

import pytest
from guide import DOCUMENT, GUIDE, LINES, RULED, reason_of, rows_of

from roundhouse.cli import command
from roundhouse.gateway import client_config
from roundhouse.migrate import agent
from roundhouse.migrate.report import Setting, Source
from roundhouse.paths import CHECKOUT as ROOT

VERDICTS = ("as written", "as follows", "cannot")
OPTIONS = {"--launch": "", "--gpu-stats": "gpu", "--logs": "logs", "--status": "status", "--stop": "stop"}


def first(text):
    """Return the rows whose first cell contains a text."""
    return [row for row in RULED if text in row[0]]


def test_each_line_of_the_guide_is_covered_once():
    assert [first for first, _, *_ in LINES] == [1, *(last + 1 for _, last, *_ in LINES[:-1])]
    assert LINES[-1][1] == 638


@pytest.mark.parametrize(("first", "last", "keys"), [(first, last, keys) for first, last, *keys in LINES])
def test_each_line_has_its_rows_or_a_reason(first, last, keys):
    assert reason_of(keys) or [len(rows_of(key)) for key in keys] == [1] * len(keys)


def test_each_row_has_a_line_of_the_guide_or_a_request():
    told = {row[0] for _, _, *keys in LINES for key in keys for row in rows_of(key)}
    assert [row[0] for row in RULED if row[0] not in told and row[0].strip("`") not in GUIDE["also_asked_for"]] == []


def compared(*words):
    """Return the exit status and the error output of docs/guide.py."""
    command = [sys.executable, ROOT / "docs/guide.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_another_guide_is_refused(tmp_path):
    (tmp_path / "guide.md").write_text("# Another\n")
    status, said = compared(tmp_path / "guide.md")
    assert status == 1
    assert "is not the text that" in said


@pytest.mark.parametrize(
    ("words", "part"), [((), "write the guide's file"), (("nosuch.md",), "No such file"), (("a", "b"), "write the")]
)
def test_without_a_guide_the_program_prints_its_usage(words, part):
    status, said = compared(*words)
    assert (status, said.count("\n"), part in said) == (2, 1, True)
    assert said.endswith("docs/guide.py GUIDE\n")


def test_each_row_has_a_verdict_and_a_replacement_or_a_reason():
    assert len(RULED) > 50
    assert [row for row in RULED if row[1] not in VERDICTS or len(row[2]) < 10] == []


@pytest.mark.parametrize("command", [*GUIDE["commands"], *GUIDE["also_asked_for"]])
def test_each_command_of_the_guide_has_its_row(command):
    assert [row[0] for row in first(command) if row[0] == f"`{command}`"] == [f"`{command}`"]


@pytest.mark.parametrize("what", [*GUIDE["settings"], *GUIDE["snippets"], *GUIDE["figures"]])
def test_each_setting_snippet_and_figure_of_the_guide_is_in_a_row(what):
    assert first(what)


@pytest.mark.parametrize(("name", "told"), GUIDE["settings"].items())
def test_import_reports_each_setting(name, told):
    value, outcome = told
    entries = [Setting(1, "env", "MODEL", "Qwen/Qwen2.5-7B-Instruct-AWQ", "")]
    entries += [Setting(2, "env", each, other, each) for each, (other, _) in GUIDE["settings"].items() if each != name]
    made = agent.import_source(Source("guide", 1, ("po",), (*entries, Setting(3, "env", name, value, name))))
    (line,) = [line for line in made.lines if line.number == 3]
    assert line.outcome == outcome


def test_rows_that_work_as_written_name_existing_commands():
    for row in first("agent_manager.py"):
        option = next(word for word in row[0].split() if word.startswith("--")).rstrip("`")
        assert row[1] == "as written"
        assert OPTIONS[option] in ("", *command.NAMES)
        assert (ROOT / "scripts/agent_manager.py").is_file()


def test_commands_named_in_the_document_exist():
    words = {*command.NAMES}
    agents = {"architect", "dev", "po"}
    named = set(re.findall(r"(?:roundhouse|scripts/switch\.py) ([a-z][a-z-]+)", DOCUMENT))
    assert named - words - agents == set()
    for client in re.findall(r"client-config ([a-z]+)", DOCUMENT):
        assert client in client_config.CLIENTS


def test_examples_named_in_the_document_exist():
    named = re.findall(r"(examples/[\w.]+)", DOCUMENT)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []
