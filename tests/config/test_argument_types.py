"""Values of command lines."""

import argparse

import pytest

from fastervit_mm.config.argument_types import positive_int, share


@pytest.mark.parametrize('text, number', [('1', 1), ('12', 12), ('007', 7)])
def test_numbers_from_one_on(text, number):
    assert positive_int(text) == number


@pytest.mark.parametrize('text', ['0', '-1', '1.5', '', 'x', '1 2', '²'])
def test_others_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        positive_int(text)
    assert str(error.value) == f'{text} is not a number of at least 1'


@pytest.mark.parametrize('text, number', [('0', 0), ('1', 1), ('0.3', 0.3), ('1e-3', 0.001)])
def test_shares(text, number):
    assert share(text) == number


@pytest.mark.parametrize('text', ['-0.1', '1.01', 'nan', 'inf', '', 'x', '30%'])
def test_no_shares(text):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        share(text)
    assert str(error.value) == f'{text} is not a number from 0 to 1'
