"""What the inputs of tools/predict.py name: files, folders, globs, videos, cameras; their frames."""

import os
import zlib
from itertools import islice
from struct import pack

import cv2
import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.files import IMAGE_SUFFIXES
from fastervit_mm.errors import FileError
from fastervit_mm.prediction import Source, batches, expand, frames_of, is_camera
from fastervit_mm.prediction.sources import UNREADABLE, read_image

RED = (255, 0, 0)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_camera_is_a_number_that_no_file_is_called(here):
    assert is_camera('0') and is_camera('12')
    assert not any(map(is_camera, ('-1', '1.5', 'a', '0.jpg', '')))
    touch(here, '0', '12/a.jpg')
    assert not is_camera('0') and not is_camera('12') and is_camera('1')


def test_a_folder_named_like_a_camera_is_a_folder(here):
    touch(here, '2023/a.jpg')
    assert expand(['2023']) == [Source('2023/a.jpg', 'a.jpg', 'a')]


def test_cameras_come_once_and_last(here):
    touch(here, 'a.jpg')
    assert expand(['7', 'a.jpg', '3', '7']) == [
        Source('a.jpg', 'a.jpg', 'a'),
        Source('7', 'camera7', 'camera7'),
        Source('3', 'camera3', 'camera3'),
    ]
    assert expand(['0']) == [Source('0', 'camera0', 'camera0')]


def test_a_folder_gives_its_images_in_order_and_nothing_else(here):
    touch(here, 'in/b.PNG', 'in/a.jpg', 'in/c/d.webp', 'in/notes.txt', 'in/clip.mp4')
    assert expand(['in']) == [
        Source('in/a.jpg', 'a.jpg', 'a'),
        Source('in/b.PNG', 'b.PNG', 'b'),
        Source('in/c/d.webp', 'c/d.webp', 'd'),
    ]


def test_a_file_that_is_named_is_taken_whatever_it_is(here):
    touch(here, 'notes.txt')
    assert expand(['notes.txt']) == [Source('notes.txt', 'notes.txt', 'notes')]


def test_globs_go_into_folders_in_order(here):
    touch(here, 'a/2.jpg', 'a/b/1.jpg', '0.jpg', '0.png')
    assert [s.path for s in expand(['**/*.jpg'])] == ['0.jpg', 'a/2.jpg', 'a/b/1.jpg']
    assert [s.path for s in expand(['*.???'])] == ['0.jpg', '0.png']


def test_what_several_inputs_name_is_there_once(here):
    touch(here, 'in/a.jpg', 'in/b.jpg')
    sources = expand(['in/b.jpg', 'in', './in/a.jpg', str(here / 'in/*.jpg')])
    assert [s.name for s in sources] == ['b', 'a']
    assert [s.file for s in sources] == ['b.jpg', 'a.jpg']


def test_files_are_stated_below_the_folder_that_all_inputs_share(here):
    touch(here, 'x/a/1.jpg', 'x/b/2.jpg', 'x/3.jpg')
    assert [s.file for s in expand(['x/a/1.jpg', 'x/b'])] == ['a/1.jpg', 'b/2.jpg']
    assert [s.file for s in expand(['x/a', 'x/3.jpg'])] == ['a/1.jpg', '3.jpg']
    assert [s.file for s in expand(['x/a/1.jpg'])] == ['1.jpg']
    assert [s.file for s in expand(['x/a'])] == ['1.jpg']
    touch(here, 'deep/er/1.jpg', 'deep/er/b/2.jpg')
    assert [s.file for s in expand(['deep'])] == ['er/1.jpg', 'er/b/2.jpg']


@pytest.mark.parametrize(
    'files, names',
    [
        (['x/1.jpg', 'y/2.png'], ['1', '2']),
        (['a/1.jpg', 'b/1.jpg', 'b/1.png', 'b/2.jpg'], ['a/1', 'b/1.jpg', 'b/1.png', '2']),
        (['1.jpg', '1.png', '1.png.jpg'], ['1.jpg', '1.png', '1.png.jpg']),
        (['clip.avi', 'clip.jpg'], ['clip', 'clip']),  # frames have numbers
        (['clip.avi', 'clip.mp4', 'b/clip.mp4'], ['clip.avi', 'clip.mp4', 'b/clip']),
        (['clip.avi', 'clip_000001.jpg'], ['clip', 'clip_000001.jpg']),
        (['scan_000001.jpg', 'scan_000002.jpg'], ['scan_000001', 'scan_000002']),
        (['a/1.jpg', 'b/1.jpg'], ['a/1', 'b/1']),
        (['a/1.jpg', 'b/1.jpg', 'a/1.png'], ['a/1.jpg', 'b/1', 'a/1.png']),
        (['camera7.avi'], ['camera7.avi']),  # camera 7 has frames too
        (['camera7.jpg'], ['camera7']),
        (['camera7_000001.jpg'], ['camera7_000001.jpg']),
        (['camera7_00001.jpg'], ['camera7_00001']),  # frames' numbers have six digits, or more
        (['camera7_1000000.jpg'], ['camera7_1000000.jpg']),
        (['camera7_000001x.jpg', 'xcamera7_000001.jpg'], ['camera7_000001x', 'xcamera7_000001']),
        (['CLIP.MOV', 'CLIP.jpg', 'CLIP_000009.jpg'], ['CLIP', 'CLIP', 'CLIP_000009.jpg']),
        *(
            ([f'c.{suffix}', 'c_000001.jpg'], ['c', 'c_000001.jpg'])
            for suffix in ('mp4', 'avi', 'mov', 'mkv', 'webm', 'm4v')
        ),
    ],
)
def test_names_are_short_and_clash_with_no_frame(files, names, here):
    touch(here, *files)
    sources = expand([*files, '7'])
    assert [s.name for s in sources] == [*names, 'camera7']
    assert [s.path for s in sources] == [*files, '7']
    shared = len({os.path.dirname(file) for file in files}) == 1
    stated = [os.path.basename(file) if shared else file for file in files]
    assert [s.file for s in sources] == [*stated, 'camera7']


@pytest.mark.parametrize(
    'name, message',
    [
        ('none.jpg', r'^none\.jpg names no image, folder, video or camera; '),
        ('*.jpg', r'^\*\.jpg names no image'),
        ('empty', r'^empty is a folder without images \(\.jpg, \.jpeg, \.png'),
    ],
)
def test_an_input_that_names_nothing_is_an_error(name, message, here):
    touch(here, 'empty/clip.mp4', 'a.png')
    with pytest.raises(FileError, match=message):
        expand(['a.png', '7', name])


def test_an_image_is_one_frame_in_opencvs_order(here):
    Image.new('RGB', (5, 3), RED).save('a.PNG')
    (frame,) = frames_of(Source('a.PNG', 'x/a.PNG', 'x'))
    assert (frame.name, frame.file, frame.number) == ('x', 'x/a.PNG', None)
    assert frame.pixels.shape == (3, 5, 3) and (frame.pixels == RED[::-1]).all()


def test_broken_files_and_other_kinds_are_frames_without_pixels(here):
    (here / 'broken.jpg').write_bytes(b'no image')
    (here / 'broken.MP4').write_bytes(b'no video')
    Image.new('RGB', (5, 3)).save(here / 'picture.dat', 'PNG')
    for name in ('broken.jpg', 'broken.MP4', 'picture.dat'):
        (frame,) = frames_of(Source(name, f'in/{name}', 'n'))
        assert frame == ('n', f'in/{name}', None, None, UNREADABLE)


def png_of(width, height):
    """A PNG that states a size, with few pixels in it."""

    def chunk(kind, content):
        return pack('>I', len(content)) + kind + content + pack('>I', zlib.crc32(kind + content))

    header = pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(99)))
        + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize('width, height', [(40000, 40000), (20000, 20000), (2**26 + 1, 1)])
def test_monstrous_images_are_told_by_their_header(width, height, here, monkeypatch):
    (here / 'a.png').write_bytes(png_of(width, height))
    before = Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(cv2, 'imread', None)
    pixels, fault = read_image('a.png')
    assert pixels is None and fault.startswith(f'{width}x{height} px are more than {2**26} px; ')
    assert '--max-pixels' in fault and before == Image.MAX_IMAGE_PIXELS


def test_the_limit_is_the_users(here):
    Image.new('RGB', (6, 4)).save('a.png')
    assert read_image('a.png', 24)[0].shape == (4, 6, 3)
    assert read_image('a.png', 23)[1].startswith('6x4 px are more than 23 px')
    (here / 'b.png').write_bytes(png_of(40000, 40000))
    assert read_image('b.png', 2**40) == (None, UNREADABLE)  # OpenCV's limit is 2**30


def test_large_frames_of_a_video(here, camera, monkeypatch):
    monkeypatch.setattr(Camera, 'count', 1)
    (frame,) = frames_of(Source('clip.mp4', 'clip.mp4', 'clip'), max_pixels=3)
    assert (frame.pixels, frame.number) == (None, 1) and frame.fault.startswith('2x2 px are more')


@pytest.mark.parametrize('kind', ['.hdr', '.pfm'])
def test_what_opencv_alone_reads_is_not_read(kind, here, monkeypatch):
    """Whatever it is called: nothing tells its size before its pixels are there."""
    assert cv2.imwrite(f'a{kind}', np.ones((30, 40, 3), np.float32))
    assert cv2.imread(f'a{kind}').shape == (30, 40, 3)
    os.rename(f'a{kind}', 'a.png')
    monkeypatch.setattr(cv2, 'imread', None)
    assert read_image('a.png', 9) == (None, UNREADABLE)


@pytest.mark.parametrize('suffix', IMAGE_SUFFIXES)
def test_every_kind_that_is_promised_is_read(suffix, here):
    for mode in ('RGB', 'L'):
        Image.new(mode, (6, 4)).save(f'a{suffix}')
        pixels, fault = read_image(f'a{suffix}')
        assert fault is None and pixels.shape == (4, 6, 3)


@pytest.mark.parametrize('options', [{}, dict(progressive=True)])
@pytest.mark.parametrize('share', [0.3, 0.98])
def test_half_a_jpeg_is_no_image(options, share, here):
    """OpenCV makes the rest grey."""
    Image.effect_noise((300, 200), 60).save('a.jpg', **options)
    content = (here / 'a.jpg').read_bytes()
    assert read_image('a.jpg')[0].shape == (200, 300, 3)
    (here / 'a.jpg').write_bytes(content[: int(len(content) * share)])
    pixels, fault = read_image('a.jpg')
    assert pixels is None and 'truncated' in fault and '\n' not in fault


def test_a_videos_frames_are_numbered_from_one(here):
    greys = (0, 100, 200)
    video = cv2.VideoWriter('clip.AVI', cv2.VideoWriter_fourcc(*'MJPG'), 5, (32, 16))
    for grey in greys:
        video.write(np.full((16, 32, 3), grey, np.uint8))
    video.release()
    frames = list(frames_of(Source('clip.AVI', 'in/clip.AVI', 'clip')))
    assert [f.name for f in frames] == ['clip_000001', 'clip_000002', 'clip_000003']
    assert [(f.file, f.number) for f in frames] == [('in/clip.AVI', i) for i in (1, 2, 3)]
    assert all(f.pixels.shape == (16, 32, 3) for f in frames)
    assert np.allclose([f.pixels.mean() for f in frames], greys, atol=3)


class Camera:
    """Stands for cv2.VideoCapture: frames of growing brightness, without end or ``count``."""

    opened: list
    count = None

    def __init__(self, source):
        self.source, self.shown = source, 0
        self.opened.append(self)

    def read(self):
        if self.shown == self.count:
            return False, None
        self.shown += 1
        return True, np.full((2, 2, 3), self.shown, np.uint8)

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setattr(Camera, 'opened', [], raising=False)
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    return Camera


def test_a_camera_is_opened_by_its_number(here, camera):
    frames = list(islice(frames_of(*expand(['7'])), 2))
    assert [(f.name, f.file, f.number) for f in frames] == [
        ('camera7_000001', 'camera7', 1),
        ('camera7_000002', 'camera7', 2),
    ]
    assert [f.pixels[0, 0, 0] for f in frames] == [1, 2]
    assert [c.source for c in camera.opened] == [7]


def test_a_video_is_opened_by_its_path_and_closed(here, camera, monkeypatch):
    monkeypatch.setattr(Camera, 'count', 2)
    touch(here, 'clip.mp4')
    assert len(list(frames_of(Source('clip.mp4', 'clip.mp4', 'clip')))) == 2
    assert [(c.source, c.released) for c in camera.opened] == [('clip.mp4', True)]


def test_batches_run_over_the_ends_of_sources(here, camera, monkeypatch):
    monkeypatch.setattr(Camera, 'count', 3)
    sources = [Source('clip.mp4', 'clip.mp4', 'clip'), Source('7', 'camera7', 'camera7')]
    names = [[f.name for f in batch] for batch in batches(sources, 4, None)]
    assert names == [
        ['clip_000001', 'clip_000002', 'clip_000003', 'camera7_000001'],
        ['camera7_000002', 'camera7_000003'],
    ]


def test_the_limit_ends_an_endless_camera(here, camera):
    sizes = [len(batch) for batch in batches(expand(['7']), 2, 5)]
    assert sizes == [2, 2, 1]
    assert camera.opened[0].shown == 5
