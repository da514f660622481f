"""Values of command lines."""

import argparse

import pytest

from fastervit_mm.config.argument_types import positive_int


@pytest.mark.parametrize('text, number', [('1', 1), ('12', 12), ('007', 7)])
def test_numbers_from_one_on(text, number):
    assert positive_int(text) == number


@pytest.mark.parametrize('text', ['0', '-1', '1.5', '', 'x', '1 2', '²'])
def test_others_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        positive_int(text)
    assert str(error.value) == f'{text} is not a number of at least 1'
