"""The plugins of the host's roles, loaded and run by Ansible."""

import json
import subprocess
import sys

import pytest

from roundhouse.paths import CHECKOUT as ROOT


def run(module, *options, **parameters):
    """Return true if Ansible reports success, and the module's result."""
    given = json.dumps(parameters) if parameters else ""
    command = ["ansible", "localhost", "--module-name", module, "--args", given, "--one-line", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told, _ = json.JSONDecoder().raw_decode(done.stdout.partition("=> ")[2])
    return done.returncode == 0, told


def test_files_are_written_once_and_not_in_check_mode(tmp_path):
    path = tmp_path / "new/one"
    wanted = {"files": {str(path): "text\n"}}
    ok, told = run("roundhouse_host_files", "--check", **wanted)
    assert (ok, told["changed"], told["paths"], path.exists()) == (True, True, [str(path)], False)
    ok, told = run("roundhouse_host_files", **wanted)
    assert (ok, told["changed"], path.read_text()) == (True, True, "text\n")
    ok, told = run("roundhouse_host_files", **wanted)
    assert (ok, told["changed"], told["paths"]) == (True, False, [])


def test_a_role_writes_its_templates_and_files_in_one_execution(tmp_path):
    role, made = tmp_path / "roles/own", tmp_path / "made"
    texts = {
        "templates/agent.j2": "# {{ ansible_managed }}\n{% if agent.on %}\n{{ agent.name }} of {{ own_plan }}\n"
        "{% endif %}\n{% include 'part.j2' %}",
        "templates/part.j2": "last\n",
        "files/script.sh": "echo {{ not a template }}\n",
        "vars/main.yml": "own_plan: a plan\n",
    }
    files = {f"{made}/{name}": {"template": "agent.j2", "vars": {"agent": {"name": name, "on": True}}} for name in "ab"}
    files |= {f"{made}/script.sh": {"source": "script.sh", "mode": "0755"}, f"{made}/plain": "plain\n"}
    task = {"name": "Write", "roundhouse_host_files": {"files": files}, "register": "told"}
    shown = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ told.paths | to_json }} {{ told.changed }}"}}
    texts["tasks/main.yml"] = json.dumps([task, shown])
    for name, text in texts.items():
        (role / name).parent.mkdir(parents=True, exist_ok=True)
        (role / name).write_text(text)
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": ["own"]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    python = f"ansible_python_interpreter={sys.executable}"
    command = ["ansible-playbook", "--inventory", "localhost,", "--extra-vars", python, str(tmp_path / "play.yml")]
    for options, changed in ((["--check", "--diff"], True), ([], True), ([], False)):
        done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{json.dumps(list(files) if changed else [])} {changed}" in " ".join(done.stdout.split())
        assert made.exists() == (not options)
        assert ("+a of a plan" in done.stdout) == bool(options)
    # Ansible removes the last line break of an included template, as with ansible.builtin.template.
    assert (made / "b").read_text() == "# Ansible managed\nb of a plan\nlast"
    assert (made / "script.sh").read_text() == texts["files/script.sh"]
    assert (made / "script.sh").stat().st_mode & 0o777 == 0o755


def test_a_play_inspects_a_host_in_one_task():
    roster = [{"name": "dev", "models": [{"model": "/nowhere"}], "port": 8001, "max_model_len": 2048}]
    roster[0] |= {"gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
    settings = {"accelerator": "cpu", "engine_path": "/nowhere/engine", "models_store": "/nowhere/models"}
    settings |= {"start_timeout_seconds": 60, "gateway_port": 8080, "runtime": "native", "image": ""}
    given = {"agents": roster, "settings": settings | {"image_has_engine": True}, "models_lock": "/nowhere/lock"}
    given |= {"engine_python": "python3", "quantize_path": "/nowhere/q", "hub_path": "/nowhere/hub"}
    ok, told = run("roundhouse_inspect", **given)
    assert (ok, told["changed"]) == (True, False), told
    assert [agent["name"] for agent in told["plan"]["agents"]] == ["dev"]
    assert told["text"][0] == "dev  unknown  nowhere  2,048 tokens"
    assert (told["host"]["environments"], told["host"]["models"]["to_pull"]) == ([], [])
    assert told["host"]["models"]["problems"][0].startswith("/nowhere of the roster does not exist")
    ok, told = run("roundhouse_inspect", **given | {"agents": [roster[0] | {"port": 99999}]})
    assert not ok
    assert "agents[dev].port is 99999" in told["msg"]
    assert (told["code"], told["remedy"], list(told["fields"])) == ("roster_invalid", "", ["problems"])
    ok, told = run("roundhouse_inspect", "--extra-vars", "quantise_path=/opt/own", **given)
    assert (ok, told["code"]) == (False, "setting_renamed")
    assert told["msg"] == "quantise_path was renamed to quantize_path. Rename it in the inventory."


@pytest.mark.parametrize("module", ["roundhouse_component_info", "roundhouse_host_files"])
def test_exactly_one_option_is_required(module):
    ok, told = run(module)
    assert (ok, "one of the following is required" in told["msg"]) == (False, True)


def test_two_exclusive_options_are_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "one"
    ok, told = run("roundhouse_host_files", files={str(path): ""}, docker_daemon={"owner": "x", "config": {}})
    assert (ok, path.exists()) == (False, False)
    assert "mutually exclusive: files|apt_source|dnf_repository|dnf|docker_daemon" in told["msg"]


def test_an_inspection_returns_the_action():
    question = {"runtime": "native", "source": "auto", "mode": "auto", "version": "1.20.1"}
    ok, told = run("roundhouse_component_info", toolkit=question)
    assert (ok, told["changed"], told["choice"]["action"]) == (True, False, "skip")


def test_each_filter_names_a_function():
    code = (
        "import runpy; from importlib import import_module; "
        "made = runpy.run_path('plugins/filter/roundhouse.py')['FUNCTIONS']; "
        "print(all(callable(getattr(import_module('roundhouse.' + path.rpartition('.')[0]), path.rpartition('.')[2])) "
        "for path in made.values()), len(made))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True 1")


def test_the_filters_load_nothing_of_the_package_until_one_is_called():
    # Ansible loads all filters again for each task that uses one.
    code = (
        "import runpy, sys; made = runpy.run_path('plugins/filter/roundhouse.py')['FilterModule']().filters(); "
        "before = [name for name in sys.modules if name.startswith('roundhouse')]; "
        "told = made['roundhouse_quantizations']([]); "
        "print(before, told, 'roundhouse.models.quantized' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] [")
    assert done.stdout.rstrip().endswith("True")
