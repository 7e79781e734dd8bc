"""Generated rosters as units, vLLM's YAML, Compose files and HAProxy's configuration: nothing is injected.

Each written file is read by a parser of its own kind and compared with that of a harmless roster.
"""

import re
import shutil
import subprocess
import sys

import jinja2
import pytest
import yaml
from fuzz import run
from real_gateway import DEFAULTS, create_files
from real_gateway import render as gateway_template
from test_compose import AGENT

from roundhouse.catalog.gpus import HostCard
from roundhouse.errors import RoundhouseError
from roundhouse.gateway import config as gateway_config
from roundhouse.gateway import haproxy, haproxy_config
from roundhouse.migrate import roster_file
from roundhouse.paths import CHECKOUT
from roundhouse.plan import build, decide
from roundhouse.plan.compose import Means
from roundhouse.provision import agent_files, gateway_files
from roundhouse.roster import validate

CARDS = tuple(HostCard(number, "a card", 80.0, (9, 0), 3000.0, uuid=f"GPU-{number}") for number in range(2))
HOST = decide.Host(CARDS, means=Means(("nvidia.com/gpu=GPU-0", "nvidia.com/gpu=GPU-1")))
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    **{"hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8},
    **{"intermediate_size": 2048, "vocab_size": 1000, "max_position_embeddings": 32768},
}
BENIGN = {key: value for key, value in AGENT.items() if key != "gpus"}
EDGE = "abz09._-+@é%$ '\"\\\n{"  # of what a path may contain


def entry(draw):
    """Return an entry of `models`."""
    start = draw.choice(["", "/srv/", "own/", "/"])
    found = {"model": start + (draw.text() if draw.maybe() else draw.text(8, EDGE))}
    if draw.maybe(0.2):
        found["revision"] = draw.choice(["", "main"]) + draw.text()
    if draw.maybe(0.1):
        found["quantization"] = draw.text()
    return found


def changes(draw):
    """Return the settings of an agent that differ from those of the harmless one."""
    makers = {
        "name": lambda: draw.choice(["a", ""]) + draw.text(6, EDGE),
        "models": lambda: [entry(draw) for _ in range(draw.randrange(3))],
        "description": draw.text,
        "tool_call_parser": lambda: draw.choice(["hermes", draw.text()]),
        "speculative_config": lambda: {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4},
        "policy": draw.text,
        "system_prompt": draw.text,
        "engine_options": lambda: {draw.choice(["reasoning-parser", "fingerprint-value", draw.text()]): draw.text()},
        "kv_cache_dtype": lambda: draw.choice(["fp8", draw.text()]),
        "port": draw.number,
        "max_model_len": draw.number,
        "max_num_seqs": draw.number,
        "temperature": draw.number,
        "gpus": lambda: [draw.randrange(3) for _ in range(draw.randrange(3))],
    }
    wanted = draw.sample(sorted(makers), draw.randrange(3)) + draw.choice([[], ["models"], ["description"]])
    return {name: makers[name]() for name in wanted}


def templates():
    found = jinja2.Environment(  # noqa: S701 - no HTML
        loader=jinja2.FileSystemLoader(CHECKOUT / "roles/agents/templates"), trim_blocks=True
    )
    found.filters["to_nice_yaml"] = lambda value: yaml.safe_dump(value, allow_unicode=True, default_flow_style=False)
    found.filters["combine"] = lambda value, other, recursive: _merged(value, other)
    return found


def _merged(value, other):
    both = isinstance(value, dict) and isinstance(other, dict)
    return {**value, **{key: _merged(value.get(key), each) for key, each in other.items()}} if both else other


TEMPLATES = {name: templates().get_template(name) for name in ("agent.service.j2", "vllm.yaml.j2", "compose.yaml.j2")}


def render(name, plan, agent):
    variables = agent_files.variables(agent)
    ids = {variables["__agents_account"]: "1:1"}
    return TEMPLATES[name].render(ansible_managed="x", agents_plan=plan, __agents_ids=ids, **variables)


def settings_of(unit):
    """Return the (section, key) pairs of a unit, as systemd reads it (systemd.syntax(7))."""
    section, found = None, []
    for line in unit.replace("\\\n", " ").split("\n"):
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header[1]
        elif line.strip() and not line.startswith(("#", ";")):
            key, equals, value = line.partition("=")
            assert equals, line
            assert not re.search(r"[\x00-\x08\x0b-\x1f]", value), line
            found.append((section, key))
    return found


def planned(agent, runtime):
    """Return the plan of an agent, None if the roster is refused."""
    configs = {each["model"]: CONFIG for each in agent["models"] if each["model"].startswith("/")}
    if list(validate.problems([agent], configs, 8000)):
        return None
    image = "i@sha256:1" if runtime == "compose" else None
    settings = build.Settings("cuda", "/opt/e", "/srv/store", 900, 8000, runtime=runtime, image=image)
    try:
        return build.build([agent], settings, HOST._replace(configs=configs))
    except RoundhouseError:
        return None


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Give the gateway's files a folder of their own."""
    return create_files(tmp_path, monkeypatch)


RENDERED = {}  # the role's text, which takes long to print, by its settings


def gateway_of(plan):
    config = gateway_config.build(plan, gateway_config.Settings(**DEFAULTS))
    key = repr(config)
    if key not in RENDERED:
        RENDERED[key] = gateway_template(config)
    return haproxy_config.render(RENDERED[key], plan)


def keywords(text):
    """Return the section and the first word of each line of HAProxy's configuration."""
    return [line.split()[0] for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")]


def test_a_planned_roster_injects_nothing_into_a_written_file(files):
    plain = {runtime: planned(BENIGN, runtime) for runtime in ("native", "compose")}
    units = {kind: settings_of(render("agent.service.j2", plan, plan["agents"][0])) for kind, plan in plain.items()}
    gateway = keywords(gateway_of(plain["native"]))
    made = []

    def check(draw):
        changed, runtime = changes(draw), draw.choice(["native", "compose"])
        plan = planned({**BENIGN, **changed}, runtime)
        if plan is None or not plan["agents"]:
            return
        made.append(changed)
        agent, cards = plan["agents"][0], len(changed.get("gpus", [0]))
        unit = settings_of(render("agent.service.j2", plan, agent))
        assert cards > 1 or without_environment(unit) == without_environment(units[runtime])
        assert yaml.safe_load(render("vllm.yaml.j2", plan, agent)) == agent["config"]
        if runtime == "compose":
            read = yaml.safe_load(render("compose.yaml.j2", plan, agent))
            assert read == _merged(agent["compose"], {"services": {"engine": {"user": "1:1"}}})
        text = gateway_of(plan)
        assert keywords(text) == gateway
        assert "env(" not in text
        if shutil.which("haproxy") and len(made) % 200 == 1:
            for name in gateway_files.LUA:
                shutil.copy(CHECKOUT / "roles/gateway/files" / name, files)
            (files / "haproxy.cfg").write_text(text)
            haproxy.publish_routes(plan, lambda _: None)
            done = subprocess.run(["haproxy", "-c", "-f", files / "haproxy.cfg"], check=False, capture_output=True)
            assert done.returncode == 0, done.stderr.decode()

    run("rosters", check)
    sys.stdout.write(f"of these planned: {len(made)}\n")
    assert len(made) > 10


def without_environment(unit):
    return [pair for pair in unit if pair[1] != "Environment"]


def test_any_value_of_a_roster_is_a_sentence_and_no_traceback():
    def check(draw):
        agents = draw.changed([{**BENIGN, **changes(draw)}], 0.2)
        assert all(isinstance(each, str) for each in validate.problems(agents, {}, 8000))

    run("rosters of any shape", check)


def test_a_written_roster_is_read_as_what_it_was():
    def check(draw):
        agent = {name: draw.text().replace("\ud800", "") for name in ("name", "description", "tool_call_parser")}
        try:
            text = roster_file.yaml([agent], [draw.text() for _ in range(draw.randrange(3))])
        except RoundhouseError as error:
            assert error.code == "roster_template"
            assert "{" in str(agent)
            return
        assert yaml.safe_load(text) == {"agents": [agent]}

    run("written rosters", check)
