"""An old set-up that someone else wrote: it runs no command on the controller, shows no secret, and ends in seconds."""

import json
import time

import pytest
import yaml

from roundhouse.cli import main, remote
from roundhouse.errors import RoundhouseError
from roundhouse.migrate import roster_file
from roundhouse.roster import fields
from roundhouse.util import console

TEMPLATES = ("/srv/{{ lookup('pipe', 'id') }}", "/srv/{% if x %}", "/srv/{# x #}", "a/{{ b }}", "{{ b }}")
PATHS = ("/srv/%[env(HOME)]", "/srv/$HOME", "/srv/../etc", "/srv/.", "/srv/a b", "/srv/a\nb", "/srv/'x'", "//srv", "/")
SECRET = "Zq7pXw93LkTn5v"


@pytest.fixture
def run(tmp_path, capsys):
    """Return a function that imports one file; it returns the exit status, all output, and the roster."""

    def imported(name, content, *words):
        file, roster = tmp_path / name, tmp_path / "agents.yml"
        file.write_text(content)
        said = ""
        for more in (["--json"], ["--to", str(roster), "--overwrite"]):
            status = main.main(["import", str(file), *words, *more])
            printed = capsys.readouterr()
            said += printed.out + printed.err
        return status, said, roster.read_text() if roster.exists() else ""

    return imported


def compose(*rows):
    return "\n".join(["services:", "  dev:", "    image: vllm/vllm-openai", *(f"    {row}" for row in rows), ""])


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_template_of_an_old_file_does_not_reach_the_roster(run, model):
    _, _, roster = run("compose.yml", compose(f"command: --model {json.dumps(model)}"))
    assert "{" not in "\n".join(line for line in roster.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("model", TEMPLATES)
def test_a_template_of_the_option_model_does_not_reach_the_roster(run, model):
    _, _, roster = run("dev.env", "VLLM_PORT=8000\n", "--model", model)
    assert "{" not in "\n".join(line for line in roster.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("path", [*TEMPLATES[:3], *PATHS])
def test_a_folder_in_the_roster_is_a_path_that_nothing_evaluates(path):
    assert list(fields.problems("at", "models", [{"model": path}]))


@pytest.mark.parametrize("path", ["/srv/models/Qwen2.5-7B", "/srv/a+b@c_d/.cache/x-1/", "/srv/modèle", "/srv/..a"])
def test_a_folder_of_usual_characters_is_accepted(path):
    assert not list(fields.problems("at", "models", [{"model": path}])) or ".." in path


def test_a_string_with_a_template_is_not_written_wherever_it_comes_from():
    for value in ({"description": "{{ x }}"}, {"models": [{"model": "a/b", "{% x %}": 1}]}):
        with pytest.raises(RoundhouseError) as error:
            roster_file.yaml([{"name": "dev", **value}], [])
        assert error.value.code == "roster_template"


def test_a_file_name_adds_no_line_to_the_roster(tmp_path, capsys):
    file = tmp_path / "a\u2028evil: yes\x85more: yes.env"
    file.write_text("VLLM_MODEL=Qwen/Qwen3-8B\n")
    assert main.main(["import", str(file)]) == 0
    assert list(yaml.safe_load(capsys.readouterr().out)) == ["agents"]


@pytest.mark.parametrize(
    "agents",
    [
        [{"name": "dev", "description": "{{ lookup('pipe', 'id') }}"}],
        [{"name": "dev", "models": [{"model": "/srv/{{ x }}"}]}],
        [{"name": "{{ x }}"}],
        [7],
        "{{ x }}",
    ],
)
def test_a_roster_of_another_host_is_checked_before_it_is_written_here(agents, tmp_path, monkeypatch, capsys):
    answer = {"ok": True, "agents": agents, "roster": "agents: {{ evil }}\n", "lines": [], "errors": []}
    monkeypatch.setattr(remote, "answer", lambda *_: answer)
    monkeypatch.setattr(remote, "announce", lambda _: None)
    roster = tmp_path / "agents.yml"
    assert main.main(["import", "ollama", "--on", "ssh://host", "--to", str(roster)]) == 1
    assert not roster.exists()
    assert capsys.readouterr().out == ""


FORMS = [
    *(f"environment: HF_TOKEN={SECRET}", f"environment: [HF_TOKEN={SECRET}]", f"environment: {{HF_TOKEN: {SECRET}}}"),
    *(f"environment: [MY_VALUE={SECRET}]", f"environment: {{AUTH: {SECRET}}}", f'environment: ["HF_TOKEN {SECRET}"]'),
    *(f"environment: [HF_TOKEN: {SECRET}]", f"environment: {{X: {{Y: {SECRET}}}}}", f"environment: [BASIC={SECRET}]"),
    *(f"environment: {{HF_ENDPOINT: 'https://u:{SECRET}@hub.example'}}", f"environment: [VLLM_X={SECRET}]"),
    *(f"environment: {{HF_ENDPOINT: 'https://hub.example/?t={SECRET}'}}", f"hf_token: {SECRET}", f"ports: {SECRET}"),
    *(f"HF_TOKEN: {SECRET}", f"labels: [a={SECRET}]", f"secrets: {SECRET}", f"x-auth: {SECRET}", f"env: {SECRET}"),
    *(f"command: --hf-token {SECRET}", f"command: --hf-token={SECRET}", f"command: --api-key {SECRET}"),
    *(f"command: [--api-key, {SECRET}]", f"command: --header 'Authorization: Bearer {SECRET}'"),
    *(f"command: sh -c 'vllm serve a/b --port 8000 && curl -u x:{SECRET}@h'", f"command: --model u:{SECRET}@h/x"),
    *(f"command: sh -c 'HF_TOKEN={SECRET} vllm serve a/b'", f"command: vllm serve a/b --port HF_TOKEN={SECRET}"),
    *(f'command: "--model x {SECRET} \'"', f"image: u:{SECRET}@registry/vllm", f"volumes: ['//u:{SECRET}@n/x:/m']"),
    *(f"build: https://u:{SECRET}@git.example/x", f"container_name: [{SECRET}]", f"env_file: 'u:{SECRET}@x'"),
    *(f"command: --max-model-len 'x:{SECRET}@y'", f"deploy: {{resources: {{limits: {{x: {SECRET}}}}}}}"),
    *(f"environment: [A: *{SECRET}]", f"environment: [!{SECRET} A", f"environment: {{A: {SECRET}: x}}"),
    f"\tX: {SECRET}",
    *(f"command: --max-model-len hf_{SECRET}", f"environment: [hf_{SECRET}]", f"environment: {{A: '{SECRET}}}"),
    *(f'command: --speculative-config \'{{"method": "x", "token": "hf_{SECRET}"}}\'',),
]


@pytest.mark.parametrize("row", FORMS)
def test_a_secret_of_a_compose_file_is_in_no_output(run, row):
    _, said, roster = run("compose.yml", compose(row))
    assert SECRET not in said + roster


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dev.env", f"VLLM_MODEL=a/b\nHF_TOKEN={SECRET}\nHF_TOKEN: {SECRET}\nSIGNATURE={SECRET}\n{SECRET}\n"),
        ("Modelfile", f"FROM qwen2.5:7b\nSYSTEM key {SECRET}\nMESSAGE user {SECRET}\n{SECRET}\nPARAMETER x {SECRET}\n"),
        ("Modelfile", f'FROM qwen2.5:7b\nSYSTEM """{SECRET}\n'),
        ("Modelfile", f"FROM https://u:{SECRET}@hub.example/x\n"),
    ],
)
def test_a_secret_of_an_env_file_or_a_modelfile_is_in_no_output(run, name, content):
    _, said, roster = run(name, content)
    assert SECRET.lower() not in (said + roster).lower()


def test_the_value_of_a_known_option_is_shown(run):
    _, said, _ = run("compose.yml", compose("command: --model Qwen/Qwen3-8B --port 8001", "restart: always"))
    assert [text in said for text in ("--model Qwen/Qwen3-8B", "--port 8001", "restart: always")] == [True] * 3


def bomb(levels, merge):
    rows = ["x0: &x0 {a: 1, b: 2}"]
    for n in range(1, levels):
        pair = f"*x{n - 1}, *x{n - 1}"
        rows.append(f"x{n}: &x{n} {{<<: [{pair}]}}" if merge else f"x{n}: &x{n} [{pair}]")
    return "\n".join([*rows, "services:", "  dev:", "    image: vllm", f"    environment: {{A: *x{levels - 1}}}", ""])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("compose.yml", bomb(40, merge=True)),
        ("compose.yml", bomb(40, merge=False)),
        ("compose.yml", "services: &a {dev: *a}\n"),
        ("compose.yml", "services: " + "[" * 20_000),
        ("compose.yml", "services: " + "{a: " * 20_000),
        ("compose.yml", compose('env_file: "\\0"', 'command: "--model \\0"')),
        ("compose.yml", compose("command: --tensor-parallel-size 99999999999")),
        ("compose.yml", compose("command: --speculative-config '" + "[" * 50_000 + "'")),
        ("compose.yml", "services:\n" + "".join(f"  a{'_' * n}: {{image: vllm}}\n" for n in range(300))),
        ("compose.yml", "a: b\n" * 100_000),
        ("Modelfile", "\n" * 100_000 + "x"),
        ("Modelfile", "FROM a\n" + '"""' * 30_000),
        ("dev.env", "A=" + "'" * 100_000),
        ("dev.env", "A=1\n" * 20_000),
        ("dev.env", "VLLM_MAX_MODEL_LEN=" + "9" * 100_000),
    ],
)
def test_an_import_ends_in_seconds_with_an_answer(run, name, content):
    begun = time.monotonic()
    status, _, _ = run(name, content, "--model", "Qwen/Qwen3-8B")
    assert status in (0, 1, 2)
    assert time.monotonic() - begun < 20  # the expansion of an alias took minutes


def test_texts_of_others_do_not_control_the_terminal(run):
    _, said, _ = run("compose.yml", compose('container_name: "a\\e]52;c;eA==\\a\\u202e"', 'restart: "\\e[2J"'))
    assert not [char for char in said if ord(char) in (7, 27, 0x202E)]
    assert console.printable("a\x1b[2J\x9b\tb\n") == "a\\x1b[2J\\x9b\tb\n"


def test_a_refusal_with_control_characters_is_printed_escaped(capsys):
    console.refuse(RoundhouseError("x", "{answer}", answer="\x1b]0;evil\x07"), as_json=False)
    assert capsys.readouterr().err == "\\x1b]0;evil\\x07\n"
