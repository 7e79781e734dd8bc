"""A roster with a recipe: the path in the plan before quantizing, and the models to quantize."""

import json

import pytest
import yaml
from refusal import refused
from test_plan_build import ROOT, build, host, shipped, written

from roundhouse.catalog import recipes
from roundhouse.catalog.recipes import RECIPES
from roundhouse.models import lock as models_lock
from roundhouse.models import manifest, own_folders, quantized, verify
from roundhouse.models.manifest import Digest, File
from roundhouse.plan import candidates, decide, measured, report
from roundhouse.plan.requirements import requirements_of
from roundhouse.quantize import pipeline, request, requirements, run
from roundhouse.quantize.scorer import Scorer
from roundhouse.roster import models as roster_models
from roundhouse.roster import validate
from roundhouse.vllm import formats

QWEN = "Qwen/Qwen2.5-7B-Instruct"
REVISION = "0123456789abcdef0123456789abcdef01234567"


def asking(*models):
    """Return the shipped po agent with other models."""
    return shipped()[2] | {"models": list(models)}


def by(recipe, model=QWEN, **more):
    return {"model": model, "quantize": recipe, **more}


def own_folder(place, **config):
    """Write a user's model folder, with a config.json in the Qwen2 layout."""
    place.mkdir(parents=True)
    sizes = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    sizes |= {"num_hidden_layers": 3, "vocab_size": 1536, "max_position_embeddings": 32768}
    (place / "config.json").write_text(json.dumps({"architectures": ["Qwen2ForCausalLM"], **sizes, **config}))
    (place / "model.safetensors").write_bytes(b"\0" * 64)
    return place


def put_result(place):
    """Write a quantized model like pipeline.quantize: a file and its manifest."""
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"weights")
    digest = Digest(File("model.safetensors", 7, "sha256:"))
    digest.read(place / "model.safetensors")
    file = File("model.safetensors", 7, digest.checksum())
    made = manifest.Manifest("quantized/x", place.name, [file], asked="main", source="here")
    made.record(place, file, digest.sha256())
    made.write(place)


def test_every_recipe_has_a_format_of_as_many_bits():
    assert {name: formats.WEIGHT_FORMATS[recipe.form].weight_bits for name, recipe in RECIPES.items()} == {
        name: recipe.bits for name, recipe in RECIPES.items()
    }


def test_the_argument_specification_has_the_recipes():
    spec = yaml.safe_load((ROOT / "roles/preflight/meta/argument_specs.yml").read_text())
    models = spec["argument_specs"]["main"]["options"]["agents"]["options"]["models"]["options"]
    assert models["quantize"]["choices"] == list(RECIPES)


def test_the_plan_counts_with_the_recipes_format_and_serves_the_result():
    (as_it_is,) = build([asking({"model": QWEN}) | {"policy": "exact"}], host(23.52))["agents"]
    (agent,) = build([asking(by("awq", revision=REVISION))])["agents"]
    assert (agent["verdict"], agent["fit"]["format"], agent["quantize"]) == ("fits", "awq", "awq")
    assert agent["fit"]["weights_gib_per_rank"] < 0.45 * as_it_is["fit"]["weights_gib_per_rank"]
    path = f"/srv/m/{quantized.path(QWEN, REVISION, 'awq')}"
    assert path.startswith("/srv/m/quantized/Qwen2.5-7B-Instruct-awq/")
    assert agent["model_path"] == agent["config"]["model"] == path
    assert agent["config"].get("quantization") is None
    assert quantized.required_results([agent, agent]) == [
        {"model": QWEN, "revision": REVISION, "recipe": "awq", "path": path}
    ]
    assert "Qwen/Qwen2.5-7B-Instruct, quantized here by awq, on GPU 0" in report.text(
        {"accelerator": "cuda", "agents": [agent]}, []
    )


def test_a_published_repository_is_named_where_there_is_one():
    (agent,) = build([asking(by("awq"))])["agents"]
    assert agent["notes"][-1].startswith("Qwen/Qwen2.5-7B-Instruct-AWQ is published with the same bits")
    (agent,) = build([asking(by("fp8", "meta-llama/Llama-3.1-8B-Instruct"))], accelerator="cpu")["agents"]
    assert agent["notes"] == []


def test_another_revision_or_recipe_is_another_place():
    places = {quantized.path(QWEN, revision, recipe) for revision in (REVISION, None) for recipe in RECIPES}
    assert len(places) == 2 * len(RECIPES)
    assert quantized.path(QWEN, REVISION, "awq", {"seed": 1}) not in places
    assert quantized.path("other/Qwen2.5-7B-Instruct", REVISION, "awq") not in places


def test_a_model_and_its_quantized_result_are_kept_separately():
    agents = [asking({"model": QWEN}, by("gptq"))]
    first = build(agents)
    (agent,) = first["agents"]
    assert (agent["quantize"], agent["fit"]["format"]) == ("gptq", "w4a16")
    given = next(each for each in agent["given_up"] if each["setting"] == "model")
    assert (given["wanted"], given["got"]) == (f"{QWEN} (bf16)", f"{QWEN} (w4a16)")
    assert build(agents, host(deployed=written(first)))["agents"] == written(first)["agents"]
    asked = decide.question_of(agent, requirements_of(agents[0], {}), host())
    assert asked.model.form.name == "w4a16"


def test_measurements_of_a_quantized_model_are_not_used_for_its_base():
    log = ["Model loading took 5.2 GiB memory", "Available KV cache memory: 6.0 GiB"]
    log.append("Free memory on device (15.0/15.5 GiB) on startup")
    (agent,) = build([asking(by("awq"))])["agents"]
    (configuration,) = candidates.lookup([measured.entry(agent, log)], {})
    assert configuration.form == "awq"


def test_the_groups_are_the_recipes_or_fewer_weights(tmp_path):
    recipe = RECIPES["awq"]
    assert recipes.group_size({"hidden_size": 256, "intermediate_size": 512}, recipe) == recipe.group_size == 128
    assert recipes.group_size({"hidden_size": 192, "intermediate_size": 512}, recipe) == 64
    assert recipes.group_size({"hidden_size": 96, "intermediate_size": 512}, recipe) == 32
    assert recipes.group_size({"hidden_size": 100, "intermediate_size": 512}, recipe) is None
    folder = own_folder(tmp_path / "own")
    assert requirements.group_size(folder, recipe) == 64
    assert requirements.group_size(folder, RECIPES["fp8"]) == 0
    configs = {"/srv/own": json.loads((folder / "config.json").read_text())}
    assert roster_models.find(by("awq", "/srv/own"), configs).form == formats.WEIGHT_FORMATS["awq"]._replace(
        group_size=64
    )


def test_sizes_that_no_group_divides_are_refused_in_the_roster(tmp_path):
    folder = own_folder(tmp_path / "own", hidden_size=200)
    configs = {"/srv/own": json.loads((folder / "config.json").read_text())}
    assert list(validate.problems([asking(by("awq", "/srv/own"))], configs)) == [
        "agents[po].models[0].quantize is 'awq', but its group sizes do not divide the layers of /srv/own: "
        "write one of fp8, int8."
    ]


def test_a_changed_folder_counts_as_another_base(tmp_path):
    folder = own_folder(tmp_path / "own")
    agents = [asking(by("fp8", str(folder)))]
    before = own_folders.stamps(agents)
    assert list(before) == [str(folder)]
    assert own_folders.stamps(agents) == before
    (folder / "model.safetensors").write_bytes(b"\1" * 65)
    after = own_folders.stamps(agents)
    assert after != before
    places = [own_folders.with_stamps(agents, known)[0]["models"][0]["revision"] for known in (before, after)]
    assert places == [before[str(folder)], after[str(folder)]]
    assert own_folders.stamps([asking({"model": str(folder)}), None, {"models": "x"}]) == {}


def test_a_base_is_required_until_its_result_exists(tmp_path):
    lock = tmp_path / "models.lock"
    models_lock.record(lock, {f"{QWEN}@main": {"revision": REVISION, "files": {"config.json": "1 sha256:00"}}})
    agents = models_lock.apply([asking(by("fp8"))], lock)
    (agent,) = build(agents, host(23.52), "cpu")["agents"]
    agent["model_path"] = str(tmp_path / "store" / quantized.path(QWEN, REVISION, "fp8"))
    required, results = models_lock.required_models([agent], lock), quantized.required_results([agent])
    assert [(each["revision"], each["serves"]) for each in required] == [(REVISION, False)]
    assert quantized.to_make(results) == results
    assert verify.to_pull(tmp_path / "store", required, results) == required

    put_result(tmp_path / "store" / quantized.path(QWEN, REVISION, "fp8"))
    assert quantized.to_make(results) == []
    assert verify.to_pull(tmp_path / "store", required, []) == []
    # Another agent uses the base itself.
    other = build(models_lock.apply([asking({"model": QWEN})], lock), accelerator="cpu")["agents"]
    for both in ([agent, *other], [*other, agent]):
        assert [each["serves"] for each in models_lock.required_models(both, lock)] == [True]

    (tmp_path / "store" / quantized.path(QWEN, REVISION, "fp8") / "model.safetensors").write_bytes(b"damaged")
    assert quantized.to_make(results) == results


def test_an_existing_result_is_not_made_again(tmp_path):
    base, store = own_folder(tmp_path / "base"), tmp_path / "store"
    wanted = request.of(base, QWEN, REVISION, "gptq")
    assert (wanted.group_size, wanted.samples, wanted.path) == (64, 256, quantized.path(QWEN, REVISION, "gptq"))
    put_result(store / wanted.path)
    done = pipeline.quantize(wanted, store, tmp_path / "no-environment", Scorer("/no/engine", "cpu"), print)
    assert done == {
        **{"model": wanted.path.rpartition("/")[0], "path": str(store / wanted.path)},
        **{"changed": False, "quality": None},
    }
    indivisible = wanted._replace(group_size=128, path=f"{wanted.path}0")
    with refused("quantize_requirements_unmet") as error:
        pipeline.quantize(
            indivisible, tmp_path / "other", tmp_path / "no-environment", Scorer("/no/engine", "cpu"), print
        )
    assert "hidden_size is 192, not a multiple of the group size 128" in error.value.fields["problems"][0]
    assert not (tmp_path / "other").exists()
    options = request.Options(samples=16)
    assert request.of(base, QWEN, REVISION, "gptq", options).path != wanted.path


def test_a_killed_quantization_resumes_only_with_its_own_base(tmp_path):
    """A different folder, revision, recipe or environment leads to a new quantization."""
    base, work = own_folder(tmp_path / "base"), tmp_path / "work"
    wanted = request.of(base, str(base), own_folders.stamp(base), "fp8")
    environment = tmp_path / "no-environment"
    work.mkdir()
    (work / "job.json").write_text(json.dumps(run.job(wanted, work, environment)))
    (work / "versions.json").write_text('{"llmcompressor": "0"}')
    said = []
    assert run.quantized(wanted, work, environment, said.append) == {"llmcompressor": "0"}
    assert said == ["an earlier run quantized the model; continuing with the quality gate"]
    others = [wanted._replace(revision="0" * 40), wanted._replace(seed=1)]
    others += [request.of(base, str(base), own_folders.stamp(base), "int8")]
    for other in others:
        assert run.job(other, work, environment) != run.earlier(work)
    assert run.job(wanted, work, tmp_path / "another") != run.earlier(work)
    (base / "model.safetensors").write_bytes(b"\1" * 64)  # the same length
    with pytest.raises(FileNotFoundError):  # it tries to quantize, but the environment is missing
        run.quantized(wanted, work, environment, said.append)
    assert not (work / "versions.json").exists()


def test_a_run_killed_after_its_rename_leaves_no_work(tmp_path):
    base, store = own_folder(tmp_path / "base"), tmp_path / "store"
    wanted = request.of(base, QWEN, REVISION, "gptq")
    put_result(store / wanted.path)
    work = (store / wanted.path).with_name(pipeline.WORK)
    other = work.with_name("other.partial")
    for place, path in ((work, wanted.path), (other, "another")):
        place.mkdir()
        (place / "job.json").write_text(json.dumps({"path": path}))
    pipeline.quantize(wanted, store, tmp_path / "no-environment", Scorer("/no/engine", "cpu"), print)
    assert (work.exists(), other.exists()) == (False, True)


def test_fewer_texts_than_the_recipe_takes_are_refused(tmp_path):
    base, own = own_folder(tmp_path / "base"), tmp_path / "own.txt"
    own.write_text("\n".join(f"{number} is a number of some length" for number in range(80)))
    options = request.Options(calibration=own)
    with refused("calibration_too_short", recipe="gptq", samples=256, source="own.txt"):
        request.of(base, QWEN, REVISION, "gptq", options)
    assert request.of(base, QWEN, REVISION, "fp8", options).samples == 0
    assert request.of(base, QWEN, REVISION, "gptq", options._replace(samples=16)).samples == 16


def test_too_few_tokens_are_named_with_both_numbers():
    assert requirements.short({"calibration": 512, "evaluation": 1024}, "own.txt") == []
    assert requirements.short({"calibration": 0, "evaluation": 1024}, "own.txt") == []  # a recipe without calibration
    assert requirements.short({"calibration": 511, "evaluation": 0}, "own.txt") == [
        "own.txt has 511 tokens for calibration, but needs at least 512: add texts.",
        "own.txt has 0 tokens for evaluation, but needs at least 1024: add texts.",
    ]


@pytest.mark.parametrize(
    ("capability", "used", "recipe", "said"),
    [
        ("12.0", 512, "fp8", []),
        ("7.5", 512, "fp8", ["the recipe needs compute capability 8.9, but the card has 7.5."]),
        (
            "12.0",
            9216,
            "int8",
            ["the card has 7.0 of 16.0 GiB free, but the quality gate needs 14.4: stop ollama (41)."],
        ),
    ],
)
def test_the_card_is_checked_before_a_quantization(sysfs, facts, tmp_path, capability, used, recipe, said):
    sysfs("0000:01:00.0", "0x10de", "0x2d04", "0x030000", "nvidia")
    line = f"gpu 0000:01:00.0 2d04 16384 {used} {capability} off GPU-5f1c A card"
    (card,) = facts(line, "process 0 41 400 ollama", loaded="580.173.02")["gpus"]
    model = requirements.read(own_folder(tmp_path / "own"))
    assert requirements.card_problems(model, RECIPES[recipe], card) == said


@pytest.mark.parametrize(
    ("card", "asked", "offloaded"), [(None, None, 0), (15.5, None, 5), (79.0, None, 0), (15.5, 1.5, 1.5)]
)
def test_a_base_larger_than_the_card_is_judged_with_the_rest_in_ram(tmp_path, card, asked, offloaded):
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(15 << 30)
    facts = {"memory_gib": card} if card else None
    assert Scorer("/no/engine", "cuda", asked, facts)._config(tmp_path, 1).get("cpu-offload-gb", 0) == offloaded
