"""An engine's sign of life: what moves, what is asked, and what a busy one is not asked."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from roundhouse import pulse


class Core(BaseHTTPRequestHandler):
    """An API server whose core may stop: what /metrics says then stays, and a completion waits."""

    numbers: ClassVar = {"num_requests_running": 0.0, "kv_cache_usage_perc": 0.0, "generation_tokens_total": 0.0}
    asked = 0
    stopped = False

    def do_GET(self):
        """Tell the core's numbers."""
        self.reply("".join(f'vllm:{name}{{engine="0"}} {value}\n' for name, value in self.numbers.items()))

    def do_POST(self):
        """Answer a completion, when the core does."""
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.stopped:
            time.sleep(1)
        self.reply(json.dumps({"choices": [{"text": "a"}]}))

    def reply(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def core():
    """Return a handler class of this test alone, and the agent that it serves."""
    handler = type("Own", (Core,), {"numbers": dict(Core.numbers)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler, {"name": "dev", "host": "127.0.0.1", "engine_port": server.server_port}
        server.shutdown()


def take(agent, before=None):
    return pulse.take(agent, before, 0.2)


def test_an_idle_engine_is_asked_for_a_token_each_time(core):
    handler, agent = core
    alive, before = take(agent)
    assert alive
    assert take(agent, before)[0]
    assert handler.asked == 2


def test_an_idle_engine_whose_core_is_stopped_is_not_alive_though_its_api_answers(core):
    handler, agent = core
    handler.stopped = True
    assert take(agent) == (False, pulse.Pulse(busy=False, numbers=take(agent)[1].numbers))


def test_a_busy_engine_is_asked_nothing_and_lives_while_its_numbers_move(core):
    handler, agent = core
    handler.numbers["num_requests_running"] = 1.0
    alive, before = take(agent)
    assert alive  # the first look has nothing to compare with
    handler.numbers["kv_cache_usage_perc"] = 0.01  # all that a long prompt moves
    alive, before = take(agent, before)
    assert alive
    assert not take(agent, before)[0]
    assert handler.asked == 0


def test_one_that_got_work_while_it_was_asked_is_alive(core):
    handler, agent = core
    handler.stopped = True
    threading.Timer(0.1, handler.numbers.update, [{"num_requests_running": 8.0}]).start()
    alive, now = take(agent)
    assert alive
    assert now.busy


def test_who_does_not_answer_at_all_is_not_alive(core):
    _, agent = core
    assert take(agent | {"engine_port": 1}) == (False, None)
