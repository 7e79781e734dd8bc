"""The sandbox of each unit: what `systemd-analyze security` gives to it, without a host."""

import re
import shutil
import subprocess

import jinja2
import pytest

from roundhouse.cli import command
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.state import switch_journal
from roundhouse.switch import deploy_journal

# Of systemd's scale from 0 (safe) to 10.
LIMIT = 2.0
UNITS = ("failover", "journal", "roundhouse", "roundhouse-control", "watchdog")


def rendered(name, accelerator):
    """Return a template's text, as its role renders it."""
    loader = jinja2.FileSystemLoader(ROOT / "roles" / role / "templates" for role in ("agents", "gateway"))
    templates = jinja2.Environment(loader=loader, trim_blocks=True)  # noqa: S701 - no HTML
    plan = {"accelerator": accelerator, "runtime": "native"}
    return templates.get_template(name).render(ansible_managed="Ansible managed", agents_plan=plan, gateway_plan=plan)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze not found; it judges the units")
@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_of_root_may_do_little(name, accelerator, tmp_path):
    path = tmp_path / f"{name}.service"
    path.write_text(rendered(f"{name}.service.j2", accelerator))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done
    assert float(found[1]) <= LIMIT, done.stdout


@pytest.mark.parametrize("name", UNITS)
def test_every_line_of_a_unit_is_a_setting(name):
    lines = [
        line for line in rendered(f"{name}.service.j2", "cuda").splitlines() if line and not line.startswith(("#", "["))
    ]
    assert all(re.match(r"[A-Z][A-Za-z]+=[^#]*$", line) for line in lines), lines


@pytest.mark.parametrize("name", ["failover", "roundhouse"])
def test_a_command_of_systemd_that_is_killed_runs_again(name):
    """The kill tests rely on it: before its switch begins, such a command has written nothing to recover from."""
    assert "Restart=on-abnormal" in rendered(f"{name}.service.j2", "cpu").splitlines()


@pytest.mark.parametrize("name", UNITS)
def test_the_command_of_a_unit_accepts_its_arguments(name):
    lines = rendered(f"{name}.service.j2", "cpu").splitlines()
    (line,) = [line for line in lines if line.startswith("ExecStart=")]
    _, word, *arguments = line.split()
    assert command.load(word).parser("roundhouse").parse_args(arguments).word == word


def test_systemd_starts_the_recovery_for_each_journal():
    text = (ROOT / "roles/agents/templates/journal.path.j2").read_text()
    watched = {line.partition("=")[2] for line in text.splitlines() if line.startswith("PathExists=")}
    assert watched == {str(switch_journal.path()), str(deploy_journal._path())}
    assert "ExecStart=/usr/local/bin/roundhouse recover" in rendered("journal.service.j2", "cpu").splitlines()
    agent = (ROOT / "roles/agents/templates/agent.service.j2").read_text()
    assert "Wants=roundhouse-journal.path" in agent.splitlines()


def test_the_state_belongs_to_root_and_not_to_the_engines_account():
    text = (ROOT / "roles/agents/templates/agent.service.j2").read_text()
    assert "StateDirectory=" not in text
    assert "ExecStartPost=+/usr/local/bin/roundhouse ready" in text


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_the_control_service_has_the_sandbox_of_a_switch(accelerator):
    """It is in another role, whose templates cannot include the file."""
    assert rendered("switch_sandbox.j2", accelerator).strip() in rendered("roundhouse-control.service.j2", accelerator)
