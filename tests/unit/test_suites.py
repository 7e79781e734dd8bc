"""lab/suites.py: the table at its end has each suite, whatever became of it."""

import os

import pytest
import suites

# In place of molecule: a byte that is no UTF-8, and the exit status that the scenario's name stands for.
MOLECULE = """#!/bin/sh
printf 'one \\377 byte\\n'
[ "$3" = default ]
"""


@pytest.fixture
def molecule(tmp_path, monkeypatch):
    program = tmp_path / "molecule"
    program.write_text(MOLECULE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


def test_a_byte_that_is_no_text_ends_no_scenario(molecule, capsys):
    assert suites.main(["default"]) == 0
    assert suites.main(["default", "gateway"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "default one \ufffd byte" in lines
    assert [line.split()[::3] for line in lines[-2:]] == [["default", "passed"], ["gateway", "failed"]]


def test_a_scenario_that_could_not_be_run_is_a_failed_one_with_its_reason(molecule, monkeypatch, capsys):
    molecule.unlink()
    monkeypatch.setenv("PATH", str(molecule.parent))
    assert suites.main(["default", "gateway"]) == 1
    for line, name in zip(capsys.readouterr().out.splitlines()[-2:], ("default", "gateway"), strict=True):
        assert line.startswith(f"  {name} ")
        assert "failed: FileNotFoundError: " in line


def test_a_name_that_is_no_suite_is_refused_with_those_that_are(capsys):
    with pytest.raises(SystemExit):
        suites.main(["default", "defualt"])
    error = capsys.readouterr().err
    assert "suite not found: defualt. Choose from bare-host, contract, default, demo, " in error
