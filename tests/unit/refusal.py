"""Match errors by code and fields, not by their text."""

from contextlib import contextmanager

import pytest

from roundhouse.errors import RoundhouseError


@contextmanager
def refused(code, **fields):
    """Expect an error with that code and at least those fields; yield the object of pytest.raises."""
    with pytest.raises(RoundhouseError) as caught:
        yield caught
    assert caught.value.code == code
    assert {name: caught.value.fields.get(name) for name in fields} == fields
