"""Every entry of a file is loaded, left out for a stated reason, or named in an error."""

import re

import pytest
import torch

from fastervit_mm import FasterViT
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.weights.published import (
    load_entries,
    load_pretrained,
    network_entries,
    recognise_variant,
    why_skipped,
)
from tests.helpers import SMALL
from tests.logged import logged

SINGLE = torch.zeros(1)


def small(**changes) -> FasterViT:
    torch.manual_seed(0)
    return FasterViT(SMALL, **changes)


def constant(model: FasterViT, value: float) -> dict[str, torch.Tensor]:
    """Entries that fit ``model``, all of ``value``."""
    return {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}


def loaded(model: FasterViT, entries: dict, source: str = 'a.pth') -> list[str]:
    with logged() as lines:
        load_entries(model, entries, source)
    return lines


def test_a_file_that_fits_exactly():
    model = small()
    entries = constant(model, 2)
    assert loaded(model, entries, 'b.pth') == [f'b.pth: loaded {len(entries)} entries']
    assert all((v == 2).all() for v in model.state_dict().values())


def test_what_is_left_out_is_counted_by_reason():
    model = small()
    own = constant(model, 2)
    entries = {name: value for name, value in own.items() if not name.startswith('norm')}
    more = (
        ['norm.weight', 'norm.bias', 'head.weight', 'head.bias', 'norm.running_mean']
        + [f'levels.2.blocks.{i}.attn.pos_emb_funct.relative_bias' for i in (0, 1)]
        + ['levels.2.global_tokenizer.to_global_feature.pos.weight']
    )
    assert loaded(model, entries | dict.fromkeys(more, SINGLE)) == [
        f'a.pth: loaded {len(own) - 8} entries',
        'a.pth: skipped 5 entries (classifier): norm.weight, norm.bias, head.weight, head.bias, '
        '… 1 more',
        'a.pth: skipped 2 entries (derived from the weights at every size): '
        'levels.2.blocks.0.attn.pos_emb_funct.relative_bias, '
        'levels.2.blocks.1.attn.pos_emb_funct.relative_bias',
        'a.pth: skipped 1 entries (stored twice in the file): '
        'levels.2.global_tokenizer.to_global_feature.pos.weight',
        'a.pth: 8 entries not in it start from scratch (norms of the emitted maps): '
        'norm0.weight, norm0.bias, norm1.weight, norm1.bias, … 4 more',
    ]
    assert all((v == (2 if k in entries else 1)).all() for k, v in weights_of(model).items())


def weights_of(model: FasterViT) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if k.endswith('weight')}


def test_stages_after_the_last_emitted_one_are_left_out():
    whole, part = small(), small(out_indices=(1,))
    lines = loaded(part, constant(whole, 2))
    assert all((v == 2).all() for v in part.state_dict().values())
    assert lines[0] == f'a.pth: loaded {len(part.state_dict())} entries'
    reasons = {re.search(r'\((?:after )?(.*?)\)', line)[1]: line.split()[2] for line in lines[1:]}
    after = [
        name for name in whole.state_dict() if re.match(r'levels\.(1\.downsample|2\.|3\.)', name)
    ]
    assert reasons == {
        'norms of maps that are not emitted': '6',
        'the last emitted stage': str(len(after)),
    }


def test_output_norms_of_another_kind_are_left_out():
    theirs, model = small(out_norm='bn', out_indices=(0, 3)), small(out_indices=(0, 3))
    lines = loaded(model, constant(theirs, 2))
    assert lines == [
        f'a.pth: loaded {len(model.state_dict()) - 4} entries',
        'a.pth: skipped 10 entries (norms of another kind than out_norm): norm0.bias, '
        'norm0.num_batches_tracked, norm0.running_mean, norm0.running_var, … 6 more',
        'a.pth: 4 entries not in it start from scratch (norms of the emitted maps): norm0.weight, '
        'norm0.bias, norm3.weight, norm3.bias',
    ]
    assert (model.norm0.weight == 1).all() and (model.patch_embed.conv_down[0].weight == 2).all()
    # one norm of ours, one of another kind
    entries = constant(model, 3)
    entries['norm0.running_mean'] = torch.zeros(16)
    loaded(model, entries)
    assert (model.norm0.weight == 1).all() and (model.norm3.weight == 3).all()


def failing(model: FasterViT, entries: dict) -> str:
    with pytest.raises(ArgumentError) as caught:
        load_entries(model, entries, 'c.pth')
    return str(caught.value)


def test_everything_that_does_not_fit_is_named():
    model = small()
    entries = constant(model, 2)
    gone = [f'levels.0.blocks.0.{n}' for n in ('conv1.weight', 'conv1.bias', 'norm1.weight')]
    for name in gone:
        del entries[name]
    entries |= {f'extra{i}': SINGLE for i in range(5)}
    entries['levels.3.blocks.0.norm1.weight'] = torch.zeros(7)
    told = failing(model, entries)
    assert told.startswith("c.pth does not fit arch={'dim': 16, ")
    assert told.endswith(
        f'; it fits no published variant. Entries 3 missing: {", ".join(gone)}; '
        '5 unexpected: extra0, extra1, extra2, extra3, … 1 more; '
        '1 of another shape: levels.3.blocks.0.norm1.weight (7,) for (128,)'
    )
    # nothing was loaded by halves
    assert not any((v == 2).all() for k, v in model.state_dict().items() if k.endswith('weight'))


def test_four_names_are_all_said():
    entries = constant(small(), 2) | {f'extra{i}': SINGLE for i in range(4)}
    told = failing(small(), entries)
    assert told.endswith('. Entries 4 unexpected: extra0, extra1, extra2, extra3')


def test_norms_that_the_file_lacks_are_no_fault_but_other_entries_are():
    model = small()
    entries = constant(model, 2)
    del entries['norm2.weight'], entries['levels.2.blocks.1.norm2.bias']
    assert 'Entries 1 missing: levels.2.blocks.1.norm2.bias' in failing(model, entries)


@pytest.mark.parametrize(
    'name, stages, reason',
    [
        ('levels.2.blocks.0.pos_embed.relative_bias', 4, 'derived from the weights at every size'),
        ('levels.2.blocks.0.attn.pos_emb_funct.relative_coords_table', 4, 'derived from'),
        ('levels.2.blocks.0.attn.pos_emb_funct.relative_position_index', 4, 'derived from'),
        ('levels.2.blocks.0.relative_bias.weight', 4, None),
        ('levels.2.global_tokenizer.to_global_feature.pos.bias', 4, 'stored twice in the file'),
        ('levels.2.global_tokenizer.pos_embed.bias', 4, None),
        ('norm.weight', 4, 'classifier'),
        ('head.bias', 4, 'classifier'),
        ('levels.0.norm.weight', 4, None),
        ('header.bias', 4, None),
        ('norm0.weight', 4, 'norms of maps that are not emitted'),
        ('norm12.weight', 4, None),
        ('levels.2.blocks.0.norm1.weight', 3, None),
        ('levels.2.blocks.0.norm1.weight', 2, 'the last emitted stage'),
        ('levels.1.downsample.norm.weight', 3, None),
        ('levels.1.downsample.norm.weight', 2, 'the last emitted stage'),
        ('levels.1.blocks.0.conv1.weight', 2, None),
        ('levels.3.downsample.norm.weight', 4, 'the last emitted stage'),
        ('patch_embed.conv_down.0.weight', 1, None),
        ('something.else', 4, None),
    ],
)
def test_reasons(name, stages, reason):
    told = why_skipped(name, stages)
    assert told is None if reason is None else reason in told


W, B = torch.ones(2), torch.zeros(2)
OWN = {'patch_embed.a': W, 'levels.0.b': B}
WHOLE = {'backbone.patch_embed.a': W, 'backbone.levels.0.b': B, 'neck.c': B, 'backbone2.d': B}


@pytest.mark.parametrize(
    'checkpoint, prefix, expected',
    [
        (OWN, None, list(OWN)),
        (dict(state_dict=OWN, meta=dict(epoch=1)), None, list(OWN)),
        (dict(model=OWN, args=3), None, list(OWN)),
        (dict(state_dict=dict(model=OWN)), None, list(OWN)),
        # a tensor may be called so
        (dict(OWN, model=W), None, [*OWN, 'model']),
        (dict(OWN, epoch=3, name='x'), None, list(OWN)),
        ({f'module.{k}': v for k, v in OWN.items()}, None, list(OWN)),
        ({f'module.{k}': v for k, v in WHOLE.items()}, None, list(OWN)),
        (WHOLE, None, list(OWN)),
        (WHOLE, 'backbone', list(OWN)),
        (WHOLE, 'backbone.', list(OWN)),
        (WHOLE, 'neck', ['c']),
        (WHOLE, '', list(WHOLE)),
        # a backbone's own file is taken whole, whatever else it holds
        (OWN | WHOLE, None, [*OWN, *WHOLE]),
        ({'a': W, 'backbone.b': B}, None, ['a', 'backbone.b']),
        ({'backbone.levels.0.b': B}, None, ['backbone.levels.0.b']),
    ],
)
def test_the_backbones_entries_of_a_checkpoint(checkpoint, prefix, expected):
    entries = network_entries(checkpoint, prefix)
    assert list(entries) == expected
    assert all(isinstance(v, torch.Tensor) for v in entries.values())
    if 'patch_embed.a' in entries:
        assert entries['patch_embed.a'] is W and entries['levels.0.b'] is B


@pytest.mark.parametrize(
    'checkpoint, prefix, expected',
    [
        (
            [W],
            None,
            'the checkpoint is a list; expected a dict of tensors, or one under state_dict or model',
        ),
        (dict(epoch=3), None, 'the checkpoint holds no tensors'),
        (dict(state_dict={}), '', 'the checkpoint holds no tensors'),
        (WHOLE, 'head', "the checkpoint holds no tensors under 'head.'"),
    ],
)
def test_checkpoints_without_a_network(checkpoint, prefix, expected):
    with pytest.raises(FileError) as caught:
        network_entries(checkpoint, prefix)
    assert str(caught.value) == expected


def own_shapes(name: str, **changes) -> dict[str, tuple[int, ...]]:
    with torch.device('meta'):
        return {k: v.shape for k, v in FasterViT(name, **changes).state_dict().items()}


ALL_21K = [f'fastervit_4_21k_{side}' for side in (224, 384, 512, 768)]


@pytest.mark.parametrize(
    'name, expected',
    [('fastervit_1', ['fastervit_1']), ('fastervit_4', ['fastervit_4'])]
    + [('fastervit_4_21k_384', ALL_21K)],
)
def test_a_variant_is_recognised_by_its_own_entries(name, expected):
    """Without the published tables, windows cannot be told apart."""
    assert recognise_variant(own_shapes(name)) == expected


def test_variants_are_told_apart_by_each_of_their_traits(official_keys):
    published = official_keys['fastervit_4_21k_512']['keys']
    assert recognise_variant(published) == ['fastervit_4_21k_512']
    for change in (
        {'patch_embed.conv_down.3.weight': (192, 64, 3, 3)},
        {'patch_embed.conv_down.3.weight': (196, 32, 3, 3)},
        {'levels.2.blocks.12.norm1.weight': (784,)},
        {'levels.0.blocks.3.norm1.weight': (196,)},
        {'levels.2.blocks.0.hat_norm1.weight': (784,)},
        {'levels.2.blocks.0.pos_embed.relative_bias': (1, 31**2, 784)},
    ):
        assert recognise_variant({**published, **change}) == []
    assert recognise_variant({}) == []


def test_a_file_is_named_once_in_what_went_wrong(tmp_path):
    torch.save({'a': 1}, tmp_path / 'none.pth')
    cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth'))
    with pytest.raises(FileError) as caught:
        load_pretrained(small(), cfg)
    assert str(caught.value) == f'{tmp_path / "none.pth"}: the checkpoint holds no tensors'
    (tmp_path / 'text.pth').write_text('nothing')
    with pytest.raises(FileError) as caught:
        load_pretrained(small(), dict(cfg, checkpoint=str(tmp_path / 'text.pth')))
    assert str(caught.value).count('text.pth') == 1


def test_pretrained_is_the_only_type(tmp_path):
    model = small()
    torch.save(constant(model, 2), tmp_path / 'whole.pth')
    path = str(tmp_path / 'whole.pth')
    with logged() as lines:
        load_pretrained(model, dict(type='Pretrained', checkpoint=path))
    assert lines == [f'whole.pth: loaded {len(model.state_dict())} entries']
    assert (model.norm0.weight == 2).all()
    for wrong in (dict(type='Kaiming', checkpoint=path), dict(type='X')):
        with pytest.raises(ArgumentError) as caught:
            load_pretrained(model, wrong)
        assert str(caught.value).startswith(f'init_cfg is {wrong}; allowed: None or dict(type=')
    torch.save({f'a.{k}': v for k, v in constant(model, 5).items()}, tmp_path / 'deep.pth')
    deep = dict(type='Pretrained', checkpoint=str(tmp_path / 'deep.pth'), prefix='a')
    load_pretrained(model, deep)
    assert (model.norm0.weight == 5).all()
