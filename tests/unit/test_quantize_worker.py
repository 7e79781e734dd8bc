"""The arguments for llm-compressor; molecule's scenario `quantize` runs the recipes."""

from hypothesis import given
from hypothesis import strategies as st

from roundhouse.quantize.worker import windows

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=20), min_size=1, max_size=20)


@given(ROWS)
def test_auto_round_gets_rows_of_one_length_with_the_texts_tokens_in_their_order(rows):
    tokens = [token for row in rows for token in row]
    made = windows(rows)
    joined = [token for row in made for token in row]
    assert len({len(row) for row in made}) <= 1
    assert joined == tokens[: len(joined)]
    assert len(tokens) - len(joined) < max(1, len(tokens) // len(rows))
    assert len(made) >= min(len(rows), len(tokens))
