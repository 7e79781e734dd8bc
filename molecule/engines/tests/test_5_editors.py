"""The configuration file of each client for this host, and programs with their own files: LangChain, aider, editors."""

import json

import pytest
import yaml
from hosts import HOSTS as ALL

from roundhouse.gateway import client_config

# Another host than the bench's, so that both files run at the same time; the API is the same on both hosts.
HOSTS = ALL[-1:]


def test_langchain_answers_from_the_passages_of_a_folder(run, tmp_path, asked):
    (tmp_path / "pay.md").write_text("# Payments\n\nInvoices are settled by the ledger service within two days.\n")
    (tmp_path / "cats.md").write_text("# Cats\n\nA cat sleeps for sixteen hours and then wants its dinner.\n")
    (tmp_path / "boats.txt").write_text("A boat needs a keel, a mast and a bucket to bail it out.\n")
    before = asked()
    said = run(["python", "examples/langchain_rag.py", str(tmp_path), "Which service settles invoices?"])
    assert asked() > before
    first = next(line for line in said.splitlines() if line.startswith("from "))
    assert first.startswith(f"from {tmp_path}/pay.md")


@pytest.mark.parametrize("client", ["curl", "python", "langchain"])
def test_a_snippet_runs_unchanged(run, rendered, tmp_path, client):
    ((name, text),) = rendered(client, "--agent", "dev").items()
    (tmp_path / name).write_text(text)
    said = run(["sh" if client == "curl" else "python", name], cwd=tmp_path)
    assert '"model":"dev"' in said if client == "curl" else said.strip()


@pytest.mark.parametrize("client", ["continue", "vscode"])
def test_an_editors_file_has_the_served_agents(rendered, plan, client, address):
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
    for client in client_config.CLIENTS:
        assert all(text.strip() for text in rendered(client).values())
