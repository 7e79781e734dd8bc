"""The type check reports a misspelt key of a roster, a plan or an agent."""

import subprocess
import sys

from roundhouse.paths import CHECKOUT
from roundhouse.plan import measured
from roundhouse.roster import fields
from roundhouse.schema.facts import Measurement
from roundhouse.schema.roster import WantedModel

SNIPPET = """\
from roundhouse.schema.plan import Agent, Plan
from roundhouse.schema.roster import Roster


def take(agent: Agent, plan: Plan, roster: Roster) -> list[object]:
    right = [agent["port"], plan["agents"], roster[0]["models"]]
    return [*right, agent["prot"], plan["agent"], roster[0]["model"]]
"""


def test_a_misspelt_key_is_an_error(tmp_path):
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.stdout.count("error: ") == 3, done.stdout + done.stderr
    for key in ("prot", "agent", "model"):
        assert f'has no key "{key}"' in done.stdout


def test_lists_of_keys_on_hosts_equal_the_schema():
    assert set(measured.REQUIRED) == Measurement.__required_keys__
    assert set(fields.MODEL_FIELDS) == WantedModel.__annotations__.keys()
