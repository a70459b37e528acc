"""Laws of ``chain``."""

from functools import partial
from operator import add, mul

from hypothesis import given
from hypothesis import strategies as st

from jaxrl.core.chain import chain

FUNCTIONS = st.lists(st.one_of(st.builds(partial, st.sampled_from([add, mul]), st.integers(-5, 5))), max_size=6)


@given(FUNCTIONS, st.integers(-9, 9), st.integers(0, 6))
def test_left_to_right_and_associative(functions, x, at):
    expected = x
    for function in functions:
        expected = function(expected)
    assert chain(*functions)(x) == expected
    assert chain(chain(*functions[:at]), chain(*functions[at:]))(x) == expected


def test_of_nothing_it_is_the_identity():
    thing = object()
    assert chain()(thing) is thing
