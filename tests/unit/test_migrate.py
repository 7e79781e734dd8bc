"""Old compose and env files as a roster: the outcome of each line, and the fit of the result."""

import json
import subprocess
import sys

import pytest
import yaml

from roundhouse.catalog import gpus as catalog_gpus
from roundhouse.cli import command, main, plan_question, target_host
from roundhouse.cli import plan as cli_plan
from roundhouse.migrate import env_file, roster_file, rules
from roundhouse.migrate.report import Setting, Source
from roundhouse.paths import CHECKOUT as ROOT
from roundhouse.plan import build
from roundhouse.roster import fields, validate
from roundhouse.vllm import options

# One file with the guide's variables, reservation, health check and ports.
ARCHITECT = """\
version: "3.8"
services:
  architect:
    image: vllm/vllm-openai:latest
    restart: unless-stopped
    environment:
      - CUDA_VISIBLE_DEVICES=0
      - VLLM_GPU_MEMORY_UTILIZATION=0.85
      - VLLM_MAX_MODEL_LEN=32768
      - VLLM_TEMPERATURE=0.1
      - VLLM_TOP_P=0.95
      - VLLM_ENABLE_PREFIX_CACHING=1
      - VLLM_TENSOR_PARALLEL_SIZE=1
      - VLLM_USE_SPEC_DECODE=1
      - VLLM_SPEC_TREE_SIZE=4
      - HF_TOKEN=hf_secret
    command: >
      --model Qwen/Qwen2.5-32B-Instruct
      --quantization q5_K_M
      --port 8000
    ports:
      - "8000:8000"
      - "8100:8100"
    volumes:
      - ./models:/root/.cache/huggingface
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: 1
              capabilities: [gpu]
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8000/health"]
  webui:
    image: ghcr.io/open-webui/open-webui:main
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path as an argument."""

    def run(name, content):
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    return run


@pytest.fixture
def told(capsys):
    """Return the command's JSON answer with its exit status."""

    def run(*words):
        status = main.main(["import", *words, "--json"])
        return json.loads(capsys.readouterr().out) | {"status": status}

    return run


@pytest.fixture
def refusal(capsys):
    """Return the error of a refused command in its --json format, with its exit status."""

    def run(*words):
        status = main.main(["import", *words, "--json"])
        (error,) = json.loads(capsys.readouterr().out)["errors"]
        return error | {"status": status}

    return run


def lines(answer, text):
    return [line for line in answer["lines"] if text in line["text"]]


def planned(agents, card="RTX 5060 Ti"):
    host = plan_question.imagined(catalog_gpus.find(card, 16), 1)
    return build.build(agents, build.Settings("cuda", "", "", None), host)


def test_the_guides_file_becomes_a_roster_that_fits_the_card(write, told):
    answer = told(write("docker-compose-architect.yml", ARCHITECT))
    (agent,) = answer["agents"]
    assert (answer["status"], answer["ok"]) == (0, True)
    assert list(validate.problems([agent])) == []
    assert [each["model"] for each in agent["models"]] == [
        "Qwen/Qwen2.5-32B-Instruct-AWQ",
        "Qwen/Qwen2.5-14B-Instruct-AWQ",
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
    ]
    assert agent | {"models": None} == {
        "name": "architect",
        "models": None,
        "port": 8000,
        "max_model_len": 32768,
        "max_model_len_min": 8192,
        "gpu_memory_utilization": 0.85,
        "temperature": 0.1,
        "top_p": 0.95,
        "gpus": [0],
        "speculative_config": {
            "method": "ngram",
            "num_speculative_tokens": 4,
            "prompt_lookup_max": 4,
            "prompt_lookup_min": 2,
        },
    }
    plan = planned([agent])
    assert plan["problems"] == []
    assert plan["agents"][0]["verdict"] == "fits"


@pytest.mark.parametrize(
    ("text", "number", "outcome", "part"),
    [
        ("architect", 3, "converted", "model name on the API"),
        ("image:", 4, "default", "vLLM 0.32"),
        ("restart:", 5, "default", "systemd unit"),
        ("CUDA_VISIBLE_DEVICES", 7, "converted", "PCI bus"),
        ("VLLM_GPU_MEMORY_UTILIZATION", 8, "converted", "not the KV cache alone"),
        ("VLLM_MAX_MODEL_LEN", 9, "converted", "prompt and answer together"),
        ("VLLM_TEMPERATURE", 10, "converted", "Only 0 is greedy"),
        ("VLLM_TOP_P", 11, "converted", "it only warned"),
        ("VLLM_ENABLE_PREFIX_CACHING", 12, "default", "on by default"),
        ("VLLM_TENSOR_PARALLEL_SIZE", 13, "default", "one card per model"),
        ("VLLM_USE_SPEC_DECODE", 14, "approximated", "Method ngram drafts from the prompt"),
        ("VLLM_SPEC_TREE_SIZE", 15, "unsupported", "vLLM has no draft trees; its value, 4, is used"),
        ("HF_TOKEN", 16, "dropped", "a roster contains no secrets"),
        ("--model", 18, "approximated", "llama.cpp file type"),
        ("q5_K_M", 19, "unsupported", "Unknown quantization method"),
        ("--port 8000", 20, "dropped", "the port that Compose published"),
        ("8000:8000", 22, "approximated", "on loopback"),
        ("8100:8100", 23, "default", "100 above the agent's port, at /metrics"),
        ("volumes:", 25, "default", "this cache is not changed"),
        ("count:", 31, "default", "runs one agent on it at a time"),
        ("healthcheck:", 33, "default", "restarts nothing"),
        ("webui", 35, "dropped", "does not run vLLM"),
    ],
)
def test_each_line_of_it_is_accounted_for(write, told, text, number, outcome, part):
    answer = told(write("docker-compose-architect.yml", ARCHITECT))
    (line,) = [line for line in lines(answer, text) if line["number"]][:1]
    assert (line["number"], line["outcome"]) == (number, outcome)
    assert part in line["why"]


def test_a_secret_is_in_no_output(write, capsys):
    for words in ([], ["--json"]):
        main.main(["import", write("docker-compose-architect.yml", ARCHITECT), *words])
        printed = capsys.readouterr()
        assert "hf_secret" not in printed.out + printed.err
        assert "HF_TOKEN=..." in printed.out + printed.err


def test_the_guides_three_agents_of_three_files_fit_the_card(write, told):
    files = [
        write(
            f"docker-compose-{name}.yml",
            f"services:\n  vllm-{name}:\n    image: vllm/vllm-openai\n"
            f"    command: --model {model} --quantization {form}\n    ports: ['{port}:8000']\n"
            f"    environment:\n      VLLM_GPU_MEMORY_UTILIZATION: {share}\n      VLLM_MAX_MODEL_LEN: {length}\n",
        )
        for name, model, form, port, share, length in (
            ("architect", "Qwen/Qwen2.5-32B-Instruct", "q5_K_M", 8000, 0.85, 32768),
            ("dev", "Qwen/Qwen2.5-Coder-32B-Instruct", "q4_K_M", 8001, 0.95, 32768),
            ("po", "Qwen/Qwen2.5-7B-Instruct", "q5_K_M", 8002, 0.70, 16384),
        )
    ]
    answer = told(*files)
    plan = planned(answer["agents"])
    assert [agent["name"] for agent in answer["agents"]] == ["architect", "dev", "po"]
    assert [agent["port"] for agent in answer["agents"]] == [8000, 8001, 8002]
    assert plan["problems"] == []
    assert [agent["model"] for agent in plan["agents"]] == [
        "Qwen/Qwen2.5-14B-Instruct-AWQ",
        "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ",
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
    ]


def test_the_output_is_the_roster_as_yaml(write, told, capsys, tmp_path):
    file = write("docker-compose-architect.yml", ARCHITECT)
    answer = told(file)
    agents, outcomes = answer["agents"], [line["outcome"] for line in answer["lines"]]
    assert main.main(["import", file]) == 0
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out) == {"agents": agents}
    assert f"{len(outcomes)} lines: {outcomes.count('converted')} converted" in printed.err
    assert printed.err.count("\n    ") == len(outcomes)
    (tmp_path / "roster.yml").write_text(printed.out)
    assert cli_plan.read(tmp_path / "roster.yml") == agents
    linted = subprocess.run(
        ["yamllint", "--strict", "--config-file", ROOT / ".yamllint", tmp_path / "roster.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


def test_a_second_port_of_the_api_is_reported_as_dropped(write, told):
    text = "services:\n  dev:\n    command: --model Qwen/Qwen3-8B\n    ports: ['8001:8000', '8101:8000']\n"
    answer = told(write("docker-compose-dev.yml", text))
    assert answer["agents"][0]["port"] == 8001
    (second,) = lines(answer, "8101")
    assert (second["outcome"], second["why"]) == ("dropped", "An agent has one port, and it is 8001.")


def test_a_port_of_neither_the_api_nor_the_metrics_is_reported(write, told):
    text = "services:\n  dev:\n    command: --model Qwen/Qwen3-8B\n    ports: ['8001:8000', '9000:9000']\n"
    (line,) = lines(told(write("docker-compose-dev.yml", text)), "9000")
    assert (line["outcome"], line["why"]) == ("unsupported", "vLLM listens only on the port of its API.")


def test_an_existing_file_is_not_overwritten(write, capsys, refusal, tmp_path):
    file, target = write("docker-compose-architect.yml", ARCHITECT), tmp_path / "host_vars/gpu1.yml"
    assert main.main(["import", file, "--to", str(target)]) == 0
    assert "written" in capsys.readouterr().err
    first = target.read_text()
    target.write_text("mine: true\n")
    refused = refusal(file, "--to", str(target))
    assert (refused["status"], refused["code"], refused["fields"]) == (2, "file_exists", {"path": str(target)})
    assert target.read_text() == "mine: true\n"
    assert main.main(["import", file, "--to", str(target), "--overwrite"]) == 0
    assert "replaced" in capsys.readouterr().err
    assert target.read_text() == first


def test_two_cards_by_the_guides_lines(write, told):
    piece = "environment:\n  - CUDA_VISIBLE_DEVICES=0,1\n  - VLLM_TENSOR_PARALLEL_SIZE=2\ndeploy:\n"
    piece += "  resources:\n    reservations:\n      devices:\n        - driver: nvidia\n          count: 1\n"
    answer = told(write("docker-compose-architect.yml", piece), "--model", "Qwen/Qwen2.5-32B-Instruct")
    (agent,) = answer["agents"]
    assert answer["status"] == 0
    assert (agent["name"], agent["gpus"]) == ("architect", [0, 1])
    assert "gave the engine only 1 of its 2 cards" in lines(answer, "count")[0]["why"]


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        ("CUDA_VISIBLE_DEVICES=0,1", [0]),
        ("CUDA_VISIBLE_DEVICES=1", [1]),
        ("TENSOR_PARALLEL_SIZE=2", [0, 1]),
        ("CUDA_VISIBLE_DEVICES=2,3\nVLLM_TENSOR_PARALLEL_SIZE=2", [2, 3]),
        ("VLLM_TENSOR_PARALLEL_SIZE=2\nCUDA_VISIBLE_DEVICES=3,2", [3, 2]),
        ("CUDA_VISIBLE_DEVICES=GPU-5fd4f087-86f3-7a43-b711-4771313afc50", None),
        ("NVIDIA_VISIBLE_DEVICES=all", None),
    ],
)
def test_an_env_file_sets_the_cards(write, told, words, gpus):
    answer = told(write("dev.env", f"VLLM_MODEL=Qwen/Qwen2.5-7B-Instruct\n{words}\n"))
    assert answer["agents"][0].get("gpus") == gpus


def test_an_env_file_has_its_lines_and_its_name(write, told):
    content = "# the developer\nexport VLLM_MODEL='Qwen/Qwen2.5-Coder-7B-Instruct'\n\n"
    content += "VLLM_TEMPERATURE=0.3 # balanced\nnonsense\n"
    answer = told(write("dev.env", content))
    (agent,) = answer["agents"]
    assert (agent["name"], agent["temperature"], agent["port"]) == ("dev", 0.3, 8000)
    assert [line["number"] for line in lines(answer, "VLLM_")] == [2, 4]
    assert [line["number"] for line in answer["lines"] if "not an assignment" in line["why"]] == [5]


def test_the_guides_tuning_block_alone_says_what_is_missing(write, told, capsys):
    block = "VLLM_GPU_MEMORY_UTILIZATION: 0.95  # 95% of VRAM\nVLLM_TEMPERATURE: 0.3\nVLLM_TOP_P: 0.95\n"
    file = write("docker-compose-dev.yml", block)
    answer = told(file)
    assert (answer["status"], answer["ok"]) == (1, False)
    assert "--model OWNER/NAME" in answer["errors"][-1]["message"]
    assert told(file, "--model", "Qwen/Qwen2.5-Coder-14B-Instruct-AWQ")["status"] == 0


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [
        ("vllm serve Qwen/Qwen3-8B --max-num-seqs=8", "max_num_seqs", 8),
        ("python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B -tp 2", "gpus", [0, 1]),
        ("vllm serve --enforce-eager Qwen/Qwen3-8B", "enforce_eager", True),
        ("vllm serve Qwen/Qwen3-8B --max-model-len 16K", "max_model_len", 16384),
        ("vllm serve Qwen/Qwen3-8B --max-model-len 999999", "max_model_len", 40960),
        ("vllm serve Qwen/Qwen3-8B --max-model-len auto", "max_model_len", 32768),
        ("vllm serve Qwen/Qwen3-8B --gpu-memory-utilization 85", "gpu_memory_utilization", 0.85),
        ("vllm serve Qwen/Qwen3-8B --no-enable-prefix-caching", "enable_prefix_caching", False),
        ("vllm serve Qwen/Qwen3-8B --kv-cache-dtype fp8_e4m3", "kv_cache_dtype", "fp8"),
        ("vllm serve Qwen/Qwen3-8B --enable-auto-tool-choice --tool-call-parser hermes", "tool_call_parser", "hermes"),
        ("vllm serve Qwen/Qwen3-8B --port 9001", "port", 9001),
        ("vllm serve Qwen/Qwen3-8B --served-model-name coder other", "name", "coder"),
        ("vllm serve Qwen/Qwen3-8B --served-model-name status", "name", "status-agent"),
        (
            'vllm serve Qwen/Qwen3-8B --override-generation-config \'{"temperature": 0.2, "top_k": 5}\'',
            "temperature",
            0.2,
        ),
        ('sh -c "exec vllm serve Qwen/Qwen3-8B --max-num-seqs 4"', "max_num_seqs", 4),
        (
            'vllm serve Qwen/Qwen3-8B --speculative-config \'{"method": "ngram", "num_speculative_tokens": 5}\'',
            "speculative_config",
            {"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2},
        ),
        (
            "vllm serve Qwen/Qwen3-8B --speculative-model Qwen/Qwen3-0.6B --num-speculative-tokens 3",
            "speculative_config",
            {"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3},
        ),
    ],
)
def test_flags_of_a_command(write, told, command, field, value):
    made = {"services": {"serving": {"image": "vllm/vllm-openai", "command": command}}}
    answer = told(write("compose.yml", yaml.safe_dump(made)))
    assert (answer["status"], answer["agents"][0][field]) == (0, value)


def test_a_draft_model_of_another_vocabulary_is_dropped(write, told):
    command = "--model Qwen/Qwen2.5-14B-Instruct-AWQ --speculative-model Qwen/Qwen2.5-0.5B-Instruct"
    answer = told(write("compose.yml", f"services:\n  dev:\n    image: vllm\n    command: {command}\n"))
    assert answer["agents"][0]["speculative_config"]["method"] == "ngram"
    assert "151936 and 152064" in lines(answer, "--speculative-model")[0]["why"]


def test_a_flag_overrides_a_variable_and_is_reported(write, told):
    content = "services:\n  dev:\n    image: vllm\n    environment: [VLLM_MAX_MODEL_LEN=8192]\n"
    content += "    command: --model Qwen/Qwen3-8B --max-model-len 4096\n"
    answer = told(write("compose.yml", content))
    assert answer["agents"][0]["max_model_len"] == 4096
    assert lines(answer, "VLLM_MAX_MODEL_LEN")[0]["why"] == "Line 5 overrides it."


def test_variables_anchors_and_env_files_work_as_in_compose(write, told):
    write(".env", "MODEL=Qwen/Qwen3-8B\n")
    write("common.env", "VLLM_TEMPERATURE=0.4\nVLLM_TOP_P=0.8\n")
    content = (
        "x-engine: &engine\n  image: vllm/vllm-openai:v0.6\n  env_file: common.env\n"
        "services:\n  dev:\n    <<: *engine\n    environment:\n      VLLM_TOP_P: '0.7'\n"
        "    command: [--model, '${MODEL}', --max-model-len, '${LENGTH:-4096}']\n"
    )
    answer = told(write("compose.yml", content))
    (agent,) = answer["agents"]
    assert agent["models"][0] == {"model": "Qwen/Qwen3-8B"}
    assert (agent["max_model_len"], agent["temperature"], agent["top_p"]) == (4096, 0.4, 0.7)
    assert lines(answer, "common.env:1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "1"),
        ("$A-x", "1-x"),
        ("${B:-2}", "2"),
        ("${E:-3}", "3"),
        ("${E-3}", ""),
        ("${A:+4}", "4"),
        ("$$A", "$A"),
    ],
)
def test_compose_interpolation(text, value):
    assert env_file.interpolate(text, {"A": "1", "E": ""}) == value


def test_a_model_in_a_mounted_folder_is_the_hosts(write, told, tmp_path):
    folder = tmp_path.parent / "srv"
    content = (
        f"services:\n  dev:\n    image: vllm\n    volumes: ['{folder}:/models']\n    command: --model /models/own\n"
    )
    answer = told(write("compose.yml", content))
    hidden = str(folder).startswith("/tmp/")  # noqa: S108 - pytest's folders are usually there, and units do not see it
    said = lines(answer, "--model")[0]
    assert f"{folder}/own" in (said["why"] if hidden else said["became"])
    assert answer["status"] == (1 if hidden else 0)


def test_conflicting_ports_and_names_are_changed(write, told):
    one = "services:\n  dev:\n    image: vllm\n    command: --model Qwen/Qwen3-8B\n    ports: ['8000:8000']\n"
    answer = told(write("compose-a.yml", one), write("compose-b.yml", one))
    assert [(agent["name"], agent["port"]) for agent in answer["agents"]] == [("dev", 8000), ("dev-2", 8001)]
    assert answer["status"] == 0
    assert [line["outcome"] for line in answer["lines"]].count("added") > 2


def test_numbered_names_are_no_longer_than_a_name_may_be():
    longest = "a" * (fields.LONGEST_NAME - 3) + "-bc"
    found, _ = roster_file.combine([({"name": longest}, [])] * 11)
    names = [agent["name"] for agent in found]
    assert len({*names}) == 11
    assert [name for name in names if not fields.NAME.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ("env_file: lost.env", "The file does not exist: put it beside this one"),
        ("environment: 7", "It must be a list of NAME=VALUE"),
        ("ports: 8000", "It must be a list."),
    ],
)
def test_settings_without_effect_are_reported(write, told, entry, part):
    answer = told(write("compose.yml", f"services:\n  dev:\n    image: vllm/vllm-openai\n    {entry}\n"))
    (line,) = (line for line in answer["lines"] if part in line["why"])
    assert (line["number"], line["outcome"]) == (4, "dropped")
    assert line["text"].startswith(entry.partition(":")[0])


def test_ollama_stands_alone(write, refusal):
    refused = refusal(write("dev.env", "VLLM_MODEL=Qwen/Qwen3-8B\n"), "ollama")
    assert (refused["status"], refused["code"], refused["fields"]) == (2, "ollama_with_files", {"count": 1})


def test_gguf_of_an_unknown_family_is_reported(write, told):
    answer = told(write("dev.env", "VLLM_MODEL=TheBloke/Some-7B-GGUF\n"))
    assert answer["status"] == 1
    assert "models" not in answer["agents"][0]
    assert "name its safetensors repository" in lines(answer, "VLLM_MODEL")[0]["why"]


@pytest.mark.parametrize(
    ("name", "content", "code", "part"),
    [
        ("compose.yml", "services:\n  db:\n    image: postgres\n", "no_engine_imported", "compose.yml"),
        ("compose.yml", "- a\n", "no_services", "compose.yml"),
        ("compose.yml", "services: [", "yaml_invalid", "compose.yml"),
        ("notes.txt", "hello\n", "import_file_unknown", "notes.txt"),
        (
            "compose.yml",
            "services:\n  dev:\n    image: vllm\n    command: --model 'x\n",
            "command_unreadable",
            "compose.yml:4: ",
        ),
    ],
)
def test_an_unsupported_file_is_refused_with_one_sentence(write, capsys, refusal, name, content, code, part):
    file = write(name, content)
    assert main.main(["import", file]) == 2
    said = capsys.readouterr()
    assert (part in said.err, said.out, said.err.count("\n")) == (True, "", 1)
    assert refusal(file)["code"] == code


@pytest.mark.parametrize(
    "said",
    [
        *("VLLM_MAX_MODEL_LEN=1e400", "VLLM_MAX_MODEL_LEN=k", "VLLM_GPU_MEMORY_UTILIZATION=nan", "VLLM_TOP_P=9"),
        *("VLLM_OVERRIDE_GENERATION_CONFIG=[1]", "VLLM_SPECULATIVE_CONFIG=[]", "VLLM_PORT=99999999"),
        *("CUDA_VISIBLE_DEVICES=\u00b2", "VLLM_TENSOR_PARALLEL_SIZE=x", "VLLM_MAX_NUM_SEQS=many"),
    ],
)
def test_an_invalid_value_is_reported_and_skipped(write, told, said):
    answer = told(write("dev.env", f"VLLM_MODEL=Qwen/Qwen3-8B\n{said}\n"))
    assert answer["status"] == 0
    assert lines(answer, said)[0]["outcome"] == "dropped"


@pytest.mark.parametrize(
    ("module", "library", "name"),
    [
        ("yaml", "PyYAML", "docker-compose-architect.yml"),
        ("dotenv", "python-dotenv", "docker-compose-architect.yml"),
        ("dotenv", "python-dotenv", "dev.env"),
    ],
)
def test_a_missing_library_is_reported_with_its_package(write, tmp_path, module, library, name):
    write(".env", "TAG=1\n")
    file = write(name, ARCHITECT if name.endswith(".yml") else "VLLM_MODEL=Qwen/Qwen3-8B\n")
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('{module}')\n")
    command = [sys.executable, ROOT / "scripts/switch.py", "import", file]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (library in done.stderr, "pip install 'roundhouse[import]'" in done.stderr) == (True, True)
    assert "on the controller" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_optional_packages_equal_the_controllers_lock():
    locked = (ROOT / "requirements/dev.in").read_text().lower()
    assert all(library in locked.split() for library in ("pyyaml", "python-dotenv"))
    assert 'import = ["PyYAML>=6", "python-dotenv>=1"]' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    "body",
    [
        *("environment: [A: b, [c], {}]", "environment: {A: {b: c}, ? [x] : y}", "command: [a, {b: c}, [d]]"),
        *("ports: [{}, [1], {target: 8000}, {published: {a: b}}]", "volumes: [{}, {source: a}, [b]]"),
        *("env_file: [{}, [a], {path: b}]", "env_file:", "deploy: [a]", "deploy: {resources: {reservations: a}}"),
        *("deploy: {resources: {reservations: {devices: [a, {count: {b: c}}]}}}", "command:", "image: [a]"),
        *("container_name: [a]", "environment: !override {A: b}", "ports: !reset []", "command: ''"),
    ],
)
def test_a_service_of_any_shape_is_reported_or_refused(write, capsys, body):
    file = write("compose.yml", f"services:\n  dev:\n    image: vllm\n    {body}\n")
    assert main.main(["import", file, "--model", "Qwen/Qwen3-8B", "--json"]) in (0, 2)
    assert json.loads(capsys.readouterr().out)["schema"] == 2


def test_a_host_without_pyyaml_prints_the_roster_as_json_which_is_yaml(write, told, monkeypatch):
    roster = told(write("dev.env", "VLLM_MODEL=Qwen/Qwen3-8B\n"))
    monkeypatch.setitem(sys.modules, "yaml", None)
    without = told(write("dev.env", "VLLM_MODEL=Qwen/Qwen3-8B\n"))["roster"]
    assert without != roster["roster"]
    assert yaml.safe_load(without) == yaml.safe_load(roster["roster"]) == {"agents": roster["agents"]}


def test_vllms_options_equal_those_of_the_deployment():
    place = options.Place("cuda", "127.0.0.1", 8000, "/m")
    agent = {
        **{
            "name": "a",
            "port": 8000,
            "temperature": 0,
            "top_p": 1,
            "enforce_eager": True,
            "tool_call_parser": "hermes",
        },
        **{"speculative_config": {"method": "ngram"}, "enable_prefix_caching": False},
    }
    decided = {
        **{"max_model_len": 1, "gpu_memory_utilization": 1, "quantization": "awq", "max_num_seqs": 1},
        **{"max_num_batched_tokens": 1, "kv_cache_dtype": "fp8", "gpus": [0, 1]},
    }
    written = options.config(agent, decided, place, eager=True)
    samples = {
        **{"gpu-memory-utilization": "0.5", "max-model-len": "16", "temperature": "0.5", "top-p": "0.5"},
        **{"max-num-seqs": "4", "max-num-batched-tokens": "64", "enforce-eager": "1", "kv-cache-dtype": "fp8"},
        **{"enable-prefix-caching": "0", "tool-call-parser": "hermes", "use-spec-decode": "1"},
    }
    settings = [Setting(1, "flag", option, value, option) for option, value in samples.items()]
    said = [rules.outcome(each, Source("command", 1, (), (each,))) for each in settings]
    assert {each.vllm.split()[0].lstrip("-") for each in said} <= set(written)


def test_help_and_usage(capsys, monkeypatch):
    monkeypatch.delenv("ROUNDHOUSE_ON")
    monkeypatch.setattr(target_host, "lab_is_up", lambda: True)  # files are read on this machine all the same
    assert main.main(["import"]) == 2
    assert main.main(["import", "/no/such/file"]) == 2
    assert main.main(["--json", "import", "x"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0]["code"] == "import_file_missing"
    assert "--overwrite" in command.load("import").parser().format_help()
    assert main.main(["import", "x.yml", "--on", "lab"]) == 2
