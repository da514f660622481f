"""What a failing image, Ctrl-C, a kill and a full disk cost: that image, never what was done before."""

import errno
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from fastervit_mm.errors import ArgumentError, FileError, exit_on_user_error
from fastervit_mm.prediction import Interrupted, expand, predict
from fastervit_mm.prediction import output as output_module
from fastervit_mm.prediction.output import lines_of
from fastervit_mm.prediction.predictor import check_device, check_images
from tests.prediction.test_predict import Told, label_sample, objects

FOUND = objects([[0, 0, 2, 2]], [0.9], [0])
NOTHING = objects([], [], [])


class Fails(Told):
    """Fails on images of some widths.

    Args:
        errors: width -> what is raised.
    """

    def __init__(self, errors, sample=FOUND, segments=False):
        super().__init__([], ('a',), segments)
        self.errors, self.sample = errors, sample

    def __call__(self, images):
        self.asked.append([image.shape[1] for image in images])
        for image in images:
            if image.shape[1] in self.errors:
                raise self.errors[image.shape[1]]
        return [self.sample] * len(images)


@pytest.fixture
def five(tmp_path):
    """Images of 10 to 14 px."""
    (tmp_path / 'in').mkdir()
    for i in range(5):
        Image.new('RGB', (10 + i, 8)).save(tmp_path / f'in/{i}.png')
    return expand([str(tmp_path / 'in')])


def list_in(out):
    return json.loads((out / 'predictions.json').read_text())


OUT_OF_MEMORY = torch.OutOfMemoryError('CUDA out of memory. Tried\nto allocate 9 GiB')


@pytest.mark.parametrize('error', [OUT_OF_MEMORY, RuntimeError(''), MemoryError(), KeyError('x')])
def test_an_image_that_fails_is_left_out_alone(error, five, tmp_path):
    predictor = Fails({12: error})
    done, skipped = predict(predictor, five, tmp_path / 'out')
    assert predictor.asked == [[10, 11, 12, 13], [10], [11], [12], [13], [14]]
    assert done == 4 and [name for name, _ in skipped] == ['2.png']
    assert f'12x8 px ({type(error).__name__}: ' in skipped[0].reason
    assert '\n' not in skipped[0].reason
    found = list_in(tmp_path / 'out')
    assert [(f['image_id'], f['file_name']) for f in found] == [
        (1, '0.png'),
        (2, '1.png'),
        (3, '3.png'),
        (4, '4.png'),
    ]
    assert sorted(p.stem for p in (tmp_path / 'out/pictures').iterdir()) == ['0', '1', '3', '4']


def test_a_picture_that_cannot_be_drawn(five, tmp_path, monkeypatch):
    predictor = Fails({})

    def draw(image, sample, score):
        # a side of more than 65,500 px is none of a JPEG's
        return Image.new('RGB', (66000, 1)) if image.shape[1] == 11 else Image.fromarray(image)

    monkeypatch.setattr(predictor, 'draw', draw)
    done, skipped = predict(predictor, five, tmp_path / 'out')
    assert done == 4 and [name for name, _ in skipped] == ['1.png']
    assert len(list_in(tmp_path / 'out')) == 4
    assert not list((tmp_path / 'out').rglob('*.part'))


def test_all_fail(five, tmp_path):
    done, skipped = predict(Fails(dict.fromkeys(range(20), ValueError('no'))), five, tmp_path / 'o')
    assert done == 0 and len(skipped) == 5 and list_in(tmp_path / 'o') == []


@pytest.mark.parametrize('segments', [False, True])
def test_ctrl_c_leaves_what_was_done(segments, five, tmp_path):
    sample = label_sample([[3]]) if segments else FOUND
    predictor = Fails({13: KeyboardInterrupt()}, sample, segments)
    with pytest.raises(Interrupted, match='^3 images done, 0 skipped; in .*out$'):
        predict(predictor, five, tmp_path / 'out', batch=1)
    names = ['0', '1', '2']
    assert sorted(p.stem for p in (tmp_path / 'out/pictures').iterdir()) == names
    if segments:
        assert sorted(p.stem for p in (tmp_path / 'out/labels').iterdir()) == names
    else:
        assert [f['file_name'] for f in list_in(tmp_path / 'out')] == [f'{n}.png' for n in names]
        assert not (tmp_path / 'out/predictions.jsonl').exists()


class Slow(Fails):
    """Comes to the fourth image, and stays there."""

    def __call__(self, images):
        if images[0].shape[1] == 13:
            self.mark.touch()
            time.sleep(60)
        return super().__call__(images)


@pytest.fixture
def stopped(five, tmp_path):
    """A function that ends a run at its fourth image by a signal; its exit status and its folder."""

    def stop(number):
        out, predictor = tmp_path / 'out', Slow({})
        predictor.mark = tmp_path / 'at the fourth'

        def work():
            # a shell starts what runs in the background deaf to Ctrl-C
            signal.signal(signal.SIGINT, signal.default_int_handler)
            exit_on_user_error(lambda: predict(predictor, five, out, batch=1))

        run = multiprocessing.get_context('fork').Process(target=work)
        run.start()
        while not predictor.mark.exists():
            assert run.is_alive()
            time.sleep(0.02)
        os.kill(run.pid, number)
        run.join()
        return run.exitcode, out

    return stop


def test_ctrl_c_is_one_line_and_130(stopped, capfd):
    status, out = stopped(signal.SIGINT)
    said = capfd.readouterr().err
    assert status == 130
    assert said.splitlines()[-1] == f'interrupted: 3 images done, 0 skipped; in {out}'
    assert 'Traceback' not in said and len(list_in(out)) == 3


def test_a_killed_run_leaves_whole_lines(stopped, five, capsys):
    """And the next run in that folder says so, and keeps them."""
    status, out = stopped(signal.SIGKILL)
    assert status == -signal.SIGKILL
    lines = (out / 'predictions.jsonl').read_text().splitlines(keepends=True)
    assert [json.loads(line)[0]['file_name'] for line in lines] == ['0.png', '1.png', '2.png']
    assert all(line.endswith('\n') for line in lines) and lines_of(out / 'predictions.jsonl') == 3
    assert not (out / 'predictions.json').exists()
    assert predict(Fails({}), five, out).done == 5
    assert f'killed had found on 3 images: {out}/predictions_1.jsonl' in capsys.readouterr().out
    assert (out / 'predictions_1.jsonl').read_text() == ''.join(lines)
    assert len(list_in(out)) == 5 and not (out / 'predictions.jsonl').exists()


def test_the_list_of_an_earlier_run_goes_with_its_pictures(five, tmp_path):
    predict(Fails({}), five, tmp_path / 'out')
    with pytest.raises(Interrupted):
        predict(Fails({10: KeyboardInterrupt()}), five, tmp_path / 'out')
    assert list_in(tmp_path / 'out') == []


def test_images_without_objects(five, tmp_path):
    predict(Fails({}, NOTHING), five, tmp_path / 'out')
    assert list_in(tmp_path / 'out') == []


def full(*given, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_ends_the_run(five, tmp_path, monkeypatch):
    predictor, out = Fails({}), tmp_path / 'out'
    save = output_module.save_whole

    def save_three(image, path, **options):
        (full if path.stem == '3' else save)(image, path, **options)

    monkeypatch.setattr(output_module, 'save_whole', save_three)
    with pytest.raises(FileError, match=r'out cannot be written \(No space left on device\); make'):
        predict(predictor, five, out, batch=1)
    assert len(list_in(out)) == 3 and predictor.asked == [[10], [11], [12], [13]]


def test_a_disk_too_full_for_the_list(five, tmp_path, monkeypatch):
    monkeypatch.setattr(output_module, '_join', full)
    with pytest.raises(FileError, match=r'predictions.json cannot be .*are in .*predictions.jsonl'):
        predict(Fails({}), five, tmp_path / 'out')
    assert lines_of(tmp_path / 'out/predictions.jsonl') == 5
    assert not list((tmp_path / 'out').rglob('*.part'))


def test_a_torn_line_is_none_of_the_list(tmp_path):
    lines = tmp_path / 'predictions.jsonl'
    lines.write_text('[{"a": 1}, {"b": "],["}]\n[]\n[{"c": 2}]\n[{"d"')
    output_module._join(lines, tmp_path / 'list')
    assert json.loads((tmp_path / 'list').read_text()) == [{'a': 1}, {'b': '],['}, {'c': 2}]
    assert lines_of(lines) == 3


@pytest.mark.parametrize('place', ['out', 'out/pictures', 'out/predictions.json/x'])
def test_files_where_folders_should_be_and_the_reverse(place, five, tmp_path):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    with pytest.raises(FileError, match='out cannot be written'):
        predict(Fails({}), five, tmp_path / 'out')


@pytest.mark.parametrize(
    'image, came',
    [
        (np.zeros((4, 4)), r'of shape \(4, 4\)'),
        (np.zeros((4, 4, 4)), r'of shape \(4, 4, 4\)'),
        (np.zeros((0, 4, 3)), r'of shape \(0, 4, 3\)'),
        (Image.new('RGB', (2, 2)), 'Image'),
        ('a.jpg', 'str'),
    ],
)
def test_images_are_arrays_of_colour(image, came):
    check_images([np.zeros((4, 4, 3), np.uint8)])
    with pytest.raises(ArgumentError, match=rf'images\[1\] is {came}; it must be an array'):
        check_images([np.zeros((4, 4, 3), np.uint8), image])


def test_devices():
    check_device('cpu')
    for name in ('nonsense', 'cuda:99', ''):
        with pytest.raises(ArgumentError, match=f"device '{name}' cannot be used .*auto, cpu"):
            check_device(name)
