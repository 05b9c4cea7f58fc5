"""The examples in docstrings give what they show."""

import doctest

import pytest

from lrsl import core, metrics


@pytest.mark.parametrize("module", [core, metrics], ids=["core", "metrics"])
def test_examples_in_docstrings(module):
    found = doctest.testmod(module)
    assert found.attempted >= 3
    assert not found.failed
