"""The table of lab/suites.py has every suite with its outcome."""

import os

import pytest
import suites

# A replacement of molecule: it prints a byte that is invalid UTF-8, and its exit status depends on the scenario.
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


def test_an_invalid_byte_does_not_end_a_scenario(molecule, capsys):
    assert suites.main(["default"]) == 0
    assert suites.main(["default", "gateway"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "default one \ufffd byte" in lines
    assert [line.split()[::3] for line in lines[-2:]] == [["default", "passed"], ["gateway", "failed"]]


def test_a_scenario_that_cannot_start_fails_with_its_reason(molecule, monkeypatch, capsys):
    molecule.unlink()
    monkeypatch.setenv("PATH", str(molecule.parent))
    assert suites.main(["default", "gateway"]) == 1
    for line, name in zip(capsys.readouterr().out.splitlines()[-2:], ("default", "gateway"), strict=True):
        assert line.startswith(f"  {name} ")
        assert "failed: FileNotFoundError: " in line


def test_an_unknown_suite_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        suites.main(["default", "defualt"])
    error = capsys.readouterr().err
    assert "suite not found: defualt. Choose from bare-host, contract, default, demo, " in error
