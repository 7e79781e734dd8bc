"""The examples report errors in one sentence; molecule tests them with an agent."""

import os
import subprocess
import sys

import pytest
from small_server import Handler, served

from roundhouse.paths import CHECKOUT as ROOT

NOBODY = "http://127.0.0.1:9/v1"


def run(*words, url=NOBODY):
    environment = os.environ | {"OPENAI_BASE_URL": url, "no_proxy": "127.0.0.1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def refusing():
    """Answer every request with 404; yield the base URL."""

    class Refusing(Handler):
        def do_POST(self):
            self.send_error(404)

        do_GET = do_POST

    with served(Refusing) as server:
        yield f"http://127.0.0.1:{server.server_port}/v1"


@pytest.mark.parametrize(
    ("words", "missing"),
    [(("openai_client.py", "chat"), "openai"), (("langchain_rag.py", "docs", "What is a switch?"), "faiss")],
)
def test_without_its_packages_an_example_names_their_lock(words, missing):
    program, *rest = words
    status, said = run(sys.executable, "-S", f"examples/{program}", *rest)
    assert status == 1
    assert said == f"{missing} is not installed. Run `pip install --requirement requirements/examples.txt`.\n"


@pytest.mark.parametrize("words", [(sys.executable, "examples/openai_client.py", "chat"), ("examples/curl.sh",)])
def test_without_an_answer_an_example_names_the_command_to_run(words):
    status, said = run(*words)
    assert status != 0
    assert "Traceback" not in said
    assert said.endswith(". Check the agent with `roundhouse status`, and correct OPENAI_BASE_URL.\n")


@pytest.mark.parametrize("words", [(sys.executable, "examples/openai_client.py", "chat"), ("examples/curl.sh",)])
def test_a_refusal_is_reported_with_its_status(refusing, words):
    status, said = run(*words, url=refusing)
    assert status != 0
    assert "404" in said
    assert "Traceback" not in said
    assert "Check the agent with `roundhouse status`" in said
