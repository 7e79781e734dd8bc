"""Docker's daemon.json is merged; if it is invalid, the run reports the error and changes nothing."""

import json

import pytest

ONLY = "bookworm"
PATH = "/etc/docker/daemon.json"
FOREIGN = {"dns": ["9.9.9.9"], "labels": ["owner=someone"], "ip": "10.9.8.7", "max-concurrent-downloads": 2}


@pytest.fixture
def daemon(host):
    """Return a function that writes the file; restore the first content after the test."""
    before = host.file(PATH).content_string

    def write(text):
        host.check_output(f"printf %s %s >{PATH}".replace("%s %s", "%%s %s"), text)

    yield write
    write(before)


def test_a_foreign_file_keeps_all_its_keys(host, daemon, play):
    ours = json.loads(host.file(PATH).content_string)
    daemon(json.dumps(FOREIGN))
    host.check_output("rm /etc/roundhouse/daemon.*.json")  # as on a host without a previous run
    result = play("engine.yml")
    assert result.returncode == 0, result.stdout
    merged = json.loads(host.file(PATH).content_string)
    assert {key: merged[key] for key in FOREIGN} == FOREIGN
    assert merged["log-driver"] == ours["log-driver"]
    assert json.loads(host.file(f"{PATH}.before-roundhouse").content_string) == FOREIGN
    assert host.service("docker").is_running


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('{"debug": true,}', "daemon.json is not valid JSON ("),
        ('{"live-restor": true}', "directives don't match any configuration option: live-restor"),
    ],
)
def test_an_invalid_daemon_json_is_refused_with_the_parsers_message(host, daemon, play, said, text, part):
    daemon(text)
    result = play("engine.yml")
    assert result.returncode == 2
    assert part in said(result)
    assert "nothing was changed" in said(result)
    assert host.file(PATH).content_string == text
