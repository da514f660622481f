"""What a benchmark times: a variant, a config's model or backbone, a network of timm's or of the
published package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from mmengine.config import Config
from torch import Tensor, nn

from ..config.host import build_model
from ..config.reading import read_config
from ..config.settings import check_there
from ..errors import ArgumentError, FileError
from ..inference.compiling import compile_backbones
from ..inference.fusing import fuse
from ..network.backbone import FasterViT
from ..tasks import task_of
from ..variants import VARIANTS

PUBLISHED, TIMM = 'published:', 'timm:'
CHANGES = ('fused', 'compiled', 'channels_last', 'checkpointed')
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
# ImageNet-1K top-1, %, of the published weights: arXiv 2306.06189, tables 1 and 6, and its page
IMAGENET_TOP1 = {
    'fastervit_0': 82.1,
    'fastervit_1': 83.2,
    'fastervit_2': 84.2,
    'fastervit_3': 84.9,
    'fastervit_4': 85.4,
    'fastervit_5': 85.6,
    'fastervit_6': 85.8,
    'fastervit_4_21k_224': 86.6,
    'fastervit_4_21k_384': 87.6,
    'fastervit_4_21k_512': 87.8,
    'fastervit_4_21k_768': 87.9,
}


class Workload(NamedTuple):
    """What every subject has to do, again and again.

    Attributes:
        height: of an image, in px.
        width: of an image, in px.
        batch: images at once.
        dtype: a key of `DTYPES`.
        mode: 'infer' or 'train' (forward and backward, no optimiser).
        device: 'cpu' or 'cuda'.
    """

    height: int
    width: int
    batch: int
    dtype: str
    mode: str
    device: str

    def __str__(self) -> str:
        return f'{self.height}x{self.width}, batch {self.batch}, {self.dtype}, {self.mode}'


class Subject(NamedTuple):
    """A model to time, as named on the command line: ``SOURCE[+CHANGE ...]``.

    Attributes:
        name: as typed.
        source: a variant, the path of a config, 'timm:NAME' or 'published:NAME'.
        changes: out of `CHANGES`.
        dtype: instead of the workload's, or None.
        part: 'model' or 'backbone' of a config.
    """

    name: str
    source: str
    changes: frozenset[str]
    dtype: str | None
    part: str

    @property
    def is_published(self) -> bool:
        return self.source.startswith(PUBLISHED)

    @property
    def is_ours(self) -> bool:
        """A variant or a config: what our own changes can be made to."""
        return not self.source.startswith((PUBLISHED, TIMM))

    @property
    def is_config(self) -> bool:
        return self.source.endswith('.py')

    def on(self, workload: Workload) -> Workload:
        """``workload`` in this subject's own dtype, where it has one."""
        return workload if self.dtype is None else workload._replace(dtype=self.dtype)


def parse_subject(text: str, part: str = 'model', changes: frozenset[str] = frozenset()) -> Subject:
    """The subject that ``text`` names.

    Args:
        text: SOURCE[+CHANGE ...], or SOURCE[+DTYPE].
        part: what is timed of a config, 'model' or 'backbone'.
        changes: those asked for all subjects; each takes the ones it can.

    Raises:
        ArgumentError: nothing of that name.
    """
    source, *added = text.split('+')
    unknown = [word for word in added if word not in (*CHANGES, *DTYPES)]
    if unknown:
        raise ArgumentError(
            f'{text}: {unknown[0]!r} is no change; allowed: {", ".join((*CHANGES, *DTYPES))}'
        )
    dtypes = [word for word in added if word in DTYPES]
    subject = Subject(
        name=text,
        source=source,
        changes=frozenset(added) & set(CHANGES),
        dtype=dtypes[-1] if dtypes else None,
        part=part if source.endswith('.py') else 'backbone',
    )
    if subject.is_ours and not (subject.is_config or source in VARIANTS):
        raise ArgumentError(
            f'{source!r} is no subject; give a variant ({", ".join(VARIANTS)}), the path of a '
            f'config, {TIMM}NAME or {PUBLISHED}NAME'
        )
    if not subject.is_ours:
        if subject.changes - {'compiled', 'channels_last'}:
            raise ArgumentError(f"{text}: others' code can only be compiled or channels_last")
        changes = changes & {'compiled', 'channels_last'}
    return subject._replace(changes=subject.changes | changes)


def published_accuracy(subject: Subject) -> Mapping[str, float]:
    """Metric -> value, as others published it; empty where nobody did."""
    if not subject.is_config:
        name = subject.source.removeprefix(PUBLISHED).removesuffix('_any_res')
        name = name.replace('faster_vit', 'fastervit')
        top1 = IMAGENET_TOP1.get(name, IMAGENET_TOP1.get(name.removesuffix('_224')))
        return {} if top1 is None else {'ImageNet top-1': top1}
    path = Path(subject.source)
    for folder in path.parents[:2]:
        for metafile in sorted(folder.glob('*metafile.yml')):
            for model in yaml.safe_load(metafile.read_text())['Models']:
                if model['Name'] == path.stem:
                    results = model.get('Metadata', {}).get('Published Results', {})
                    return {k: v for k, v in results.items() if isinstance(v, (int, float))}
    return {}


def _from_config(subject: Subject) -> nn.Module:
    cfg = read_config(subject.source)
    if 'checkpointed' in subject.changes:
        cfg.model.backbone.with_cp = True
    _forget_weights(cfg.model)
    model: Any = build_model(cfg)
    return model.backbone if subject.part == 'backbone' else model


def _forget_weights(cfg: Any) -> None:
    """Random weights: they cost the same time and need no download."""
    if isinstance(cfg, Config | dict):
        if cfg.get('init_cfg') is not None:
            cfg['init_cfg'] = None
        if cfg.get('type') == 'fastervit_mm.TimmFeatures':
            cfg['pretrained'] = False  # its default is True
        elif cfg.get('pretrained'):
            cfg['pretrained'] = False if isinstance(cfg['pretrained'], bool) else None
        for value in cfg.values():
            _forget_weights(value)


def _from_published(subject: Subject, workload: Workload) -> nn.Module:
    try:
        import fastervit
    except ImportError:
        raise ArgumentError(
            f'{subject.name}: the published package is not installed; for a measurement, and '
            'under its own non-commercial licence: pip install --no-deps fastervit==1.0.0'
        ) from None
    name = subject.source.removeprefix(PUBLISHED)
    options = {'resolution': [workload.height, workload.width]} if name.endswith('_any_res') else {}
    try:
        return fastervit.create_model(name, **options)
    except (KeyError, RuntimeError) as error:
        raise ArgumentError(f'{subject.name}: the published package says: {error}') from None


def _from_timm(subject: Subject, workload: Workload) -> nn.Module:
    """Its four feature maps; networks that are built for one size are built for the workload's."""
    import timm

    name = subject.source.removeprefix(TIMM)
    options: dict[str, Any] = dict(features_only=True, pretrained=False)
    try:
        try:
            return timm.create_model(name, img_size=(workload.height, workload.width), **options)
        except TypeError:  # a network of any size
            return timm.create_model(name, **options)
    except RuntimeError as error:
        raise ArgumentError(f'{subject.name}: timm says: {error}') from None


def load_model(subject: Subject, workload: Workload) -> nn.Module:
    """The subject's model with random weights, before any of its changes."""
    torch.manual_seed(0)
    if subject.is_published:
        model = _from_published(subject, workload)
    elif subject.source.startswith(TIMM):
        model = _from_timm(subject, workload)
    elif subject.is_config:
        model = _from_config(subject)
    else:
        model = FasterViT(subject.source, with_cp='checkpointed' in subject.changes)
        model.init_weights()
    model.to(workload.device).train(workload.mode == 'train')  # Swin's train() returns nothing
    return model


def change_model(model: Any, subject: Subject, workload: Workload) -> nn.Module:
    """Apply the subject's changes and, for inference of a backbone, the dtype.

    Raises:
        ArgumentError: a change that this model cannot take.
    """
    holds_ours = any(isinstance(module, FasterViT) for module in model.modules())
    for change in {'fused', 'checkpointed'} & set(subject.name.split('+')):
        if not holds_ours:
            raise ArgumentError(f'{subject.name}: only a FasterViT backbone can be {change}')
    if 'fused' in subject.changes and workload.mode == 'train':
        raise ArgumentError(f'{subject.name}: a fused model cannot be trained')
    if 'fused' in subject.changes and holds_ours:
        fuse(model)
    if 'channels_last' in subject.changes:
        model = model.to(memory_format=torch.channels_last)
    if casts_weights(subject, workload):
        model = model.to(DTYPES[workload.dtype])
    if 'compiled' in subject.changes:
        if holds_ours:
            compile_backbones(model)
        else:
            getattr(model, 'backbone', model).compile()
    return model


def casts_weights(subject: Subject, workload: Workload) -> bool:
    """Backbones are run in the dtype itself; whole models, and training, under autocast."""
    return subject.part == 'backbone' and workload.mode == 'infer'


def _within(context: Callable[[], AbstractContextManager], call: Callable[[], None]) -> Any:
    """``call`` inside a new ``context`` each time."""

    def inside() -> None:
        with context():
            call()

    return inside


def make_call(
    model: nn.Module, subject: Subject, workload: Workload, inference: Any = torch.inference_mode
) -> Callable[[], None]:
    """What one measurement runs, on images that stay the same.

    Args:
        model: what is run.
        subject: that it belongs to.
        workload: on what, and how.
        inference: context of a model that is not trained. Default `torch.inference_mode`.
    """
    images = torch.randn(workload.batch, 3, workload.height, workload.width, device=workload.device)
    if 'channels_last' in subject.changes:
        images = images.contiguous(memory_format=torch.channels_last)
    dtype = DTYPES[workload.dtype]
    if casts_weights(subject, workload):
        images = images.to(dtype)
    if subject.part == 'backbone':
        call = _backbone_call(model, images, workload)
    else:
        call = _model_call(model, images, subject, workload)
    if workload.mode == 'infer':
        call = _within(inference, call)
    if casts_weights(subject, workload) or workload.dtype == 'fp32':
        return call
    return _within(partial(torch.autocast, workload.device, dtype), call)


def _backbone_call(model: nn.Module, images: Tensor, workload: Workload) -> Callable[[], None]:
    def infer() -> None:
        model(images)

    def train() -> None:
        out = model(images)
        maps = out if isinstance(out, (tuple, list)) else (out,)
        model.zero_grad(set_to_none=True)
        sum(x.float().mean() for x in maps).backward()

    return train if workload.mode == 'train' else infer


def _model_call(
    model: Any, images: Tensor, subject: Subject, workload: Workload
) -> Callable[[], None]:
    size = (workload.height, workload.width)
    task = task_of(read_config(subject.source))
    samples = task.random_truth(model, workload.batch, size, workload.device)

    def infer() -> None:
        model(images, samples, mode='predict')

    def train() -> None:
        model.zero_grad(set_to_none=True)
        model.parse_losses(model(images, samples, mode='loss'))[0].backward()

    return train if workload.mode == 'train' else infer


def read_subjects(
    texts: list[str], part: str, changes: frozenset[str]
) -> tuple[list[Subject], list[str]]:
    """The subjects there are, and one line for each there is not.

    Args:
        texts: as typed.
        part: what is timed of a config, 'model' or 'backbone'.
        changes: those asked for all subjects.
    """
    subjects, refused = [], []
    for text in texts:
        try:
            subject = parse_subject(text, part, changes)
            if subject.is_config:
                check_there(read_config(subject.source), ('model',))
            subjects.append(subject)
        except (ArgumentError, FileError) as error:
            named = text.split('+')[0] in str(error)
            refused.append(str(error) if named else f'{text}: {error}')
    return subjects, refused
