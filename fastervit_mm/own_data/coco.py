"""Looking through annotations in COCO's format, and writing them without what cannot be used."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .findings import Findings
from .images import ImageFacts, probe
from .layouts import CocoSplit

Content = dict[str, Any]


def category_names(categories: Iterable[dict]) -> tuple[str, ...]:
    """Names in the order of their ids, as CocoDataset numbers them."""
    return tuple(c['name'] for c in sorted(categories, key=lambda c: c['id']))


def read_annotations(path: Path) -> Content:
    """The content of a COCO annotation file.

    Raises:
        ArgumentError: not JSON, or not in that format.
    """
    try:
        with open(path) as file:
            content = json.load(file)
        missing = [
            key
            for key in ('images', 'annotations', 'categories')
            if not isinstance(content.get(key), list)
        ]
    except (ValueError, AttributeError) as error:
        raise ArgumentError(f'{path} is not a COCO annotation file ({error})') from None
    if missing:
        raise ArgumentError(f'{path} is not a COCO annotation file: it lacks {", ".join(missing)}')
    return content


def _usable_image(image: Content, facts: ImageFacts, findings: Findings) -> Content | None:
    """The image's entry with its true size, or None where it cannot be used."""
    name = image['file_name']
    if facts.fault == 'missing':
        findings.add('missing image', name)
        return None
    if facts.fault:
        findings.add('unreadable image', f'{name}: {facts.fault}')
        return None
    if facts.kind:
        findings.add(f'{facts.kind} image', name)
    stated = (image.get('width'), image.get('height'))
    size = facts.shown_size
    if facts.rotation != 1:
        findings.add('EXIF rotation', f'{name}: orientation {facts.rotation}')
        as_stored = stated == facts.size != facts.shown_size
        findings.rotated['as stored' if as_stored else 'as shown'] += 1
        if as_stored:
            size = facts.size
    if stated != size:
        findings.add('size differs from the annotations', f'{name}: {stated} for {size}')
    findings.sizes.append(size)
    return {**image, 'width': size[0], 'height': size[1]}


def _usable_polygons(segmentation: Any, where: str, findings: Findings) -> Any | None:
    """Polygons of at least three points; an RLE as it is; None where nothing is left."""
    if not isinstance(segmentation, list):
        return segmentation
    kept = [p for p in segmentation if len(p) >= 6 and len(p) % 2 == 0]
    if len(kept) < len(segmentation):
        findings.add('polygon of fewer than three points', where)
    return kept or None


def _usable_box(
    box: list[float], image: Content, where: str, findings: Findings
) -> list[float] | None:
    """x, y, width, height inside the image, or None."""
    x, y, w, h = box
    if w <= 0 or h <= 0:
        findings.add('box of no size', f'{where}: {box}')
        return None
    x1, y1 = min(x + w, image['width']), min(y + h, image['height'])
    x0, y0 = max(x, 0), max(y, 0)
    if x1 - x0 < 1 or y1 - y0 < 1:
        findings.add('box outside its image', f'{where}: {box}')
        return None
    if max(x0 - x, y0 - y, x + w - x1, y + h - y1) > 1:  # annotators round
        findings.add('box beyond the edge', f'{where}: {box}')
    return [x0, y0, x1 - x0, y1 - y0]


def _usable_annotation(
    annotation: Content, images: dict, names: dict, known: set, findings: Findings
) -> Content | None:
    """The annotation without what cannot be used, or None."""
    image = images.get(annotation.get('image_id'))
    where = f'annotation {annotation.get("id")}'
    if image is None:
        if annotation.get('image_id') not in known:
            findings.add('annotation of an unknown image', where)
        return None
    where = f'{image["file_name"]}, {where}'
    if annotation.get('category_id') not in names:
        findings.add('annotation of an unknown category', where)
        return None
    box = annotation.get('bbox')
    if box is None or len(box) != 4:
        findings.add('box of no size', f'{where}: {box}')
        return None
    box = _usable_box(box, image, where, findings)
    if box is None:
        return None
    kept = {'iscrowd': 0, 'area': box[2] * box[3], **annotation, 'bbox': box}
    if 'segmentation' in annotation:
        kept['segmentation'] = _usable_polygons(annotation['segmentation'], where, findings)
        if kept['segmentation'] is None:
            x, y, w, h = box
            kept['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    findings.instances[names[annotation['category_id']]] += 1
    return kept


def inspect_coco(
    name: str,
    split: CocoSplit,
    decode: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[Findings, Content]:
    """Problems of a split, and its annotations without them.

    Args:
        name: of the split, for messages.
        decode: read every image wholly, not only its header.
        progress: wraps the loop over the images, such as tqdm.
    """
    findings, content = Findings(name), read_annotations(split.annotations)
    names = {c['id']: c['name'] for c in content['categories']}
    if not names:
        findings.fatal.append(f'{split.annotations} has no categories; add at least one')
    if len(set(names.values())) < len(names):
        findings.fatal.append(f'{split.annotations} names a category twice; give each its own name')
    images = {}
    for image in progress(content['images']):
        usable = _usable_image(image, probe(split.images / image['file_name'], decode), findings)
        if usable is not None:
            images[image['id']] = usable
    if len(findings.rotated) > 1:
        findings.fatal.append(
            f'{split.annotations}: {findings.rotated["as stored"]} images with an EXIF rotation are '
            f'annotated as stored, {findings.rotated["as shown"]} as shown, and only one way can be '
            'read; turn the pixels themselves and drop the EXIF tag'
        )
    known = {image['id'] for image in content['images']}
    annotations = [
        a
        for a in (
            _usable_annotation(a, images, names, known, findings) for a in content['annotations']
        )
        if a is not None
    ]
    labelled = {a['image_id'] for a in annotations}
    for key, image in images.items():
        if key not in labelled:
            findings.add('image without annotations', image['file_name'])
    for category in names.values():
        if not findings.instances[category]:
            findings.add('category without instances', category)
    if not images:
        findings.fatal.append(f'no image of {split.annotations} can be read from {split.images}')
    elif not annotations:
        findings.fatal.append(f'no annotation of {split.annotations} can be used')
    return findings, {**content, 'images': list(images.values()), 'annotations': annotations}


def hold_out(content: Content, share: float, seed: int) -> tuple[Content, Content]:
    """Training and validation content: ``share`` of the images, at least one, by a seeded draw."""
    ids = sorted(image['id'] for image in content['images'])
    random.Random(seed).shuffle(ids)
    held = set(ids[: max(1, round(share * len(ids)))])

    def part(inside: bool) -> Content:
        return {
            **content,
            'images': [i for i in content['images'] if (i['id'] in held) == inside],
            'annotations': [a for a in content['annotations'] if (a['image_id'] in held) == inside],
        }

    return part(False), part(True)
