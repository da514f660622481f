"""The page of tools/report.py: what a finished run learnt, and where it still fails."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from PIL import Image

from ..errors import ArgumentError, FileError
from ..data.layouts import stem_of
from . import html
from ..pictures import draw_labels, draw_objects, side_by_side, titled
from ..training.run_record import read_record
from .scores import (
    MATCH_SCORE,
    class_ap,
    class_iou,
    detection_confusion,
    f1,
    label_confusion,
    match_boxes,
)

SHOWN = 6  # best and worst images


@dataclass
class Results:
    """What the validation images say.

    Attributes:
        classes: names; those of ``confusion`` have 'nothing' behind them in detection.
        per_class: rows of the table, and its head.
        images: (score, name, draw) of each image.
    """

    classes: tuple[str, ...]
    head: list[str] = field(default_factory=list)
    per_class: list[list[Any]] = field(default_factory=list)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    images: list[tuple[float, str, Any]] = field(default_factory=list)


def find_config(work_dir: Path) -> Path:
    """The resolved config that training wrote into ``work_dir``.

    Raises:
        FileError: none, or several.
    """
    found = sorted(work_dir.glob('*.py'))
    if len(found) != 1:
        raise FileError(
            f'{work_dir} holds {len(found)} configs; a work dir of tools/train.py holds one'
        )
    return found[0]


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a run, or else its last.

    Raises:
        FileError: there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    last = work_dir / 'last_checkpoint'
    if not last.is_file():
        raise FileError(f'{work_dir} holds no checkpoint; training writes one')
    path = Path(last.read_text().strip())
    return path if path.is_file() else work_dir / path.name


def read_curves(work_dir: Path) -> dict[str, list[tuple[float, float]]]:
    """Logged scalars of all parts of a run: name -> (step, value), later runs replacing earlier."""
    curves: dict[str, dict[float, float]] = {}
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    for path in logs:
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            step = entry.get('step')
            for name, value in entry.items():
                if step is not None and isinstance(value, (int, float)) and name != 'step':
                    curves.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in curves.items()}


def curve_figures(curves: dict[str, list[tuple[float, float]]]) -> str:
    """Figures of the losses, the learning rate and the metrics."""
    groups = {
        'loss': [
            n
            for n in curves
            if n == 'loss'
            or n.endswith('.loss_ce')
            or n in ('loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_iou')
        ],
        'learning rate': [n for n in curves if n == 'lr'],
        'validation': [n for n in curves if n.endswith(('mAP', 'mAP_50', 'mIoU', 'mAcc'))],
    }
    out = []
    for title, names in groups.items():
        if not names:
            continue
        plot, axes = html.new_figure(6, 3)
        for name in names:
            axes.plot(
                *zip(*curves[name], strict=True),
                label=name,
                marker='o' if title == 'validation' else None,
            )
        axes.set_xlabel('epoch or iteration' if title == 'validation' else 'iteration')
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
        out.append(html.figure(plot, title))
    return ''.join(out) or '<p>Nothing was logged.</p>'


def _transform(dataset: dict, name: str) -> Callable[[dict], dict]:
    """The transform ``name`` of a data set's pipeline; with its defaults where there is none."""
    step = next((t for t in dataset['pipeline'] if t['type'].endswith(name)), dict(type=name))
    return TRANSFORMS.build(step)


def _image_reader(dataset: dict) -> Callable[[Path], np.ndarray]:
    """Reads images as a data set's pipeline does: turned as EXIF says, or as stored."""
    load_image = _transform(dataset, 'LoadImageFromFile')

    def read(path: Path) -> np.ndarray:
        image = load_image(dict(img_path=str(path)))['img']
        return np.ascontiguousarray(image[..., ::-1].astype(np.uint8))

    return read


def detection_results(cfg: Config, predictions: Path) -> Results:
    """From the predictions of tools/test.py --out and the truth that the config names."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    init_default_scope(cfg.default_scope)
    dataset = cfg.test_dataloader.dataset
    coco = COCO(str(Path(dataset.data_root or '') / dataset.ann_file))
    ids = coco.getCatIds()
    names = tuple(c['name'] for c in coco.loadCats(ids))
    folder = Path(dataset.data_root or '') / dataset.data_prefix.img
    read_image = _image_reader(dataset)
    results = Results(names, confusion=np.zeros((len(names) + 1,) * 2, int))
    flat: list[dict] = []
    has_masks = False
    for prediction in load(predictions):
        found = prediction['pred_instances']
        boxes, scores = np.asarray(found['bboxes']), np.asarray(found['scores'])
        labels = np.asarray(found['labels']).astype(int)
        masks = found.get('masks')
        has_masks |= masks is not None
        for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            flat.append(
                dict(
                    image_id=prediction['img_id'],
                    category_id=ids[labels[k]],
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    score=float(scores[k]),
                    **({} if masks is None else {'segmentation': masks[k]}),
                )
            )
        truth = coco.loadAnns(coco.getAnnIds(prediction['img_id'], iscrowd=False))
        truth_boxes = np.array(
            [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in truth)]
        ).reshape(-1, 4)
        truth_labels = [ids.index(a['category_id']) for a in truth]
        kept = np.flatnonzero(scores >= MATCH_SCORE)
        pairs = match_boxes(truth_boxes, boxes[kept], scores[kept])
        detection_confusion(
            results.confusion, truth_boxes, truth_labels, boxes[kept], labels[kept], pairs
        )
        right = sum(truth_labels[i] == labels[kept][j] for i, j in pairs)
        name = coco.loadImgs(prediction['img_id'])[0]['file_name']

        def draw(
            path=folder / name,
            truth=truth,
            truth_boxes=truth_boxes,
            truth_labels=truth_labels,
            boxes=boxes[kept],
            labels=labels[kept],
            scores=scores[kept],
            kept=kept,
            masks=masks,
        ) -> Image.Image:
            image = read_image(path)
            with_masks = masks is not None
            left = draw_objects(
                image,
                truth_boxes,
                truth_labels,
                names,
                masks=[coco.annToMask(a).astype(bool) for a in truth] if with_masks else None,
            )
            right = draw_objects(
                image,
                boxes,
                labels.tolist(),
                names,
                scores.tolist(),
                [coco_mask.decode(masks[k]).astype(bool) for k in kept] if with_masks else None,
            )
            return side_by_side([titled(left, 'truth'), titled(right, 'prediction')])

        results.images.append((f1(right, len(truth), len(kept)), name, draw))
    kinds = ['bbox', 'segm'] if has_masks else ['bbox']
    columns = [class_ap(coco, flat, kind) for kind in kinds]
    results.head = ['class', 'objects', *(f'{kind} AP' for kind in kinds)]
    results.per_class = [
        [
            name,
            len(coco.getAnnIds(catIds=[ids[k]])),
            *(column[k] if column[k] >= 0 else '–' for column in columns),
        ]
        for k, name in enumerate(names)
    ]
    return results


def _validation_set(cfg: Config) -> Any:
    """The data set that a segmentor is evaluated on, without its pipeline."""
    init_default_scope(cfg.default_scope)
    return DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[], serialize_data=False))


def label_map_files(cfg: Config, folder: Path) -> list[Path]:
    """The label maps that a whole evaluation writes into ``folder``, in the order of its images.

    Raises:
        ArgumentError: no images, or several of one file name: their maps overwrite each other.
    """
    dataset = _validation_set(cfg)
    images = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    files = [folder / f'{Path(image).stem}.png' for image in images]
    if not files:
        raise ArgumentError(
            f'{dataset.data_prefix["img_path"]} holds no validation image that ends in '
            f'{dataset.img_suffix}; mend data_prefix or img_suffix of test_dataloader.dataset'
        )
    name, count = Counter(path.stem for path in files).most_common(1)[0]
    if count > 1:
        raise ArgumentError(
            f'{count} validation images are called {name}; label maps are kept by file name, so '
            'each needs its own, in sub-folders too: rename them and their labels'
        )
    return files


def is_complete(files: Sequence[Path], checkpoint: Path) -> bool:
    """Whether all ``files`` are there, and none is older than ``checkpoint``."""
    made = checkpoint.stat().st_mtime
    return all(path.is_file() and path.stat().st_mtime >= made for path in files)


def segmentation_results(cfg: Config, label_maps: Path) -> Results:
    """From the label maps of tools/test.py --out and the truth that the config names.

    Raises:
        FileError: label maps are missing.
    """
    dataset = _validation_set(cfg)
    names = dataset.metainfo.get('classes')
    if names is None:
        raise ArgumentError('the config names no classes (test_dataloader.dataset.metainfo)')
    files = label_map_files(cfg, label_maps)
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise FileError(
            f'{label_maps} lacks {len(missing)} of {len(files)} label maps (such as {missing[0]}); '
            f'tools/test.py --out {label_maps} writes them'
        )
    read_image = _image_reader(cfg.test_dataloader.dataset)
    load_labels = _transform(cfg.test_dataloader.dataset, 'LoadAnnotations')
    results = Results(tuple(names), confusion=np.zeros((len(names),) * 2, int))
    first = 1 if dataset.reduce_zero_label else 0  # of the maps
    for i, path in enumerate(files):
        info = dataset.get_data_info(i)
        source = Path(info['img_path'])

        def labels(info=info, path=path) -> tuple[np.ndarray, np.ndarray]:
            """Truth and prediction, (H, W) class indices."""
            found = np.asarray(Image.open(path)).astype(int) - first
            return load_labels(copy.deepcopy(info))['gt_seg_map'].astype(int), found

        def draw(source=source, labels=labels) -> Image.Image:
            image = read_image(source)
            truth, found = labels()
            return side_by_side(
                [
                    titled(draw_labels(image, truth, names), 'truth'),
                    titled(draw_labels(image, found, names), 'prediction'),
                ]
            )

        matrix = label_confusion(*labels(), len(names))
        results.confusion += matrix
        iou = class_iou(matrix)
        name = stem_of(source, Path(dataset.data_prefix['img_path']))
        results.images.append((float(np.nanmean(iou)) if matrix.any() else 0.0, name, draw))
    iou = class_iou(results.confusion)
    results.head = ['class', 'pixels', 'IoU']
    results.per_class = [
        [name, int(results.confusion[k].sum()), float(iou[k])] for k, name in enumerate(names)
    ]
    return results


def confusion_figure(results: Results) -> str:
    """The confusion matrix, each row as shares of its truth."""
    names = [*results.classes, 'nothing'][: len(results.confusion)]
    shares = results.confusion / np.maximum(results.confusion.sum(1, keepdims=True), 1)
    side = min(12.0, 2.5 + 0.35 * len(names))
    plot, axes = html.new_figure(side, side)
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    small = len(names) <= 12
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if small else 5)
    axes.set_yticks(range(len(names)), names, fontsize=8 if small else 5)
    axes.set(xlabel='predicted', ylabel='truth')
    if small:
        for (i, j), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(
                    j,
                    i,
                    f'{share:.2f}',
                    ha='center',
                    va='center',
                    fontsize=8,
                    color='white' if share > 0.5 else 'black',
                )
    return html.figure(plot, 'rows: truth, columns: prediction, as shares of the truth')


def image_grid(images: Sequence[tuple[float, str, Any]]) -> str:
    out = []
    for score, name, draw in images:
        picture = draw()
        picture.thumbnail((900, 900))
        out.append(html.picture(picture, f'{name}: {score:.2f}', width=560))
    return ''.join(out)


def report_page(work_dir: Path, results: Results) -> str:
    """The whole page, self-contained."""
    record = read_record(work_dir)
    ranked = sorted(results.images, key=lambda entry: entry[0])
    count = min(SHOWN, len(ranked))
    score = 'F1 at IoU 0.5' if len(results.confusion) > len(results.classes) else 'mean IoU'
    return html.page(
        f'Report of {work_dir.name}',
        [
            ('Curves', curve_figures(read_curves(work_dir))),
            ('Classes', html.table(results.head, results.per_class)),
            ('What is taken for what', confusion_figure(results)),
            (f'Worst images ({score})', image_grid(ranked[:count])),
            (f'Best images ({score})', image_grid(ranked[::-1][:count])),
            (
                'How it was made',
                f'<pre>{html.escape(record.get("command", "not recorded"))}</pre>'
                + html.table(['package', 'version'], list(record.get('versions', {}).items())),
            ),
        ],
    )
