"""The study from end to end in small: it trains, keeps, resumes, and its tables say what came out."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from fastervit_mm.ablation import study
from fastervit_mm.ablation.networks import NETWORKS, Segmentor
from fastervit_mm.ablation.scenes import TASKS, Scenes, one_scene
from fastervit_mm.ablation.study import Case, cases, run_all, run_case
from fastervit_mm.ablation.table import main_table, mean_and_spread, pooling_table
from fastervit_mm.ablation.training import QUICK, Schedule, batches, evaluate, told_rightly
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.network.windows import carrier_positions
from tests.helpers import ROOT, call_tool

spec = importlib.util.spec_from_file_location('ablation', ROOT / 'tools' / 'ablation.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def test_every_network_meets_every_task_with_every_seed():
    everything = list(cases())
    assert len(everything) == len(set(everything)) == len(NETWORKS) * len(TASKS) * 3
    assert {case.seed for case in everything[: len(NETWORKS) * len(TASKS)]} == {0}


def test_the_study_trains_keeps_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, 'set_num_threads', lambda count: None)
    tool.study(tmp_path, jobs=0, quick=True)
    files = sorted((tmp_path / 'results').iterdir())
    assert len(files) == 4
    first = {path: path.read_text() for path in files}
    result = json.loads((tmp_path / 'results' / 'w7_c2_far_0.json').read_text())
    assert set(result['scores']) == {'trained size', 'other size', 'other rule'}
    table = (tmp_path / 'table.md').read_text()
    assert NETWORKS['w7_c2'].title in table and (tmp_path / 'ablations.png').stat().st_size > 1000

    # one training is done again, and gives the same; the others are read
    files[0].unlink()
    trained = []
    monkeypatch.setattr(study, 'run_case', lambda *a: trained.append(a[0]) or run_case(*a))
    results = run_all(list(cases(tool.QUICK_NETWORKS, (0,))), QUICK, tmp_path, jobs=0)
    assert len(trained) == 1 and len(results) == 4
    again = json.loads(files[0].read_text())
    assert again | dict(seconds=0) == json.loads(first[files[0]]) | dict(seconds=0)

    with pytest.raises(ArgumentError, match='is of another schedule'):
        run_all(list(cases(('w7',), (0,))), Schedule(), tmp_path)


@pytest.mark.parametrize('name', ['w7', 'w7_c2'])
def test_a_kept_training_is_of_the_network_as_it_is_now(name, tmp_path, monkeypatch):
    case, schedule = Case(name, 'far', 0), Schedule()
    path = study.result_file(tmp_path, case)
    path.parent.mkdir()
    count = dict(w7=71667, w7_c2=138355)[name]
    kept = dict(case=case._asdict(), schedule=schedule._asdict(), parameters=count)
    path.write_text(json.dumps(kept))
    assert study.kept_result(case, schedule, tmp_path) == kept
    monkeypatch.setitem(NETWORKS, name, NETWORKS[name]._replace(blocks=3))
    with pytest.raises(
        ArgumentError, match=rf'{name}_far_0.json is of another network, of {count} '
    ):
        study.kept_result(case, schedule, tmp_path)
    path.write_text('[]')
    with pytest.raises(
        FileError, match='cannot be read .*; remove it: that training is done again'
    ):
        study.kept_result(case, schedule, tmp_path)


def test_the_page_gets_tables_and_plot(tmp_path):
    page = tmp_path / 'docs' / 'page.md'
    page.parent.mkdir()
    page.write_text(f'before\n{tool.BEGIN}\nold\n{tool.END}\nafter\n')
    with pytest.raises(FileError, match=r'table\.md is not there; run python tools/ablation\.py'):
        tool.write_page(tmp_path, page)
    (tmp_path / 'table.md').write_text('| new |\n')
    (tmp_path / 'ablations.png').write_bytes(b'plot')
    tool.write_page(tmp_path, page)
    text = page.read_text()
    assert text.startswith('before\n') and text.endswith('\nafter\n')
    assert '| new |' in text and 'old' not in text
    assert (page.parent / 'ablations.png').read_bytes() == b'plot'
    assert tool.PAGE.read_text().count(tool.BEGIN) == tool.PAGE.read_text().count(tool.END) == 1


@pytest.mark.parametrize(
    'options, words',
    [
        (('--quick', '--page'), 'error: --page takes the whole study; the numbers of --quick mean'),
        (('--jobs', '-1'), 'error: argument --jobs: -1 is not a number of at least 1'),
    ],
)
def test_options_that_are_not_allowed(options, words):
    before = tool.PAGE.read_text()
    output = call_tool('ablation.py', *options, expect=2)
    assert words in output and 'Traceback' not in output
    assert tool.PAGE.read_text() == before


def test_batches_turn_labels_with_their_images():
    scenes = [one_scene('far', 'train', 0, i) for i in range(4)]
    whole = Scenes(*map(np.stack, zip(*scenes, strict=True)))
    found = list(batches(whole, Schedule(steps=8, batch=2), 0))
    assert len(found) == 8
    for x, y in found:
        for image, labels in zip(x, y, strict=True):
            # the mark, which alone has a colour, is in the corner opposite to the shape
            coloured = (image.amax(0) - image.amin(0) > 1).nonzero().float().mean(0) / 112
            shape = labels.nonzero().float().mean(0) / 28
            assert ((coloured - 0.5) * (shape - 0.5) < 0).all()
    repeated = list(batches(whole, Schedule(steps=8, batch=2), 0))
    assert all((a[0] == b[0]).all() for a, b in zip(found, repeated, strict=True))


def test_a_shape_is_told_by_all_of_its_pixels():
    labels = np.zeros((2, 2, 2), int)
    labels[0, 0], labels[1, 1] = 1, 2
    scores = np.zeros((2, 3, 2, 2))
    scores[0, 1, 0] = [3, 0]  # class 1 wins by 3 to 2, though background is higher at each pixel
    scores[0, 2, 0] = [0, 2]
    scores[0, 0] = 9
    scores[1, 1, 1] = [1, 1]
    scores[1, 1, 0] = -9  # outside of the shape
    assert told_rightly(scores, labels) == 0.5


def test_what_knows_the_answer_scores_1():
    scenes = Scenes(
        *map(np.stack, zip(*(one_scene('far', 'train', 0, i) for i in range(4)), strict=True))
    )

    class Oracle(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(torch.from_numpy(scenes.labels).long(), 3).movedim(
                -1, 1
            )

    assert evaluate(Oracle(), scenes, 'far') == dict(iou=1, told=1)


def result(network: str, task: str, seed: int, trained: float, other: float) -> dict:
    """As `run_case` returns it; the other rule is half as good."""
    metric = dict(far='told', ordinary='iou')[task]
    scores = {'trained size': trained, 'other size': other}
    if NETWORKS[network].ct_size:
        scores['other rule'] = other / 2
    return dict(
        case=Case(network, task, seed)._asdict(),
        scores={key: {metric: value} for key, value in scores.items()},
    )


def test_the_tables_have_mean_and_standard_deviation():
    assert mean_and_spread([50, 60, 70]) == '60.0 ± 10.0'
    assert (mean_and_spread([51.26]), mean_and_spread([])) == ('51.3', '–')
    results = [
        result('w7', 'far', 0, 0.5, 0.4),
        result('w7', 'far', 1, 0.6, 0.4),
        result('w7', 'far', 2, 0.7, 0.4),
        result('w7_c2_stretched', 'far', 0, 1.0, 0.8),
        result('w7_c2_stretched', 'ordinary', 0, 0.25, 0.5),
    ]
    cost = dict(parameters=71667, multiply_adds=31.6e6, ms=1.234, spread=0.1)
    lines = main_table(results, {'w7': cost, 'w7_c2_stretched': cost}).splitlines()
    assert lines[2] == '| windows of 7 | 60.0 ± 10.0 | 40.0 ± 0.0 | – | – | 72 | 31.6 | 1.23 |'
    assert '| 100.0 | 80.0 | 25.0 | 50.0 |' in lines[3]
    (row,) = pooling_table(results, ['w7', 'w7_c2_stretched']).splitlines()[2:]
    # far: aligned is the other rule, stretched its own; then ordinary
    assert row.endswith('| stretched | 40.0 | 80.0 | 25.0 | 50.0 |')


def test_pooling_is_compared_where_the_rules_differ():
    def pooled(network, pooling):
        sides = [n * network.window for n in range(1, 13)]
        found = [carrier_positions(s, network.window, network.ct_size, pooling) for s in sides]
        return [(starts.tolist(), kernel) for starts, kernel in found]

    titles = [row.split(' | ')[0][2:] for row in pooling_table([], list(NETWORKS)).splitlines()[2:]]
    assert titles == [
        network.title
        for network in NETWORKS.values()
        if network.ct_size and pooled(network, 'aligned') != pooled(network, 'stretched')
    ]
    assert NETWORKS['w7_c2'].title in titles and NETWORKS['w14_c2'].title not in titles


def test_cost_is_measured_of_each_network():
    costs = study.measure_cost(('w7', 'w14'), rounds=1)
    assert list(costs) == ['w7', 'w14']
    assert costs['w7']['parameters'] == costs['w14']['parameters']
    assert costs['w7']['multiply_adds'] < costs['w14']['multiply_adds']
    assert costs['w7']['ms'] > 0
    assert (
        sum(p.numel() for p in Segmentor(NETWORKS['w7'], 3).parameters())
        == (costs['w7']['parameters'])
    )
