"""The fit's verdict: properties for every card, model and length, and known starts."""

import itertools
import json
import sys

import calibration
import pytest

from roundhouse.catalog import model_families
from roundhouse.fit.estimate import FITS, NO, TIGHT, Question, fit
from roundhouse.paths import CHECKOUT

ORDER = {NO: 0, TIGHT: 1, FITS: 2}
REPOS = (
    "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct-AWQ",
    "Qwen/Qwen2.5-Coder-32B-Instruct-GPTQ-Int4",
    "Qwen/Qwen3-8B-FP8",
)
CARDS_GIB = (8, 11.6, 15.5, 23.5, 31.4, 44.4, 69)
LENGTHS = (1, 15, 16, 17, 1000, 4096, 16384, 32768)
SHARES = (0.3, 0.7, 0.85, 0.92)


def question(repo="Qwen/Qwen2.5-7B-Instruct-AWQ", card_gib=15.5, max_model_len=8192, **options):
    return Question(model_families.find(repo), card_gib, max_model_len, **options)


def grid():
    for repo, share, dtype in itertools.product(REPOS, SHARES, ("auto", "fp8")):
        yield {"repo": repo, "gpu_memory_utilization": share, "kv_cache_dtype": dtype}


def test_more_memory_is_never_worse():
    for options in grid():
        answers = [fit(question(card_gib=gib, max_num_seqs=64, **options)) for gib in CARDS_GIB]
        for less, more in itertools.pairwise(answers):
            assert ORDER[less.verdict] <= ORDER[more.verdict]
            assert less.kv_tokens <= more.kv_tokens
            assert less.max_model_len_possible <= more.max_model_len_possible
            assert less.gap_gib >= more.gap_gib


def test_a_smaller_context_never_needs_more():
    for options in grid():
        answers = [fit(question(max_model_len=length, **options)) for length in LENGTHS]
        for short, long in itertools.pairwise(answers):
            assert ORDER[short.verdict] >= ORDER[long.verdict]
            assert short.gap_gib <= long.gap_gib


def test_a_plan_never_exceeds_the_share():
    for options, gib in itertools.product(grid(), CARDS_GIB):
        found = fit(question(card_gib=gib, **options))
        taken = found.weights_gib_per_rank + found.overhead_gib + found.kv_gib_per_rank
        if found.verdict == FITS:
            assert taken <= gib * options["gpu_memory_utilization"] + 1e-9
        assert found.kv_tokens * found.kv_bytes_per_token_per_rank <= found.kv_gib_per_rank * 1024**3
        assert found.overhead_gib == pytest.approx(sum(term.gib for term in found.terms if term.inside))


def test_fewer_sequences_fewer_tokens_and_eager_leave_more_for_the_kv_cache():
    plain = fit(question())
    for options in ({"max_num_seqs": 8}, {"enforce_eager": True}):
        assert fit(question(**options)).kv_tokens > plain.kv_tokens
    assert fit(question(max_num_batched_tokens=16384)).kv_tokens < plain.kv_tokens
    assert fit(question(shared_display=True)).kv_tokens < plain.kv_tokens


STARTS = json.loads((CHECKOUT / "tests/fixtures/starts/h100.json").read_text())


@pytest.mark.parametrize("seen", STARTS, ids=lambda seen: seen["id"])
def test_a_start_on_a_real_card_lies_within_the_uncertainty(seen):
    assert calibration.beyond(seen) == []


def test_a_start_outside_the_uncertainty_is_reported():
    (seen,) = (each for each in STARTS if each["id"] == "po-24gb")
    assert calibration.beyond(seen | {"kv_gib_per_rank": 0.69, "card_peak_gib": 18.0}) == [
        "po-24gb: 0.69 GiB of KV cache, and the fit states 1.43 +- 0.42.",
        "po-24gb: it held 18.00 GiB, and the fit states 16.99 at most.",
    ]
    assert calibration.beyond(seen | {"outcome": "failed"}) == ["po-24gb: the engine failed, and the fit states fits."]


def test_known_starts():
    failed = fit(question("Qwen/Qwen3-8B", 15.92, gpu_memory_utilization=0.9))
    assert failed.verdict == NO  # "No available memory for the cache blocks"
    assert failed.kv_tokens == 0
    assert "weights take 15.27 GiB" in failed.reasons[0]
    # From a log of summer 2026: 18.14 GiB of weights, 0.58 GiB for the KV cache, "1.0 GiB is needed".
    desktop = {"gpu_memory_utilization": 0.9, "shared_display": True}
    assert fit(question("Qwen/Qwen2.5-32B-Instruct-AWQ", 23.99, 4096, **desktop)).verdict != FITS
    served = fit(question("Qwen/Qwen2.5-7B-Instruct", 23.52, 2048, gpu_memory_utilization=0.85))
    assert served.verdict == FITS
    assert before_0_29(served) == pytest.approx(4.45, abs=0.35)


def before_0_29(found):
    """Return the KV cache of an engine whose CUDA graphs are outside the share."""
    return found.kv_gib_per_rank + sum(term.gib for term in found.terms if term.name == "cuda_graphs")


@pytest.mark.parametrize(
    ("repo", "share", "compiles", "kv_gib"),
    [
        # A public project's notes on an RTX 5090 with vLLM 0.28: the same engine with and without its compile cache.
        ("Qwen/Qwen3-32B", 0.70, False, 3.00),
        ("Qwen/Qwen3-32B", 0.85, True, 5.16),
        ("Qwen/Qwen3-14B", 0.70, True, 9.27),
    ],
)
def test_a_start_that_compiles_has_less_for_the_kv_cache(repo, share, compiles, kv_gib):
    model = model_families.in_format(repo, model_families.find(repo).architecture, "awq")
    asked = Question(model, 31.36, 8192, gpu_memory_utilization=share, tries_kernels=compiles)
    assert before_0_29(fit(asked)) == pytest.approx(kv_gib, abs=0.1)
    # If the state of the cache is unknown, the answer covers both.
    unknown = fit(asked._replace(tries_kernels=None))
    assert abs(before_0_29(unknown) - kv_gib) <= unknown.uncertainty_gib


def test_an_eager_start_tries_no_kernels():
    for options in ({"enforce_eager": True}, {"tries_kernels": False}):
        assert all(term.name != "first_compilation" for term in fit(question(**options)).terms)
    # An 8 GiB laptop card, eager, 8 sequences: a log leaves 0.39 GiB for everything but weights and KV cache.
    eager = fit(question(card_gib=8, enforce_eager=True, max_num_seqs=8))
    assert eager.overhead_gib == pytest.approx(0.39, abs=0.1)


def test_the_calibration_table(capsys, tmp_path):
    (seen,) = (each for each in STARTS if each["id"] == "po-24gb")
    path = tmp_path / "logs.json"
    others = {"old": {"vllm_version": "0.19.1"}, "new": {"model": "Unheard-of-7B"}}
    path.write_text(json.dumps([seen, *(seen | more | {"id": name} for name, more in others.items())]))
    assert calibration.main([str(path)]) == 0
    out = capsys.readouterr().out
    assert "weights: n=2, mean -0.1" in out
    assert "26208 / 26160 +0.183%" in out
    assert "failed starts called fits: 0 of 0; served starts called no: 0 of 2" in out
    assert "not covered, no number given: 1 of 3" in out
    assert "Unheard-of-7B is not in the catalog" in out
    path.write_text('[{"id": "x"}]')
    with pytest.raises(SystemExit):
        calibration.main([str(path)])
    assert "observation x has no model" in capsys.readouterr().err


def test_a_full_card_leaves_no_room_for_the_context():
    found = fit(question(gpu_memory_utilization=1.0))
    assert found.verdict == NO
    assert "gpu_memory_utilization 1 leaves 0.00 GiB" in found.reasons[-1]


@pytest.mark.parametrize(
    ("repo", "ranks", "part"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 8, "does not divide num_attention_heads, 28"),
        ("Qwen/Qwen2.5-14B-Instruct", 5, "num_key_value_heads, 8"),
        ("Qwen/Qwen2.5-7B-Instruct", 28, "the intermediate size, 18944"),
        ("Qwen/Qwen2.5-0.5B-Instruct-AWQ", 7, "num_key_value_heads, 2"),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", 8, "groups of 128"),
    ],
)
def test_an_impossible_split_is_refused(repo, ranks, part):
    found = fit(question(repo, 79, tensor_parallel_size=ranks))
    assert found.verdict == NO
    assert part in found.reasons[0]
    assert found.kv_tokens is None


def test_two_ranks_hold_a_model_that_one_cannot_hold():
    options = {
        "repo": "Qwen/Qwen2.5-32B-Instruct-AWQ",
        "card_gib": 15.5,
        "gpu_memory_utilization": 0.88,
        "max_num_seqs": 8,
    }
    assert fit(question(**options)).verdict == NO
    assert fit(question(**options, tensor_parallel_size=2)).verdict == FITS


def test_a_format_that_the_card_cannot_run_is_refused():
    model = model_families.find("Qwen/Qwen2.5-7B-Instruct")
    int8 = model_families.in_format(model.name, model.architecture, "int8")
    assert fit(Question(int8, 23.5, 4096, capability=(8, 9))).verdict == FITS
    found = fit(Question(int8, 23.5, 4096, capability=(12, 0)))
    assert found.verdict == NO
    assert "vllm#54311" in found.reasons[-1]
    old = fit(question("Qwen/Qwen2.5-7B-Instruct-AWQ", 23.5, capability=(7, 0)))
    assert "needs compute capability 7.5" in old.reasons[-1]


def test_an_8_bit_kv_cache_requires_a_capability():
    asked = question(kv_cache_dtype="fp8")
    assert fit(asked._replace(capability=(8, 0))).verdict == FITS
    old = fit(asked._replace(capability=(7, 5)))
    assert old.verdict == NO
    assert "An 8-bit KV cache requires compute capability 8.0, and the card has 7.5" in old.reasons[0]


def test_a_format_that_vllm_removed_is_refused():
    model = model_families.in_format("own/bnb", model_families.find("Qwen/Qwen2.5-1.5B-Instruct").architecture, "bnb4")
    found = fit(Question(model, 23.5, 4096, max_num_seqs=16))
    assert found.verdict == NO
    assert "vLLM 0.28 removed bnb4 from its core" in found.reasons[0]


def test_heads_have_to_hold_whole_groups_too():
    found = fit(question("Qwen/Qwen2.5-0.5B-Instruct-AWQ", 8, 4096, tensor_parallel_size=2))
    assert found.verdict == NO
    assert "7 heads of 64, which awq's groups of 128 do not divide" in found.reasons[0]


def test_a_full_sampler_batch_does_not_prevent_a_start():
    small = question("Qwen/Qwen2.5-0.5B-Instruct", 8, 4096, gpu_memory_utilization=0.92, capability=(8, 6))
    assert fit(small).verdict == TIGHT
    assert fit(small._replace(max_num_seqs=16)).verdict == FITS


def test_a_checkpoint_states_what_auto_means():
    model = model_families.find("Qwen/Qwen3-8B")._replace(kv_cache_dtype="fp8")
    asked = Question(model, 31.4, 4096)
    assert (
        fit(asked).kv_bytes_per_token_per_rank * 2
        == fit(asked._replace(kv_cache_dtype="bfloat16")).kv_bytes_per_token_per_rank
    )


def test_with_a_draft_there_is_no_decode_ceiling():
    draft = model_families.find("Qwen/Qwen3-0.6B")
    assert (
        fit(question("Qwen/Qwen3-8B-FP8", 31, draft=draft, bandwidth_gb_s=448.0)).decode_ceiling_tokens_per_second
        is None
    )


def test_a_decode_ceiling_needs_a_bandwidth():
    assert fit(question()).decode_ceiling_tokens_per_second is None
    found = fit(question("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", bandwidth_gb_s=448.0))
    assert found.decode_ceiling_tokens_per_second == pytest.approx(25.2, abs=0.2)


def test_thousands_of_fits_take_little_time():
    """Limit a fit's work by its number of calls, which does not depend on the machine's load."""
    fit.cache_clear()
    models = [model_families.find(repo) for repo in REPOS]
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    for index, gib in itertools.product(range(100), range(8)):
        fit(Question(models[index % len(models)], 15.5 + gib, 4096 + index))
    sys.setprofile(None)
    assert calls / 800 < 100
