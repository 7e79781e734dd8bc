"""The plugins that every run of the host's roles needs, as Ansible loads and runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(module, *options, **parameters):
    """Return whether Ansible took it for done, and what the module told."""
    given = json.dumps(parameters) if parameters else ""
    command = ["ansible", "localhost", "--module-name", module, "--args", given, "--one-line", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told, _ = json.JSONDecoder().raw_decode(done.stdout.partition("=> ")[2])
    return done.returncode == 0, told


def test_files_are_written_when_it_is_not_a_check_and_not_again(tmp_path):
    path = tmp_path / "new/one"
    wanted = {"files": {str(path): "text\n"}}
    ok, told = run("roundhouse_host_files", "--check", **wanted)
    assert (ok, told["changed"], told["paths"], path.exists()) == (True, True, [str(path)], False)
    ok, told = run("roundhouse_host_files", **wanted)
    assert (ok, told["changed"], path.read_text()) == (True, True, "text\n")
    ok, told = run("roundhouse_host_files", **wanted)
    assert (ok, told["changed"], told["paths"]) == (True, False, [])


@pytest.mark.parametrize("module", ["roundhouse_host_info", "roundhouse_host_files"])
def test_one_is_asked_for_and_no_more(module):
    ok, told = run(module)
    assert (ok, "one of the following is required" in told["msg"]) == (False, True)


def test_two_at_once_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "one"
    ok, told = run("roundhouse_host_files", files={str(path): ""}, docker_daemon={"owner": "x", "config": {}})
    assert (ok, path.exists()) == (False, False)
    assert "mutually exclusive: files|apt_source|docker_daemon" in told["msg"]


def test_a_look_says_what_is_to_be_done():
    question = {"runtime": "native", "mode": "auto", "version": "1.19.1"}
    ok, told = run("roundhouse_host_info", toolkit=question)
    assert (ok, told["changed"], told["choice"]["action"]) == (True, False, "skip")


def test_the_filters_load_nothing_of_the_package_until_one_is_called():
    # Each task that uses any filter loads them anew.
    code = (
        "import runpy, sys; made = runpy.run_path('plugins/filter/roundhouse.py')['FilterModule']().filters(); "
        "before = [name for name in sys.modules if name.startswith('roundhouse')]; "
        "told = made['roundhouse_problems']([]); "
        "print(before, told, 'roundhouse.roster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] [")
    assert done.stdout.rstrip().endswith("True")
