"""Every config resolves to what the table says, leaf by leaf."""

import pytest

from tests.configs.expected import BASES, EXPECTED
from tests.configs.expected.changes import changed, differences, joined, leaves
from tests.configs.resolved import CONFIGS, NAMES, as_dict


def test_the_table_has_every_config():
    assert sorted(EXPECTED) == sorted(NAMES)


def test_the_table_has_every_base():
    bases = {
        str(p.relative_to(CONFIGS / '_base_').with_suffix(''))
        for p in (CONFIGS / '_base_').rglob('*.py')
    }
    assert set(BASES) == bases


@pytest.mark.parametrize('name', BASES)
def test_a_base_says_what_the_table_says(name):
    assert differences(as_dict(f'_base_/{name}'), BASES[name]) == []


@pytest.mark.parametrize('name', EXPECTED)
def test_a_config_resolves_to_what_the_table_says(name):
    assert differences(as_dict(name), EXPECTED[name]) == []


def test_differences_are_found_wherever_they_are():
    config = {'a': {'b': [{'c': 1}, {'c': 2}]}, 'd': (1, 2), 'e': [], 'f': {}, 'g': True}
    assert leaves(config) == {
        'a.b.0.c': 1,
        'a.b.1.c': 2,
        'd': (1, 2),
        'e': [],
        'f': {},
        'g': True,
    }
    assert differences(config, config) == []
    other = changed(config, {'a.b': [{'c': 1}], 'd': [1, 2], 'g': 1, 'h': None})
    assert differences(config, other) == [
        "a.b.1.c: 2, expected '(nothing)'",
        'd: (1, 2), expected [1, 2]',
        'g: True, expected 1',
        "h: '(nothing)', expected None",
    ]


def test_blocks_do_not_state_the_same_twice():
    assert joined({'a': 1}, {'b': {'c': 2}}) == {'a': 1, 'b': {'c': 2}}
    with pytest.raises(AssertionError, match='two blocks state the same'):
        joined({'a': 1}, {'a': 1})
