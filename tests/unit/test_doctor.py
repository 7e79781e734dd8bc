"""doctor reports a driver's state, and a remedy only if one is needed."""

import json

from roundhouse.cli import main
from roundhouse.host import driver


def test_a_faulty_driver_is_reported_with_its_remedy(machine):
    (row,) = driver.rows(machine.root)
    assert (row["part"], row["state"], row["ok"]) == ("driver", "no_driver", False)
    assert driver.text([row]).splitlines()[1].startswith("  Run ansible-playbook site.yml")


def test_a_driver_by_runfile_is_healthy_and_needs_no_remedy(machine):
    machine.write("usr/bin/nvidia-uninstall", "")
    row = machine.ask("from roundhouse.host import driver; print(json.dumps(driver.rows(root)))", *machine.nvml)[0]
    assert row["state"] == "unmanaged"
    assert "\n" not in driver.text([{**row, "ok": True}])


def test_the_words_exit_status_and_object(machine, monkeypatch, capsys):
    seen = driver.inspect(machine.root)
    monkeypatch.setattr(driver, "inspect", lambda root: seen)
    assert main.main(["doctor"]) == 1
    assert "no_driver" in capsys.readouterr().out
    assert main.main(["doctor", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["errors"][0]["code"]) == (False, "no_driver")
    monkeypatch.setattr(driver, "inspect", lambda root: seen._replace(gpus=[]))
    assert main.main(["doctor", "--json"]) == 1  # a GPU host without a card is faulty
