"""Contract of the fake engine and the real one: both must pass the same tests.

Both run in the lab: the real one is in the lab's volumes, which `make test` fills first. The real one must also survive
every request of curious.py.
"""

import contextlib
import http.client
import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from curious import REQUESTS

from roundhouse import pins
from roundhouse.agents import canary, watchdog
from roundhouse.errors import RoundhouseError
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import roles
from roundhouse.state import start_phases
from roundhouse.vllm import middleware
from roundhouse.vllm import options as vllm_options
from roundhouse.vllm.client import Engine

NAME, PORT = "dev", 8001
MODULE = roles.MIDDLEWARE.partition(".")[0]
READY_SECONDS = 240
# The fake engine waits while this file exists; the real one is slow enough by itself.
LOADS, ANSWERS, CORE = "/run/loads", "/run/answers", "/run/core-stopped"
REAL_TOKENS_PER_SECOND = 350  # of one stream on a fast idle machine, which several streams divide
# A limit that no machine needs. A busy one generates a twentieth of these tokens per second.
ANSWER_SECONDS = 600
CONFIG = f"""
model: /srv/lab/models/dev
served-model-name: {NAME}
host: 0.0.0.0
port: {PORT}
max-model-len: 4096
max-num-seqs: 8
max-logprobs: 30
enforce-eager: true
enable-auto-tool-choice: true
tool-call-parser: hermes
shutdown-timeout: {ANSWER_SECONDS}
generation-config: vllm
disable-access-log-for-endpoints: /health,/metrics
middleware: {roles.MIDDLEWARE}
"""
# The folder of the role's middleware and of its defaults, which are empty until a test writes some.
ROLE = "/opt/role"


class Host:
    """A container with one of the engines as `vllm`; its output is in /tmp/log."""

    def __init__(self, kind):
        image = subprocess.run([ROOT / "lab/image.sh", "bookworm"], capture_output=True, text=True, check=True)
        self.name = f"roundhouse-contract-{kind}"
        folder = pins.engine_path("cpu", "python3.11") if kind == "real" else "/opt/lab-engine"
        self.kind = kind
        self.vllm = f"{folder}/bin/vllm"
        command = ["docker", "run", "--rm", "--detach", "--init", "--name", self.name, "--shm-size=1g"]
        # The engine gets less than two cores. On two, a busy engine can block the test for seconds (measured: 7).
        command += ["--cpus=1.5"]
        command += ["--label=roundhouse.lab=contract", "--env=HOME=/tmp"]
        # The same environment as in a plan, because a container of this image has no compiler.
        planned = vllm_options.environment("cpu", [0], READY_SECONDS, eager=True)
        command += [f"--env={name}={value}" for name, value in planned.items()]
        command += [
            f"--env=PYTHONPATH={ROLE}",
            f"--volume={ROOT}/src/roundhouse/vllm/middleware.py:{ROLE}/{MODULE}.py:ro",
        ]
        command += [f"--volume={ROOT}/lab/fake:/opt/lab-engine/bin:ro"]
        command += ["--volume=roundhouse-lab-engine:/opt/roundhouse/engine:ro"]
        command += ["--volume=roundhouse-lab-models:/srv/lab/models:ro", image.stdout.split()[-1], "sleep", "infinity"]
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True, check=False)
        subprocess.run(command, capture_output=True, check=True)
        shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        words = ["docker", "inspect", "--format", shape, self.name]
        self.ip = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        if kind == "fake":
            options = f"--load-while {LOADS} --answer-while {ANSWERS} --core-stopped-while {CORE}"
            self.run(f"mkdir /etc/lab-engine && echo {options} > /etc/lab-engine/{NAME} && touch {LOADS}")
        else:  # roles/engine installs it on a host
            self.run("apt-get update -qq && apt-get install -qq -y --no-install-recommends libnuma1")
        self.set_role({})
        self.run(
            f"cat > /tmp/dev.yaml <<'X'\n{CONFIG}\nX\n(cat /tmp/dev.yaml; echo 'max-model-length: 3') > /tmp/bad.yaml"
        )

    def run(self, command):
        """Run a shell command in the container; return its output."""
        words = ["docker", "exec", self.name, "sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()

    def set_role(self, defaults):
        """Replace the defaults of the agent's role, as a deployment does."""
        text = json.dumps({NAME: defaults})
        self.run(f"echo '{text}' > {ROLE}/aside && mv {ROLE}/aside {ROLE}/{middleware.FILE.name}")

    def stop_core(self):
        """Stop the core, while the API server runs."""
        self.run(f"touch {CORE}" if self.kind == "fake" else "pkill -STOP -f 'VLLM::EngineCor[e]'")

    def resume_core(self):
        """Continue the core."""
        self.run(f"rm -f {CORE}" if self.kind == "fake" else "pkill -CONT -f 'VLLM::EngineCor[e]'")

    @contextlib.contextmanager
    def long_answers(self, seconds):
        """Yield the number of tokens for that time on the real engine; the fake one waits until the block ends."""
        if self.kind == "real":
            yield seconds * REAL_TOKENS_PER_SECOND
            return
        self.run(f"touch {ANSWERS}")
        try:
            yield 20
        finally:
            self.run(f"rm -f {ANSWERS}")

    def serve(self, config, before="true"):
        """Run a command and then an engine that must exit by itself; return its output and its exit status."""
        # Without the limit, an engine that accepts the option would block the test.
        vllm = f"timeout {READY_SECONDS} {self.vllm} serve --config /tmp/{config}.yaml"
        return self.run(f"{before}; {vllm} 2>&1; echo status $?")

    def start(self):
        """Start the engine; its exit status is written to /tmp/exit."""
        # In the foreground of its shell, because background processes of a shell ignore SIGINT.
        command = f"{self.vllm} serve --config /tmp/dev.yaml >/tmp/log 2>&1; echo $? > /tmp/exit"
        subprocess.run(["docker", "exec", "--detach", self.name, "sh", "-c", command], check=True)


@pytest.fixture(scope="module", params=["fake", "real"])
def host(request):
    """Return the host with its engine started but not ready."""
    made = Host(request.param)
    made.start()
    yield made
    subprocess.run(["docker", "rm", "--force", made.name], capture_output=True, check=False)


@pytest.fixture
def engine(host):
    """Return the engine, ready."""
    found, end = Engine(host.ip, PORT), time.monotonic() + READY_SECONDS
    if not found.healthy():
        host.run(f"rm -f {LOADS}")
    while not found.healthy():
        assert time.monotonic() < end, host.run("tail -n 20 /tmp/log")
        time.sleep(0.2)
    return found


@pytest.fixture
def client(host):
    """Return OpenAI's client."""
    return openai.OpenAI(
        base_url=f"http://{host.ip}:{PORT}/v1", api_key="not-needed", max_retries=0, timeout=ANSWER_SECONDS
    )


def ask(host, method, path, body=None):
    """Return the status and the text of an answer."""
    connection = http.client.HTTPConnection(host.ip, PORT, timeout=120)
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_1_a_loading_engine_does_not_listen(host):
    assert not Engine(host.ip, PORT).healthy()
    assert Engine(host.ip, PORT).load() is None
    with pytest.raises(RoundhouseError, match="Connection refused"):
        Engine(host.ip, PORT).served()


def test_2_the_api_reports_the_served_model(engine):
    (card,) = engine.served()
    assert (card["id"], card["max_model_len"], card["root"]) == (NAME, 4096, "/srv/lab/models/dev")
    assert engine.version().startswith("0.32.")
    assert engine.load() == (0, 0, 0.0)


def test_3_the_log_has_the_phases_in_order(host, engine):
    progress = start_phases.Progress(None)
    told = [progress.phase for line in host.run("cat /tmp/log").splitlines() if progress.feed(line, 1.0)]
    names = [name for name, _ in start_phases.PHASES]
    assert [names.index(phase) for phase in told] == sorted(names.index(phase) for phase in told)
    assert {"loading vLLM", "starting the engine", "loading weights", "opening the API"} <= set(told)


def test_4_the_canary_is_reproducible_and_has_token_ids(engine):
    first = engine.canary(NAME, canary.PROMPT, canary.MAX_TOKENS, 60)
    assert engine.canary(NAME, canary.PROMPT, canary.MAX_TOKENS, 60) == first
    assert len(first.token_ids) == 16


@pytest.mark.parametrize(
    ("path", "body", "status", "part"),
    [
        ("/v1/chat/completions", {"model": "nosuch", "messages": []}, 404, "The model `nosuch` does not exist."),
        ("/v1/completions", {"model": NAME, "prompt": "a " * 9000}, 400, "maximum context length is 4096 tokens"),
        ("/v1/nosuch", {}, 404, "Not Found"),
    ],
)
def test_5_errors_have_the_same_status_and_text(host, engine, path, body, status, part):
    answered, text = ask(host, "POST", path, body)
    assert answered == status
    assert part in text


def test_5_each_choice_is_counted_in_the_usage(client, engine):
    extra = {"ignore_eos": True}
    answer = client.completions.create(model=NAME, prompt="The plan", n=2, max_tokens=12, seed=3, extra_body=extra)
    assert [(choice.index, choice.finish_reason) for choice in answer.choices] == [(0, "length"), (1, "length")]
    assert answer.usage.completion_tokens == 24
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 24
    assert answer.usage.prompt_tokens > 0


def test_5_only_the_same_seed_repeats_a_text(client, engine):
    texts = [
        client.completions.create(model=NAME, prompt="The", temperature=1, seed=seed, max_tokens=24).choices[0].text
        for seed in (3, 3, 4)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_5_a_stop_word_ends_the_text_before_it(client, engine):
    asked = {"model": NAME, "prompt": "The", "temperature": 0, "max_tokens": 24}
    text = client.completions.create(**asked).choices[0].text
    stop = next(letter for letter in text[len(text) // 2 :] if letter.isalpha())
    (choice,) = client.completions.create(**asked, stop=[stop]).choices
    assert (choice.text, choice.finish_reason) == (text[: text.index(stop)], "stop")


def test_5_tokenize_counts_tokens(host, engine):
    status, text = ask(host, "POST", "/tokenize", {"model": NAME, "prompt": "The plan is a list"})
    assert status == 200
    assert json.loads(text)["count"] > 1
    assert json.loads(text)["max_model_len"] == 4096


def test_5_the_metrics_have_the_names_of_the_fake_engine(host, engine):
    names = re.findall(r'\("(\w+)", "(?:gauge|counter|histogram)"', (ROOT / "lab/fake/engine.py").read_text())
    assert len(names) > 8
    told = ask(host, "GET", "/metrics")[1]
    assert [name for name in (*names, "request_success_total") if f"\nvllm:{name}{{" not in told] == []


@pytest.mark.parametrize("chat", [True, False])
def test_6_a_stream_is_complete(client, engine, chat):
    if chat:
        messages = [{"role": "user", "content": "go on"}]
        events = client.chat.completions.create(model=NAME, messages=messages, max_tokens=20, stream=True)
        got = [(event.choices[0].delta.content or "", event.choices[0].finish_reason) for event in events]
    else:
        events = client.completions.create(model=NAME, prompt="go on", max_tokens=20, stream=True)
        got = [(event.choices[0].text, event.choices[0].finish_reason) for event in events]
    assert "".join(text for text, _ in got)
    assert got[-1][1] in ("length", "stop")
    assert all(reason is None for _, reason in got[:-1])


@pytest.fixture
def role(host):
    """Return a function that sets the defaults of the role; afterwards there are none."""
    yield host.set_role
    host.set_role({})


def test_6_a_role_has_its_own_sampling_prompt_and_limit_without_a_restart(client, engine, role):
    def say(**own):
        asked = {"model": NAME, "messages": [{"role": "user", "content": "go on"}], "extra_body": {"ignore_eos": True}}
        answer = client.chat.completions.create(**asked, **own)
        return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens

    greedy, bare, _ = say(temperature=0, max_tokens=8)
    role({"sampling": {"temperature": 0}, "max_tokens": 8})
    assert say() == (greedy, bare, 8)
    assert say(max_tokens=5)[2] == 5
    assert say(temperature=2, seed=1)[0] != greedy
    role({"sampling": {"temperature": 2, "seed": 1}, "max_tokens": 8, "system_prompt": "You review code."})
    prompted = say()
    assert prompted[1] > bare
    assert prompted[0] != greedy
    assert say(temperature=0)[1] == prompted[1]
    assert say()[0] == prompted[0]


def test_6_a_roles_limit_of_tokens_never_refuses_a_request(client, engine, role):
    role({"sampling": {"temperature": 0}, "max_tokens": 100_000})
    answer = client.completions.create(model=NAME, prompt="The", extra_body={"stop": ["e"]})
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_6_a_stream_has_the_defaults_of_the_role(client, engine, role):
    role({"sampling": {"temperature": 0}, "max_tokens": 3})
    events = [*client.completions.create(model=NAME, prompt="go on", stream=True, extra_body={"ignore_eos": True})]
    assert events[-1].choices[0].finish_reason == "length"
    assert 1 <= len(events) <= 4


def test_6_no_request_crashes_the_engine(host, engine, subtests):
    if host.kind == "fake":
        pytest.skip("the fake engine supports only the parameters that tests of the lab use")
    for name, path, body, status in REQUESTS:
        with subtests.test(name):
            answered, text = ask(host, "POST", path, body | {"model": NAME})
            assert answered == status, text
            assert engine.healthy(), host.run("tail -n 40 /tmp/log")
            after, text = ask(host, "POST", "/v1/completions", {"model": NAME, "prompt": "The", "max_tokens": 1})
            assert after == 200, text


def running(client, count, tokens):
    """Return the futures of `count` streams, each with the result (tokens, reason)."""

    def one(number):
        made, reason, extra = 0, None, {"ignore_eos": True}
        prompt = f"def f{number}"
        for event in client.completions.create(
            model=NAME, prompt=prompt, max_tokens=tokens, stream=True, extra_body=extra
        ):
            made, reason = made + 1, event.choices[0].finish_reason
        return made, reason

    pool = ThreadPoolExecutor(count)
    return [pool.submit(one, number) for number in range(count)]


def has(engine, count, waiting):
    """Return whether that many requests run and wait on the engine; False also if its metrics time out."""
    load = engine.load()
    return load is not None and (load.running, load.waiting) == (count, waiting)


def refuses(client):
    """Return whether the engine refuses a new request; an accepted request without an answer is abandoned."""
    with contextlib.suppress(openai.APITimeoutError):
        try:
            client.with_options(timeout=5).completions.create(model=NAME, prompt="late", max_tokens=1)
        except openai.InternalServerError:
            return True
    return False


def until(condition):
    """Wait for a condition, with a limit."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_7_running_and_waiting_requests_are_counted(host, client, engine):
    with host.long_answers(1) as tokens:
        streams = running(client, 10, tokens)
        until(lambda: has(engine, 8, 2))
    assert [stream.result()[1] for stream in streams] == ["length"] * 10
    until(lambda: has(engine, 0, 0))


def test_7_the_watchdog_detects_a_stopped_core_behind_a_working_api(host, engine):
    agent = {"name": NAME, "host": host.ip, "engine_port": PORT}
    assert watchdog.is_alive(agent, None, 20.0)[0]
    host.stop_core()
    try:
        assert engine.healthy()
        assert engine.version().startswith("0.32.")
        assert not watchdog.is_alive(agent, None, 3.0)[0]
    finally:
        host.resume_core()
    until(lambda: watchdog.is_alive(agent, None, 20.0)[0])


def test_8_a_stopping_engine_finishes_requests_refuses_new_ones_and_exits_with_0(host, client, engine):
    with host.long_answers(3) as tokens:
        streams = running(client, 2, tokens)
        until(lambda: has(engine, 2, 0))
        host.run("kill -INT $(pgrep --full --oldest '^[^ ]*python[^ ]* [^ ]*vllm serve')")
        until(lambda: refuses(client))
        assert engine.healthy()
        until(lambda: has(engine, 2, 0))
    assert [stream.result()[1] for stream in streams] == ["length"] * 2
    until(lambda: host.run("cat /tmp/exit"))
    assert host.run("cat /tmp/exit") == "0"
    assert not engine.healthy()


CONNECT = f"import socket; socket.create_connection(('127.0.0.1', {PORT}))"
LISTENS = f'timeout 120 sh -c "until python3 -c \\"{CONNECT}\\" 2>/dev/null; do sleep 0.2; done"'


@pytest.mark.parametrize(
    ("config", "before", "status", "part"),
    [
        ("bad", "true", 2, "unrecognized arguments: --max-model-length"),
        ("dev", f"(python3 -m http.server {PORT} >/dev/null 2>&1 &); {LISTENS}", 1, "Address already in use"),
    ],
    ids=["unknown option", "port taken"],
)
def test_9_failed_starts_have_the_same_status_and_text(host, config, before, status, part):
    output = host.serve(config, before)
    assert output.endswith(f"status {status}")
    assert part in output


def test_9_an_unknown_architecture_is_named(host):
    if host.kind == "fake":
        pytest.skip("the fake engine does not read the architecture")
    host.run("cp -r /srv/lab/models/dev /tmp/other && sed -i s/Qwen2ForCausalLM/NoSuchModel/ /tmp/other/config.json")
    # On another port, because the previous case occupies the usual one.
    host.run(f"sed 's#/srv/lab/models/dev#/tmp/other#; s/^port: .*/port: {PORT + 1}/' /tmp/dev.yaml > /tmp/other.yaml")
    output = host.serve("other")
    assert output.endswith("status 1")
    assert "Model architectures ['NoSuchModel'] are not supported" in output
