"""tools/zoo.py: counts worked out by hand, what it prints, and the figures that docs/zoo.md states."""

import importlib.util
import re
import sys

import pytest
import timm
import torch
from torch import nn

from fastervit_mm import VARIANTS
from tests.configs.resolved import CONFIGS, NAMES, PATHS
from tests.helpers import ROOT, call_tool

spec = importlib.util.spec_from_file_location('zoo', ROOT / 'tools' / 'zoo.py')
zoo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zoo)


class Counted(nn.Module):
    """One convolution of 32x32 px, step 32, 480 channels; what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 480, 32, stride=32, bias=False)
        self.seen: list[torch.Tensor] = []

    def extract_feat(self, image):
        assert not torch.is_grad_enabled() and not self.training
        self.seen.append(image)
        return self.backbone(image)


class Segmentor(Counted):
    def __init__(self) -> None:
        super().__init__()
        self.decode_head = nn.Conv2d(480, 150, 1)


class Head(nn.Module):
    """Keeps the shapes it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple] = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))


class TwoStage(Counted):
    def __init__(self) -> None:
        super().__init__()
        self.rpn_head, self.roi_head = Head(), nn.Module()
        self.roi_head.bbox_roi_extractor = nn.ModuleList([nn.Module(), nn.Module()])
        for extractor in self.roi_head.bbox_roi_extractor:
            extractor.out_channels = 96
        self.roi_head.bbox_head = nn.ModuleList([Head(), Head()])
        self.roi_head.mask_head = nn.ModuleList([Head()])


class Dino(Counted):
    def forward_transformer(self, maps, samples):
        (self.sample,) = samples
        return dict(hidden_states=maps, references='references')

    def bbox_head(self, hidden, references):
        assert references == 'references' and hidden.shape[1] == 480
        self.heads = True


def counted(monkeypatch, tmp_path, model: type, scope: str, kind: str, backbone: str, **parts):
    """The model that was counted for a config of these types, and its figures."""
    built = []

    def build(cfg, device, init):
        """Without values: figures need none, and initialising may fetch published weights."""
        assert (cfg.default_scope, cfg.model.type, init) == (scope, kind, False)
        with torch.device(device):
            built.append(model().train())
        return built[0]

    monkeypatch.setattr(zoo, 'build_model', build)
    path = tmp_path / 'config.py'
    path.write_text(
        f"default_scope = '{scope}'\n"
        f"model = dict(type='{kind}', backbone=dict(type='{backbone}'), **{parts})\n"
    )
    return zoo.measure(path), *built


def test_a_segmentor_counted_by_hand(monkeypatch, tmp_path):
    figures, model = counted(
        monkeypatch, tmp_path, Segmentor, 'mmseg', 'EncoderDecoder', 'fastervit_mm.FasterViT'
    )
    # 512x2048 px give 16 x 64 = 1024 positions of 480 channels; 3 * 32 * 32 = 3072 inputs each
    assert figures['gmacs'] == round(1024 * 480 * (3072 + 150) / 1e9, 1) == 1.6
    assert figures['params_m'] == round((480 * 3072 + 480 * 150 + 150) / 1e6, 1) == 1.5
    ((image,),) = [model.seen]
    assert image.shape == (1, 3, 512, 2048) and image.device.type == 'meta'


def test_a_two_stage_detector_sees_its_regions(monkeypatch, tmp_path):
    figures, model = counted(
        monkeypatch, tmp_path, TwoStage, 'mmdet', 'CascadeRCNN', 'fastervit_mm.FasterViT'
    )
    assert figures['gmacs'] == round(25 * 40 * 480 * 3072 / 1e9, 1) == 1.5  # of 800x1280 px
    assert model.seen[0].shape == (1, 3, 800, 1280) and model.seen[0].device.type == 'meta'
    assert model.rpn_head.shapes == [(1, 480, 25, 40)]
    assert [head.shapes for head in model.roi_head.bbox_head] == [[(1000, 96, 7, 7)]] * 2
    assert [head.shapes for head in model.roi_head.mask_head] == [[(100, 96, 14, 14)]]


def test_dino_is_run_up_to_its_heads_in_real_memory(monkeypatch, tmp_path):
    figures, model = counted(
        monkeypatch, tmp_path, Dino, 'mmdet', 'fastervit_mm.DINO', 'fastervit_mm.FasterViT'
    )
    assert figures == dict(params_m=1.5, gmacs=1.5) and model.heads
    assert model.sample.img_shape == model.sample.batch_input_shape == (800, 1280)
    assert model.seen[0].device.type == 'cpu'


class Queries(Counted):
    """Mask2Former's head as mmdet and mmseg name it."""

    def panoptic_head(self, maps, samples):
        assert samples == [] and maps.shape[1] == 480
        self.heads = True


@pytest.mark.parametrize('size, host', [((800, 1280), 'mmdet'), ((512, 2048), 'mmseg')])
def test_queries_are_run_in_real_memory(monkeypatch, tmp_path, size, host):
    class Model(Queries):
        pass

    if host == 'mmseg':
        Model.decode_head = Queries.panoptic_head
        monkeypatch.delattr(Queries, 'panoptic_head')
    kind = 'Mask2Former' if host == 'mmdet' else 'EncoderDecoder'
    head = dict(decode_head=dict(type='Mask2FormerHead')) if host == 'mmseg' else {}
    figures, model = counted(
        monkeypatch, tmp_path, Model, host, kind, 'fastervit_mm.FasterViT', **head
    )
    positions = size[0] // 32 * (size[1] // 32)
    assert figures['gmacs'] == round(positions * 480 * 3072 / 1e9, 1) and model.heads
    assert model.seen[0].shape == (1, 3, *size) and model.seen[0].device.type == 'cpu'


def test_swin_needs_real_memory(monkeypatch, tmp_path):
    _, model = counted(
        monkeypatch, tmp_path, Segmentor, 'mmseg', 'EncoderDecoder', 'SwinTransformer'
    )
    assert model.seen[0].device.type == 'cpu'


def test_one_line_for_each_config_and_a_file(tmp_path):
    out = tmp_path / 'zoo.json'
    output = call_tool(
        *('zoo.py', 'configs/segmentation/upernet_fastervit_2_160k.py'),
        *('configs/segmentation/peers/upernet_convnext_t_160k.py', '--out', out),
    )
    lines = [line for line in output.splitlines() if line.startswith('[')]
    assert lines == [
        f'[1/2] upernet_fastervit_2_160k{" " * 26}   107.6 M   1055.5 GMACs',
        f'[2/2] upernet_convnext_t_160k{" " * 27}    60.2 M    938.5 GMACs',
    ]
    assert out.read_text() == (
        '{\n "upernet_fastervit_2_160k": {\n  "params_m": 107.6,\n  "gmacs": 1055.5\n },\n'
        ' "upernet_convnext_t_160k": {\n  "params_m": 60.2,\n  "gmacs": 938.5\n }\n}\n'
    )


def test_all_configs_unless_some_are_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['zoo.py'])
    asked = []
    monkeypatch.setattr(
        zoo, 'measure', lambda path: asked.append(path) or dict(params_m=1.0, gmacs=2.0)
    )
    zoo.main()
    assert asked == PATHS and len(asked) > 50
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(asked) and lines[-1].startswith(f'[{len(asked)}/{len(asked)}] ')


# -- the page -----------------------------------------------------------------------------------


def stated() -> dict[str, tuple[float, float]]:
    """Config -> parameters (M), multiply-adds (G) of docs/zoo.md."""
    rows = re.findall(
        r'^\| \[`(\w+)`\]\(.*\) \|.*\| ([\d.]+) \| ([\d.]+) \| [^|]*\|$',
        (ROOT / 'docs/zoo.md').read_text(encoding='utf-8'),
        re.M,
    )
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (float(params), float(gmacs)) for name, params, gmacs in rows}


def test_the_page_is_what_the_metafiles_give():
    """If it is not: python tools/zoo.py --page."""
    assert zoo.PAGE == ROOT / 'docs' / 'zoo.md'
    assert zoo.PAGE.read_text(encoding='utf-8') == zoo.zoo_page()


def test_the_page_is_written_without_measuring(monkeypatch, tmp_path, capsys):
    page = tmp_path / 'zoo.md'
    monkeypatch.setattr(zoo, 'PAGE', page)
    monkeypatch.setattr(zoo, 'measure', lambda path: pytest.fail('measured'))
    monkeypatch.setattr(sys, 'argv', ['zoo.py', '--page'])
    zoo.main()
    assert page.read_text(encoding='utf-8') == zoo.zoo_page()
    assert capsys.readouterr().out == f'written: {page}\n'


def test_a_table_of_a_metafile(monkeypatch, tmp_path):
    """A row for each model, figures where they belong; none for a demo, which has no figures."""
    (tmp_path / 'metafile.yml').write_text(
        'Models:\n'
        '- {Name: demo, Config: configs/demo.py}\n'
        '- Name: large\n'
        '  Config: configs/large.py\n'
        '  Metadata:\n'
        '    Parameters (M): 12.5\n'
        '    GMACs: 100.0\n'
        '    Published Results: {box AP: 50.1, mask AP: 40.2}\n'
        '    Published Throughput: {images per second: 30}\n'
        '    Note: by hand\n'
        '- {Name: small, Config: configs/small.py, Metadata: {Parameters (M): 2.5, GMACs: 0}}\n'
    )
    monkeypatch.setattr(zoo, 'ROOT', tmp_path)
    table = zoo.TABLES[0]._replace(
        heading='Both', metafile='metafile.yml', text='Published: there.'
    )
    assert list(zoo.table_lines(table)) == [
        '## Both',
        '',
        'Published: there.',
        '',
        '| config | published box AP | published mask AP | published im/s | params, M | GMACs | note |',
        '| --- | ---: | ---: | ---: | ---: | ---: | --- |',
        '| [`large`](../configs/large.py) | 50.1 | 40.2 | 30 | 12.5 | 100.0 | by hand |',
        '| [`small`](../configs/small.py) |  |  |  | 2.5 | 0 |  |',
        '',
    ]


@pytest.mark.parametrize(
    'row',
    [
        '[`cascade_fastervit_2_3x`](../configs/detection/cascade_fastervit_2_3x.py)'
        ' | 52.1 | 45.2 | 287 | 133.3 | 847.9 | ',
        '[`cascade_swin_t_3x`](../configs/detection/peers/cascade_swin_t_3x.py)'
        ' |  |  |  | 85.6 | 744.8 | our recipe, not its own',
        '[`cascade_swin_t_3x_own`](../configs/detection/peers/cascade_swin_t_3x_own.py)'
        ' | 50.4 | 43.7 | 161 | 85.6 | 744.8 | its own recipe',
        '[`dino_4scale_fastervit_4_21k_224_12e_released`]'
        '(../configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py)'
        ' | 55.16 | 292.5 | 1100.6 | ',
        '[`upernet_fastervit_2_160k`](../configs/segmentation/upernet_fastervit_2_160k.py)'
        ' | 47.2 | 48.4 | 377 | 974 | 107.6 | 1055.5 | the published GFLOPs do not fit this variant, '
        'see above',
        '[`upernet_swin_t_160k_own`](../configs/segmentation/peers/upernet_swin_t_160k_own.py)'
        ' | 44.5 |  | 350 | 945 | 59.9 | 944.4 | its own recipe',
    ],
)
def test_rows_of_each_table(row):
    assert f'| {row} |' in zoo.zoo_page().splitlines()


def test_every_published_accuracy_stands_beside_a_command_that_works(monkeypatch):
    """As FasterViT's paper and model zoo state them; the command gives that network, images and crop."""
    spec = importlib.util.spec_from_file_location('validate', ROOT / 'tools/validate_imagenet.py')
    validate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(validate)
    found = {}
    for line in zoo.imagenet_lines():
        if line.startswith('| `'):
            name, images, px, crop, top1, _, command = (
                c.strip(' `') for c in line.split('|')[1:-1]
            )
            monkeypatch.setattr(sys, 'argv', command.split()[1:])
            args = validate.parse_args()
            cfg = timm.get_pretrained_cfg(
                args.model
            )  # the settings of the tool where none are given
            assert command.startswith('python tools/validate_imagenet.py DATA ')
            assert args.model == name and images == f'ImageNet-{args.variant.upper()}'
            assert cfg.input_size == (3, int(px), int(px)) and args.img_size is None
            assert (args.crop_pct or cfg.crop_pct) == float(crop)
            assert args.variant == '1k' or float(crop) == 0.875
            found[name, args.variant] = float(top1)
    names = [f'fastervit_{i}' for i in range(7)]
    names += [f'fastervit_4_21k_{px}' for px in (224, 384, 512, 768)]
    top1 = (82.1, 83.2, 84.2, 84.9, 85.4, 85.6, 85.8, 86.6, 87.6, 87.8, 87.9)
    assert found == {(name, '1k'): value for name, value in zip(names, top1, strict=True)} | {
        **{('fastervit_0', 'a'): 23.9, ('fastervit_0', 'r'): 45.9, ('fastervit_0', 'v2'): 70.9},
        **{('fastervit_4', 'a'): 49.0, ('fastervit_4', 'r'): 56.0, ('fastervit_4', 'v2'): 75.7},
    }
    assert {name for name, _ in found} == set(VARIANTS)


def test_published_throughput_of_the_classifiers():
    rows = [line.split('|') for line in zoo.imagenet_lines() if line.startswith('| `')]
    speeds = {row[1].strip(' `'): int(row[6]) for row in rows if row[6].strip()}
    values = (5802, 4188, 3161, 1780, 849, 449, 352)
    assert speeds == {f'fastervit_{i}': value for i, value in enumerate(values)}


def test_the_page_links_to_configs_that_exist():
    links = re.findall(r'\(\.\./(configs/[\w/]+\.py)\)', zoo.zoo_page())
    assert len(links) == len(stated()) and all((ROOT / link).is_file() for link in links)


def test_the_page_states_figures_of_every_config_but_the_demos():
    assert sorted(stated()) == sorted(
        name.rpartition('/')[2] for name in NAMES if 'shapes' not in name
    )


@pytest.mark.parametrize(
    'name',
    [
        'detection/cascade_fastervit_0_3x',
        'detection/cascade_fastervit_4_21k_384_3x',
        'detection/peers/cascade_convnext_t_3x',
        'detection/peers/cascade_resnext101_32x4d_3x',
        'segmentation/upernet_fastervit_0_160k',
        'segmentation/upernet_fastervit_1_160k',
        'segmentation/upernet_fastervit_3_160k',
        'segmentation/upernet_fastervit_4_21k_512_160k',
        # in real memory: half a minute
        pytest.param('detection/mask2former_fastervit_2_50e_panoptic', marks=pytest.mark.long),
        pytest.param('segmentation/mask2former_fastervit_2_160k', marks=pytest.mark.long),
    ],
)
def test_the_page_states_what_is_counted(name):
    figures = zoo.measure(CONFIGS / f'{name}.py')
    assert (figures['params_m'], figures['gmacs']) == stated()[name.rpartition('/')[2]]


# configs of the same network
@pytest.mark.parametrize(
    'names',
    [
        ('cascade_fastervit_2_3x', 'cascade_fastervit_2_3x_lld', 'cascade_fastervit_2_lsj'),
        ('upernet_fastervit_2_160k', 'upernet_fastervit_2_160k_lld'),
        tuple(f'dino_4scale_fastervit_4_21k_384_{epochs}e' for epochs in (12, 24, 36)),
        tuple(f'dino_5scale_fastervit_4_21k_384_{epochs}e' for epochs in (12, 24, 36)),
        ('dino_5scale_fastervit_4_12e', 'dino_5scale_fastervit_4_36e'),
        ('cascade_swin_b_3x', 'cascade_swin_b_3x_own'),
        ('upernet_convnext_s_160k', 'upernet_convnext_s_160k_own'),
    ],
)
def test_the_same_network_has_the_same_figures(names):
    assert len({stated()[name] for name in names}) == 1
