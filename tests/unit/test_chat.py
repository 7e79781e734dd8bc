"""Test `roundhouse chat` with one question: through a real HAProxy, and with each error of an API."""

import io
import json
import ssl
import subprocess
import sys
import threading

import pytest
from real_gateway import ROLE, Gateway, create_files, free_port
from real_gateway import version as haproxy_version
from small_server import Handler, served

from roundhouse.cli import main
from roundhouse.gateway import keys
from roundhouse.plan import deployed

real_gateway = pytest.mark.skipif(haproxy_version() < (2, 6), reason="the gateway needs HAProxy from 2.6 on")


def deploy(monkeypatch, folder, plan):
    """Make a plan the deployed one."""
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    monkeypatch.setattr(deployed, "PATH", path)
    monkeypatch.setattr(deployed.load, "__defaults__", (path,))


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    """Return a function that starts the gateway of dev and po with settings, and deploys its plan."""
    folder = create_files(tmp_path, monkeypatch)
    made = []

    def start(**settings):
        if settings.get("tls"):
            script = (ROLE / "files/make_certificate.sh").read_text().replace("chown", ": chown")
            subprocess.run(["sh", "-c", script, "make", str(folder / "tls.pem")], check=True, capture_output=True)
        table = Gateway(folder, **settings)
        table.trusting = ssl.create_default_context(cafile=folder / "tls.pem") if settings.get("tls") else None
        made.append(table)
        deploy(monkeypatch, folder, table.plan)
        return table.start()

    yield start
    for each in made:
        each.end()


def ask(capsys, *words):
    """Return the exit status, and what came on stdout and stderr."""
    status = main.main(["chat", *words])
    return status, *capsys.readouterr()


def refused(capsys, *words):
    """Return the exit status and the error of a question with --json."""
    status, out, _ = ask(capsys, *words, "--json")
    answer = json.loads(out)
    assert answer["ok"] is False
    return status, answer["errors"][0]


@real_gateway
def test_a_question_goes_through_the_gateway_with_its_key_and_certificate(gateway, capsys, tmp_path):
    assert keys.ensure()
    key = keys.load()[keys.FIRST]
    gateway(key_required=True, tls=True).serve("dev")
    status, out, err = ask(capsys, "dev", "what", "is", "up?", "--max-tokens", "5")
    assert (status, err) == (0, "")
    assert out.strip()
    assert key not in out
    (tmp_path / "other.key").write_text("rh-other\n")
    status, error = refused(capsys, "dev", "hello", "--key", str(tmp_path / "other.key"))
    assert (status, error["code"]) == (1, "key_refused")


@real_gateway
def test_another_certificate_is_not_accepted(gateway, capsys, tmp_path):
    gateway(key_required=False, tls=True).serve("dev")
    script = (ROLE / "files/make_certificate.sh").read_text().replace("chown", ": chown")
    (tmp_path / "tls.pem").unlink()
    subprocess.run(["sh", "-c", script, "make", str(tmp_path / "tls.pem")], check=True, capture_output=True)
    _, error = refused(capsys, "dev", "hello")
    assert "CERTIFICATE_VERIFY_FAILED" in error["fields"]["why"]


@real_gateway
def test_an_agent_that_is_not_loaded_is_refused_with_the_command_that_starts_it(gateway, capsys):
    gateway().serve("dev")
    status, error = refused(capsys, "po", "hello")
    assert (status, error["code"], error["fields"]["agent"]) == (1, "agent_not_loaded", "po")
    assert "Start it with roundhouse po" in error["remedy"]


@real_gateway
def test_on_demand_the_question_waits_until_the_agent_is_loaded(gateway, capsys):
    table = gateway()
    table.publish(po="ask:60")

    def load():
        table.engine("po")
        table.publish(po="on:60")

    later = threading.Timer(2.5, load)
    later.start()
    status, out, err = ask(capsys, "po", "hello", "--max-tokens", "3")
    later.join()
    assert status == 0, err
    assert out.strip()
    assert "starting po" in err


class Api(Handler):
    """Answer as the last message of the user says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(200, b"")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        word = body["messages"][-1]["content"]
        self.server.asked = body
        if word.isdigit():
            why = {"error": {"message": f"because of {word}", "type": "x"}}
            self.reply(int(word), b"<html>" if word == "502" else json.dumps(why).encode(), ("Retry-After", "7"))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.close_connection = True
        if word == "reason":
            self.event({"choices": [{"delta": {"reasoning": "hm"}}]})
        self.event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        self.event({"choices": [{"delta": {"content": "Hé"}}]})
        if word == "error":
            self.event({"error": {"message": "EngineCore died"}})
        if word in ("cut", "error"):
            return
        self.event(
            {"choices": [{"delta": {"content": "llo\x1b[2J"}, "finish_reason": "abort" if word == "abort" else "stop"}]}
        )
        self.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, told):
        self.wfile.write(b"data: " + json.dumps(told, ensure_ascii=False).encode() + b"\n\n")

    def reply(self, status, raw, *headers):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(raw)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)


def planned(port, other=None):
    """Return a plan without a gateway: dev has one port, and po another, where nothing listens by default."""
    names = {"dev": port, "po": other or free_port()}
    return {
        "schema": 1,
        "gateway_port": None,
        "agents": [
            {
                **dict.fromkeys(("conflicts", "config_path", "environment", "model_path"), ""),
                **{"name": name, "unit": f"roundhouse-{name}.service", "host": "127.0.0.1", "port": at},
                **{"engine_port": at, "model": f"Qwen/{name}", "max_model_len": 4096, "temperature": 0.3, "config": {}},
            }
            for name, at in names.items()
        ],
    }


@pytest.fixture
def api(monkeypatch, tmp_path):
    with served(Api) as server:
        deploy(monkeypatch, tmp_path, planned(server.server_port))
        yield server


def test_without_a_gateway_the_engine_is_asked(api, capsys):
    assert ask(capsys, "dev", "hello", "--system", "Be brief.")[:2] == (0, "Héllo\x1b[2J\n")
    assert api.asked["model"] == "dev"
    assert api.asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]


def test_one_object_has_the_answer_and_what_it_took(api, capsys):
    status, out, err = ask(capsys, "dev", "hello", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert (told["agent"], told["model"], told["answer"]) == ("dev", "Qwen/dev", "Héllo\x1b[2J")
    assert (told["finish_reason"], told["usage"]["completion_tokens"]) == ("stop", 2)
    assert told["seconds"] > 0


def test_the_answer_omits_the_reasoning(api, capsys):
    assert json.loads(ask(capsys, "dev", "reason", "--json")[1])["answer"].startswith("Hé")


def test_a_piped_question_is_answered(api, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("zwei\nZeilen ü\n".encode())))
    assert ask(capsys, "dev")[0] == 0
    assert api.asked["messages"][-1]["content"] == "zwei\nZeilen ü"


@pytest.mark.parametrize(
    ("question", "code", "parts"),
    [
        ("400", "request_refused", ("because of 400", "/clear")),
        ("401", "key_refused", ("--key",)),
        ("404", "request_refused", ("because of 404",)),
        ("429", "rate_limited", ("because of 429", "7 s")),
        ("500", "agent_failed", ("because of 500", "doctor")),
        ("502", "agent_failed", ("<html>",)),
        ("503", "agent_not_loaded", ("because of 503", "roundhouse dev")),
        ("cut", "answer_cut", ("status",)),
        ("abort", "answer_cut", ("status",)),
        ("error", "agent_failed", ("EngineCore died", "doctor")),
    ],
)
@pytest.mark.usefixtures("api")
def test_an_error_of_the_api_has_a_cause_and_a_remedy(capsys, question, code, parts):
    status, error = refused(capsys, "dev", question)
    assert (status, error["code"]) == (1, code)
    assert all(part in error["message"] for part in parts)


@pytest.mark.usefixtures("api")
def test_an_engine_that_does_not_listen_is_not_loaded(capsys):
    status, error = refused(capsys, "po", "hello")
    assert (status, error["code"]) == (1, "agent_not_loaded")
    assert "roundhouse po" in error["remedy"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["deb", "hello"], "unknown_agent"),
        (["dev", "hello", "--max-tokens", "0"], "max_tokens_invalid"),
        (["dev", " "], "question_missing"),
        (["dev", "hello", "--key", "/nowhere"], "key_unreadable"),
        ([], "argument_missing"),
    ],
)
@pytest.mark.usefixtures("api")
def test_an_invalid_question_touches_nothing(capsys, monkeypatch, words, code):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    status, error = refused(capsys, *words)
    assert (status, error["code"]) == (2, code)


def test_without_an_agent_only_the_agent_is_missing(capsys):
    _, error = refused(capsys)
    assert error["fields"]["names"] == "AGENT"


@real_gateway
def test_a_gateway_with_keys_needs_one_of_this_host(gateway, capsys):
    gateway(key_required=True).write()
    status, error = refused(capsys, "dev", "hello")
    assert (status, error["code"]) == (1, "key_missing")
    assert "keys add" in error["remedy"]


def test_the_key_goes_into_no_error(api, capsys, tmp_path):
    (tmp_path / "a.key").write_text("rh-secret\n")
    for question in ("401", "500", "cut"):
        _, out, err = ask(capsys, "dev", question, "--key", str(tmp_path / "a.key"))
        assert "rh-secret" not in out + err
