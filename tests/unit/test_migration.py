"""Nothing of the users' guide is silently dropped: each of its settings, commands, snippets and figures has a row."""

import json
import re
from pathlib import Path

import pytest

from roundhouse import cli, clients, import_agent
from roundhouse.import_source import Entry, Source

ROOT = Path(__file__).resolve().parents[2]
GUIDE = json.loads((ROOT / "tests/fixtures/guide.json").read_text())
DOCUMENT = (ROOT / "docs/migration.md").read_text()
VERDICTS = ("as written", "as follows", "cannot", "not built yet")
# The rows of the guide's tables have three cells; what `import` prints has four, what becomes of Ollama's two.
ROWS = [row for line in DOCUMENT.splitlines() if len(row := re.split(r"(?<!\\) \| ", line.strip("| "))) == 3]
RULED = [row for row in ROWS if row[0] not in ("the guide", "---|---|---")]
OPTIONS = {"--launch": "", "--gpu-stats": "gpu", "--logs": "logs", "--status": "status", "--stop": "stop"}


def first(text):
    """Return the rows that are about a text, by their first cell."""
    return [row for row in RULED if text in row[0]]


def test_each_row_has_a_verdict_and_a_way_or_a_reason():
    assert len(RULED) > 50
    assert [row for row in RULED if row[1] not in VERDICTS or len(row[2]) < 10] == []


@pytest.mark.parametrize("command", [*GUIDE["commands"], *GUIDE["also_asked_for"]])
def test_each_command_of_the_guide_has_its_row(command):
    assert [row[0] for row in first(command) if row[0] == f"`{command}`"] == [f"`{command}`"]


@pytest.mark.parametrize("what", [*GUIDE["settings"], *GUIDE["snippets"], *GUIDE["figures"]])
def test_each_setting_snippet_and_figure_of_the_guide_is_in_a_row(what):
    assert first(what)


@pytest.mark.parametrize(("name", "told"), GUIDE["settings"].items())
def test_import_says_of_each_setting_what_the_guide_could_not(name, told):
    value, fate = told
    entries = [Entry(1, "env", "MODEL", "Qwen/Qwen2.5-7B-Instruct-AWQ", "")]
    entries += [Entry(2, "env", each, other, each) for each, (other, _) in GUIDE["settings"].items() if each != name]
    made = import_agent.make(Source("guide", 1, ("po",), (*entries, Entry(3, "env", name, value, name))))
    (line,) = [line for line in made.lines if line.number == 3]
    assert line.fate == fate


def test_what_works_as_written_is_a_word_that_is_there():
    for row in first("agent_manager.py"):
        option = next(word for word in row[0].split() if word.startswith("--")).rstrip("`")
        assert row[1] == "as written"
        assert OPTIONS[option] in ("", *cli.WORDS)
        assert (ROOT / "scripts/agent_manager.py").is_file()


def test_what_is_not_built_is_not_there_and_is_not_said_to_be():
    for row in RULED:
        for file in re.findall(r"\b(\w+\.py)\b", row[0]):
            assert (ROOT / "scripts" / file).exists() == (row[1] != "not built yet"), row


def test_the_commands_that_the_document_names_exist():
    words = {*cli.WORDS, *cli.WITH_A_PARSER, "doctor", "help"}
    agents = {"architect", "dev", "po"}
    named = set(re.findall(r"(?:roundhouse|scripts/switch\.py) ([a-z][a-z-]+)", DOCUMENT))
    assert named - words - agents == set()
    for client in re.findall(r"client-config ([a-z]+)", DOCUMENT):
        assert client in clients.CLIENTS


def test_the_examples_that_the_document_names_exist():
    named = re.findall(r"(examples/[\w.]+)", DOCUMENT)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).exists()] == []
