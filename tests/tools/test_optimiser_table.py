"""The table of rates and decays in docs/recipes.md is what the configs' optimisers do."""

import importlib.util

import pytest
from mmengine.config import Config
from torch import nn

from fastervit_mm import FasterViT
from tests.helpers import ROOT, SMALL

spec = importlib.util.spec_from_file_location('table', ROOT / 'tools' / 'optimiser_table.py')
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)


def test_the_page_is_what_the_configs_build():
    """If it is not: python tools/optimiser_table.py --page."""
    assert '\n'.join(table.table_lines(table.all_configs())) == table.written_table()


@pytest.mark.parametrize(
    'name, kind',
    [
        ('patch_embed.conv_down.0.weight', 'convolutions'),
        ('patch_embed.conv_down.1.weight', 'norms'),
        ('patch_embed.conv_down.1.bias', 'norms'),
        ('levels.0.blocks.0.conv1.bias', 'biases'),
        ('levels.2.global_tokenizer.pos_embed.weight', 'carrier convolution'),
        ('levels.2.global_tokenizer.pos_embed.bias', 'carrier convolution'),
        ('levels.2.blocks.0.hat_pos_embed.cpb_mlp.0.bias', 'position MLPs'),
        ('levels.2.blocks.0.attn.pos_emb_funct.cpb_mlp.2.weight', 'position MLPs'),
        ('levels.2.blocks.0.hat_norm1.bias', 'norms'),
        ('levels.3.blocks.0.gamma3', 'layer scales'),
        ('levels.3.blocks.0.attn.qkv.weight', 'linear layers'),
        ('levels.3.blocks.0.mlp.fc1.bias', 'biases'),
        ('norm3.weight', 'norms'),
    ],
)
def test_kinds_of_the_backbones_parameters(name, kind):
    backbone = FasterViT({**SMALL, 'layer_scale': 1e-5})
    assert name in dict(backbone.named_parameters())
    assert (
        table.kind_of(f'backbone.{name}', backbone.get_submodule(name.rpartition('.')[0])) == kind
    )


@pytest.mark.parametrize(
    'name, module, kind',
    [
        ('level_embed', nn.Module(), 'embeddings'),
        ('query_embedding.weight', nn.Embedding(2, 2), 'embeddings'),
        ('attn.in_proj_weight', nn.MultiheadAttention(2, 1), 'linear layers'),
        ('attn.in_proj_bias', nn.MultiheadAttention(2, 1), 'biases'),
        ('mask_head.upsample.weight', nn.ConvTranspose2d(1, 1, 1), 'convolutions'),
        ('a.relative_position_bias_table', nn.Module(), 'position tables'),
        ('backbone.stages_0.blocks.0.gamma', nn.Module(), 'layer scales'),
        ('bn.weight', nn.SyncBatchNorm(2), 'norms'),
        ('gn.bias', nn.GroupNorm(1, 2), 'norms'),
    ],
)
def test_kinds_of_other_parameters(name, module, kind):
    assert table.kind_of(name, module) == kind


@pytest.mark.parametrize(
    'settings, text',
    [
        ((), ''),
        ({(1.0, 0.05)}, '×1, 0.05'),
        ({(0.1, 1e-4)}, '×0.1, 0.0001'),
        ({(0.5, 0.05), (1.0, 0.05), (0.25, 0.05)}, '×0.25 … 1, 0.05'),
        ({(1.0, 0.0), (1.0, 0.05)}, '×1, 0 / 0.05'),
    ],
)
def test_a_cell(settings, text):
    assert table.cell(settings) == text


def test_configs_agree_where_they_do_the_same_to_the_kinds_that_both_have():
    one = {'backbone': {'norms': {(1.0, 0.0)}, 'biases': {(1.0, 0.1)}}, 'the rest': {}}
    other = {'backbone': {'norms': {(1.0, 0.1)}, 'biases': {(1.0, 0.1)}}, 'the rest': {}}
    fewer = {'backbone': {'biases': {(1.0, 0.1)}}, 'the rest': {'norms': {(1.0, 0.0)}}}
    assert not table.agree(one, other)
    assert table.agree(one, fewer) and table.agree(fewer, other)


def test_the_page_is_written_between_its_marks(monkeypatch, tmp_path, capsys):
    page = tmp_path / 'recipes.md'
    page.write_text(f'before\n{table.BEGIN}\nold\n{table.END}\nafter\n')
    monkeypatch.setattr(table, 'PAGE', page)
    monkeypatch.setattr(table, 'table_lines', lambda paths: ['| new |'])
    monkeypatch.setattr('sys.argv', ['optimiser_table.py', '--page'])
    table.main()
    assert page.read_text() == f'before\n{table.BEGIN}\n\n| new |\n\n{table.END}\nafter\n'
    assert table.written_table() == '| new |'
    assert capsys.readouterr().out == f'written: {page}\n'


def test_frozen_parameters_are_left_out():
    """A frozen backbone leaves the heads' rows alone."""
    cfg = Config.fromfile(ROOT / 'configs/detection/cascade_fastervit_shapes.py')
    assert table.rows(cfg)['backbone']['norms'] == {(1.0, 0.0)}
    cfg.model.backbone.frozen_stages = 4
    found = table.rows(cfg)
    assert set(found['backbone']) <= {'norms'}  # those of the emitted maps
    assert found['the rest']['norms'] == {(1.0, 0.0)}
