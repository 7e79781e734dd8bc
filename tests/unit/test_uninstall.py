"""`make uninstall`: its preview, its question and its refusals, with a stand-in for ansible-playbook."""

import os
import pty
import subprocess

import pytest

from roundhouse.paths import CHECKOUT

SCRIPT = CHECKOUT / "lab/uninstall.sh"
ARGUMENTS = ("inventory/local", "no", "yes", "no")


@pytest.fixture
def runs(tmp_path):
    """Return a function that runs the script with an answer at its terminal (None: none), and the runs of Ansible."""
    program = tmp_path / "ansible-playbook"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(*arguments, answer=None):
        leader, terminal = pty.openpty()
        stdin = subprocess.DEVNULL if answer is None else terminal
        if answer is not None:
            os.write(leader, f"{answer}\n".encode())
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=CHECKOUT,
            env=environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        os.close(leader)
        os.close(terminal)
        told = (tmp_path / "runs").read_text().splitlines() if (tmp_path / "runs").exists() else []
        return done, told

    return run


def test_without_a_terminal_it_shows_the_preview_and_removes_nothing(runs):
    done, told = runs(*ARGUMENTS)
    assert (done.returncode, len(told)) == (2, 1)
    assert told[0].endswith('{"teardown_models": false, "teardown_packages": true} --tags preview')
    assert "CONFIRM=yes" in done.stderr


@pytest.mark.parametrize(("answer", "count"), [("y", 2), ("Yes", 2), ("n", 1), ("", 1), ("yesterday", 1)])
def test_it_removes_only_after_a_yes(runs, answer, count):
    done, told = runs(*ARGUMENTS, answer=answer)
    assert (done.returncode, len(told)) == (0, count)
    assert ("Nothing was removed." in done.stdout) == (count == 1)


def test_confirm_is_a_yes_and_the_choices_are_passed_on(runs):
    done, told = runs("inventory/lab", "yes", "no", "yes")
    assert (done.returncode, len(told)) == (0, 2)
    assert told[1].startswith("--inventory inventory/lab playbooks/teardown.yml ")
    assert told[1].endswith(' --extra-vars {"teardown_models": true, "teardown_packages": false}')


@pytest.mark.parametrize(
    ("arguments", "value"),
    [(("no/such", "no", "yes", "yes"), "no/such"), (("inventory/lab", "true", "yes", "yes"), "MODELS is 'true'")],
)
def test_an_invalid_value_is_refused_before_anything_runs(runs, arguments, value):
    done, told = runs(*arguments)
    assert (done.returncode, told) == (2, [])
    assert value in done.stderr


def test_make_help_lists_it():
    done = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "  make uninstall " in done.stdout
