"""Errors are matched by code and fields, not by their sentences."""

from contextlib import contextmanager

import pytest

from roundhouse.errors import RoundhouseError


@contextmanager
def refused(code, **fields):
    """Expect an error of that code with (at least) those fields; give what pytest.raises gives."""
    with pytest.raises(RoundhouseError) as caught:
        yield caught
    assert caught.value.code == code
    assert {name: caught.value.fields.get(name) for name in fields} == fields
