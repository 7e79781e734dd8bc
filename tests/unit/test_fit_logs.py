"""The fit agrees with public start-up logs of vLLM, within the limits that docs/explanation/fit.md states."""

from statistics import mean

import calibration
import pytest

from roundhouse.fit.estimate import FITS, NO, fit, pool
from roundhouse.paths import CHECKOUT
from roundhouse.util.units import GIB

FILES = sorted((CHECKOUT / "tests/fixtures/starts").glob("*.json"))
SEEN = [seen for file in FILES for seen in calibration.observations(file)]
ROWS = [calibration.row(seen) for seen in SEEN]
# Qwen2-VL-2B-AWQ: 2.74 GiB stated, 2.36 computed; the cause is unknown.
UNEXPLAINED = ("d56",)


def test_every_log_gets_a_number():
    assert len(ROWS) >= 67
    for seen, row in zip(SEEN, ROWS, strict=True):
        assert row.uncovered is None
        assert row.weights or not seen["weights_gib_per_rank"]
        assert row.tokens or not (seen["kv_gib_per_rank"] and seen["kv_tokens"])


def test_weights_differ_by_half_a_percent():
    shares = {row.label[:3]: row.weights[0] / row.weights[1] - 1 for row in ROWS if row.weights}
    assert mean(map(abs, shares.values())) < 0.005
    worst = max((share for label, share in shares.items() if label not in UNEXPLAINED), key=abs)
    assert abs(worst) < 0.02


def test_kv_bytes_of_a_token_and_states_differ_by_the_logs_rounding():
    errors = []
    for seen, row in zip(SEEN, ROWS, strict=True):
        if row.tokens:
            made, stated = row.tokens
            errors.append(abs(made / stated - 1))
            # The log rounds the GiB to two places, and vLLM the tokens to whole blocks.
            block_gib = pool(calibration.question(seen)).block_bytes / GIB
            rounding = (0.0051 + 2 * block_gib) / abs(seen["kv_gib_per_rank"])
            assert abs(made / stated - 1) <= rounding + 0.002, row.label
    assert mean(errors) < 0.002


def test_the_kv_cache_differs_by_a_third_of_a_gib():
    gaps = [row.kv_gib[0] - row.kv_gib[1] for row in ROWS if row.kv_gib]
    assert mean(map(abs, gaps)) < 0.30
    discrete = [row.kv_gib[0] - row.kv_gib[1] for row in ROWS if row.kv_gib and row.plain]
    assert mean(map(abs, discrete)) < 0.20


def test_no_failed_start_is_called_fits_and_no_served_one_no():
    failed = [row for row in ROWS if row.outcome.startswith("failed")]
    served = [row for row in ROWS if row.outcome.startswith("served")]
    assert len(failed) >= 13
    assert not [row.label for row in failed if row.verdict == FITS]
    assert len([row.label for row in served if row.verdict == NO]) <= 1


@pytest.mark.parametrize(
    ("name", "quant", "catalog"),
    [
        ("Qwen3-Coder-30B-A3B", "bf16", "Qwen3-Coder-30B-A3B"),
        ("Qwen2.5-Coder-7B-Instruct", "awq", "Qwen2.5-7B"),
        ("qwen3.8-27b", "nvfp4", "Qwen3.8-27B"),
    ],
)
def test_a_logs_model_is_found_by_its_name(name, quant, catalog):
    # "-Coder" was removed from Qwen3's names too, whose Coders have other lengths.
    assert calibration.model(name, quant).architecture.name == catalog


def test_a_negative_kv_cache_is_compared_as_it_is():
    (row,) = (row for row in ROWS if row.label.startswith("d15"))
    made, stated = row.kv_gib
    assert stated == -0.7
    assert made == pytest.approx(stated, abs=0.5)


def test_a_desktop_does_not_turn_a_served_start_into_no():
    # Ten starts on an RTX 3090 with a desktop did not show its memory within the share.
    for seen in SEEN:
        if seen["gpu"] == "RTX 3090" and seen["outcome"] == "served":
            asked = calibration.question(seen)
            assert fit(asked._replace(shared_display=True, free_gib=None)).verdict != NO, seen["id"]
