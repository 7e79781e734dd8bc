"""The screens of commands in a terminal of 80 columns: no line is cut, and each is the one on file."""

import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import screens

from roundhouse.cli import command, manual
from roundhouse.paths import CHECKOUT
from roundhouse.util import console


@pytest.mark.skipif(not shutil.which("tmux"), reason="no terminal to look at here: install tmux (`make setup` does)")
@pytest.mark.parametrize("name", screens.SCREENS)
def test_a_screen_of_80_columns_cuts_no_word_and_is_the_one_on_file(name):
    pane, joined = screens.take(name)
    assert pane == joined  # tmux wrapped no line
    assert max(map(len, pane.splitlines())) <= screens.COLUMNS
    assert pane == (screens.FOLDER / f"{name}.txt").read_text()  # tests/unit/screens.py writes it anew


def test_each_file_belongs_to_a_screen():
    assert {file.stem for file in screens.FOLDER.iterdir()} == set(screens.SCREENS)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_help_of_each_command_fits(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = [manual.overview().format_help(), *(manual.of_command(name).format_help() for name in command.NAMES)]
    assert [line for text in texts for line in text.splitlines() if len(line) > columns] == []


def test_each_command_has_one_line_in_the_list():
    assert [name for name in command.NAMES if len(command.load(name).help) > console.WIDTH - 16] == []


def test_the_man_page_fits_what_man_shows():
    page = manual.page().replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")
    as_they_are = [line for part in page.split("\n.nf\n")[1:] for line in part.partition("\n.fi\n")[0].splitlines()]
    assert [line for line in as_they_are if len(line) > console.MAN_WIDTH] == []
    assert len(as_they_are) > 100


def test_the_picture_of_a_switch_has_its_lines_in_80_columns_and_refers_to_nothing():
    made = subprocess.run(
        [sys.executable, CHECKOUT / "docs/record_picture.py"], capture_output=True, text=True, check=True
    ).stdout
    root = ElementTree.fromstring(made)  # noqa: S314 - it is our own
    lines = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert lines[0] == "$ roundhouse dev"
    assert lines[1].endswith("] stopping architect (no running requests)")
    assert any("* dev" in line and "ready" in line for line in lines)
    assert max(map(len, lines)) <= screens.COLUMNS
    assert ("prefers-color-scheme: dark" in made, "prefers-reduced-motion" in made) == (True, True)
    assert "http" not in made.replace("http://www.w3.org/2000/svg", "")
