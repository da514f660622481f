"""Looking through annotations in COCO's format, and writing them without what cannot be used."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from .findings import Findings
from .images import EXTREME, ImageFacts, probe
from .layouts import COCO_ENTRIES, CocoSplit, leads_out, read_annotations
from .run_lengths import usable_run_lengths
from .text import shown

Content = dict[str, Any]
LARGEST = sys.float_info.max


def category_names(categories: Iterable[dict]) -> tuple[str, ...]:
    """Names in the order of their ids, as CocoDataset numbers them."""
    return tuple(c['name'] for c in sorted(categories, key=lambda c: c['id']))


def _is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number; whole ones may have hundreds of digits."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -LARGEST <= value <= LARGEST


def _shallow(value: Any, levels: int = 4) -> Any:
    """A value of a JSON file, with None for what is nested deeper than ``levels``."""
    if isinstance(value, dict):
        return {k: _shallow(v, levels - 1) for k, v in value.items()} if levels else None
    if isinstance(value, list):
        return [_shallow(v, levels - 1) for v in value] if levels else None
    return value


def _annotated_as_stored(
    images: list[Content], facts: list[ImageFacts], findings: Findings
) -> bool:
    """Whether the annotations were made without turning images as EXIF says.

    Only images whose sides EXIF exchanges and whose stated size is one of the two tell it.
    """
    for image, fact in zip(images, facts, strict=True):
        stated = (image.get('width'), image.get('height'))
        if fact.size != fact.shown_size and stated in (fact.size, fact.shown_size):
            findings.rotated['as stored' if stated == fact.size else 'as shown'] += 1
    return findings.rotated['as stored'] > findings.rotated['as shown']


def _usable_image(
    image: Content, facts: ImageFacts, as_stored: bool, findings: Findings
) -> Content | None:
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
    if facts.extreme:
        findings.add(EXTREME, name)
        return None
    stated = (image.get('width'), image.get('height'))
    size = facts.size if as_stored else facts.shown_size
    if facts.rotation != 1:
        findings.add('EXIF rotation', f'{name}: orientation {facts.rotation}')
    if stated != size:
        findings.add('size differs from the annotations', f'{name}: {shown(stated)} for {size}')
    findings.sizes.append(size)
    return {**_shallow(image), 'width': size[0], 'height': size[1]}


def _usable_outline(
    segmentation: Any, box: list[float], image: Content, where: str, findings: Findings
) -> Any:
    """What `_stated_outline` can use; else the box."""
    outline = _stated_outline(segmentation, image, where, findings)
    if outline is not None:
        return outline
    findings.add('object without an outline', where)
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def _stated_outline(
    segmentation: Any, image: Content, where: str, findings: Findings
) -> Any | None:
    """Polygons of at least three points near the image; run lengths that fill it; else None."""
    if isinstance(segmentation, dict):
        outline = usable_run_lengths(segmentation, image['height'], image['width'])
        if outline is None:
            findings.add('run-length mask that does not fit its image', where)
        return outline
    if not isinstance(segmentation, list):
        return None
    polygons = [
        p
        for p in segmentation
        if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 and all(map(_is_number, p))
    ]
    if len(polygons) < len(segmentation):
        findings.add('polygon of fewer than three points', where)
    # pycocotools takes memory for every pixel of an edge, and ends the program where it gets none
    side = max(image['width'], image['height'])
    near = [p for p in polygons if min(p) >= -side and max(p) <= 2 * side]
    if len(near) < len(polygons):
        findings.add('polygon far outside its image', where)
    return near or None


def _outline_area(outline: Any) -> float:
    """Square pixels in polygons; 0 for an RLE."""
    if not isinstance(outline, list):
        return 0
    area = 0.0
    for polygon in outline:
        points = list(zip(polygon[::2], polygon[1::2], strict=True))
        following = points[1:] + points[:1]
        crossed = (x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True))
        area += abs(sum(crossed)) / 2
    return area


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
    annotation: Content,
    images: dict[Any, Content],
    names: dict[Any, str],
    known: set,
    findings: Findings,
) -> Content | None:
    """The annotation without what cannot be used, or None.

    Args:
        annotation: as the file states it.
        images: usable ones by the ids that annotations give.
        names: of the categories, by id.
        known: ids of all images.
        findings: gets its problems.
    """
    key, category = annotation.get('image_id'), annotation.get('category_id')
    where = f'annotation {shown(annotation.get("id"))}'
    image = images.get(key) if isinstance(key, Hashable) else None
    if image is None:
        if not isinstance(key, Hashable) or key not in known:
            findings.add('annotation of an unknown image', where)
        return None
    where = f'{image["file_name"]}, {where}'
    if not isinstance(category, Hashable) or category not in names:
        findings.add('annotation of an unknown category', where)
        return None
    if annotation.get('ignore'):
        findings.add('annotation marked ignore', where)
        return None
    stated = annotation.get('bbox')
    if not (isinstance(stated, list) and len(stated) == 4 and all(map(_is_number, stated))):
        findings.add('box that is not four numbers', f'{where}: {shown(stated)}')
        return None
    box = _usable_box(stated, image, where, findings)
    if box is None:
        return None
    outline = _usable_outline(annotation.get('segmentation'), box, image, where, findings)
    area: Any = annotation.get('area')
    if not (_is_number(area) and area > 0):
        if 'area' in annotation:
            findings.add('area that is not a positive number', f'{where}: {shown(area)}')
        area = _outline_area(outline) or box[2] * box[3]
    extras = {key: value for key, value in annotation.items() if key != 'segmentation'}
    kept = {
        **_shallow(extras),
        'image_id': image['id'],
        'bbox': box,
        'segmentation': outline,
        'area': area,
        'iscrowd': int(annotation.get('iscrowd') in (1, '1')),
    }
    findings.instances[names[category]] += 1
    return kept


def _usable_images(
    split: CocoSplit,
    entries: list[Content],
    decode: bool,
    findings: Findings,
    progress: Callable[[Iterable], Iterable],
) -> tuple[list[Content], dict[Any, Content]]:
    """Images that can be used, numbered from 1; the same by the ids that annotations give."""
    for entry in entries:
        if leads_out(entry['file_name']):
            findings.add('file name that leads out of the folder', f'{entry["file_name"]:.80}')
    entries = [entry for entry in entries if not leads_out(entry['file_name'])]
    facts = [
        probe(os.path.join(split.images, entry['file_name']), decode) for entry in progress(entries)
    ]
    as_stored = _annotated_as_stored(entries, facts, findings)
    by_name: dict[str, Content | None] = {}
    by_id: dict[Any, Content] = {}
    for entry, fact in zip(entries, facts, strict=True):
        name = entry['file_name']
        if name in by_name:
            findings.add('image listed twice', name)
        else:
            by_name[name] = _usable_image(entry, fact, as_stored, findings)
        usable = by_name[name]
        if usable is not None:
            by_id[entry['id']] = usable
    images = [image for image in by_name.values() if image is not None]
    for number, image in enumerate(images, start=1):
        image['id'] = number
    return images, by_id


def _check_ids(path: Path, content: Content, findings: Findings) -> None:
    """Fatal lines for ids and names that are there twice."""
    for key, what in (('images', 'image'), ('categories', 'category')):
        twice = [i for i, n in Counter(e['id'] for e in content[key]).items() if n > 1]
        if twice:
            findings.fatal.append(
                f'{path} gives the {what} id {shown(twice[0])} twice ({len(twice)} such ids); '
                f'give each {what} its own'
            )
    names = [c['name'] for c in content['categories']]
    if not names:
        findings.fatal.append(f'{path} has no categories; add at least one')
    if len(set(names)) < len(names):
        findings.fatal.append(f'{path} names a category twice; give each its own name')


def inspect_coco(
    name: str,
    split: CocoSplit,
    decode: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[Findings, Content]:
    """Problems of a split, and its annotations without them.

    Images and annotations are numbered from 1; categories are sorted by id, as mmdet takes them in
    the order of the file.

    Args:
        name: of the split, for messages.
        split: its files.
        decode: read every image wholly, not only its header.
        progress: wraps the loop over the images, such as tqdm.
    """
    findings, content = Findings(name), read_annotations(split.annotations)
    names = {c['id']: c['name'] for c in content['categories']}
    _check_ids(split.annotations, content, findings)
    images, by_id = _usable_images(split, content['images'], decode, findings, progress)
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
            _usable_annotation(a, by_id, names, known, findings) for a in content['annotations']
        )
        if a is not None
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation['id'] = number
    labelled = {a['image_id'] for a in annotations}
    for image in images:
        if image['id'] not in labelled:
            findings.add('image without annotations', image['file_name'])
    for category in names.values():
        if not findings.instances[category]:
            findings.add('category without instances', category)
    if not images:
        findings.fatal.append(f'no image of {split.annotations} can be read from {split.images}')
    elif not annotations:
        findings.fatal.append(f'no annotation of {split.annotations} can be used')
    categories = sorted(map(_shallow, content['categories']), key=lambda c: c['id'])
    return findings, {
        **_shallow({key: value for key, value in content.items() if key not in COCO_ENTRIES}),
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
