"""The whole study: which trainings there are, two at a time, each kept in a file when it is done."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..errors import ArgumentError, reading
from ..weights.whole_writing import write_whole
from .networks import NETWORKS, Network, Segmentor, multiply_adds, parameters
from .scenes import SPLITS, TASKS, TRAINED_SIDE, read_or_draw
from .training import Schedule, evaluate, train

SEEDS = (0, 1, 2)
OTHER_RULE = {'aligned': 'stretched', 'stretched': 'aligned'}
ROUNDS, TIMED_IMAGES = 15, 8


class Case(NamedTuple):
    """One training.

    Attributes:
        network: one of `NETWORKS`.
        task: one of `TASKS`.
        seed: of images, weights and order.
    """

    network: str
    task: str
    seed: int


def cases(names: Sequence[str] = tuple(NETWORKS), seeds: Sequence[int] = SEEDS) -> Iterator[Case]:
    """All trainings: a whole seed before the next, so that a study that is stopped says something.

    Args:
        names: of the networks. Default: all.
        seeds: of the study. Default `SEEDS`.
    """
    return (Case(name, task, seed) for seed in seeds for task in TASKS for name in names)


def result_file(folder: Path, case: Case) -> Path:
    """Where a training's result is kept."""
    return folder / 'results' / f'{case.network}_{case.task}_{case.seed}.json'


def run_case(case: Case, schedule: Schedule, folder: Path) -> dict[str, Any]:
    """Train and evaluate, and keep the result in a file.

    Args:
        case: of the study.
        schedule: of all its trainings.
        folder: of the study.

    Returns:
        what the file holds: case, schedule, parameters, loss, seconds, and by evaluation the scores:
        'trained size', 'other size', and 'other rule' (the other size with carrier tokens pooled by
        the other rule than in training; absent without carrier tokens).
    """
    torch.set_num_threads(1)
    network, start = NETWORKS[case.network], time.perf_counter()
    sets = [
        read_or_draw(
            folder / 'scenes',
            case.task,
            split,
            case.seed,
            schedule.images if split == 'train' else schedule.held_out,
        )
        for split in SPLITS
    ]
    torch.manual_seed(case.seed)
    model = Segmentor(network, len(TASKS[case.task]))
    loss = train(model, sets[0], schedule, case.seed)
    scores = {
        'trained size': evaluate(model, sets[1], case.task),
        'other size': evaluate(model, sets[2], case.task),
    }
    if network.ct_size:
        model.use_pooling(OTHER_RULE[network.pooling])
        scores['other rule'] = evaluate(model, sets[2], case.task)
    result = dict(
        case=case._asdict(),
        schedule=schedule._asdict(),
        parameters=parameters(model),
        loss=round(loss, 4),
        seconds=round(time.perf_counter() - start, 1),
        scores=scores,
    )
    path = result_file(folder, case)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(result, indent=1) + '\n')
    return result


def kept_result(case: Case, schedule: Schedule, folder: Path) -> dict[str, Any] | None:
    """What a training left before; None: it was not done.

    Args:
        case: of the study.
        schedule: of all its trainings.
        folder: of the study.

    Raises:
        UserError: the file cannot be read, or is of another schedule or another network.
    """
    path = result_file(folder, case)
    if not path.is_file():
        return None
    with reading(path, 'remove it: that training is done again'):
        result = json.loads(path.read_text())
        if not isinstance(result, dict) or not {'schedule', 'parameters'} <= result.keys():
            raise ValueError('it is no result of a training')
    if result['schedule'] != schedule._asdict():
        raise ArgumentError(
            f'{path} is of another schedule, {result["schedule"]}; name another folder, or remove it'
        )
    count = _parameters(NETWORKS[case.network], len(TASKS[case.task]))
    if result['parameters'] != count:
        raise ArgumentError(
            f'{path} is of another network, of {result["parameters"]} parameters where {case.network} '
            f'has {count}; name another folder, or remove it'
        )
    return result


@cache
def _parameters(network: Network, classes: int) -> int:
    """How many a network of so many classes has."""
    return parameters(Segmentor(network, classes))


def draw_all(wanted: Sequence[Case], schedule: Schedule, folder: Path) -> None:
    """Write the scenes of these trainings, which several of them read at once.

    Args:
        wanted: cases of the study.
        schedule: of all its trainings.
        folder: of the study.
    """
    for task, seed in dict.fromkeys((case.task, case.seed) for case in wanted):
        for split in SPLITS:
            count = schedule.images if split == 'train' else schedule.held_out
            read_or_draw(folder / 'scenes', task, split, seed, count)


def run_all(
    wanted: Sequence[Case],
    schedule: Schedule,
    folder: Path,
    jobs: int = 2,
    done: Callable[[dict[str, Any]], None] = lambda result: None,
) -> list[dict[str, Any]]:
    """Results of these trainings, those that were done before from their files.

    Args:
        wanted: cases of the study.
        schedule: of all its trainings.
        folder: of the study.
        jobs: processes of one thread each; 0: in this process. Default 2.
        done: told each result as it comes. Default: nobody is.

    Returns:
        in the order of ``wanted``.
    """
    results: dict[Case, dict[str, Any]] = {}

    def keep(case: Case, result: dict[str, Any]) -> None:
        results[case] = result
        done(result)

    for case in wanted:
        kept = kept_result(case, schedule, folder)
        if kept is not None:
            keep(case, kept)
    missing = [case for case in wanted if case not in results]
    draw_all(missing, schedule, folder)
    if not jobs:
        for case in missing:
            keep(case, run_case(case, schedule, folder))
    else:
        _run_in_processes(missing, schedule, folder, jobs, keep)
    return [results[case] for case in wanted]


def _run_in_processes(
    missing: Sequence[Case],
    schedule: Schedule,
    folder: Path,
    jobs: int,
    keep: Callable[[Case, dict[str, Any]], None],
) -> None:
    """`run_case` in ``jobs`` processes; ``keep`` is told each result as it comes."""
    os.environ['OMP_NUM_THREADS'] = '1'  # of the processes that are started
    with ProcessPoolExecutor(jobs, get_context('spawn')) as pool:
        running = {pool.submit(run_case, case, schedule, folder): case for case in missing}
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    keep(running.pop(future), future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def measure_cost(
    names: Sequence[str] = tuple(NETWORKS), rounds: int = ROUNDS
) -> dict[str, dict[str, float]]:
    """Parameters, multiply-adds and time of each network, timed in turns in one thread.

    Args:
        names: of the networks. Default: all.
        rounds: timed calls of each, after a warm-up. Default `ROUNDS`.

    Returns:
        by name: 'parameters', 'multiply_adds' and 'ms' of one image of the trained size: the median
        over calls of `TIMED_IMAGES` images; 'spread': (largest - smallest) / median.
    """
    torch.set_num_threads(1)
    images = torch.randn(TIMED_IMAGES, 3, TRAINED_SIDE, TRAINED_SIDE)
    models = {name: Segmentor(NETWORKS[name], len(TASKS['far'])).eval() for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    with torch.no_grad():
        for i in range(rounds + 1):
            for name, model in models.items():
                start = time.perf_counter()
                model(images)
                if i:  # the first is the warm-up
                    times[name].append(time.perf_counter() - start)
    return {
        name: dict(
            parameters=parameters(model),
            multiply_adds=multiply_adds(model),
            ms=1e3 * statistics.median(times[name]) / TIMED_IMAGES,
            spread=(max(times[name]) - min(times[name])) / statistics.median(times[name]),
        )
        for name, model in models.items()
    }
