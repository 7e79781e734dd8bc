"""Each text that tests/mutations.py replaces occurs once in its file."""

import mutations
import pytest

from roundhouse.paths import CHECKOUT


@pytest.mark.parametrize("name", mutations.MUTATIONS)
def test_the_text_of_a_mutation_occurs_once(name):
    mutation = mutations.MUTATIONS[name]
    assert (CHECKOUT / mutation.file).read_text().count(mutation.text) == 1
