"""Client files of a plan have the right addresses, names and lengths, and no key."""

import json

import pytest
import yaml

from roundhouse.cli import main
from roundhouse.gateway import client_config
from roundhouse.gateway import config as gateway_config
from roundhouse.plan import deployed as plan_deployed


@pytest.fixture
def deployed(monkeypatch, tmp_path):
    def write(**more):
        agents = [
            {
                **dict.fromkeys(("conflicts", "config_path", "environment", "model_path"), ""),
                "name": name,
                "unit": f"roundhouse-{name}.service",
                "host": "127.0.0.1",
                "port": port,
                "model": f"Qwen/{name}-AWQ",
                "max_model_len": length,
                "temperature": 0.3,
                "config": {"tool-call-parser": "hermes"} if name == "dev" else {},
            }
            for name, port, length in (("dev", 8001, 32768), ("po", 8002, 8192))
        ]
        (tmp_path / "haproxy.cfg").write_text(more.pop("gateway", ""))
        monkeypatch.setattr(gateway_config, "FOLDER", str(tmp_path))
        file = tmp_path / "plan.json"
        file.write_text(json.dumps({"schema": 1, "agents": agents, **more}))
        monkeypatch.setattr(plan_deployed, "PATH", file)
        monkeypatch.setattr(plan_deployed.load, "__defaults__", (file,))

    write()
    return write


def files(capsys, *words):
    assert main.main(["client-config", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["files"]


def test_an_editors_file_has_all_agents(deployed, capsys):
    told = yaml.safe_load(files(capsys, "continue", "--host", "gpu.lan")["config.yaml"])
    assert [(each["model"], each["apiBase"]) for each in told["models"]] == [
        ("dev", "http://gpu.lan:8001/v1"),
        ("po", "http://gpu.lan:8002/v1"),
    ]
    assert [each.get("capabilities") for each in told["models"]] == [["tool_use"], None]
    (provider,) = json.loads(files(capsys, "vscode")["chatLanguageModels.json"])
    assert [each["maxInputTokens"] + each["maxOutputTokens"] for each in provider["models"]] == [32768, 8192]


def test_one_agent_alone_where_it_is_named(deployed, capsys):
    told = files(capsys, "aider", "--agent", "po")
    assert yaml.safe_load(told[".aider.conf.yml"])["model"] == "openai/po"
    assert json.loads(told[".aider.model.metadata.json"])["openai/po"]["max_output_tokens"] == 2048


@pytest.mark.parametrize("name", [*client_config.CLIENTS])
def test_behind_a_gateway_no_file_has_a_key(deployed, capsys, name):
    assert any(client_config.NO_KEY in text for text in files(capsys, name).values()) == (name != "curl")
    deployed(gateway_port=8080, gateway="bind 0.0.0.0:8001 ssl crt /x\n map_str(/etc/keys.map)\n")
    assert not any(client_config.NO_KEY in text for text in files(capsys, name).values())


def test_the_gateways_own_configuration_says_how_it_is_spoken_to(deployed, capsys):
    deployed(gateway_port=8080, gateway="bind 127.0.0.1:8001\n")
    assert "OPENAI_BASE_URL=http://127.0.0.1:8001/v1" in files(capsys, "env")[".env"]
    assert client_config.NO_KEY in files(capsys, "env")[".env"]
    deployed(gateway_port=8080, gateway="bind 0.0.0.0:8001 ssl crt /x\n map_str(/etc/keys.map)\n")
    assert "OPENAI_BASE_URL=https://gpu.lan:8001/v1" in files(capsys, "env", "--host", "gpu.lan")[".env"]


def test_files_are_written_once_and_not_over_another(deployed, capsys, tmp_path):
    assert main.main(["client-config", "aider", "--to", str(tmp_path)]) == 0
    assert main.main(["client-config", "aider", "--to", str(tmp_path)]) == 0  # the same again
    (tmp_path / ".aider.conf.yml").write_text("model: mine\n")
    assert main.main(["client-config", "aider", "--to", str(tmp_path)]) == 2
    assert "exists and was not changed" in capsys.readouterr().err
    assert (tmp_path / ".aider.conf.yml").read_text() == "model: mine\n"


@pytest.mark.parametrize(
    ("words", "code"), [(["emacs"], "unknown_client"), (["curl", "--agent", "x"], "unknown_agent")]
)
def test_an_unknown_client_or_agent_is_refused(deployed, capsys, words, code):
    assert main.main(["client-config", *words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == code
