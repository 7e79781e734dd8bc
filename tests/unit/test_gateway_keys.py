"""The gateway's keys, limits and settings: made, named, revoked, and asked for by a real HAProxy."""

import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import yaml
from clock import until
from real_gateway import DEFAULTS, ROLE, WAIT_SECONDS, Gateway, create_files, starting

from roundhouse.cli import main
from roundhouse.errors import UsageError
from roundhouse.gateway import config, haproxy
from roundhouse.gateway import keys as gateway_keys
from roundhouse.plan import build

needs_haproxy = pytest.mark.skipif(
    not shutil.which("haproxy"), reason="HAProxy is not installed: make setup as root does"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give the gateway's files a folder of their own; its group is the one that runs the tests."""
    return create_files(tmp_path, monkeypatch)


@pytest.fixture
def start_gateway(place):
    """Return a function that starts a gateway that asks for keys."""
    gateway_keys.ensure()
    yield from starting(place, key_required=True)


def said(capsys, *words):
    status = main.main(["keys", *words])
    out = capsys.readouterr()
    return status, (out.out + out.err).strip()


def test_the_first_key_is_made_once_and_no_other_reads_it(place, capsys):
    assert (gateway_keys.ensure(), gateway_keys.ensure()) == (True, False)
    assert gateway_keys.PATH.stat().st_mode & 0o777 == 0o600
    status, key = said(capsys, "show", "default")
    assert (status, len(key)) == (0, 46)
    told = gateway_keys.MAP.read_text()
    assert told == f"{hashlib.sha256(key.encode()).hexdigest().upper()} default\n"
    assert key not in told
    assert gateway_keys.MAP.stat().st_mode & 0o777 == 0o640


def test_the_roles_words_are_the_commands(place, capsys):
    tasks = yaml.safe_load((ROLE / "tasks/secrets.yml").read_text())
    (words,) = (task["ansible.builtin.command"].split()[1:] for task in tasks if task["name"] == "Create the first key")
    assert (main.main(words), json.loads(capsys.readouterr().out)["changed"]) == (0, True)
    assert (main.main(words), json.loads(capsys.readouterr().out)["changed"]) == (0, False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change its account")
@pytest.mark.parametrize("words", [(), ("show", "default"), ("add", "x"), ("revoke", "default")])
def test_another_account_gets_one_error_and_no_key(place, capsys, words):
    gateway_keys.ensure()
    os.seteuid(65534)
    try:
        status, text = said(capsys, *words)
    finally:
        os.seteuid(0)
    assert (status, text.count("\n"), text.endswith("Run this as root.")) == (1, 0, True)
    assert [*gateway_keys.load()] == ["default"]


def test_no_key_is_created_after_all_were_revoked(place, capsys):
    gateway_keys.ensure()
    assert said(capsys, "revoke", "default") == (0, "the key of default is revoked")
    assert gateway_keys.ensure() is False
    assert said(capsys, "show", "default")[1].endswith("No key is named 'default'. There is none yet.")
    add = "Add one with `roundhouse keys add NAME`."
    assert said(capsys) == (0, f"There is no key. The API on loopback needs none. {add}")
    (place / "haproxy.cfg").write_text("map_str(/etc/roundhouse/gateway/keys.map)")
    assert said(capsys) == (0, f"There is no key, so the gateway refuses all requests except /health. {add}")
    assert gateway_keys.MAP.read_text() == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "default"), "A key named default exists. Revoke it first, or choose another name."),
        (("add", "A b"), "'A b' is not a valid name. Use lower-case letters, digits, dots, dashes and underscores."),
        (("revoke", "nosuch"), "No key is named 'nosuch'. Write one of default."),
        (("show", "nosuch"), "No key is named 'nosuch'. Write one of default."),
        (("show", "defualt"), "No key is named 'defualt'. Did you mean default?"),
        (("list", "foo"), "keys list does not take the argument 'foo'. Leave it out."),
        (("certificate", "foo"), "keys certificate does not take the argument 'foo'. Leave it out."),
        (("add",), "keys add needs a name. Write roundhouse keys add NAME."),
    ],
)
def test_invalid_options_are_refused(place, capsys, words, sentence):
    gateway_keys.ensure()
    status, text = said(capsys, *words)
    assert status == 2
    assert sentence in text


def test_a_gateway_that_does_not_answer_the_command_is_reported(place, capsys, monkeypatch):
    monkeypatch.setattr(haproxy, "_TIMEOUT_SECONDS", 0.2)
    gateway_keys.ensure()
    (place / "master.sock").unlink(missing_ok=True)
    assert said(capsys, "add", "one")[0] == 0  # it does not run
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(f"{haproxy.RUNTIME}/master.sock")
        hung.listen()
        status, text = said(capsys, "revoke", "one")
    assert status == 1
    assert "The key one was removed from the files, but HAProxy did not accept the new state (" in text
    assert "systemctl reload roundhouse-gateway.service" in text
    assert "one" not in gateway_keys.load()


@needs_haproxy
def test_created_and_revoked_keys_take_effect_at_once(start_gateway, capsys):
    table = start_gateway()
    table.publish(po="off:5")

    def asked(key):
        return table.complete("po", Authorization=f"Bearer {key}").status

    assert (table.ask("GET", "/health").status, table.ask("GET", "/v1/models").status) == (200, 401)
    assert (asked(gateway_keys.load()["default"]), asked("wrong"), asked("")) == (503, 401, 401)
    _, key = said(capsys, "add", "laptop")
    assert asked(key) == 503
    said(capsys, "revoke", "laptop")
    assert asked(key) == 401
    until(lambda: table.log().count(" /v1/completions ") == 5)  # HAProxy logs a request after it has answered it
    assert "key=laptop" in table.log()
    assert key not in table.log()
    refused = json.loads(table.ask("GET", "/v1/models").body)["error"]
    assert (refused["code"], refused["message"].split(":")[0]) == (401, "Send a key of this host")


@needs_haproxy
def test_a_key_has_limits_of_its_own(start_gateway):
    table = start_gateway(requests_per_minute=20, requests_at_once=3)
    key = {"Authorization": f"Bearer {gateway_keys.load()['default']}"}
    other = {"Authorization": f"Bearer {gateway_keys.add('other')}"}
    table.publish(dev="wait:1")
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(table.complete, "dev", **key) for _ in range(3)]
        until(lambda: haproxy.read(["dev"])["dev"].waiting == 3)
        assert [table.complete("dev", **key).status for _ in range(2)] == [429, 429]
        table.publish(dev="off:1")
        assert [each.result().status for each in asking] == [503] * 3
    until(lambda: "conn_cur=0" in "".join(haproxy.ask_workers(["show table LIMITS"])))  # those have ended there too
    statuses = [table.ask("GET", "/v1/models", **key).status for _ in range(18)]
    assert (statuses[0], statuses[-1]) == (200, 429)
    refused = table.ask("GET", "/v1/models", **key)
    assert json.loads(refused.body)["error"]["type"] == "rate_limit_error"
    assert int(refused.headers["Retry-After"]) > 0
    assert table.ask("GET", "/v1/models", **other).status == 200


def make_certificate(target):
    script = (ROLE / "files/make_certificate.sh").read_text().replace("chown", ": chown")
    subprocess.run(["sh", "-c", script, "make", str(target)], check=True)
    return target.read_text()


@pytest.mark.parametrize("own", [False, True], ids=["made by the role", "gateway_certificate"])
@pytest.mark.parametrize("key_first", [False, True])
def test_the_certificate_is_printed_without_its_private_key(place, capsys, own, key_first):
    file = place / ("own.pem" if own else "tls.pem")
    certificate, _, key = make_certificate(file).partition("-----BEGIN PRIVATE KEY-----")
    key = f"-----BEGIN PRIVATE KEY-----{key}"
    file.write_text(f"{key}{certificate}" if key_first else f"{certificate}{key}")
    table = Gateway(place, tls=True, certificate="/home/me/own.pem" if own else "")
    table.write()
    assert said(capsys, "certificate") == (0, certificate.strip())
    status, text = said(capsys, "certificate", "--json")
    assert (status, json.loads(text)["certificate"]) == (0, certificate.strip())
    assert "PRIVATE" not in text
    assert key.split("\n")[1] not in text
    ssl.create_default_context(cadata=certificate)


@needs_haproxy
def test_a_client_that_has_the_printed_certificate_reaches_the_gateway(place, capsys, monkeypatch):
    make_certificate(place / "tls.pem")
    table = Gateway(place, tls=True)
    table.trusting = ssl.create_default_context(cafile=place / "tls.pem")
    try:
        table.start()
        url = f"https://localhost:{table.ports.any}/v1"
        with pytest.raises(openai.APIConnectionError):
            openai.OpenAI(base_url=url, api_key="none", max_retries=0).models.list()
        (place / "gateway.pem").write_text(said(capsys, "certificate")[1] + "\n")
        monkeypatch.setenv("SSL_CERT_FILE", str(place / "gateway.pem"))
        found = openai.OpenAI(base_url=url, api_key="none", max_retries=0).models.list()
        assert [each.id for each in found] == ["dev", "po"]
        curl = ["curl", "--silent", "--fail", "--cacert", str(place / "gateway.pem"), f"{url}/models"]
        listed = subprocess.check_output(curl, env={"PATH": os.environ["PATH"]})
        assert [each["id"] for each in json.loads(listed)["data"]] == ["dev", "po"]
    finally:
        table.end()


def test_a_chain_is_printed_whole(place, capsys):
    first, second = (make_certificate(place / name) for name in ("one.pem", "tls.pem"))
    (place / "tls.pem").write_text(first + second)
    (place / "haproxy.cfg").write_text(f"bind 0.0.0.0:8080 ssl crt {place}/tls.pem ssl-min-ver TLSv1.2\n")
    _, text = said(capsys, "certificate")
    assert (text.count("BEGIN CERTIFICATE"), text.count("BEGIN"), text.count("END CERTIFICATE")) == (2, 2, 2)


@pytest.mark.parametrize(
    ("config", "file", "code"),
    [
        (None, "", "gateway_not_deployed"),
        ("bind 127.0.0.1:8080\n", "", "gateway_without_tls"),
        ("bind 0.0.0.0:8080 ssl crt FOLDER/tls.pem ssl-min-ver TLSv1.2\n", None, "certificate_unreadable"),
        # Damaged: the block of the certificate does not end before the one of the key.
        (
            "bind 0.0.0.0:8080 ssl crt FOLDER/tls.pem ssl-min-ver TLSv1.2\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN PRIVATE KEY-----\nSECRET\n-----END CERTIFICATE-----\n",
            "certificate_missing",
        ),
    ],
)
def test_without_a_certificate_the_command_fails_and_prints_no_key(place, capsys, config, file, code):
    if config is not None:
        (place / "haproxy.cfg").write_text(config.replace("FOLDER", str(place)))
    if file is not None:
        (place / "tls.pem").write_text(file)
    status, text = said(capsys, "certificate", "--json")
    assert (status != 0, json.loads(text)["errors"][0]["code"]) == (True, code)
    assert "SECRET" not in text


def settings(**changes):
    common = {"max_model_len": 4096, "gpu_memory_utilization": 0.9, "temperature": 0.3, "top_p": 0.95}
    roster = [{"name": "dev", "port": 8001, "models": [{"model": "/m"}], **common}]
    plan = build.build(roster, build.Settings("cpu", "/e", "/m", 1, 8080))
    return config.build(plan, config.Settings(**DEFAULTS | changes))


def test_a_gateway_beyond_loopback_requires_keys_and_tls():
    assert (settings()["needs_key"], settings()["certificate"]) == (False, None)
    beyond = settings(listen="0.0.0.0")  # noqa: S104 - the case under test
    assert (beyond["needs_key"], beyond["certificate"]) == (True, "/etc/roundhouse/gateway/tls.pem")
    assert settings(listen="::")["address"] == "[::]"


@pytest.mark.parametrize(
    ("origins", "required", "code"),
    [
        (["*"], False, "cors_any_without_keys"),
        (["*"], True, None),
        (["https://chat.lan", "http://127.0.0.1:3000", "chrome-extension://abc", "http://[::1]:3000"], False, None),
        (["chat.lan"], False, "cors_origin_invalid"),
        (["https://chat.lan/"], False, "cors_origin_invalid"),
        (["https://chat.lan } or all"], False, "cors_origin_invalid"),
        (["null"], True, "cors_origin_invalid"),
    ],
)
def test_an_origin_is_a_scheme_and_a_host(origins, required, code):
    try:
        assert settings(cors_origins=origins, key_required=required)["origins"] == origins
    except UsageError as error:
        assert error.code == code
    else:
        assert code is None


def test_a_gateway_for_others_without_keys_is_refused():
    with pytest.raises(UsageError, match=r"192\.0\.2\.1") as error:
        settings(listen="192.0.2.1", key_required=False)
    assert error.value.code == "gateway_without_keys"
    with pytest.raises(UsageError, match="eth0") as error:
        settings(listen="eth0")
    assert error.value.code == "gateway_listen_invalid"


@needs_haproxy
def test_a_certificate_is_made_for_the_host_and_used_by_clients_that_know_http2_too(place, monkeypatch):
    make_certificate(place / "tls.pem")
    trusting = ssl.create_default_context(cafile=place / "tls.pem")
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    table = Gateway(place, tls=True)

    def ask(method, path, body=None, *, port=None, **headers):
        line = http.client.HTTPSConnection("localhost", port or table.ports.any, context=trusting, timeout=WAIT_SECONDS)
        line.request(method, path, body, headers)
        answer = line.getresponse()
        answer.body = answer.read()
        return answer

    monkeypatch.setattr(table, "ask", ask)
    try:
        table.start()
        assert (ask("GET", "/health").status, ask("GET", "/v1/models").status) == (200, 200)
        raw = socket.create_connection(("localhost", table.ports.any), WAIT_SECONDS)
        with trusting.wrap_socket(raw, server_hostname="localhost") as line:
            assert line.selected_alpn_protocol() == "http/1.1"
    finally:
        table.end()
