"""The owners of a card's memory, and the wait until it is free; a card has NVML's facts."""

import os

import pytest
from gpu_facts import answered, driven, lost, process

from roundhouse.agents import card_status, gpu_memory
from roundhouse.errors import RoundhouseError
from roundhouse.host import gpu

AGENT = {"name": "dev", "unit": "roundhouse-dev.service", "gpus": [0], "gpu_memory_utilization": 0.9}
ARCHITECT = "roundhouse-architect.service"
STRANGER = os.getpid()  # a running process on any machine


@pytest.fixture
def show(monkeypatch, clock):
    """Return a function that sets the memory states of a 16 GiB card in turn: GiB in use, (pid, unit, GiB)."""
    clock(gpu_memory)

    def put(*moments):
        rest = list(moments)

        def facts():
            used, processes = rest.pop(0) if len(rest) > 1 else rest[0]
            told = [process(pid, gib, put.name, put.kinds, unit) for pid, unit, gib in processes]
            return {"gpus": [driven(memory_gib=16.0, used_gib=used, processes=told)]}

        monkeypatch.setattr(gpu, "facts", facts)

    put.name, put.kinds = "/usr/bin/x", ["compute"]
    return put


def test_the_memory_of_the_stopping_agent_is_ignored(show):
    show((15.0, [(1, ARCHITECT, 14.5)]))
    gpu_memory.require_memory(AGENT, [ARCHITECT])


def test_another_process_is_named_with_pid_and_size(show):
    show((15.0, [(1, ARCHITECT, 10.5), (STRANGER, None, 4.0)]))
    with pytest.raises(RoundhouseError, match=rf"\(`kill {STRANGER}`\)") as error:
        gpu_memory.require_memory(AGENT, [ARCHITECT])
    assert error.value.code == "memory_held"
    told = error.value.fields
    assert (told["gpu"], told["wanted_gib"], told["total_gib"], told["pids"]) == (0, 14.4, 16.0, [STRANGER])
    assert told["holders"] == f"x (pid {STRANGER}) holds 4.0 GiB"


@pytest.mark.parametrize("name", ["/usr/local/bin/ollama", "/usr/lib/ollama/ollama_llama_server"])
def test_ollama_on_the_card_is_named_with_the_remedy(show, name):
    show((15.0, [(STRANGER, "ollama.service", 14.5)]))
    show.name = name
    told = rf"\(pid {STRANGER}\) holds 14.5 GiB. It is Ollama.*sudo systemctl stop ollama"
    with pytest.raises(RoundhouseError, match=told) as caught:
        gpu_memory.require_memory(AGENT, [ARCHITECT])
    assert "(`kill" not in caught.value.message


def test_a_stopping_process_with_an_unknown_share_is_not_reported(show):
    show((15.0, [(1, ARCHITECT, None)]))
    gpu_memory.require_memory(AGENT, [ARCHITECT])


def test_memory_of_a_process_that_just_ended_is_waited_for(show):
    show((15.0, []), (15.0, []), (0.4, []))
    gpu_memory.require_memory(AGENT, [])


@pytest.mark.parametrize("held", [[(1, ARCHITECT, 14.5)], []])
def test_a_card_is_free_when_the_memory_is_and_the_process_is_gone(show, held):
    show((15.0, held), (0.4, held), (0.4, []))
    noted = []
    assert gpu_memory.wait_until_free(AGENT, [ARCHITECT], noted.append) is True
    assert noted[0] == ("waiting for GPU 0: 15.0 of 16.0 GiB in use", "GPU 0", None)
    assert len(noted) == (2 if held else 1)


def test_a_card_that_does_not_become_free_is_an_error_with_its_holder(show):
    show((15.0, [(77, None, 14.0)]))
    with pytest.raises(RoundhouseError, match=r"; 5 s after the stop, x \(pid 77\) holds 14.0 GiB") as error:
        gpu_memory.wait_until_free(AGENT | {"free_timeout_seconds": 5}, [ARCHITECT], str)
    assert (error.value.code, error.value.fields["pids"]) == ("memory_not_freed", [77])


def test_a_desktop_on_the_card_is_named_and_never_killed(show):
    show((15.0, [(1500, None, 2.0), (STRANGER, None, 3.0)]))
    show.name, show.kinds = "/usr/lib/xorg/Xorg", ["graphics"]
    with pytest.raises(RoundhouseError) as caught:
        gpu_memory.require_memory(AGENT, [ARCHITECT])
    assert "Xorg (pid 1500) holds 2.0 GiB" in caught.value.text
    assert "kill" not in caught.value.message
    assert caught.value.remedy == gpu_memory.DESKTOP_CURE


def test_without_nvml_the_command_does_not_wait(monkeypatch):
    unknown = driven(memory_gib=None, used_gib=None, processes=None)
    for gpus in ([], [unknown]):
        monkeypatch.setattr(gpu, "facts", lambda gpus=gpus: {"gpus": gpus})
        gpu_memory.require_memory(AGENT, [])
        assert gpu_memory.wait_until_free(AGENT, [], str) is False


def test_a_card_is_found_by_its_uuid_whatever_its_number():
    moved = answered(driven(0, uuid="GPU-new"), driven(1, uuid="GPU-5f1c", used_gib=3.0))
    assert [each.used_gib for each in gpu_memory.cards([("GPU-5f1c", 0)], moved)] == [3.0]
    assert [each.number for each in gpu_memory.cards([(None, 0)], moved)] == [0]  # a plan without UUIDs


def test_a_lost_card_does_not_hide_the_memory_of_another(monkeypatch, clock):
    clock(gpu_memory)
    held = answered(lost(0), driven(1, uuid="GPU-b", memory_gib=16.0, used_gib=15.0, processes=[process(77, 14.0)]))
    monkeypatch.setattr(gpu, "facts", lambda: held)
    agent = AGENT | {"gpus": [1], "gpu_uuids": ["GPU-b"], "free_timeout_seconds": 5}
    gpu_memory.require_usable(agent)
    with pytest.raises(RoundhouseError) as error:
        gpu_memory.wait_until_free(agent, [], str)
    assert error.value.code == "memory_not_freed"


def test_an_agent_of_a_lost_or_removed_card_does_not_start():
    agent = AGENT | {"gpu_uuids": ["GPU-5f1c"]}
    with pytest.raises(RoundhouseError) as unreachable:
        gpu_memory.require_usable(agent, answered(lost(0), driven(1, uuid="GPU-b")))
    assert (unreachable.value.code, unreachable.value.fields["cause"]) == ("card_unusable", "card_lost")
    with pytest.raises(RoundhouseError) as gone:
        gpu_memory.require_usable(agent, answered(driven(0, uuid="GPU-b")))
    assert (gone.value.code, gone.value.fields["uuid"]) == ("card_missing_on_host", "GPU-5f1c")
    gpu_memory.require_usable(agent, answered(driven(0)))


def test_status_shows_the_desktop_apart_from_agents_and_others():
    plan = {"accelerator": "cuda", "agents": [AGENT | {"gpu_uuids": ["GPU-5f1c"]}]}
    held = [process(1, 10.5, unit=AGENT["unit"]), process(2, 0.3, "python3")]
    held += [
        process(3, 0.8, "/usr/lib/xorg/Xorg", ["graphics"]),
        process(4, 0.4, "/usr/bin/gnome-shell -x"),
    ]
    (memory,) = card_status.memory(plan, answered(driven(used_gib=12.4, processes=held)))
    assert memory["desktop_gib"] == pytest.approx(1.2)
    assert [(each["kind"], each["owner"]) for each in memory["owners"]] == [
        ("agent", "dev"),
        ("process", "python3 (pid 2)"),
        ("desktop", "desktop (Xorg, gnome-shell)"),
    ]
    assert card_status.unusable(plan, answered(driven())) == []
    (sentence,) = card_status.unusable(plan, answered(driven(), lost(1)))
    assert "does not answer: NVML reports error 15" in sentence


def test_a_process_that_has_ended_has_no_unit():
    gone = process(999999999, 1.0, None)
    (seen,) = gpu_memory.cards([(None, 0)], {"gpus": [driven(used_gib=1.0, processes=[gone])]})
    assert seen.holders[0].unit is None
    assert str(seen.holders[0]) == "a process (pid 999999999) holds 1.0 GiB"
