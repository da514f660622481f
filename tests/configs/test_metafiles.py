"""The model index: a row for every config, and published results as published."""

import pytest
import yaml

from tests.configs.resolved import CONFIGS, NAMES, read
from tests.helpers import ROOT

PAPER = 'arXiv 2306.06189, table 2'
READER = 'arXiv 2306.06189, as reported by a reader'
# box AP, mask AP of Cascade Mask R-CNN on COCO val2017, 3x
COCO = {
    'cascade_fastervit_2_3x': (52.1, 45.2),
    'cascade_fastervit_3_3x': (52.4, 45.4),
    'cascade_fastervit_4_3x': (52.9, 45.8),
    'cascade_swin_t_3x_own': (50.4, 43.7),
    'cascade_swin_s_3x_own': (51.9, 45.0),
    'cascade_swin_b_3x_own': (51.9, 45.0),
    'cascade_convnext_t_3x_own': (50.4, 43.7),
    'cascade_convnext_s_3x_own': (51.9, 45.0),
    'cascade_convnext_b_3x_own': (52.7, 45.6),
    'cascade_resnext101_32x4d_3x': (48.1, 41.6),
    'cascade_resnext101_64x4d_3x': (48.3, 41.7),
}
# mIoU of UperNet on ADE20K: single scale, multi-scale
ADE20K = {
    'upernet_fastervit_2_160k': (47.2, 48.4),
    'upernet_fastervit_3_160k': (48.7, 49.7),
    'upernet_fastervit_4_160k': (49.1, 50.3),
    'upernet_swin_t_160k_own': (44.5, None),
    'upernet_swin_s_160k_own': (47.6, 49.5),
    'upernet_swin_b_160k_own': (48.1, 49.7),
}
# images per second of the backbone on one A100
THROUGHPUT = {
    'cascade_fastervit_2_3x': 287,
    'cascade_fastervit_3_3x': 159,
    'cascade_fastervit_4_3x': 117,
    'cascade_swin_t_3x_own': 161,
    'cascade_swin_s_3x_own': 119,
    'cascade_swin_b_3x_own': 90,
    'cascade_convnext_t_3x_own': 166,
    'cascade_convnext_s_3x_own': 128,
    'cascade_convnext_b_3x_own': 101,
    'cascade_resnext101_32x4d_3x': 124,
    'cascade_resnext101_64x4d_3x': 86,
    'upernet_fastervit_2_160k': 377,
    'upernet_fastervit_3_160k': 254,
    'upernet_fastervit_4_160k': 202,
    'upernet_swin_t_160k_own': 350,
    'upernet_swin_s_160k_own': 219,
    'upernet_swin_b_160k_own': 172,
}


def miou(single: float, multi: float | None) -> dict:
    more = {} if multi is None else {'multi-scale mIoU': multi}
    return {'mIoU': single, **more, 'source': READER}


PUBLISHED = {
    **{name: {'box AP': b, 'mask AP': m, 'source': PAPER} for name, (b, m) in COCO.items()},
    **{name: miou(*values) for name, values in ADE20K.items()},
    'dino_4scale_fastervit_4_21k_224_12e_released': {
        'box AP': 55.16,
        'source': 'the released detector',
    },
}
FILES = {
    'cascade': 'configs/detection/cascade_metafile.yml',
    'dino': 'configs/detection/dino_metafile.yml',
    'mask2former panoptic': 'configs/detection/mask2former_metafile.yml',
    'mask2former semantic': 'configs/segmentation/mask2former_metafile.yml',
    'upernet': 'configs/segmentation/upernet_metafile.yml',
}
MASK2FORMER = 'https://arxiv.org/abs/2112.01527'
COLLECTIONS = {
    'cascade': ('Cascade Mask R-CNN', 'COCO 2017', 'https://arxiv.org/abs/1906.09756'),
    'dino': ('DINO', 'COCO 2017', 'https://arxiv.org/abs/2203.03605'),
    'mask2former panoptic': ('Mask2Former, panoptic', 'COCO 2017', MASK2FORMER),
    'mask2former semantic': ('Mask2Former, semantic', 'ADE20K', MASK2FORMER),
    'upernet': ('UperNet', 'ADE20K', 'https://arxiv.org/abs/1807.10221'),
}


def content(family: str) -> dict:
    return yaml.safe_load((ROOT / FILES[family]).read_text())


def test_the_index_imports_every_metafile():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index == {'Import': list(FILES.values())}
    assert sorted(index['Import']) == sorted(
        str(p.relative_to(ROOT)) for p in CONFIGS.rglob('*.yml')
    )


def test_every_config_has_one_row_that_points_to_it():
    rows = {
        model['Name']: model['Config'] for family in FILES for model in content(family)['Models']
    }
    assert sum(len(content(family)['Models']) for family in FILES) == len(rows)
    assert rows == {name.rpartition('/')[2]: f'configs/{name}.py' for name in NAMES}


@pytest.mark.parametrize('family', FILES)
def test_a_metafile_is_about_its_family(family):
    title, data, paper = COLLECTIONS[family]
    (collection,) = content(family)['Collections']
    assert collection['Name'] == title
    assert collection['Metadata'] == {'Training Data': data, 'Architecture': ['FasterViT', title]}
    assert collection['Paper']['URL'] == paper and collection['Paper']['Title']
    assert (ROOT / collection['README']).is_file()
    for model in content(family)['Models']:
        assert model['Name'].split('_')[0] == family.split()[0]
        assert model['In Collection'] == title
        assert set(model) <= {'Name', 'In Collection', 'Config', 'Metadata'}


def stated(key: str) -> dict:
    """Of every config that states it, what stands under ``key``."""
    return {
        model['Name']: model['Metadata'][key]
        for family in FILES
        for model in content(family)['Models']
        if key in model.get('Metadata', {})
    }


def test_published_results_are_those_published():
    assert stated('Published Results') == PUBLISHED


def test_published_throughput_is_that_published():
    assert stated('Published Throughput') == {
        name: {'images per second': value, 'device': 'A100'} for name, value in THROUGHPUT.items()
    }


GFLOPS = {
    'upernet_fastervit_2_160k': 974,
    'upernet_fastervit_3_160k': 1076,
    'upernet_fastervit_4_160k': 1290,
    'upernet_swin_t_160k_own': 945,
    'upernet_swin_s_160k_own': 1038,
    'upernet_swin_b_160k_own': 1188,
}


def test_published_gflops_are_those_published():
    assert stated('Published GFLOPs') == GFLOPS


def test_where_published_gflops_do_not_fit_the_row_says_so():
    counted, notes = stated('GMACs'), stated('Note')
    for name, published in GFLOPS.items():
        fits = abs(counted[name] - published) < 0.002 * published
        assert fits == ('do not fit' not in notes[name]), name
    # those of two other variants
    assert round(counted['upernet_fastervit_1_160k']) == 974
    assert abs(counted['upernet_fastervit_3_160k'] - 1290) < 2


def test_every_peer_says_whose_recipe_it_is():
    notes = stated('Note')
    peers = [name.rpartition('/')[2] for name in NAMES if 'peers/' in name]
    for name in peers:
        own = name.endswith('_own')
        assert notes[name] == ('its own recipe' if own else 'our recipe, not its own')
        assert own or 'resnext' in name or f'{name}_own' in peers


def test_sizes_are_stated_of_every_model_but_those_of_drawn_shapes():
    names = {name.rpartition('/')[2] for name in NAMES if 'shapes' not in name}
    assert set(stated('Parameters (M)')) == set(stated('GMACs')) == names


@pytest.mark.parametrize('name', [n for n in NAMES if '/dino' not in n and 'shapes' not in n])
def test_a_name_says_which_arch(name):
    """..._fastervit_4_21k_384_3x has the backbone fastervit_4_21k_384."""
    backbone = read(name).model.backbone
    if backbone.type == 'fastervit_mm.FasterViT':
        assert f'_{backbone.arch}_' in name
        assert '21k' in backbone.arch or '21k' not in name
