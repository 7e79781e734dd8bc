"""The choice: its invariants for every roster and card, and the order of reductions."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roundhouse.catalog import model_families
from roundhouse.catalog.gpus import HostCard
from roundhouse.fit import overhead
from roundhouse.fit.estimate import FITS, NO, TIGHT, UNKNOWN, Measured, fit
from roundhouse.plan.candidates import Configuration, Requirements, attempts, card_sets
from roundhouse.plan.choose import choose

REPOS = (
    "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct-AWQ",
    "Qwen/Qwen2.5-Coder-14B-Instruct-GPTQ-Int8",
    "Qwen/Qwen3-8B-FP8",
    "Qwen/Qwen2.5-7B-Instruct-AWQ",
    "Qwen/Qwen2.5-0.5B-Instruct",
)
# CI runs the same examples each time. Use `--hypothesis-seed` and more examples to search for new ones.
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")
MODELS = tuple(model_families.find(repo) for repo in REPOS)
# Complete values are drawn, because hypothesis takes longer to draw a list than the choice takes to run.
ROSTERS = [each for count in range(1, 5) for each in itertools.permutations(MODELS, count)]
GIVE_UPS = [
    each for count in range(4) for each in itertools.permutations(("kv_cache_dtype", "max_model_len", "model"), count)
]
UNKNOWN_MODEL = model_families.Unknown("own/hybrid", "its layers mix attention kinds.")


def card(gib=15.5, number=0, capability=(12, 0), **more):
    return HostCard(number, "a card", gib, capability, 448.0, **more)


def requirements(*models, **options):
    return Requirements(models or MODELS, **{"max_model_len": 32768, "gpu_memory_utilization": 0.9} | options)


@st.composite
def random_requirements(draw):
    return requirements(
        *draw(st.sampled_from(ROSTERS)),
        max_model_len=draw(st.sampled_from((1024, 8192, 32768))),
        max_model_len_min=draw(st.sampled_from((None, 512, 1024))),
        gpu_memory_utilization=draw(st.sampled_from((0.5, 0.7, 0.85, 0.92, 0.95, 1.0))),
        give_up=draw(st.sampled_from(GIVE_UPS)),
        exact=draw(st.booleans()),
        max_num_seqs=draw(st.sampled_from((8, 64, 256))),
        enforce_eager=draw(st.booleans()),
    )


def rank(made):
    """Return the rank of a plan in the order in which the choice tries; lower is better."""
    if not made.taken:
        return (1, 0, 0, 0)
    given = {each["setting"] for each in made.given_up}
    return (0, made.model, len(given), -made.question.max_model_len)


@given(random_requirements(), st.floats(4, 96), st.floats(0, 40))
@settings(max_examples=400)
def test_more_memory_never_gives_a_worse_plan(asked, gib, more):
    less, better = choose(asked, (card(gib),), {}), choose(asked, (card(gib + more),), {})
    assert rank(better)[0] <= rank(less)[0]
    if less.taken and asked.give_up[-1:] == ("model",):
        # The model is reduced last, so it ranks first.
        assert rank(better) <= rank(less)
    if asked.exact and less.taken:
        assert (better.fit.verdict, less.fit.verdict) != (TIGHT, FITS)


@given(
    random_requirements(), st.lists(st.sampled_from((7.5, 15.5, 16.0, 23.5, 44.4)), min_size=2, max_size=4), st.data()
)
@settings(max_examples=300)
def test_more_memory_on_one_of_several_cards_never_gives_a_worse_plan(asked, gib, data):
    asked = asked._replace(give_up=("kv_cache_dtype", "max_model_len", "model"))
    number, more = data.draw(st.integers(0, len(gib) - 1)), data.draw(st.floats(0, 30))
    cards = tuple(card(each, at) for at, each in enumerate(gib))
    roomier = tuple(each._replace(cuda_gib=each.cuda_gib + more) if each.number == number else each for each in cards)
    assert rank(choose(asked, roomier, {}))[:3] <= rank(choose(asked, cards, {}))[:3]


@given(random_requirements(), st.floats(4, 96), st.integers(1, 4))
@settings(max_examples=400)
def test_a_smaller_context_never_needs_more(asked, gib, part):
    shorter = asked._replace(max_model_len=asked.max_model_len // (2**part), max_model_len_min=None)
    whole = choose(asked._replace(max_model_len_min=None), (card(gib),), {})
    less = choose(shorter, (card(gib),), {})
    assert rank(less)[:3] <= rank(whole)[:3] or asked.give_up[-1:] != ("model",)
    assert less.taken or not whole.taken


@given(random_requirements(), st.floats(4, 96), st.integers(1, 4))
@settings(max_examples=400)
def test_what_is_planned_never_exceeds_the_card(asked, gib, count):
    made = choose(asked, tuple(card(gib, number) for number in range(count)), {})
    if not made.taken:
        return
    found, question = made.fit, made.question
    share = gib * question.gpu_memory_utilization
    assert found.weights_gib_per_rank + found.overhead_gib + found.kv_gib_per_rank <= share + 1e-9
    assert found.kv_tokens * found.kv_bytes_per_token_per_rank <= found.kv_gib_per_rank * 1024**3
    if found.verdict == FITS:
        assert found.kv_tokens >= question.max_model_len
        pessimistic = found.overhead_gib + overhead.uncertainty(list(found.terms), inside=True)
        need = question.max_model_len * found.kv_bytes_per_token_per_rank / 1024**3
        assert found.weights_gib_per_rank + pessimistic + need <= share + 1e-9
    if not asked.exact:
        outside = sum(term.gib for term in found.terms if not term.inside)
        assert outside <= gib - share + 1e-9
        assert question.gpu_memory_utilization <= asked.gpu_memory_utilization
    assert len(made.gpus) == question.tensor_parallel_size <= count


@given(random_requirements(), st.floats(4, 96))
@settings(max_examples=300)
def test_the_plan_reduces_only_what_the_roster_permits(asked, gib):
    made = choose(asked, (card(gib),), {})
    settings_given = {each["setting"] for each in made.given_up}
    assert settings_given <= (set() if asked.exact else set(asked.give_up))
    if "max_model_len" in settings_given:
        assert asked.max_model_len_min <= made.question.max_model_len < asked.max_model_len
    elif made.taken:
        assert made.question.max_model_len == asked.max_model_len
    assert all(each["why"] for each in made.given_up)


def test_the_plan_reduces_the_least_important_setting_first():
    two = requirements(*MODELS[:2], max_model_len_min=1024)
    kv, length = "kv_cache_dtype", "max_model_len"
    steps = [(index, sorted(given)) for index, given in attempts(two)]
    assert steps == [(0, []), (0, [kv]), (0, [kv, length]), (1, []), (1, [kv]), (1, [kv, length])]
    model_first = two._replace(give_up=("model", "max_model_len"))
    assert [(index, sorted(given)) for index, given in attempts(model_first)] == [
        *((0, []), (1, [])),
        *((0, [length]), (1, [length])),
    ]
    assert [index for index, _ in attempts(two._replace(exact=True))] == [0]
    assert [index for index, _ in attempts(two._replace(give_up=()))] == [0]


def test_without_a_minimum_the_length_stays():
    fourteen = model_families.find("Qwen/Qwen2.5-14B-Instruct-AWQ")
    stays = choose(requirements(fourteen, gpu_memory_utilization=0.85, max_num_seqs=16), (card(),), {})
    assert not stays.taken
    shorter = choose(
        requirements(fourteen, gpu_memory_utilization=0.85, max_num_seqs=16, max_model_len_min=8192), (card(),), {}
    )
    assert shorter.taken
    assert 8192 <= shorter.question.max_model_len < 32768
    assert shorter.question.max_model_len % 1024 == 0
    assert "lacks" in shorter.given_up[-1]["why"]


def test_the_longest_length_that_fits_is_kept():
    made = choose(requirements(MODELS[1], gpu_memory_utilization=0.95, max_model_len_min=1024), (card(23.52),), {})
    length = made.question.max_model_len
    assert fit(made.question).verdict == FITS
    assert fit(made.question._replace(max_model_len=length + 1024)).verdict != FITS


def test_more_cards_are_tried_before_a_setting_is_reduced():
    made = choose(
        requirements(MODELS[1], MODELS[4], max_num_seqs=16), tuple(card(23.52, number) for number in range(2)), {}
    )
    assert (made.model, made.gpus, made.given_up) == (0, (0, 1), ())


def test_a_model_whose_heads_do_not_divide_takes_fewer_cards():
    # 14 heads: two ranks, not four.
    made = choose(requirements(MODELS[5]), tuple(card(1.9, number) for number in range(4)), {})
    assert not made.taken
    assert "does not divide num_attention_heads, 14" in made.refused[0]


def test_agents_spread_over_cards_alike():
    cards = tuple(card(23.5, number) for number in range(3))
    loads = ({}, {0: 1}, {0: 1, 1: 1}, {0: 2, 1: 1, 2: 1})
    assert [next(card_sets(cards, None, load))[0][0].number for load in loads] == [0, 1, 2, 1]
    small = requirements(MODELS[4], max_model_len=4096)
    assert [choose(small, cards, load).gpus for load in loads] == [(0,), (1,), (2,), (1,)]


def test_cards_of_two_capabilities_do_not_share_a_model():
    cards = (card(15.5, 0), card(23.5, 1, (8, 9)))
    assert all(len(group) == 1 for options in card_sets(cards, None, {}) for group in options)
    made = choose(requirements(MODELS[1], max_model_len_min=1024), cards, {})
    assert made.gpus == (1,)
    both = choose(requirements(MODELS[1], gpus=(0, 1), max_model_len_min=1024), cards, {})
    assert both.question.card_gib == 15.5


def test_cards_that_differ_in_memory_or_by_a_display_share_one():
    asked = requirements(MODELS[1], max_num_seqs=16, max_model_len_min=4096)
    for second in (card(16.0, 1), card(15.5, 1, shared_display=True)):
        made = choose(asked, (card(15.5, 0), second), {})
        assert (made.taken, made.gpus) == (True, (0, 1))
        assert made.question.shared_display == second.shared_display
    # Cards without a display are preferred if there are enough of them.
    three = (card(15.5, 0, shared_display=True), card(15.5, 1), card(15.5, 2))
    assert choose(asked, three, {}).gpus == (1, 2)


@pytest.mark.parametrize("count", [1, 2])
def test_where_every_card_drives_a_display_they_are_taken(count):
    made = choose(
        requirements(MODELS[4]), tuple(card(23.5, number, shared_display=True) for number in range(count)), {}
    )
    assert (made.taken, made.gpus, made.question.shared_display) == (True, (0,), True)


def test_a_split_model_needs_support_on_every_card():
    int8 = model_families.in_format("own/int8", MODELS[5].architecture, "int8")
    mixed = (card(23.5, 0, (8, 9)), card(23.5, 1, (12, 0)))
    assert choose(requirements(int8, gpus=(0,)), mixed, {}).taken
    made = choose(requirements(int8, gpus=(0, 1)), mixed, {})
    assert not made.taken
    assert "vllm#54311" in made.refused[0]


def test_utilization_is_an_upper_bound():
    made = choose(requirements(MODELS[4], gpu_memory_utilization=1.0), (card(),), {})
    assert made.taken
    assert made.question.gpu_memory_utilization < 1.0
    exact = choose(requirements(MODELS[4], gpu_memory_utilization=1.0, exact=True), (card(),), {})
    assert not exact.taken
    assert "Lower it" in exact.refused[0]


def test_exact_accepts_a_tight_fit_and_refuses_one_that_does_not_fit():
    tight = requirements(
        model_families.find("Qwen/Qwen2.5-14B-Instruct-AWQ"), gpu_memory_utilization=0.95, max_model_len=16384
    )
    assert [choose(tight._replace(exact=each), (card(15.0),), {}).verdict for each in (False, True)] == [FITS, TIGHT]
    assert not choose(requirements(MODELS[0], exact=True), (card(),), {}).taken


def test_an_unknown_model_is_skipped_unless_exact_is_set():
    assert choose(requirements(UNKNOWN_MODEL, MODELS[4]), (card(),), {}).model == 1
    alone = choose(requirements(UNKNOWN_MODEL), (card(),), {})
    assert (alone.taken, alone.verdict) == (False, UNKNOWN)
    assert "its layers mix" in alone.refused[0]
    exact = choose(requirements(UNKNOWN_MODEL, exact=True), (card(),), {})
    assert (exact.taken, exact.verdict, exact.fit) == (True, UNKNOWN, None)


def test_a_length_beyond_the_model_is_cut_or_refused():
    long = requirements(MODELS[4], max_model_len=65536, max_model_len_min=4096)
    made = choose(long, (card(79.0),), {})
    assert made.question.max_model_len == 32768
    assert "maximum is 32768" in made.given_up[-1]["why"]
    refused = choose(long._replace(max_model_len_min=None), (card(79.0),), {})
    assert "max_model_len is 65536, and the model's maximum is 32768" in refused.refused[0]


def test_an_old_card_gets_no_fp8_cache():
    asked = requirements(MODELS[4], gpu_memory_utilization=0.7, max_num_seqs=16)
    new, old = (choose(asked, (card(11.2, 0, capability),), {}) for capability in ((8, 6), (7, 5)))
    assert (new.taken, new.question.kv_cache_dtype) == (True, "fp8")
    assert (old.taken, old.question.kv_cache_dtype) == (False, "auto")


def test_a_draft_model_takes_its_share():
    target, draft = model_families.find("Qwen/Qwen3-8B"), model_families.find("Qwen/Qwen3-0.6B")
    alone, drafted = (choose(requirements(target, draft=each), (card(31.4),), {}) for each in (None, draft))
    assert drafted.fit.weights_gib_per_rank == pytest.approx(alone.fit.weights_gib_per_rank + 1.12, abs=0.05)
    assert drafted.fit.kv_bytes_per_token_per_rank == alone.fit.kv_bytes_per_token_per_rank + 2 * 28 * 8 * 128 * 2
    other = choose(requirements(MODELS[4], draft=MODELS[5]), (card(31.4),), {})
    assert other.verdict == NO
    assert "a vocabulary of 151936 and Qwen/Qwen2.5-7B-Instruct-AWQ of 152064" in other.refused[0]


def test_measured_values_replace_computed_ones():
    asked = requirements(MODELS[1], gpu_memory_utilization=0.92, max_model_len=4096, max_num_seqs=16)
    ran = Configuration(
        model=MODELS[1].name,
        form="awq",
        kv_cache_dtype="auto",
        gpus=(0,),
        max_num_seqs=16,
        max_num_batched_tokens=2048,
        enforce_eager=False,
        draft=None,
        kernels=True,
    )
    predicted = choose(asked, (card(21.8),), {})
    assert predicted.question.kv_cache_dtype == "fp8"
    lucky = choose(asked, (card(21.8),), {}, {ran: Measured(18.15, 0.6)})
    assert (lucky.given_up, lucky.fit.overhead_gib, lucky.fit.weights_gib_per_rank) == ((), 0.6, 18.15)
    unlucky = choose(asked._replace(give_up=()), (card(21.8),), {}, {ran: Measured(18.15, 2.9)})
    assert unlucky.verdict == NO


def test_the_shortest_context_is_tried_on_every_card():
    for gib, capability in itertools.product((8.0, 15.5, 79.2), ((7, 0), (7, 5), (8, 9), (9, 0), None)):
        made = choose(requirements(max_model_len_min=1024), (card(gib, 0, capability),), {})
        assert made.taken == (capability != (7, 0))
