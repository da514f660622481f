"""What tools/test.py can do besides evaluating: draw, keep, augment, evaluate what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import ArgumentError, FileError
from ..config.data_sets import innermost_dataset


def draw_predictions(cfg: Config, *, show: bool, folder: str | None, wait_time: float) -> None:
    """Let the host library's visualization hook draw predictions.

    Args:
        cfg: changed in place.
        show: in a window. folder: to files. wait_time: s each is shown.

    Raises:
        ArgumentError: the config has no such hook.
    """
    hook = cfg.default_hooks.get('visualization')
    if hook is None:
        raise ArgumentError('--show and --show-dir need default_hooks.visualization in the config')
    hook.draw = True
    if cfg.default_scope == 'mmdet':
        hook.update(show=show, wait_time=wait_time)
        if folder is not None:
            hook.test_out_dir = folder
    else:
        hook.update(show=show, wait_time=wait_time, interval=1)
        if folder is not None:
            cfg.visualizer.save_dir = folder


def use_tta(cfg: Config) -> None:
    """Evaluate with the config's test-time augmentation.

    Raises:
        ArgumentError: the config has none.
    """
    if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
        raise ArgumentError('--tta needs tta_model and tta_pipeline in the config')
    innermost_dataset(cfg, 'test_dataloader').pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    if cfg.tta_model.type == 'DetTTAModel' and 'segm' in cfg.test_evaluator.get('metric', ()):
        print('warning: test-time augmentation merges boxes only: evaluating bbox without segm')
        cfg.test_evaluator.metric = 'bbox'
        roi_head = cfg.model.module.get('roi_head')
        if roi_head is not None and 'mask_head' in roi_head:
            roi_head.mask_head = roi_head.mask_roi_extractor = None


def keep_predictions(cfg: Config, path: str) -> Any | None:
    """Keep predictions: a metric to add for a detector; a setting of the evaluator otherwise.

    Raises:
        ArgumentError: a detector's ``path`` does not end in .pkl.
    """
    if cfg.default_scope == 'mmseg':
        cfg.test_evaluator.update(output_dir=path, keep_results=True)
        return None
    if not path.endswith(('.pkl', '.pickle')):
        raise ArgumentError(f'--out is {path!r}; for a detector it must end in .pkl')
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults(out_file_path=path)


def evaluate_file(cfg: Config, path: str) -> None:
    """Evaluate a detector's kept predictions on the config's test data.

    Raises:
        FileError: no such file. ArgumentError: the config is not a detector's.
    """
    if cfg.default_scope != 'mmdet':
        raise ArgumentError(
            '--eval-only needs the predictions of a detector; a segmentor keeps '
            'label maps, which are evaluated by running it'
        )
    if not Path(path).is_file():
        raise FileError(f'--eval-only {path} does not exist; --out writes it')
    from mmdet.registry import DATASETS
    from mmengine.evaluator import Evaluator
    from mmengine.fileio import load
    from mmengine.registry import init_default_scope

    init_default_scope(cfg.default_scope)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = DATASETS.build(cfg.test_dataloader.dataset).metainfo
    for name, value in evaluator.offline_evaluate(load(path)).items():
        print(f'{name}: {value:.4f}')
