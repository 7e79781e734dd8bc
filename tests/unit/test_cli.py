"""The command's exit statuses, and its single JSON object in every case."""

import json
import subprocess
import sys

import pytest

from roundhouse.agents import drain, gpu_usage
from roundhouse.cli import command, main, manual, target_host
from roundhouse.paths import CHECKOUT
from roundhouse.plan import deployed

SCRIPTS = CHECKOUT / "scripts"


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch, tmp_path):
    monkeypatch.setattr(deployed, "PATH", tmp_path / "plan.json")
    monkeypatch.setattr(deployed.load, "__defaults__", (tmp_path / "plan.json",))


def refusal(capsys, words):
    """Return the exit status and the error of a command; the error has the same text without --json."""
    status = main.main(words)
    text = capsys.readouterr().err.strip()
    assert main.main([*words, "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    (error,) = answer["errors"]
    assert (answer["schema"], answer["ok"], error["message"]) == (2, False, text)
    return status, error


@pytest.mark.parametrize(
    ("words", "status", "code", "fields"),
    [
        (["dev"], 2, "plan_missing", {}),
        (["statsu"], 2, "unknown_command", {"word": "statsu"}),
        (["--bogus"], 2, "unknown_option", {"option": "--bogus"}),
        ([], 2, "command_missing", {}),
        (["-n", "x", "logs", "dev"], 2, "usage", {}),
        (["-n", "5", "status"], 2, "unknown_option", {"option": "-n"}),
        (["gpu", "--rounds", "3", "--drain", "5"], 2, "unknown_option", {"option": "--rounds"}),
        (["status", "dev"], 2, "unexpected_argument", {"argument": "dev"}),
        (["--on", "moon", "status"], 2, "host_invalid", {"host": "moon"}),
        (["status", "--on", "moon"], 2, "host_invalid", {"host": "moon"}),
        (["help", "--on", "lab", "keys"], 2, "unknown_option", {"option": "--on"}),
        (["--on", "lab", "status"], 1, "lab_not_running", {}),
        (["--o", "lab", "status"], 2, "unknown_option", {"option": "--o"}),
        (["help", "nothing"], 2, "unknown_command", {"word": "nothing"}),
        (["quantise", "a/b", "fp8"], 2, "command_renamed", {"old": "quantise", "new": "quantize"}),
        (["help", "quantise"], 2, "command_renamed", {"new": "quantize"}),
        (["quantise", "--help"], 2, "command_renamed", {"new": "quantize"}),
    ],
)
def test_a_refusal_is_one_sentence_and_one_object(capsys, words, status, code, fields):
    ended, error = refusal(capsys, words)
    assert (ended, error["code"], {name: error["fields"][name] for name in fields}) == (status, code, fields)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "status"),
        (["devv"], "dev"),
        (["switch", "devv"], "dev"),
        (["logs", "devv"], "dev"),
        (["dev", "--drian", "5"], "--drain"),
        (["watch", "--every=2", "--round=3"], "--rounds"),
        (["--jsno", "status"], "--json"),
        (["help", "wach"], "watch"),
        (["client-config", "curll"], "curl"),
        (["swich", "dev"], "switch"),
        (["prune", "--no-way-back"], "--no-rollback"),  # its former name
        (["devv", "--drain", "5"], "dev"),
        (["statuss"], "status"),
        (["keys", "lst"], "list"),
        (["quantize", "a/b", "awqq"], "awq"),
        (["import", "olama"], "ollama"),
    ],
)
def test_a_misspelt_word_gets_a_suggestion(capsys, words, meant, plan):
    assert refusal(capsys, words)[1]["remedy"] == f"Did you mean {meant}?"


def test_a_word_without_a_similar_one_gets_no_suggestion(capsys):
    assert refusal(capsys, ["gpu", "--rounds", "3"])[1]["remedy"] == "roundhouse gpu --help lists the options."


@pytest.mark.parametrize(
    "words", [["xyzzy"], ["foo", "bar"], ["foo", "--dry-run"], ["bogus"], ["restart"], ["run"], ["launch"]]
)
def test_without_a_similar_word_the_agents_are_listed(capsys, plan, words):
    error = refusal(capsys, words)[1]
    assert (error["code"], error["fields"]["word"], error["fields"]["agents"]) == (
        "unknown_command",
        words[0],
        "dev, po",
    )
    assert error["remedy"] == "The agents are dev, po; roundhouse --help lists the commands."


@pytest.mark.parametrize("words", [["--on", "lab"], ["--on=lab"]])
def test_the_agents_of_another_host_are_unknown_here(capsys, plan, words):
    assert refusal(capsys, ["foo", "bar", *words])[1]["message"].startswith("roundhouse foo does not take the argument")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["po", "dev"], "roundhouse po does not take the argument 'dev'."),
        (["dev", "--dry-run"], "roundhouse dev has no option --dry-run."),
        (["switch", "dev", "--dry-run"], "roundhouse switch has no option --dry-run."),
        (["help", "--on", "lab"], "roundhouse help has no option --on."),
        (["quantize", "a/b", "zzz"], "RECIPE is 'zzz'."),
    ],
)
def test_a_message_says_what_was_typed(capsys, plan, words, text):
    assert refusal(capsys, words)[1]["text"] == text


@pytest.fixture
def plan(monkeypatch):
    """Write the parts of a deployment of two agents that the command reads."""
    found = {"agents": [{"name": "dev", "unit": "u"}, {"name": "po", "unit": "u"}]}
    monkeypatch.setattr(deployed, "load", lambda *_: found)


@pytest.mark.parametrize("words", [["dev"], ["switch", "dev"], ["dev", "--json"], ["--json", "--drain", "5", "dev"]])
def test_an_agents_name_is_a_switch_to_it(words):
    found, args = main.parse(words)
    assert (found.name, args.agent, args.json) == ("switch", "dev", "--json" in words)
    assert args.drain == (5.0 if "--drain" in words else drain.DEFAULT_SECONDS)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--store", "/nowhere", "models"], "models"),
        (["--agent", "dev", "client-config", "curl"], "client-config"),
        (["-f", "logs", "dev"], "logs"),
        (["dev", "--drain", "5"], "switch"),
    ],
)
def test_options_are_accepted_before_or_after_the_command(words, name):
    assert main.parse(words)[0].name == name


def test_a_plan_is_checked_with_json_anywhere(capsys, tmp_path):
    for words in (["--check", "--json", f"{tmp_path}/no"], ["--json", "--check", f"{tmp_path}/no"]):
        assert main.main(words) == 2
        assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "plan_missing"


@pytest.mark.parametrize("words", [["gpu", "--json"], ["--json", "gpu"]])
def test_json_is_accepted_before_or_after_the_command(capsys, words):
    assert main.main(words) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


@pytest.mark.parametrize("name", command.NAMES)
def test_each_command_has_its_own_help_and_its_line_in_the_list(capsys, name):
    found = command.load(name)
    assert (main.main([name, "--help"]), main.main(["help", name])) == (0, 0)
    text, again = capsys.readouterr().out.split("usage: ")[1:]
    assert text == again
    assert text.startswith(f"roundhouse {name} [-h]")
    assert f"  {name:<14}{found.help}\n" in manual.overview().format_help()
    assert max(map(len, manual.overview().format_help().splitlines())) <= 110


@pytest.mark.parametrize("name", command.HIDDEN)
def test_internal_commands_are_not_in_the_list(name):
    assert f"\n  {name} " not in manual.overview().format_help()
    assert main.parse([name, *([] if name in ("control", "recover", "routes") else ["dev"])])[0].name == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/local/bin/roundhouse", "roundhouse"),
        ("scripts/switch.py", "scripts/switch.py"),
        ("switch.py", "roundhouse"),
    ],
)
def test_messages_name_the_command_as_it_was_called(capsys, monkeypatch, path, name):
    monkeypatch.setattr(sys, "argv", [path])
    assert main.main([]) == 2
    assert capsys.readouterr().err.endswith(f"{name} --help lists them.\n")


def test_the_cards_are_shown_where_nothing_was_deployed_too(capsys):
    assert main.main(["--json", "gpu"]) == 0
    assert json.loads(capsys.readouterr().out)["gpus"] == gpu_usage.cards()


@pytest.mark.parametrize(
    "words", [["help"], ["help", "man"], ["help", "completion"], ["--help"], ["-h"], ["logs", "-h"]]
)
def test_help_with_json_is_one_object_with_the_text(capsys, words, monkeypatch):
    monkeypatch.delenv("ROUNDHOUSE_ON")
    monkeypatch.setattr(target_host, "lab_is_up", lambda: True)  # it is about this program, so no other host is asked
    assert main.main(words) == 0
    text = capsys.readouterr().out
    assert main.main(["--json", *words]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["ok"], answer["errors"], answer["text"]) == (2, True, [], text)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["watch", "--json"], "watch_as_json"),
        (["watch", "--json", "--rounds", "1"], "watch_as_json"),
        (["watch", "--every", "0", "--rounds", "1"], "every_invalid"),
        (["watch", "--rounds", "-1"], "rounds_invalid"),
        (["history", "-n", "-5"], "lines_invalid"),
        (["logs", "dev", "-n", "-5"], "lines_invalid"),
        (["logs", "dev", "-f", "--json"], "follow_as_json"),
        (["export"], "argument_missing"),
        (["pull", "foo"], "model_name_invalid"),
        (["pull", "--on", "lab", "foo"], "model_name_invalid"),
        (["export", "/usb", "foo"], "model_name_invalid"),
        (["dev", "--drain", "inf"], "drain_invalid"),
        (["rollback", "--drain", "-1"], "drain_invalid"),
    ],
)
def test_invalid_arguments_are_refused_before_any_host_is_asked(capsys, words, code, monkeypatch):
    monkeypatch.delenv("ROUNDHOUSE_ON")
    monkeypatch.setattr(target_host, "lab_is_up", lambda: True)
    assert main.main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] in (code, "watch_as_json")


def test_a_closed_output_does_not_end_the_command():
    program = (
        "from roundhouse.util import console; say = console.progress(); "
        "[say('x' * 9000) for _ in range(99)]; print('end')"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stderr.close()
    assert process.stdout.read() == "end\n"
    assert process.wait() == 0


def test_the_options_for_the_host_are_not_passed_on():
    assert target_host.without_on(["--on", "lab", "--json", "dev"]) == ["--json", "dev"]
    assert target_host.without_on(["--on=lab", "dev"]) == ["dev"]
