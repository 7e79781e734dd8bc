"""Use a host's gateway from outside: plans, refusals, a reload, metrics, the certificate, keys. On demand is off."""

import http.client
import json
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from conftest import ANY, GATE, PORTS

METRICS = {name: port + 100 for name, port in PORTS.items()}
SECONDS = 120
TOKENS = 400
STREAMS = 8


@pytest.fixture
def get(gate):
    """Return a function that sends a GET, without a key for an empty one, and returns status and text."""

    def ask(port, path, key=gate.key, tls=gate.tls):
        line = http.client.HTTPSConnection(gate.address, port, timeout=SECONDS, context=tls)
        try:
            line.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    return ask


def stream(gate, tokens):
    """Return the last event of a stream, and the number of its events."""
    line = http.client.HTTPSConnection(gate.address, ANY, timeout=SECONDS, context=gate.tls)
    body = {"model": "architect", "prompt": "go on", "max_tokens": tokens, "stream": True}
    line.request("POST", "/v1/completions", json.dumps(body), {"Authorization": f"Bearer {gate.key}"})
    events = []
    for each in line.getresponse():
        events += [each.strip()] if each.startswith(b"data: ") else []
    return events[-1], len(events)


def test_without_on_demand_openais_client_is_refused_at_once(gate, get):
    assert gate.run("architect")["rc"] == 0

    def refused():
        text = get(ANY + 100, "/metrics/roundhouse")[1]
        return sum(map(int, re.findall(r'refused_total{agent="po",why="off"} (\d+)', text)))

    before = refused()
    trusting = openai.DefaultHttpxClient(verify=gate.tls)
    api = openai.OpenAI(base_url=f"https://{gate.address}:{ANY}/v1", api_key=gate.key, http_client=trusting)
    with pytest.raises(openai.InternalServerError, match="gateway_on_demand is false") as error:
        api.completions.create(model="po", prompt="go on")
    assert (error.value.status_code, error.value.response.headers["x-should-retry"]) == (503, "false")
    assert refused() - before == 1  # the client, which has two retries, did not retry


# Makes a plan without po of the one in place, as a deployment of a smaller roster does.
SMALLER = """
import json, pathlib, shutil
plans = pathlib.Path("/var/lib/roundhouse/plans")
shutil.copytree(plans / json.loads((plans / "plans.json").read_text())["plans"][-1]["name"], "/root/smaller")
plan = json.loads(pathlib.Path("/root/smaller/plan.json").read_text())
plan["agents"] = [agent for agent in plan["agents"] if agent["name"] != "po"]
for agent in plan["agents"]:
    agent["conflicts"] = [name for name in agent["conflicts"] if name != "po"]
pathlib.Path("/root/smaller/plan.json").write_text(json.dumps(plan))
shutil.rmtree("/root/smaller/agents/po")
"""


def test_the_gateway_has_the_agents_of_the_plan_in_force(gate, get):
    def agents():
        return [each["id"] for each in json.loads(get(ANY, "/v1/models")[1])["data"]]

    def listens(port):
        return gate.host.socket(f"tcp://0.0.0.0:{port}").is_listening

    assert gate.run("architect")["rc"] == 0
    gate.host.check_output("rm -rf /root/smaller && python3 -c %s", SMALLER)
    assert gate.run("deploy", "/root/smaller")["rc"] == 0
    gate.wait_for(f"! ss -ltn | grep -q :{PORTS['po']}")
    assert agents() == ["architect", "dev"]
    assert get(ANY, "/v1/models/po")[0] == 404
    assert get(PORTS["architect"], "/v1/models")[0] == 200
    assert gate.run("rollback")["rc"] == 0
    gate.wait_for(f"ss -ltn | grep -q :{PORTS['po']}")
    assert agents() == list(PORTS)
    assert (listens(PORTS["po"] + 100), get(ANY, "/v1/models/po")[0]) == (True, 200)
    assert gate.run("po")["rc"] == 0
    assert get(PORTS["po"], "/v1/models")[0] == 200


def test_a_reload_during_streams_cuts_none(gate, fault, record_property):
    fault("architect", f"--answer-while {GATE}")
    assert gate.run("architect")["rc"] == 0
    gate.host.check_output("systemctl restart roundhouse-architect")
    gate.hold(True)  # they last as long as the reloads do
    with ThreadPoolExecutor(STREAMS) as pool:
        streams = [pool.submit(stream, gate, TOKENS) for _ in range(STREAMS)]
        try:
            gate.wait_for(f"roundhouse status --json | grep -q 'running.: {STREAMS}'")
            for _ in range(2):
                gate.host.check_output("systemctl reload roundhouse-gateway")
            during = sum(not each.done() for each in streams)
        finally:
            gate.hold(False)
        told = [each.result() for each in streams]
    record_property("outcome", f"2 reloads, {during} of {len(told)} streams continued after them, and ended whole")
    assert during == len(told)
    assert told == [(b"data: [DONE]", TOKENS + 1)] * len(told)


def test_metrics_answer_each_agents_and_nothing_else(gate, get):
    assert gate.run("architect")["rc"] == 0
    for name, port in METRICS.items():
        status, text = get(port, "/metrics")
        serves = name == "architect"
        assert status == (200 if serves else 503)
        assert (f'vllm:num_requests_running{{engine="0",model_name="{name}"}}' in text) == serves
        for path in ("/", "/health", "/v1/models", "/metrics/", "//metrics", "/metrics/roundhouse", "/%6detrics"):
            assert get(port, path)[0] == 404, path
        assert get(port, "/metrics", key="")[0] == 401
        assert get(PORTS[name], "/metrics")[0] == 404
    assert "haproxy_frontend_http_requests_total" in get(ANY + 100, "/metrics")[1]


def test_a_client_that_verifies_the_certificate_is_served_and_one_without_it_is_not(gate, get):
    assert get(ANY, "/health", key="")[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        get(ANY, "/health", tls=ssl.create_default_context())
    plain = http.client.HTTPConnection(gate.address, ANY, timeout=SECONDS)
    plain.request("GET", "/health")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        plain.getresponse()


def test_a_key_counts_at_once_and_no_longer_once_revoked(gate, get, keys):
    (key,) = keys(1)
    assert [get(port, "/v1/models", key=key)[0] for port in (ANY, PORTS["architect"])] == [200, 200]
    assert [get(port, "/v1/models", key="rh-wrong")[0] for port in (ANY, *PORTS.values())] == [401] * 4
    gone = gate.host.check_output("roundhouse keys add short-lived")
    assert get(ANY, "/v1/models", key=gone)[0] == 200
    gate.host.check_output("roundhouse keys revoke short-lived")
    assert get(ANY, "/v1/models", key=gone)[0] == 401
    gate.host.check_output("systemctl reload roundhouse-gateway")
    assert [get(ANY, "/v1/models", key=each)[0] for each in (key, gone)] == [200, 401]
    assert gate.host.file("/etc/roundhouse/gateway/keys.json").mode == 0o600
    log = gate.host.check_output("journalctl --unit roundhouse-gateway --output cat --no-pager")
    assert "GET /v1/models 200" in log
    assert not [each for each in (key, gone, gate.key) if each in log]


def test_the_gateways_process_is_not_root_and_is_restarted(gate, get):
    told = gate.host.check_output("systemctl show --property MainPID,User roundhouse-gateway").split()
    assert "User=roundhouse-gateway" in told
    before = next(each for each in told if each.startswith("MainPID="))
    gate.host.check_output("systemctl kill --signal=KILL roundhouse-gateway")
    anew = f"systemctl show --property MainPID roundhouse-gateway | grep -qvE '{before}$|=0$'"
    gate.host.check_output("timeout 60 sh -c %s", f"until {anew}; do sleep 0.1; done")
    end = time.monotonic() + SECONDS
    while True:
        try:
            status, text = get(ANY, "/v1/models")
            break
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)
    assert (status, {each["id"] for each in json.loads(text)["data"]}) == (200, set(PORTS))
    assert stream(gate, 4)[0] == b"data: [DONE]"  # it has read the active agent


# Answers with 418 on the port of an engine as soon as it is free.
IMPOSTOR = """
import socket, time
while True:
    try:
        server = socket.create_server(("127.0.0.1", {port}))
        break
    except OSError:
        time.sleep(0.002)
print("listens", flush=True)
while True:
    line = server.accept()[0]
    got = line.recv(65536)
    if got.startswith(b"POST"):
        print("got a request", flush=True)
    ok = got.startswith(b"GET")
    line.sendall(b"HTTP/1.1 %d x\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n" % (200 if ok else 418))
    line.close()
"""


def test_another_account_that_takes_a_crashed_engines_port_gets_no_request(gate):
    assert gate.run("architect")["rc"] == 0
    (agent,) = [each for each in gate.run("status")["agents"] if each["agent"] == "architect"]
    assert agent["state"] == "ready"
    script = IMPOSTOR.format(port=PORTS["architect"] + 20000)
    gate.host.check_output("printf %%s %s > /tmp/impostor.py", script)
    start = "systemd-run --quiet --unit lab-impostor --property User=daemon python3 /tmp/impostor.py"
    gate.host.check_output(start)
    try:
        gate.host.check_output("systemctl kill --signal=KILL roundhouse-architect")
        gate.wait_for("journalctl --unit lab-impostor --boot --output cat | grep -q listens")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(stream, gate, 4)
            time.sleep(3)  # the request waits
            assert not asked.done()
            gate.host.check_output("systemctl stop lab-impostor")
            assert asked.result()[0] == b"data: [DONE]"
    finally:
        gate.host.run("systemctl stop lab-impostor")
    log = gate.host.check_output("journalctl --unit lab-impostor --boot --output cat")
    assert "got a request" not in log


def test_an_engine_writes_nothing_outside_of_its_cache(gate):
    """Enter the unit's file systems as its account, which the unit's other limits do not need."""
    pid = gate.host.check_output("systemctl show --property MainPID --value roundhouse-architect")
    write = (
        "for f in /run/lock /run /var/lib/roundhouse /etc /srv /home; do touch $f/x 2>/dev/null && echo $f; done; true"
    )
    enter = f"nsenter --target {pid} --mount setpriv --reuid roundhouse-architect --regid roundhouse-architect"
    assert gate.host.check_output(f"{enter} --clear-groups sh -c %s", write) == ""


CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/roundhouse-gateway/master.sock')"


def test_the_gateways_unit_is_confined_and_its_socket_is_roots(gate):
    told = gate.host.run("systemd-analyze security --no-pager roundhouse-gateway.service").stdout
    assert float(told.strip().splitlines()[-1].split(": ")[1].split()[0]) <= 2.0, told
    assert gate.host.check_output("stat --format %U:%a /run/roundhouse-gateway/master.sock") == "roundhouse-gateway:600"
    as_engine = "setpriv --reuid roundhouse-dev --regid roundhouse-dev --clear-groups"
    refused = gate.host.run(f'{as_engine} python3 -c "{CONNECT}"')
    assert "PermissionError" in refused.stderr
    assert gate.host.run(f'python3 -c "{CONNECT}"').rc == 0
    log = gate.host.check_output("journalctl --unit roundhouse-gateway --output cat --no-pager --boot")
    assert " config : " not in log  # the form of its warnings about a configuration
    limits = gate.host.check_output("systemctl show --property MemoryMax,OOMScoreAdjust roundhouse-gateway").split()
    assert sorted(limits) == ["MemoryMax=4294967296", "OOMScoreAdjust=500"]
