"""The memory figures that the real engine reports at its start are kept, and the fit agrees with them."""

import json

import pytest

from roundhouse.catalog import hf_config
from roundhouse.fit import kv_cache


def test_the_engines_number_of_tokens_equals_the_fits(host, switch, serving):
    (name,) = serving()
    (agent,) = (each for each in switch("plan")["agents"] if each["name"] == name)
    config = json.loads(host.file(f"{agent['model_path']}/config.json").content_string)
    model = hf_config.parse(config, agent["model"])
    pool = kv_cache.pool(model.architecture, kv_cache.Settings(dtype=agent["kv_cache_dtype"]))
    stated = agent["measured"]
    tokens = pool.tokens(stated["kv_gib"] * 1024**3, stated["max_model_len"])
    assert tokens == pytest.approx(stated["kv_tokens"], rel=0.002)
    assert stated["max_model_len"] == agent["max_model_len"]


def test_plan_shows_the_measured_memory(host):
    shown = host.check_output("roundhouse plan")
    assert "The engine runs on the CPU, so no card's memory is checked." in shown
    assert "measured here: KV cache 1.00 GiB, " in shown
