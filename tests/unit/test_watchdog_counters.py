"""The watchdog's signs of life: changing metrics, and a completion that a busy engine is not asked for."""

import json
import threading
from typing import ClassVar

import pytest
from clock import TIMEOUT_SECONDS
from small_server import Handler, served

from roundhouse.agents import watchdog

SHORT_SECONDS = 0.5  # timeout of a completion that never ends


class Core(Handler):
    """An API server whose core may stop: /metrics then repeats its values, and a completion waits."""

    numbers: ClassVar = {"num_requests_running": 0.0, "kv_cache_usage_perc": 0.0, "generation_tokens_total": 0.0}
    asked = 0
    came_meanwhile: ClassVar = {}  # what the numbers become while a completion is asked for, which is not answered then
    goes_on: threading.Event  # unset: the core has stopped

    def do_GET(self):
        """Answer with the core's metrics."""
        self.reply("".join(f'vllm:{name}{{engine="0"}} {value}\n' for name, value in self.numbers.items()))

    def do_POST(self):
        """Answer a completion once the core does."""
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.numbers.update(self.came_meanwhile)
        if not self.came_meanwhile and self.goes_on.wait(TIMEOUT_SECONDS):
            self.reply(json.dumps({"choices": [{"text": "a"}]}))

    def reply(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def core():
    """Return a handler class of this test, and its agent."""
    handler = type("Own", (Core,), {"numbers": dict(Core.numbers), "goes_on": threading.Event()})
    handler.goes_on.set()
    with served(handler) as server:
        yield handler, {"name": "dev", "host": "127.0.0.1", "engine_port": server.server_port}
        handler.goes_on.set()


def take(agent, before=None):
    return watchdog.is_alive(agent, before, TIMEOUT_SECONDS)


def test_an_idle_engine_is_asked_for_a_token_each_time(core):
    handler, agent = core
    alive, before = take(agent)
    assert alive
    assert take(agent, before)[0]
    assert handler.asked == 2


def test_an_idle_engine_whose_core_is_stopped_is_not_alive_though_its_api_answers(core, monkeypatch):
    handler, agent = core
    _, before = take(agent)
    handler.goes_on.clear()
    answers = watchdog._answers

    def answers_soon(agent, limit_seconds):
        assert limit_seconds == TIMEOUT_SECONDS
        return answers(agent, SHORT_SECONDS)

    # Only the completion has a short timeout, because a slow machine may need longer for the metrics.
    monkeypatch.setattr(watchdog, "_answers", answers_soon)
    assert take(agent, before) == (False, before)
    assert not before.busy


def test_a_busy_engine_is_alive_while_its_counters_change(core):
    handler, agent = core
    handler.numbers["num_requests_running"] = 1.0
    alive, before = take(agent)
    assert alive  # the first check has no earlier values
    handler.numbers["kv_cache_usage_perc"] = 0.01  # the only value that a long prompt changes
    alive, before = take(agent, before)
    assert alive
    assert not take(agent, before)[0]
    assert handler.asked == 0


def test_an_engine_that_got_work_during_the_check_is_alive(core):
    handler, agent = core
    handler.came_meanwhile = {"num_requests_running": 8.0}
    alive, now = take(agent)
    assert handler.asked == 1
    assert alive
    assert now.busy


def test_an_engine_that_does_not_answer_at_all_is_not_alive(core):
    _, agent = core
    assert take(agent | {"engine_port": 1}) == (False, None)
