"""The edits of tools/test.py: drawing, test-time augmentation, keeping predictions; their evaluation."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.evaluation import DumpDetResults
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.mask import encode

from fastervit_mm.data.drawn_shapes import CLASSES
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.detection_truth import Truth
from fastervit_mm.tasks.kept_detections import read_detections, write_detections

pytestmark = pytest.mark.usefixtures('screen')


def a_config(scope, **more):
    return Config(
        dict(
            default_scope=scope,
            default_hooks=dict(visualization=dict(type='Hook')),
            visualizer=dict(type='Visualizer'),
            **more,
        )
    )


@pytest.mark.parametrize('show', [False, True])
def test_a_detectors_hook_draws_to_a_folder_of_the_run(show):
    cfg = a_config('mmdet')
    task_of(cfg).draw_predictions(cfg, show=show, folder='drawn', wait_time=1.5)
    assert cfg.default_hooks.visualization == dict(
        type='Hook', draw=True, show=show, wait_time=1.5, test_out_dir='drawn'
    )
    assert cfg.visualizer == dict(type='Visualizer')


@pytest.mark.parametrize('show', [False, True])
def test_a_segmentors_hook_draws_every_image(show):
    cfg = a_config('mmseg')
    task_of(cfg).draw_predictions(cfg, show=show, folder='drawn', wait_time=1.5)
    assert cfg.default_hooks.visualization == dict(
        type='Hook', draw=True, show=show, wait_time=1.5, interval=1
    )
    assert cfg.visualizer == dict(type='Visualizer', save_dir='drawn')


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_drawing_in_a_window_alone_writes_nothing(scope):
    cfg = a_config(scope)
    task_of(cfg).draw_predictions(cfg, show=True, folder=None, wait_time=2)
    assert 'test_out_dir' not in cfg.default_hooks.visualization
    assert 'save_dir' not in cfg.visualizer
    assert cfg.default_hooks.visualization.show is True


def test_drawing_needs_the_hook():
    cfg = a_config('mmdet')
    del cfg.default_hooks['visualization']
    with pytest.raises(ArgumentError, match='^--show and --show-dir need default_hooks.visual'):
        task_of(cfg).draw_predictions(cfg, show=True, folder=None, wait_time=2)


def with_tta(tta_type, metric, roi_head=None):
    model = dict(type='Net', **({} if roi_head is None else dict(roi_head=roi_head)))
    return a_config(
        'mmdet',
        model=model,
        tta_model=dict(type=tta_type, tta_cfg=dict(max_per_img=9)),
        tta_pipeline=[dict(type='Augmented')],
        test_dataloader=dict(dataset=dict(type='Wrapper', dataset=dict(pipeline=['plain']))),
        test_evaluator=dict(type='CocoMetric', metric=metric),
    )


def test_augmentation_wraps_the_model_and_replaces_the_pipeline(capsys):
    cfg = with_tta('DetTTAModel', ['bbox', 'segm'], dict(mask_head=1, mask_roi_extractor=2, b=3))
    task_of(cfg).use_tta(cfg)
    assert cfg.model == dict(
        type='DetTTAModel',
        tta_cfg=dict(max_per_img=9),
        module=dict(type='Net', roi_head=dict(mask_head=None, mask_roi_extractor=None, b=3)),
    )
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='Augmented')]
    assert cfg.test_evaluator == dict(type='CocoMetric', metric='bbox')
    assert capsys.readouterr().out.startswith('warning: test-time augmentation merges boxes only')


@pytest.mark.parametrize(
    'tta_type, metric', [('DetTTAModel', 'bbox'), ('SegTTAModel', ['bbox', 'segm'])]
)
def test_augmentation_keeps_what_it_can_merge(tta_type, metric, capsys):
    cfg = with_tta(tta_type, metric, dict(mask_head=1))
    task_of(cfg).use_tta(cfg)
    assert cfg.test_evaluator.metric == metric
    assert cfg.model.module.roi_head == dict(mask_head=1)
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('roi_head', [None, dict(bbox_head=1)])
def test_augmentation_of_a_detector_without_masks(roi_head):
    cfg = with_tta('DetTTAModel', ['bbox', 'segm'], roi_head)
    task_of(cfg).use_tta(cfg)
    assert cfg.model.module.get('roi_head') == roi_head
    assert cfg.test_evaluator.metric == 'bbox'


def test_augmentation_of_an_evaluator_without_metrics():
    cfg = with_tta('DetTTAModel', ['bbox'])
    del cfg.test_evaluator['metric']
    task_of(cfg).use_tta(cfg)
    assert cfg.test_evaluator == dict(type='CocoMetric')


@pytest.mark.parametrize('missing', ['tta_model', 'tta_pipeline'])
def test_augmentation_needs_its_config(missing):
    cfg = with_tta('DetTTAModel', 'bbox')
    cfg.pop(missing)
    with pytest.raises(ArgumentError, match='^--tta needs tta_model and tta_pipeline in the con'):
        task_of(cfg).use_tta(cfg)


def test_a_segmentor_keeps_label_maps_beside_its_scores(tmp_path):
    cfg = a_config('mmseg', test_evaluator=dict(type='IoUMetric'))
    assert task_of(cfg).keep_predictions(cfg, str(tmp_path / 'maps')) is None
    assert cfg.test_evaluator == dict(
        type='IoUMetric', output_dir=str(tmp_path / 'maps'), keep_results=True
    )


def test_a_detector_keeps_them_by_a_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folder of a file that can be written is made
    cfg = a_config('mmdet')
    for path in ('a.pkl', 'a.pickle'):
        metric = task_of(cfg).keep_predictions(cfg, path)
        assert isinstance(metric, DumpDetResults) and metric.out_file_path == path
    assert task_of(cfg).keep_predictions(cfg, 'b/a.json').out_file_path == 'b/a.json'
    with pytest.raises(ArgumentError, match=r"^--out is 'a\.txt'; .* end in \.json or \.pkl$"):
        task_of(cfg).keep_predictions(cfg, 'a.txt')


@pytest.fixture
def kept(shapes, tmp_path):
    """A config of the drawn scenes, and a file of kept predictions: the truth."""
    annotations = str(shapes / 'coco/annotations/instances_val2017.json')
    dataset = dict(
        type='CocoDataset',
        data_root=str(shapes / 'coco'),
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
        pipeline=[],
    )
    cfg = Config(
        dict(
            default_scope='mmdet',
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(type='CocoMetric', ann_file=annotations, metric='bbox'),
        )
    )
    coco = COCO(annotations)
    predictions = []
    for image in coco.imgs.values():
        truth = coco.loadAnns(coco.getAnnIds(image['id']))
        boxes = np.array([a['bbox'] for a in truth], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        found = dict(
            bboxes=torch.from_numpy(boxes),
            scores=torch.full((len(truth),), 0.9),
            labels=torch.tensor([a['category_id'] - 1 for a in truth]),
        )
        size = (image['height'], image['width'])
        predictions.append(dict(img_id=image['id'], ori_shape=size, pred_instances=found))
    path = tmp_path / 'kept.pkl'
    path.write_bytes(pickle.dumps(predictions))
    return cfg, str(path)


def test_kept_predictions_are_evaluated(kept, capsys):
    """The truth has AP 1."""
    cfg, path = kept
    task_of(cfg).evaluate_file(cfg, path)
    lines = capsys.readouterr().out.splitlines()
    assert 'coco/bbox_mAP: 1.0000' in lines and 'coco/bbox_mAP_50: 1.0000' in lines


def test_detections_in_cocos_format_are_those_that_were_kept(kept, capsys):
    """Written and read again, with masks and an image without detections."""
    cfg, path = kept
    predictions = read_detections(cfg, Path(path))
    truth, size = Truth(cfg), predictions[0]['ori_shape']
    mask = encode(np.asfortranarray(np.pad(BLOCK, [(2, size[0] - 5), (4, size[1] - 9)])))
    for prediction in predictions:
        count = len(prediction['pred_instances']['scores'])
        prediction['pred_instances']['masks'] = [mask] * count
    for key in ('bboxes', 'scores', 'labels', 'masks'):
        predictions[1]['pred_instances'][key] = predictions[1]['pred_instances'][key][:0]
    written = Path(path).with_suffix('.json')
    write_detections(written, truth, predictions)
    assert {e['segmentation']['counts'] for e in json.loads(written.read_text())} == {
        mask['counts'].decode()
    }
    again = read_detections(cfg, written)
    assert [p['img_id'] for p in again] == [p['img_id'] for p in predictions]
    for one, other in zip(predictions, again, strict=True):
        assert other['ori_shape'] == one['ori_shape']
        found, expected = other['pred_instances'], one['pred_instances']
        assert torch.allclose(found['bboxes'].float(), expected['bboxes'], atol=1e-4)
        assert torch.allclose(found['scores'].float(), expected['scores'])
        assert torch.equal(found['labels'], expected['labels'])
        assert found['masks'] == expected['masks']
    task_of(cfg).evaluate_file(cfg, str(written))
    assert 'coco/bbox_mAP: ' in capsys.readouterr().out


@pytest.mark.parametrize(
    'content, reason',
    [
        ('{', 'JSONDecodeError'),
        ('[' * 100_000, 'RecursionError'),
        ('{"a": 1}', "{'a': 1} is no list"),
    ],
)
def test_other_files_are_no_detections(content, reason, kept, tmp_path):
    cfg, _ = kept
    (tmp_path / 'other.json').write_text(content)
    with pytest.raises(FileError, match=rf"holds no detections in COCO's .*{reason}"):
        read_detections(cfg, tmp_path / 'other.json')


BLOCK = np.ones((3, 5), np.uint8)
LACKS = 'is no object with image_id, category_id, bbox, score, segmentation'
NO_BOX = 'is not the 4 finite numbers x, y, width, height, px'
NO_MASK = 'is not the size [64, 64] of its image and, as counts, the compressed run lengths (text)'
WHOLE = encode(np.ones((64, 64), np.uint8, 'F'))['counts'].decode()
SMALL = encode(np.ones((32, 64), np.uint8, 'F'))['counts'].decode()


@pytest.mark.parametrize(
    'change, reason',
    [
        (None, f'None {LACKS}'),
        ([1], f'[1] {LACKS}'),
        (dict(image_id=77777), 'image 77777 is none of the test data'),
        (dict(image_id=[1]), 'image [1] is none of the test data'),
        (dict(image_id=True), 'image True is none of the test data'),
        (dict(category_id=99), 'category 99 is none of the test data'),
        (dict(category_id={}), 'category {} is none of the test data'),
        (dict(bbox=None), f'bbox None {NO_BOX}'),
        (dict(bbox=[0, 0, 1]), f'bbox [0, 0, 1] {NO_BOX}'),
        (dict(bbox=[0, 0, 1, '1']), f"bbox [0, 0, 1, '1'] {NO_BOX}"),
        (dict(bbox=[0, float('nan'), 1, 1]), f'bbox [0, nan, 1, 1] {NO_BOX}'),
        (dict(bbox=[0, 0, 10**400, 1]), 'is not the 4 finite numbers'),
        (dict(bbox=[0, 0, -1, 1]), 'bbox [0, 0, -1, 1] has a width or height below 0'),
        (dict(bbox=[0, 0, 1, -0.5]), 'bbox [0, 0, 1, -0.5] has a width or height below 0'),
        (dict(score=float('nan')), 'score nan is no finite number'),
        (dict(score=float('-inf')), 'score -inf is no finite number'),
        (dict(score='0.5'), "score '0.5' is no finite number"),
        (dict(score=True), 'score True is no finite number'),
        (dict(segmentation=[[0, 0, 9, 0, 9, 9]]), f'[[0, 0, 9, 0, 9, 9]] {NO_MASK}'),
        *(
            (dict(segmentation=dict(size=size, counts=counts)), NO_MASK)
            for size, counts in (
                ([64, 64], [0, 4096]),
                ([64, 64], ''),
                ([64, 64], None),
                ([64, 64], SMALL),
                ([64, 64], WHOLE + '\x7f'),
                ([32, 64], SMALL),
                ([-64, -64], WHOLE),
                ([2**31 - 1] * 2, WHOLE),
                (None, WHOLE),
            )
        ),
    ],
)
def test_an_entry_that_cannot_be_evaluated_is_named(change, reason, kept, tmp_path):
    cfg, _ = kept
    mask = dict(size=[64, 64], counts=WHOLE)
    right = dict(image_id=1, category_id=1, bbox=[0, 0, 1.5, 0], score=1, segmentation=mask)
    wrong = right | change if isinstance(change, dict) else change
    path = tmp_path / 'kept.json'
    path.write_text(json.dumps([right, wrong, right]))
    with pytest.raises(FileError) as caught:
        read_detections(cfg, path)
    start = f"{path} holds no detections in COCO's results format (entry 2 of 3: "
    assert str(caught.value).startswith(start) and reason in str(caught.value)
    assert '\n' not in str(caught.value)
    path.write_text(json.dumps([right, right]))
    assert sum(len(p['pred_instances']['masks']) for p in read_detections(cfg, path)) == 2


def test_masks_of_some_objects_alone(kept, tmp_path):
    cfg, _ = kept
    plain = dict(image_id=1, category_id=1, bbox=[0, 0, 1, 1], score=1)
    mask = dict(size=[64, 64], counts=WHOLE)
    (tmp_path / 'kept.json').write_text(json.dumps([plain, dict(plain, segmentation=mask)]))
    with pytest.raises(FileError, match=rf'entry 1 of 2: .* {LACKS}\)'):
        read_detections(cfg, tmp_path / 'kept.json')


def test_masks_without_boxes(kept, tmp_path, capsys):
    """COCO's format does not ask for those of masks, but evaluating boxes does."""
    cfg, _ = kept
    counts = encode(np.pad(np.asfortranarray(BLOCK), [(2, 59), (4, 55)]))['counts'].decode()
    entry = dict(
        image_id=1, category_id=1, score=1, segmentation=dict(size=[64, 64], counts=counts)
    )
    path = tmp_path / 'kept.json'
    path.write_text(json.dumps([entry]))
    with pytest.raises(
        FileError, match=r'entry 1 of 1: this config evaluates boxes, and {.*no bbox'
    ):
        read_detections(cfg, path)
    for metric in ('segm', ['segm']):
        cfg.test_evaluator.metric = metric
        (boxes,) = [
            b for p in read_detections(cfg, path) if len(b := p['pred_instances']['bboxes'])
        ]
        assert boxes.tolist() == [[4, 2, 9, 5]]
    task_of(cfg).evaluate_file(cfg, str(path))
    assert 'coco/segm_mAP: ' in capsys.readouterr().out


def test_what_cannot_be_evaluated_is_an_error(kept):
    cfg, path = kept
    with pytest.raises(FileError, match='^--eval-only none.pkl does not exist; --out writes it$'):
        task_of(cfg).evaluate_file(cfg, 'none.pkl')
    cfg.default_scope = 'mmseg'
    with pytest.raises(ArgumentError, match='^--eval-only needs the predictions of a detector;'):
        task_of(cfg).evaluate_file(cfg, path)


@pytest.mark.parametrize('protocol', [2, 3, 4])
def test_pickles_of_usual_protocols_are_read(protocol, kept):
    """Mmengine writes the second, with masks as bytes."""
    cfg, path = kept
    predictions = read_detections(cfg, Path(path))
    for prediction in predictions:
        found = prediction['pred_instances']
        mask = encode(np.ones(prediction['ori_shape'], np.uint8, 'F'))
        found['masks'] = [mask] * len(found['scores'])
        found['bytes'] = b'PPY`0\xff'
        found['more'] = np.arange(6, dtype='f4').reshape(2, 3)
    Path(path).write_bytes(pickle.dumps(predictions, protocol))
    for one, other in zip(read_detections(cfg, Path(path)), predictions, strict=True):
        found, expected = one['pred_instances'], other['pred_instances']
        assert found['masks'] == expected['masks'] and one['img_id'] == other['img_id']
        assert found['bytes'] == expected['bytes']
        assert torch.equal(found['bboxes'], expected['bboxes'])
        assert type(found['more']) is np.ndarray and np.array_equal(found['more'], expected['more'])


def pickled(kept, change) -> Path:
    """The kept predictions with masks, the second with its ``pred_instances`` changed."""
    predictions = read_detections(kept[0], Path(kept[1]))
    for prediction in predictions:
        found = prediction['pred_instances']
        found['masks'] = [encode(np.ones((64, 64), np.uint8, 'F')) for _ in found['scores']]
    predictions = change(predictions) or predictions
    Path(kept[1]).write_bytes(pickle.dumps(predictions))
    return Path(kept[1])


def setting(key, value, at=()):
    """A change of the second prediction: all of a field, or one number or mask of it."""

    def change(predictions):
        found = predictions[1]['pred_instances']
        if at == ():
            found[key] = value
        else:
            found[key][at] = value

    return change


SECOND = r'prediction 2 of \d+: '
FIRST_OBJECT = rf'{SECOND}object 1 of \d+: '


@pytest.mark.parametrize('trust', [False, True])
@pytest.mark.parametrize(
    'change, reason',
    [
        (lambda _: {'a': 1}, "{'a': 1} is no list of predictions"),
        (lambda p: p.clear(), r'\[\] is no list of predictions'),
        (lambda p: p.__setitem__(1, None), f'{SECOND}None is no dict with img_id and pred_inst'),
        (lambda p: p[1].update(img_id=77777), f'{SECOND}image 77777 is none of the test data'),
        (lambda p: p[1].update(img_id=[1]), rf'{SECOND}image \[1\] is none of the test data'),
        (lambda p: p[1].update(pred_instances=None), f'{SECOND}pred_instances is None, no dict'),
        (
            setting('bboxes', torch.zeros(3, 5)),
            rf'{SECOND}bboxes has the shape \(3, 5\); it must be',
        ),
        (setting('bboxes', [[1]]), rf'{SECOND}bboxes is \[\[1\]\]; it must be a tensor or array'),
        (setting('bboxes', torch.zeros(99, 4)), f'{SECOND}it has 99 bboxes, '),
        (setting('bboxes', np.nan, (0, 2)), f'{FIRST_OBJECT}bbox .* is not the 4 finite numbers'),
        (setting('bboxes', -9.0, (0, 2)), f'{FIRST_OBJECT}bbox .* has a width or height below 0'),
        (setting('scores', np.nan, 0), f'{FIRST_OBJECT}score nan is no finite number'),
        (setting('labels', 99, 0), f'{FIRST_OBJECT}category 99 is none of the test data'),
        (setting('labels', -1, 0), f'{FIRST_OBJECT}category -1 is none of the test data'),
        (setting('labels', torch.zeros(3)), f'{SECOND}labels is array.*of .N,. whole numbers'),
        (setting('masks', None), f'{SECOND}it has .*, 0 masks'),
        (setting('masks', 7), f'{SECOND}masks is 7, no list'),
        *(
            (
                setting('masks', mask, 0),
                rf'{FIRST_OBJECT}segmentation .* is not the size \[64, 64\]',
            )
            for mask in (
                dict(size=[64, 64], counts=SMALL.encode()),
                dict(size=[64, 64], counts=b'PPY`0\xff'),
                dict(size=[32, 64], counts=SMALL.encode()),
                np.ones((32, 64), bool),
                torch.ones(64, 63, dtype=torch.uint8),
                torch.ones(64, 64),
                None,
            )
        ),
    ],
)
def test_a_pickled_prediction_that_cannot_be_evaluated_is_named(change, reason, trust, kept):
    """As those in COCO's format are, whoever is trusted."""
    path = pickled(kept, change)
    with pytest.raises(FileError) as caught:
        read_detections(kept[0], path, trust)
    start = f"{path} holds no detections of mmdet's DumpDetResults ("
    assert str(caught.value).startswith(start) and '\n' not in str(caught.value)
    assert re.search(reason, str(caught.value))


def test_bitmaps_are_masks_too(kept):
    """Of a tensor or an array; images without objects need none."""

    def change(predictions):
        for k, prediction in enumerate(predictions):
            found = prediction['pred_instances']
            bitmaps = torch.ones(len(found['scores']), 64, 64, dtype=torch.bool)
            found['masks'] = bitmaps.numpy() if k else bitmaps
        for key in ('bboxes', 'scores', 'labels'):
            found[key] = found[key][:0].numpy()
        del found['masks']

    predictions = read_detections(kept[0], pickled(kept, change))
    *others, last = [p['pred_instances']['masks'] for p in predictions]
    assert last == [] and {m['counts'] for masks in others for m in masks} == {WHOLE.encode()}
    kept[0].test_evaluator.metric = ['bbox', 'segm']
    task_of(kept[0]).evaluate_file(kept[0], kept[1])
