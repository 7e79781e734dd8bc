"""Generated old set-ups: an import ends with an answer, writes YAML that nothing evaluates, and shows no secret."""

import contextlib
import io
import json

import yaml
from fuzz import SHARP, run
from test_migrate import ARCHITECT
from test_migrate_ollama import MODELFILE, Store, gguf_head

from roundhouse.cli import main
from roundhouse.errors import RoundhouseError
from roundhouse.migrate import ollama_store, rules
from roundhouse.roster import fields

SECRET = "Zq7pXw93LkTn5v"
ENV = f"VLLM_MODEL=Qwen/Qwen3-8B\nexport VLLM_PORT='8001' # x\nVLLM_MAX_MODEL_LEN=16k\nHF_TOKEN={SECRET}\n"
# Options of vLLM and Ollama that a rule converts, by their names in files.
OPTIONS = sorted({name.partition(" ")[2] for name in rules.RULES if name.startswith("option ") and "*" not in name})
VALUES = [
    *SHARP,
    "8000",
    "0.9",
    "Qwen/Qwen2.5-7B-Instruct",
    "awq",
    "q4_K_M",
    "fp8",
    "0,1",
    "16k",
    "{}",
    '{"a": 1}',
    "k",
]


def imported(path, *words):
    """Import a file; return the exit status and all output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.main(["import", str(path), *words])
    return status, out.getvalue(), err.getvalue()


def check_file(path, *words):
    """Import a file as JSON and as text, and check the answers."""
    status, out, err = imported(path, "--json", *words)
    answer = json.loads(out)
    assert status in (0, 1, 2)
    assert (answer["ok"], err) == (status == 0, "")
    for agent in answer.get("agents", []):
        for name, value in agent.items():
            assert list(fields.problems(name, name, value)) == []
        assert not any(mark in json.dumps(agent) for mark in ("{{", "{%", "{#", "%[", "${"))
    if "roster" in answer:
        assert yaml.safe_load(answer["roster"]) == {"agents": answer["agents"]}
    _, shown, report = imported(path, *words)
    text = (out + shown + report).replace(str(path), "")
    assert SECRET not in text
    assert not [char for char in shown + report if ord(char) < 32 and char not in "\n\t"]


def words(draw):
    return [draw.choice(VALUES) for _ in range(draw.randrange(4))]


def command(draw):
    """Return a command line of vLLM."""
    parts = [draw.choice(["vllm serve", "python -m vllm.entrypoints.openai.api_server", "sh -c", ""])]
    for _ in range(draw.randrange(6)):
        parts += [f"--{draw.choice(OPTIONS)}{draw.choice([' ', '='])}{' '.join(words(draw))}"]
    return " ".join([*parts, f"--hf-token {SECRET}"])


def service(draw):
    """Return a service of a Compose file."""
    option = draw.choice(OPTIONS).upper().replace("-", "_")
    found = {
        "image": draw.choice(["vllm/vllm-openai:latest", draw.text()]),
        "environment": [f"VLLM_{option}={draw.choice(VALUES)}", f"HF_TOKEN={SECRET}"],
        "command": draw.choice([command(draw), command(draw).split(" ")]),
        "ports": ["8000:8000", draw.text()],
        "volumes": [f"/srv/m:/m{draw.text()}"],
        "deploy": {"resources": {"reservations": {"devices": [{"driver": "nvidia", "count": 1}]}}},
        draw.choice(["container_name", "env_file", "entrypoint", "restart", "labels"]): draw.anything(1),
    }
    return draw.changed(found, 0.08)


def test_generated_compose_files(tmp_path):
    file = tmp_path / "compose.yml"

    def check(draw):
        if draw.maybe():
            text = draw.damaged(ARCHITECT.replace("hf_secret", SECRET).encode())
        else:
            content = {"services": {draw.choice(["dev", draw.text()]): service(draw) for _ in range(draw.randrange(3))}}
            text = yaml.safe_dump(draw.changed(content, 0.03), allow_unicode=True).encode(errors="surrogatepass")
        # What is damaged within the secret, or around its name, is a secret no longer.
        if SECRET.encode() in text and b"HF_TOKEN" not in text:
            text = text.replace(SECRET.encode(), b"x")
        file.write_bytes(text)
        check_file(file, *(["--model", draw.choice(VALUES)] if draw.maybe(0.2) else []))

    run("compose files", check)


def test_generated_env_files(tmp_path):
    file = tmp_path / "dev.env"

    def check(draw):
        rows = [f"VLLM_{draw.choice(OPTIONS).upper().replace('-', '_')}={draw.choice(VALUES)}" for _ in range(4)]
        text = "\n".join([*rows, f"HF_TOKEN={SECRET}", ""]).encode(errors="surrogatepass")
        file.write_bytes(text if draw.maybe() else draw.damaged(ENV.replace(SECRET, "x").encode()))
        check_file(file)

    run("env files", check)


def test_generated_modelfiles(tmp_path):
    file = tmp_path / "Modelfile"

    def check(draw):
        rows = [f"{draw.choice(rules.INSTRUCTIONS)} {' '.join(words(draw))}" for _ in range(4)]
        rows += [f"PARAMETER {draw.choice(['temperature', 'num_ctx', 'top_p', 'stop', 'x'])} {draw.choice(VALUES)}"]
        text = "\n".join(["FROM qwen2.5:7b", *rows, f"SYSTEM {SECRET}", ""]).encode(errors="surrogatepass")
        file.write_bytes(text if draw.maybe() else draw.damaged(MODELFILE.encode()))
        check_file(file)

    run("Modelfiles", check)


def test_generated_stores_of_ollama(tmp_path, monkeypatch):
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    weights = gguf_head(name="Qwen2.5 7B Instruct")

    def check(draw):
        store = Store(tmp_path / str(draw.random()))
        config = draw.changed({"model_family": "qwen2", "model_families": ["qwen2"], "model_type": "7.6B"}, 0.2)
        params = draw.choice([json.dumps(draw.changed({"temperature": 0.5, "num_ctx": 4096}, 0.3)), "[" * 9000, "{"])
        store.add("qwen2.5:7b", weights=draw.damaged(weights), config=config if isinstance(config, dict) else {},
                  params=params, system=draw.text().encode(errors="replace"))  # fmt: skip
        for path in [*store.folder.glob("manifests/*/*/*/*"), *store.folder.glob("blobs/*")]:
            if draw.maybe(0.15):
                path.write_bytes(draw.choice([draw.damaged(path.read_bytes()), json.dumps(draw.anything()).encode()]))
            elif draw.maybe(0.3) and path.name == "7b":
                path.write_text(json.dumps(draw.changed(json.loads(path.read_text()), 0.1)))
        status, out, _ = imported("ollama", "--store", str(store.folder), "--json")
        assert status in (0, 1, 2)
        assert json.loads(out)["schema"] == 2

    run("stores of Ollama", check)


def test_generated_units_of_ollama(tmp_path):
    unit = tmp_path / "etc/systemd/system/ollama.service"
    unit.parent.mkdir(parents=True)

    def check(draw):
        rows = [f'Environment="OLLAMA_{draw.choice(["MODELS", "HOST", draw.text()])}={draw.text()}"' for _ in range(5)]
        unit.write_bytes("\n".join(rows).encode(errors="surrogatepass"))
        assert all(name.startswith("OLLAMA_") for name in ollama_store.settings(tmp_path))
        with contextlib.suppress(RoundhouseError):
            ollama_store.place(None, tmp_path, tmp_path)

    run("units of Ollama", check)
