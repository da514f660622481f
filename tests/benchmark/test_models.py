"""The models that are timed: as built, as changed, and what one call of them does."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastervit_mm import VARIANTS, FasterViT
from fastervit_mm.benchmark import subjects
from fastervit_mm.benchmark.subjects import (
    casts_weights,
    change_model,
    load_model,
    make_call,
    parse_subject,
)
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import TASKS
from fastervit_mm.variants import Variant
from tests.benchmark.stand_ins import INFER, TRAIN
from tests.helpers import ROOT, SMALL

DETECTOR = str(ROOT / 'configs/detection/cascade_fastervit_shapes.py')
SWIN = str(ROOT / 'configs/detection/peers/cascade_swin_t_3x.py')
CONVNEXT = str(ROOT / 'configs/detection/peers/cascade_convnext_t_3x.py')
BF16, BF16_TRAIN = INFER._replace(dtype='bf16'), TRAIN._replace(dtype='bf16')


@pytest.fixture(autouse=True)
def tiny_variant(monkeypatch):
    monkeypatch.setitem(VARIANTS, 'tiny', Variant(**SMALL))


class Recorder(nn.Module):
    """A backbone of one convolution that keeps what it was given, and how it was run."""

    def __init__(self, maps: int = 2) -> None:
        super().__init__()
        self.layer, self.maps, self.seen = nn.Conv2d(3, 2, 1), maps, []

    def forward(self, x):
        self.seen.append((x, torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')))
        found = self.layer(x)
        return (found,) * self.maps if self.maps else found


class Host(nn.Module):
    """A detector that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.seen = Recorder(), []

    def init_weights(self):
        pass

    def forward(self, images, samples, mode):
        self.seen.append((images, samples, mode, torch.is_inference_mode_enabled()))
        loss = sum(m.sum() for m in self.backbone(images))
        return dict(loss=loss, other=loss * 100)

    def parse_losses(self, losses):
        return losses['loss'], {}


# -- as built ---------------------------------------------------------------------------------


def test_a_variant_is_built_with_the_same_weights_each_time():
    first = load_model(parse_subject('tiny'), INFER)
    torch.rand(3)
    second = load_model(parse_subject('tiny'), TRAIN)
    assert type(first) is FasterViT and not first.training and second.training
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not first.levels[2].with_cp


def test_a_variants_weights_are_initialised(monkeypatch):
    calls = []
    monkeypatch.setattr(FasterViT, 'init_weights', lambda self: calls.append(self))
    model = load_model(parse_subject('tiny'), INFER)
    assert calls == [model]


def test_activation_checkpointing_is_built_in():
    assert load_model(parse_subject('tiny+checkpointed'), TRAIN).levels[2].with_cp
    part = load_model(parse_subject(f'{DETECTOR}+checkpointed', 'backbone'), TRAIN)
    assert type(part) is FasterViT and part.levels[2].with_cp and part.training


def test_a_config_is_built_whole_or_its_backbone():
    model = load_model(parse_subject(DETECTOR), INFER)
    assert type(model).__name__ == 'CascadeRCNN' and not model.training
    part = load_model(parse_subject(DETECTOR, 'backbone'), INFER)
    assert type(part) is FasterViT and not part.levels[2].with_cp


def test_a_config_of_another_library_is_refused(tmp_path):
    (tmp_path / 'other.py').write_text("default_scope = 'mmpose'\nmodel = dict()\n")
    with pytest.raises(ArgumentError, match='default_scope'):
        load_model(parse_subject(str(tmp_path / 'other.py')), INFER)


def test_no_weights_of_a_config_are_downloaded(monkeypatch):
    built = []
    monkeypatch.setattr(subjects, 'build_model', lambda cfg: built.append(cfg) or Host())
    load_model(parse_subject(SWIN), INFER)
    assert built[0].model.backbone.init_cfg is None
    assert built[0].model.type == 'CascadeRCNN'


def test_no_weights_of_timms_are_downloaded(monkeypatch):
    import timm

    asked = []
    create = timm.create_model

    def watched(name, **options):
        asked.append(options.get('pretrained', False))
        return create('convnext_atto', **options)

    monkeypatch.setattr(timm, 'create_model', watched)
    model = load_model(parse_subject(CONVNEXT, 'backbone'), INFER)
    assert asked == [False] and model.pretrained is False


def test_no_parameter_is_left_as_memory_was(tmp_path):
    """DINO's level_embed is made by torch.empty."""
    base = ROOT / 'configs/detection/dino_4scale_fastervit_0_12e.py'
    (tmp_path / 'small.py').write_text(
        f"_base_ = '{base}'\n"
        f'model = dict(num_queries=5, backbone=dict(arch=dict({SMALL!r}, _delete_=True)),\n'
        '    neck=dict(in_channels=[32, 64, 128]),\n'
        '    encoder=dict(num_layers=1), decoder=dict(num_layers=1))\n'
    )
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        model = load_model(parse_subject(str(tmp_path / 'small.py')), INFER)
    finally:
        torch.use_deterministic_algorithms(before)
    assert not [n for n, p in model.named_parameters() if not p.isfinite().all()]


# -- as changed -------------------------------------------------------------------------------


def small_fastervit() -> FasterViT:
    return FasterViT(SMALL).eval()


def test_fusing_ours():
    model = change_model(small_fastervit(), parse_subject('tiny+fused'), INFER)
    assert model.fused
    assert not change_model(small_fastervit(), parse_subject('tiny'), INFER).fused


def test_a_fused_model_is_not_trained():
    with pytest.raises(ArgumentError, match=r'^tiny\+fused: a fused model cannot be trained$'):
        change_model(small_fastervit(), parse_subject('tiny+fused'), TRAIN)


@pytest.mark.parametrize('change', ['fused', 'checkpointed'])
def test_what_only_ours_can_be_is_an_error_where_it_was_typed(change):
    with pytest.raises(ArgumentError) as caught:
        change_model(Recorder(), parse_subject(f'{SWIN}+{change}'), INFER)
    assert str(caught.value) == f'{SWIN}+{change}: only a FasterViT backbone can be {change}'
    for_all = parse_subject(SWIN, changes=frozenset({change}))
    assert change_model(Recorder(), for_all, INFER).seen == []  # left as it is


def test_channels_last():
    plain = change_model(Recorder(), parse_subject(SWIN), INFER)
    last = change_model(Recorder(), parse_subject(f'{SWIN}+channels_last'), INFER)
    network = nn.Conv2d(4, 4, 3)
    change_model(network, parse_subject(f'{SWIN}+channels_last'), INFER)
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
    images = [call_and_see(m, s) for m, s in ((plain, SWIN), (last, f'{SWIN}+channels_last'))]
    assert [i.is_contiguous(memory_format=torch.channels_last) for i in images] == [False, True]


def call_and_see(model: Recorder, name: str) -> torch.Tensor:
    make_call(model, parse_subject(name, 'backbone'), INFER)()
    return model.seen[-1][0]


@pytest.mark.parametrize(
    ('part', 'mode', 'cast'),
    [
        ('backbone', 'infer', True),
        ('backbone', 'train', False),
        ('model', 'infer', False),
        ('model', 'train', False),
    ],
)
def test_only_a_backbone_that_infers_is_cast(part, mode, cast):
    one, task = parse_subject(SWIN, part), BF16._replace(mode=mode)
    assert casts_weights(one, task) == cast
    dtype = change_model(Recorder(), one, task).layer.weight.dtype
    assert dtype == (torch.bfloat16 if cast else torch.float32)


def test_compiling_ours_theirs_and_a_config_of_theirs(monkeypatch):
    compiled = []
    monkeypatch.setattr(subjects, 'compile_backbones', compiled.append)
    monkeypatch.setattr(nn.Module, 'compile', lambda self: compiled.append(self))
    ours, theirs, host = small_fastervit(), Recorder(), Host()
    change_model(ours, parse_subject('tiny+compiled'), INFER)
    change_model(theirs, parse_subject('timm:resnet18+compiled'), INFER)
    change_model(host, parse_subject(f'{SWIN}+compiled'), INFER)
    change_model(small_fastervit(), parse_subject('tiny'), INFER)
    assert compiled == [ours, theirs, host.backbone]


# -- as called --------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['timm:resnet18', 'timm:resnet18+channels_last'])
def test_a_backbone_infers_on_the_same_images_each_time(name):
    model = Recorder()
    call = make_call(model, parse_subject(name), INFER)
    call()
    call()
    (first, inference, autocast), (second, _, _) = model.seen
    assert first is second and first.shape == (2, 3, 8, 10) and first.dtype == torch.float32
    assert inference and not autocast
    assert first.min() < 0 < first.max()  # as normalised images are


def test_a_backbone_infers_in_the_dtype_itself():
    model = Recorder().bfloat16()
    make_call(model, parse_subject('timm:resnet18'), BF16)()
    ((images, inference, autocast),) = model.seen
    assert images.dtype == torch.bfloat16 and inference and not autocast


@pytest.mark.parametrize(('maps', 'slope'), [(2, 1.0), (0, 0.5)])
def test_a_backbone_trains_on_the_sum_of_its_maps_means(maps, slope):
    model = Recorder(maps)
    call = make_call(model, parse_subject('timm:resnet18'), TRAIN)
    for _ in range(2):  # gradients do not add up
        call()
        assert model.layer.bias.grad.tolist() == pytest.approx([slope, slope])
    assert [seen[1:] for seen in model.seen] == [(False, False)] * 2


def test_training_in_bf16_is_under_autocast():
    model = Recorder()
    make_call(model, parse_subject('timm:resnet18'), BF16_TRAIN)()
    ((images, inference, autocast),) = model.seen
    assert images.dtype == torch.float32 and autocast and not inference
    assert model.layer.weight.grad.dtype == torch.float32


def test_autocast_is_to_the_tasks_dtype(monkeypatch):
    seen = []
    original = torch.autocast

    def watched(device, dtype):
        seen.append((device, dtype))
        return original(device, dtype)

    monkeypatch.setattr(torch, 'autocast', watched)
    make_call(Recorder(), parse_subject('timm:resnet18'), TRAIN._replace(dtype='fp16'))()
    make_call(Recorder(), parse_subject('timm:resnet18'), TRAIN)()
    assert seen == [('cpu', torch.float16)]


def test_a_whole_model_predicts_or_trains():
    one, host = parse_subject(DETECTOR), Host()
    make_call(host, one, INFER)()
    call = make_call(host, one, TRAIN)
    call()
    slope = host.backbone.layer.bias.grad.clone()
    assert slope.tolist() == [2.0 * 2 * 8 * 10] * 2  # of 'loss': the sum of two maps
    call()
    assert torch.equal(host.backbone.layer.bias.grad, slope)
    (images, samples, mode, inference), *trained = host.seen
    assert images.shape == (2, 3, 8, 10) and len(samples) == 2
    assert (mode, inference) == ('predict', True)
    assert [(m, i) for _, _, m, i in trained] == [('loss', False)] * 2
    make_call(host, one, BF16)()
    assert host.backbone.seen[-1][2]  # autocast


def test_truth_for_a_detector():
    torch.manual_seed(0)
    samples = TASKS['detection'].random_truth(nn.Module(), 3, (40, 100), 'cpu')
    assert len(samples) == 3
    corners = []
    for sample in samples:
        truth = sample.gt_instances
        assert truth.bboxes.shape == (8, 4) and truth.labels.tolist() == [0] * 8
        assert truth.labels.dtype == torch.int64
        x0, y0, x1, y1 = truth.bboxes.unbind(1)
        assert torch.allclose(x1 - x0, torch.tensor(30.0), atol=1e-4)
        assert torch.allclose(y1 - y0, torch.tensor(12.0), atol=1e-4)
        assert 0 <= x0.min() and x0.max() <= 60 and 0 <= y0.min() and y0.max() <= 24
        corners.append(truth.bboxes)
        for mask, box in zip(truth.masks.masks, truth.bboxes.int().tolist(), strict=True):
            ys, xs = mask.nonzero()
            assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == box
            assert mask.sum() == (box[2] - box[0]) * (box[3] - box[1])
    assert torch.cat(corners)[:, 0].max() > 30 and torch.cat(corners)[:, 1].max() > 12
    expected = dict.fromkeys(
        ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (40, 100)
    )
    assert {k: samples[0].get(k) for k in samples[0].metainfo_keys()} == expected | dict(
        scale_factor=(1.0, 1.0), flip=False
    )


def test_truth_for_a_segmentor():
    model = nn.Module()
    model.decode_head = SimpleNamespace(num_classes=4)
    samples = TASKS['segmentation'].random_truth(model, 3, (40, 100), 'cpu')
    assert len(samples) == 3
    for sample in samples:
        labels = sample.gt_sem_seg.data
        assert labels.shape == (1, 40, 100) and set(labels.unique().tolist()) == {0, 1, 2, 3}
        assert sample.img_shape == sample.ori_shape == (40, 100)
