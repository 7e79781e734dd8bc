"""The cards of a plan: a desktop on the card, cards that no agent can use, unified memory, UUIDs."""

import json

import gpu_facts
import pytest
from gpu_facts import driven, lost, process
from test_plan_build import shipped, written

from roundhouse.catalog.gpus import DRIVER_KEEPS_GIB
from roundhouse.fit import beside
from roundhouse.plan import build as plan_build
from roundhouse.plan import decide, deployed, host_cards, report

XORG = ("/usr/lib/xorg/Xorg", ("graphics",))


def build(*cards, agents=None, accelerator="cuda", runtime="native", **facts):
    settings = plan_build.Settings(accelerator, "/opt/e", "/srv/m", 900, runtime=runtime, image="i@sha256:1")
    return plan_build.build(agents or shipped(), settings, decide.host_of({"gpus": [*cards], **facts}))


def display(used_gib, *processes):
    """Return the facts of a card that drives a monitor."""
    return driven(display_active=True, used_gib=used_gib, processes=[*processes])


def test_a_single_card_with_a_monitor_is_planned_with_the_memory_of_its_desktop():
    xorg, shell = process(1, 1.5, *XORG), process(2, 0.5, "gnome-shell", ("graphics", "compute"))
    engine = process(3, 9.0, "VLLM::EngineCore", unit="roundhouse-dev.service")
    used = 9.0 + 2.2 + DRIVER_KEEPS_GIB  # 0.2 GiB without a process, such as the frame buffer
    (card,) = host_cards.of_facts([display(used, xorg, shell, engine)])
    assert (card.shared_display, card.desktop_gib) == (True, pytest.approx(2.2))
    made = build(display(used, xorg, shell, engine))
    assert (made["problems"], [agent["verdict"] for agent in made["agents"]]) == ([], ["fits"] * 3)
    for agent in made["agents"]:
        assert agent["fit"]["desktop_gib"] == pytest.approx(2.2)
        assert agent["fit"]["card_gib"] * (1 - agent["gpu_memory_utilization"]) > 2.2
    assert "GPU 0: the plan leaves 2.20 GiB for the desktop." in report.text(made, [])


@pytest.mark.parametrize(
    ("used", "processes", "gib"),
    [
        (0.55, [], beside.DISPLAY_RESIDENT.gib),  # before a session
        (None, [], beside.DISPLAY_RESIDENT.gib),  # the driver does not report it
        (9.0, [process(3, None)], beside.DISPLAY_RESIDENT.gib),  # a process of unknown size
        (9.0, [process(3, 8.0, "/usr/bin/ollama")], beside.DISPLAY_RESIDENT.gib),  # of another owner
        (3.45, [], 3.0),
    ],
)
def test_without_a_measured_desktop_the_constant_is_left(used, processes, gib):
    assert build(display(used, *processes))["agents"][0]["fit"]["desktop_gib"] == pytest.approx(gib)


def test_a_desktop_that_changes_a_little_changes_no_plan():
    first = build(display(1.6))
    for used in (1.2, 1.6, 2.0):
        second = build(display(used), deployed=written(first))
        assert written(second) == written(first)
    grown = build(display(6.0), deployed=written(first))
    assert written(grown) != written(first)
    assert grown["problems"] == []


def test_a_card_without_a_display_leaves_no_memory_for_a_desktop():
    (agent, *_) = build(driven(used_gib=3.0))["agents"]
    assert (agent["fit"]["desktop_gib"], agent["fit"]["system_gib"]) == (None, None)


def small(**more):
    """Return an agent whose model fits any card here."""
    return shipped()[2] | {"models": [{"model": "Qwen/Qwen2.5-7B-Instruct-AWQ"}]} | more


def test_the_plan_and_the_units_name_cards_by_uuid():
    cards = (driven(0, uuid="GPU-a"), driven(1, uuid="GPU-b"))
    (agent,) = build(*cards, agents=[small(gpus=[1])])["agents"]
    assert (agent["gpus"], agent["gpu_uuids"]) == ([1], ["GPU-b"])
    assert agent["environment"]["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    (agent,) = build(*cards, agents=[small(gpus=[0, 1])])["agents"]
    assert agent["environment"]["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
    means = {"cdi": ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=GPU-b"], "runtimes": []}
    (agent,) = build(*cards, agents=[small(gpus=[1])], runtime="compose", means=means)["agents"]
    service = agent["compose"]["services"]["engine"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == ["nvidia.com/gpu=GPU-b"]
    assert service["labels"] == {"roundhouse.card.GPU-b": agent["name"]}


def test_before_the_driver_and_on_a_cpu_no_uuid_is_known():
    (agent,) = build(gpu_facts.card(), agents=[small(gpus=[0])])["agents"]
    assert (agent["gpu_uuids"], agent["environment"]["CUDA_VISIBLE_DEVICES"]) == ([], "0")
    made = build(driven(), agents=[small()], accelerator="cpu")
    assert (made["agents"][0]["gpu_uuids"], made["cards"]) == ([], [])


def test_a_card_that_no_driver_binds_is_listed_and_not_planned():
    old = gpu_facts.card(None, address="0000:00:01.0", device_id="128b", driver="nouveau")
    made = build(old, driven(0, uuid="GPU-a"), agents=[small(gpus=[0])])
    (agent,) = made["agents"]
    assert (made["problems"], agent["verdict"], agent["gpu_uuids"]) == ([], "fits", ["GPU-a"])
    assert [(card["gpu"], card["uuid"]) for card in made["cards"]] == [(0, "GPU-a"), (None, None)]
    sentence = "The card 0000:00:01.0 (10de:128b) has the driver nouveau, so no agent uses it."
    assert made["cards"][1]["problem"] == sentence
    assert sentence in report.text(made, [])
    assert build(old, agents=[small()])["problems"] == [sentence]
    absent = build(old, driven(0), agents=[small(gpus=[1])])
    assert absent["problems"] == ["agents[po].gpus is [1], but this host has the GPUs 0 to 0: write those numbers."]


OLD = {"device_id": "1b80", "architecture": "pre-turing"}  # a GTX 1080
TOO_OLD = "The card 0000:01:00.0 ({name}) is older than the Turing generation: the engine requires"


@pytest.mark.parametrize(
    ("card", "name"),
    [
        (gpu_facts.card(0, **OLD), "10de:1b80"),
        (driven(0, **OLD, name="NVIDIA GeForce GTX 1080", compute_capability=[6, 1]), "NVIDIA GeForce GTX 1080"),
    ],
)
def test_a_card_that_the_engine_refuses_is_refused_before_its_driver_is_installed(card, name):
    made = build(card, agents=[small()])
    (problem,) = made["problems"]
    assert problem.startswith(TOO_OLD.format(name=name))
    assert made["waiting"] == []


def test_agents_use_the_cards_beside_one_that_the_engine_refuses():
    made = build(gpu_facts.card(0, **OLD), gpu_facts.card(1), agents=[small()])
    assert (made["problems"], made["agents"][0]["gpus"]) == ([], [1])
    assert made["cards"][0]["problem"].startswith(TOO_OLD.format(name="10de:1b80"))


MIG = {"mig": True, "memory_gib": 79.6, "name": "NVIDIA H100 80GB HBM3", "compute_capability": [9, 0]}


@pytest.mark.parametrize("bad", [lost(0), driven(0, uuid="GPU-m", **MIG)])
def test_agents_use_the_cards_beside_an_unusable_one(bad):
    made = build(bad, driven(1, uuid="GPU-b"), agents=[small(), small(name="dev", port=8001)])
    assert (made["problems"], made["waiting"]) == ([], [])
    assert [agent["gpu_uuids"] for agent in made["agents"]] == [["GPU-b"], ["GPU-b"]]
    unknown = small(models=[{"model": "own/hybrid"}], policy="exact")
    assert build(bad, driven(1, uuid="GPU-b"), agents=[unknown])["agents"][0]["gpu_uuids"] == ["GPU-b"]
    why = made["cards"][0]["problem"]
    named = build(bad, driven(1, uuid="GPU-b"), agents=[small(gpus=[0])])
    assert named["problems"] == [f"agents[po].gpus is [0]: {why}"]
    alone = build(bad, agents=[small()])
    assert (alone["problems"], alone["waiting"]) == ([why], [])


def test_a_decision_on_a_card_that_was_lost_is_made_again():
    cards = (driven(0, uuid="GPU-a"), driven(1, uuid="GPU-b"))
    first = build(*cards, agents=[small()])
    assert first["agents"][0]["gpu_uuids"] == ["GPU-a"]
    after = build(lost(0), cards[1], agents=[small()], deployed=written(first))
    assert after["agents"][0]["gpu_uuids"] == ["GPU-b"]


def spark(used_gib=8.6, *processes):
    """Return the facts of a DGX Spark's GPU: its memory is the host's."""
    told = {"device_id": "2e12", "name": "NVIDIA GB10", "compute_capability": [12, 1], "unified": True}
    return driven(**told, memory_gib=121.7, used_gib=used_gib, processes=[*processes])


def shared(share):
    return [agent | {"gpu_memory_utilization": share} for agent in shipped()]


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_unified_memory_is_planned_with_what_the_system_leaves(share):
    made = build(spark(), agents=shared(share))
    assert (made["problems"], made["waiting"]) == ([], [])
    for agent in made["agents"]:
        assert (agent["fit"]["card_gib"], agent["fit"]["system_gib"]) == (121.7, beside.SYSTEM_FLOOR_GIB)
        assert agent["gpu_memory_utilization"] == share
    assert "GPU 0: the plan leaves 8.60 GiB for the system." in report.text(made, [])


def test_less_available_memory_lowers_the_share_but_not_for_the_agents_own_memory():
    engine = process(3, 60.0, "VLLM::EngineCore", unit="roundhouse-dev.service")
    assert host_cards.of_facts([spark(70.0, engine)])[0].system_gib == pytest.approx(10.0)
    (agent, *_) = build(spark(50.0), agents=shared(0.8))["agents"]
    assert agent["gpu_memory_utilization"] * 121.7 < 121.7 - 50.0
    assert agent["fit"]["system_gib"] == 50.0
    first = build(spark(), agents=shared(0.8))
    running = build(spark(70.0, engine), agents=shared(0.8), deployed=written(first))
    assert written(running) == written(first)


def test_a_share_above_0_8_of_unified_memory_is_refused():
    problems = build(spark())["problems"]
    assert [each.partition(", but")[0] for each in problems] == [
        "agents[architect].gpu_memory_utilization is 0.85",
        "agents[dev].gpu_memory_utilization is 0.95",
    ]
    assert all(each.endswith("shares the host's memory: write a value from 0.5 to 0.8.") for each in problems)


def test_a_plan_without_uuids_still_reads(tmp_path):
    older = written(build(driven()))
    del older["cards"]
    for agent in older["agents"]:
        del agent["gpu_uuids"]
        del agent["fit"]["desktop_gib"], agent["fit"]["system_gib"]
    (tmp_path / "plan.json").write_text(json.dumps(older))
    read = deployed.load(tmp_path / "plan.json")
    assert (read["cards"], [agent["gpu_uuids"] for agent in read["agents"]]) == ([], [[], [], []])
    assert report.text(read, []).count("GiB unused\n") == 3
    again = build(driven(), deployed=read)
    assert [agent["gpu_uuids"] for agent in again["agents"]] == [["GPU-5f1c"]] * 3
    assert [agent["model"] for agent in again["agents"]] == [agent["model"] for agent in older["agents"]]
