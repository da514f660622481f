"""From the authors' DINO detector to ours: names, classes and the heads that are stored several
times.

The released file is ``{'model': ..., 'args': Namespace}`` with 91 classes of which COCO uses 80.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import FileError
from ..variants import NUM_STAGES
from .published import network_entries, why_skipped
from .safe_loading import load_file

# Ids of COCO's 80 categories among the 91 that its first paper listed.
UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(i for i in range(91) if i not in UNUSED_IDS)
DECODER_LAYERS = 6

# Released name -> ours, tried in this order; the first that matches wins.
RENAMES = (
    (r'^backbone\.0\.', 'backbone.'),
    # the fourth scale has no map of its own: a strided convolution makes it
    (r'^input_proj\.3\.0\.', 'neck.extra_convs.0.conv.'),
    (r'^input_proj\.3\.1\.', 'neck.extra_convs.0.gn.'),
    (r'^input_proj\.(\d+)\.0\.', r'neck.convs.\1.conv.'),
    (r'^input_proj\.(\d+)\.1\.', r'neck.convs.\1.gn.'),
    (r'^transformer\.level_embed$', 'level_embed'),
    (r'^transformer\.tgt_embed\.', 'query_embedding.'),
    (r'^transformer\.enc_output\.', 'memory_trans_fc.'),
    (r'^transformer\.enc_output_norm\.', 'memory_trans_norm.'),
    (r'^transformer\.enc_out_class_embed\.', f'bbox_head.cls_branches.{DECODER_LAYERS}.'),
    (r'^transformer\.enc_out_bbox_embed\.', f'bbox_head.reg_branches.{DECODER_LAYERS}.'),
    (r'^transformer\.decoder\.class_embed\.', 'bbox_head.cls_branches.'),
    (r'^transformer\.decoder\.bbox_embed\.', 'bbox_head.reg_branches.'),
    (r'^label_enc\.', 'dn_query_generator.label_embedding.'),
    (r'^transformer\.(encoder|decoder)\.', r'\1.'),
)
# Inside a layer, ours of an encoder and of a decoder layer differ.
ENCODER_LAYER = (
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'\.norm1\.', '.norms.0.'),
    (r'\.norm2\.', '.norms.1.'),
)
DECODER_LAYER = (
    (r'\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.linear2\.', '.ffn.layers.1.'),
    (r'\.self_attn\.', '.self_attn.attn.'),
    # released: norm1 after cross-, norm2 after self-attention; ours stand in the order of use
    (r'\.norm2\.', '.norms.0.'),
    (r'\.norm1\.', '.norms.1.'),
    (r'\.norm3\.', '.norms.2.'),
)
LAYER_RENAMES = {'encoder': ENCODER_LAYER, 'decoder': DECODER_LAYER}
MLP_LAYER = re.compile(r'(bbox_head\.reg_branches\.\d+)\.layers\.(\d)\.')


def our_name(name: str) -> str | None:
    """Our name of a released entry; None: it repeats a head stored elsewhere.

    Raises:
        FileError: not an entry of a released detector.
    """
    if re.match(r'^(class|bbox)_embed\.', name):
        return None
    for pattern, ours in RENAMES:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            break
    else:
        raise FileError(f'{name} is not an entry of a released DINO detector')
    for pattern, ours in LAYER_RENAMES.get(renamed.partition('.layers.')[0], ()):
        renamed, count = re.subn(pattern, ours, renamed)
        if count:
            break
    # a box head is a list: Linear, ReLU, Linear, ReLU, Linear
    return MLP_LAYER.sub(lambda m: f'{m[1]}.{2 * int(m[2])}.', renamed)


def our_classes(name: str, value: Tensor) -> Tensor:
    """Of an entry with one row per class, the rows of COCO's 80 categories."""
    if '.cls_branches.' in name:
        return value[list(COCO_IDS)]
    if name.startswith('dn_query_generator.'):
        return value[list(COCO_IDS)]
    return value


def describe(entries: Mapping[str, Tensor]) -> str:
    """What a file that is no released detector looks like instead."""
    if any(name.startswith('patch_embed.') for name in entries):
        return 'a backbone alone (FasterViT ImageNet weights?)'
    if any(name.startswith('bbox_head.') for name in entries):
        return 'a detector of mmdet, perhaps one already converted'
    return 'none that is known; its first entries are ' + ', '.join(list(entries)[:3])


def check_complete(converted: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """The converted entries must be exactly those of the network they are for.

    Args:
        converted: of `convert_detector`.
        expected: the network's state dict; shapes alone count.

    Raises:
        FileError: entries are missing, surplus or of another shape.
    """
    missing = [name for name in expected if name not in converted]
    surplus = [name for name in converted if name not in expected]
    reshaped = [n for n in converted if n in expected and converted[n].shape != expected[n].shape]
    problems = [
        f'{len(names)} {what}, such as {names[0]}'
        for what, names in (
            ('missing', missing),
            ('surplus', surplus),
            ('of another shape', reshaped),
        )
        if names
    ]
    if problems:
        raise FileError(
            'the released file does not fill the released network: entries ' + '; '.join(problems)
        )


def convert_detector(path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Our entries of the released detector at ``path``, and the names left out by reason.

    Raises:
        FileError: no such file, or not such a detector; the message says what it looks like.
    """
    entries = network_entries(load_file(path), prefix='')
    classes = entries.get('transformer.decoder.class_embed.0.weight')
    if classes is None or 'backbone.0.patch_embed.conv_down.0.weight' not in entries:
        raise FileError(
            f'{path} is not a released FasterViT DINO detector; it looks like {describe(entries)}'
        )
    if classes.shape[0] != 91:
        raise FileError(f'{path} has {classes.shape[0]} classes; a released detector has 91')
    converted: dict[str, Tensor] = {}
    skipped: dict[str, list[str]] = {}
    for name, value in entries.items():
        reason = None
        if name.startswith('backbone.0.') and not re.match(r'backbone\.0\.norm\d\.', name):
            reason = why_skipped(name.removeprefix('backbone.0.'), NUM_STAGES)
        ours = our_name(name)
        if reason is not None or ours is None:
            skipped.setdefault(reason or 'heads stored several times', []).append(name)
            continue
        converted[ours] = our_classes(ours, value).clone()
    return converted, skipped
