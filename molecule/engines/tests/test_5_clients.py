"""What users' programs do: each example, and each client's file for this host, against an agent that serves."""

import json
import os
import subprocess
from urllib.request import urlopen

import pytest
import yaml
from hosts import HOSTS as ALL
from hosts import ROOT

from roundhouse import clients

# The other host than the bench's, so that the two run side by side.
HOSTS = ALL[-1:]
TOKENS = "24"


@pytest.fixture(scope="module")
def rendered(host, switch, address):
    """Return the files of a client, for dev, as this machine reaches it."""
    assert switch("dev")["rc"] == 0

    def files(client, *words):
        told = json.loads(
            host.check_output(f"roundhouse client-config {client} --host {address} --json {' '.join(words)}")
        )
        return {name: text.replace(f"{address}:8", f"{address}:18") for name, text in told["files"].items()}

    return files


@pytest.fixture(scope="module")
def environment(rendered):
    """Return what examples/ read, as `client-config env` prints it."""
    lines = rendered("env", "--agent", "dev")[".env"].split()
    own = {key: value for key, value in os.environ.items() if not key.startswith("OPENAI_")}
    return own | dict(line.split("=", 1) for line in lines) | {"EXAMPLE_TOKENS": TOKENS}


@pytest.fixture(scope="module")
def run(environment):
    """Return what runs a program in an environment of lab/environment.sh, and gives what it printed."""

    def example(words, lock="examples", **more):
        made = subprocess.run([ROOT / "lab/environment.sh", lock], capture_output=True, text=True, check=True)
        path = f"{made.stdout.strip()}/bin:{environment['PATH']}"
        place = {"cwd": ROOT, **more}
        done = subprocess.run(
            words, env=environment | {"PATH": path}, capture_output=True, text=True, timeout=240, check=False, **place
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return example


@pytest.fixture
def asked(address):
    """Return how many requests dev's engine has ended so far."""

    def count():
        text = urlopen(f"http://{address}:18101/metrics", timeout=60).read().decode()
        return sum(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("vllm:request_success_total")
        )

    return count


@pytest.mark.parametrize(
    ("what", "part"),
    [("chat", ""), ("stream", f"{TOKENS} tokens"), ("batch", "one after the other"), ("tools", "port_of(")],
)
def test_the_openai_client(run, what, part):
    said = run(["python", "examples/openai_client.py", what])
    assert said.strip()
    assert part in said


def test_at_once_is_quicker_than_one_after_the_other(run):
    last = run(["python", "examples/openai_client.py", "batch"]).splitlines()[-1].split()
    assert float(last[-2]) < float(last[4])


def test_langchain_answers_from_the_passages_of_a_folder(run, tmp_path, asked):
    (tmp_path / "pay.md").write_text("# Payments\n\nInvoices are settled by the ledger service within two days.\n")
    (tmp_path / "cats.md").write_text("# Cats\n\nA cat sleeps for sixteen hours and then wants its dinner.\n")
    (tmp_path / "boats.txt").write_text("A boat needs a keel, a mast and somebody who bails it out.\n")
    before = asked()
    said = run(["python", "examples/langchain_rag.py", str(tmp_path), "Which service settles invoices?"])
    assert asked() > before
    first = next(line for line in said.splitlines() if line.startswith("from "))
    assert first.startswith(f"from {tmp_path}/pay.md")


def test_curl(run):
    said = run(["examples/curl.sh"])
    assert '"id":"dev"' in said
    assert said.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize("client", ["curl", "python", "langchain"])
def test_a_snippet_runs_as_it_is(run, rendered, tmp_path, client):
    ((name, text),) = rendered(client, "--agent", "dev").items()
    (tmp_path / name).write_text(text)
    said = run(["sh" if client == "curl" else "python", name], cwd=tmp_path)
    assert '"model":"dev"' in said if client == "curl" else said.strip()


@pytest.mark.parametrize("client", ["continue", "vscode"])
def test_an_editors_file_names_what_is_served(rendered, plan, client, address):
    ((_, text),) = rendered(client).items()
    if client == "continue":
        found = [
            (each["model"], each["apiBase"], each["defaultCompletionOptions"])
            for each in yaml.safe_load(text)["models"]
        ]
        told = [(name, base, options["contextLength"]) for name, base, options in found]
    else:
        (provider,) = json.loads(text)
        told = [
            (
                each["id"],
                each["url"].removesuffix("/chat/completions"),
                each["maxInputTokens"] + each["maxOutputTokens"],
            )
            for each in provider["models"]
        ]
    assert told == [
        (agent["name"], f"http://{address}:1{agent['port']}/v1", agent["max_model_len"]) for agent in plan["agents"]
    ]


def test_a_coding_agent_works_with_its_file(run, rendered, tmp_path, asked):
    for name, text in rendered("aider", "--agent", "dev").items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sum.py").write_text("print(1 + 1)\n")
    before = asked()
    words = ["--yes-always", "--no-git", "--no-stream", "--no-pretty", "--map-tokens", "0"]
    said = run(["aider", "--message", "Add a comment.", *words, "sum.py"], "examples-aider", cwd=tmp_path)
    assert "Model: openai/dev with whole edit format" in said
    assert asked() > before


def test_every_client_has_a_file(rendered):
    for client in clients.CLIENTS:
        assert all(text.strip() for text in rendered(client).values())
