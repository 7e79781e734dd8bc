"""A model of the hub is planned before its weights are downloaded, with exact bytes, and again offline."""

import json
import threading
import time

import checkpoint_headers
import pytest
from faulty_hub import lab_hub

from roundhouse.catalog import model_families
from roundhouse.catalog.architecture import Unknown
from roundhouse.cli import plan as plan_command
from roundhouse.errors import RoundhouseError
from roundhouse.fit import rough, sizes
from roundhouse.fit.estimate import Question, fit
from roundhouse.models import known, lock, peer_server, remote
from roundhouse.models.hub import Hub
from roundhouse.models.manifest import File
from roundhouse.roster import models as roster_models

REVISION = "a" * 40
DENSE = [
    repo
    for repo in model_families.known()
    if (arch := model_families.find(repo).architecture).vision is None
    and not (arch.recurrent or arch.window or arch.moe_layers)
    and arch.num_hidden_layers <= 48
][:36]
EXPERTS = ["Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-Coder-30B-A3B-Instruct"]


class Headers(lab_hub.Folders):
    """Serve sparse files without computing their checksums."""

    def revision(self, model, asked):
        return REVISION if asked in ("main", REVISION) else None

    def files(self, model, revision):
        paths = sorted(path for path in self.folder(model).iterdir() if path.is_file())
        return [File(path.name, path.stat().st_size, "sha256:" + "0" * 64) for path in paths]


class Late(peer_server.Handler):
    """Answer after 50 ms."""

    def route(self):
        time.sleep(0.05)
        super().route()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a function that serves the repositories written below a folder, and the folder."""
    root, servers = tmp_path / "hub", []
    root.mkdir()

    def serve(handler=peer_server.Handler):

        server = peer_server.Server(("127.0.0.1", 0), Headers(root), None, handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("HF_ENDPOINT", url)
        return Hub(url)

    yield serve, root
    for server in servers:
        server.shutdown()
        server.server_close()


def put(root, repo, **changes):
    """Write the repository lab/NAME of a catalog's repository; return its name and the bytes of its tensors."""
    name = repo.partition("/")[2]
    config = checkpoint_headers.config_of(repo) | changes
    return f"lab/{name}", checkpoint_headers.write(root / name, config, checkpoint_headers.tensors(repo))


@pytest.mark.parametrize("repo", [*DENSE, *EXPERTS])
def test_exact_bytes_of_a_model_of_the_hub(hub, repo):
    serve, root = hub
    name, total = put(root, repo)
    entry = remote.read(serve(), name, "main")
    model = known.model({**entry["config"], known.FIELD: entry["held"]}, name)
    assert model.held.total == total
    assert entry["revision"] == REVISION
    # The formula of the catalog agrees with the headers.
    stated = model_families.find(repo)
    assert sizes.weights(stated.architecture, stated.form, 1).disk == pytest.approx(total, rel=0.0005)
    assert model.form.name == stated.form.name
    asked = Question(model, 80.0, 4096)
    by_formula = fit(asked._replace(model=stated))
    assert fit(asked).weights_gib_per_rank == pytest.approx(by_formula.weights_gib_per_rank, rel=0.01)
    half = fit(asked._replace(tensor_parallel_size=2)).weights_gib_per_rank
    by_formula = fit(asked._replace(model=stated, tensor_parallel_size=2)).weights_gib_per_rank
    assert half is None or half == pytest.approx(by_formula, rel=0.02)


def test_forty_models_are_read():
    assert len(DENSE) + len(EXPERTS) + 1 >= 40


def test_draft_layers_and_images_are_counted_apart(hub):
    serve, root = hub
    repo = "Qwen/Qwen3-0.6B"
    more = [("mtp.layers.0.mlp.gate_proj.weight", "BF16", (1024, 3072)), ("mtp.fc.weight", "BF16", (1024, 2048))]
    images = [("model.visual.blocks.0.attn.qkv.weight", "BF16", (1024, 3072))]
    found = [*checkpoint_headers.tensors(repo), *more, *images]
    total = checkpoint_headers.write(root / "both", checkpoint_headers.config_of(repo), found)
    entry = remote.read(serve(), "lab/both", "main")
    sums = known.held(entry["held"])
    assert (sums.draft, sums.images) == (2 * 1024 * (3072 + 2048), 2 * 1024 * 3072)
    assert sums.total == total
    model = known.model({**entry["config"], known.FIELD: entry["held"]}, "m")
    asked = Question(model, 15.5, 4096)
    plain = fit(asked).weights_gib_per_rank
    assert (plain - fit(asked._replace(images=False)).weights_gib_per_rank) * 2**30 == pytest.approx(sums.images)
    assert (fit(asked._replace(mtp=True, drafts=1)).weights_gib_per_rank - plain) * 2**30 == pytest.approx(sums.draft)


def test_a_few_hundred_kilobytes_are_read(hub):
    serve, root = hub
    name, total = put(root, "Qwen/Qwen2.5-7B-Instruct")
    sent = []

    class Counting(peer_server.Handler):
        def send_body(self, source, start, end):
            sent.append(end - start)
            super().send_body(source, start, end)

    remote.read(serve(Counting), name, "main")
    assert total > 15e9
    assert sum(sent) < 1.1 * 2**20


def test_ten_models_of_a_slow_hub_take_two_seconds(hub):
    serve, root = hub
    names = [put(root, repo)[0] for repo in DENSE[:10]]
    client = serve(Late)
    began = time.monotonic()
    assert len(list(remote.read_all(client, [(name, "main") for name in names]))) == 10
    assert time.monotonic() - began < 8  # 2 s on a machine of its own; a test that waits on 40 requests is slower


def run(capsys, *line):
    status = plan_command.main(list(line))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_the_command_reads_the_hub_once_and_answers_offline(hub, capsys, tmp_path, monkeypatch):
    serve, root = hub
    name, total = put(root, "Qwen/Qwen3-8B-AWQ")
    serve()
    roster = tmp_path / "agents.yml"
    roster.write_text("agents: []\n")
    ask = ("--model", name, "--vram-gib", "15.5", "--max-model-len", "8192", "--roster", str(roster), "--json")
    assert json.loads(run(capsys, *ask)[1])["errors"][0]["code"] == "model_unknown"
    status, out, _ = run(capsys, *ask, "--hub")
    assert status == 0
    entry = known.read(tmp_path / known.NAME)[f"{name}@main"]
    assert known.held(entry["held"]).total == total
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    again = run(capsys, *ask)
    assert time.monotonic() - began < 1  # measured: 20 ms
    assert again[1] == out


def test_a_roster_plans_a_known_model(hub):
    serve, root = hub
    name, _ = put(root, "Qwen/Qwen3-8B-AWQ")
    entry = remote.read(serve(), name, "main")
    path = root.parent / known.NAME
    known.record(path, lock.key(name, None), entry)
    found = roster_models.checkpoint(name, known.configs(path))
    assert found.held
    assert found.form.name == "awq"
    assert isinstance(roster_models.checkpoint("lab/other", known.configs(path)), Unknown)


def test_an_uncovered_architecture_names_the_field_and_is_planned_by_its_size_on_request(hub, capsys, tmp_path):
    serve, root = hub
    name, total = put(root, "Qwen/Qwen3-8B", architectures=["Qwen9ForCausalLM"])
    serve()
    roster = tmp_path / "agents.yml"
    roster.write_text("agents: []\n")
    ask = ("--model", name, "--vram-gib", "44", "--max-model-len", "8192", "--roster", str(roster), "--json", "--hub")
    answer = json.loads(run(capsys, *ask)[1])
    assert answer["errors"][0]["code"] == "model_not_covered"
    assert "architectures is 'Qwen9ForCausalLM'" in answer["reasons"][0]
    answer = json.loads(run(capsys, *ask, "--rough")[1])
    assert answer["verdict"] == "fits"
    assert answer["weights_gib_per_rank"] == pytest.approx(total / 2**30, rel=0.005)
    entry = known.read(tmp_path / known.NAME)[f"{name}@main"]
    made = fit(Question(rough.rough(entry, name), 44.0, 8192))
    assert made.uncertainty_gib > rough.ROUGH_BAND * total / 2**30


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: (folder / "config.json").unlink(), "hub_model_without_config"),
        (lambda folder: (folder / "config.json").write_text("[]"), "hub_unexpected_response"),
        (lambda folder: [path.unlink() for path in folder.glob("model*")], "hub_model_without_weights"),
        (lambda folder: [path.write_bytes(b"{" * 64) for path in folder.glob("*.safetensors")], "hub_header_invalid"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b"}}'),
            "hub_unexpected_response",
        ),
    ],
)
def test_a_damaged_repository_is_an_error(hub, damage, code):
    serve, root = hub
    name, _ = put(root, "Qwen/Qwen3-0.6B")
    damage(root / "Qwen3-0.6B")
    with pytest.raises(RoundhouseError) as raised:
        remote.read(serve(), name, "main")
    assert raised.value.code == code
