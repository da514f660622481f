"""Checkpoints as chance and malice leave them, made from a seed; and what loading makes of them.

    python -m tests.weights.mutants FOLDER FIRST COUNT

Prints a line for each: its seed, kind, and what came of it. A crash ends the process.
"""

import io
import json
import random
import resource
import signal
import struct
import sys
import time
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from fastervit_mm.errors import FileError
from fastervit_mm.weights.entrances import guarded_loading, load_weights

FORMATS = ('zip', 'legacy', 'safetensors')
SECONDS = 20  # an honest one takes milliseconds


def entries():
    """A small state dict of several types."""
    return OrderedDict(
        {
            'backbone.a.weight': torch.arange(64.0).reshape(8, 8),
            'backbone.a.bias': torch.ones(8),
            'norm.num_batches_tracked': torch.tensor(3),
            'head.half': torch.ones(5, dtype=torch.float16),
        }
    )


def written(content, form):
    """The bytes of a file that holds ``content``."""
    if form == 'safetensors':
        from safetensors.torch import save

        return save(dict(entries()), metadata={'format': 'pt', 'classes': '["cat", "dog"]'})
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=form == 'zip')
    return buffer.getvalue()


def whole():
    """What a run's checkpoint holds."""
    meta = dict(epoch=3, dataset_meta=dict(classes=('cat', 'dog')), seed=np.float64(1))
    optimizer = dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)])
    return dict(state_dict=entries(), meta=meta, optimizer=optimizer, message_hub=np.arange(4))


def flip(data, rng):
    """Bits of one to eight bytes."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_early(data, rng):
    """Bytes of the header, or of the pickle."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(min(600, len(data)))] = rng.randrange(256)
    return bytes(data)


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def insert(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100, 5000))) + data[at:]


def swap(data, rng):
    """A piece of it in another place."""
    a, b = sorted(rng.sample(range(len(data)), 2))
    return data[:a] + data[b:] + data[a:b]


def records_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(records, kind=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', kind) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def repacked(rng):
    """An archive with right checksums: a changed pickle, a missing or other record, a bomb."""
    records = records_of(written(whole(), 'zip'))
    name, kind = rng.choice(sorted(records)), zipfile.ZIP_STORED
    change = rng.choice(('pickle', 'pickle', 'missing', 'other', 'empty', 'bomb', 'compressed'))
    if change == 'pickle':
        pickled = next(n for n in records if n.endswith('data.pkl'))
        records[pickled] = rng.choice((flip, cut, insert, swap))(records[pickled], rng)
    elif change == 'missing':
        del records[name]
    elif change in ('other', 'empty'):
        records[name] = rng.randbytes(50) if change == 'other' else b''
    else:
        kind = zipfile.ZIP_DEFLATED
        records[name] = bytes(2**27) if change == 'bomb' else records[name]
    return archive_of(records, kind)


class Call:
    """Pickles as a call."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def laughs(depth=60):
    """Few objects that hold each other very often."""
    value = ['ha']
    for _ in range(depth):
        value = [value, value]
    return value


def loop():
    value = {}
    value['itself'] = [value]
    return value


def deep():
    value = []
    for _ in range(100):
        value = [value]
    return value


def strange(rng):
    """A whole file of other content than a checkpoint's."""
    forged = torch._utils._rebuild_tensor_v2
    store = torch.ones(4).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=store, dtype=torch.float32, _internal=True)
    none = OrderedDict()
    values = [
        torch.tensor([1.0, float('nan')]),
        torch.ones(1).expand(2**40),
        torch.ones(1).expand(2**20),
        Call(forged, (typed, 0, (2**40,), (1,), False, none)),
        Call(forged, (typed, 0, (4,), (-1,), False, none)),
        Call(forged, (typed, 2**60, (4,), (1,), False, none)),
        Call(forged, (typed, 0, (-3,), (1,), False, none)),
        Call(forged, (typed, 0, (2**31, 2**31, 2**31), (0, 0, 0), False, none)),
        torch.ones(3, 3).to_sparse(),
        torch.ones(2, device='meta'),
        torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(0, 5),
        'text',
        None,
        3,
        b'bytes',
        [torch.ones(1)],
        np.arange(3),
        laughs(),
        loop(),
        deep(),
    ]
    value = rng.choice(values)
    content = whole()
    place = rng.randrange(8)
    if place < 4:
        name = rng.choice((*entries(), 'more', 3, None, ('a',)))
        content['state_dict'][name] = value
    elif place == 4:
        content[rng.choice(('state_dict', 'meta', 'model', 'more'))] = value
    elif place == 5:
        content['meta'][rng.choice(('dataset_meta', 'config', 'CLASSES', 'epoch'))] = value
    elif place == 6:
        content['meta']['dataset_meta']['classes'] = value
    else:
        content = value
    return written(content, rng.choice(('zip', 'legacy')))


def headed(rng):
    """A safetensors file whose header claims what is not there."""
    size = rng.choice((0, 4, 2**30, 10**10, 2**63))
    shape = rng.choice(([1], [size], [2**20, 2**20], [-1], ['x'], 3, [2**63]))
    header = dict(a=dict(dtype=rng.choice(('F32', 'F16', 'Q9', 3)), shape=shape))
    header['a']['data_offsets'] = rng.choice(([0, 4], [0, size], [size, 0], [4, 4], [-4, 0], None))
    header['__metadata__'] = rng.choice(({}, {'classes': '['}, {'classes': '3'}, {'classes': 3}))
    text = json.dumps(header).encode()
    claimed = rng.choice((len(text), len(text), len(text), size))
    return struct.pack('<Q', claimed % 2**64) + text + bytes(4)


def mutant(seed):
    """The bytes of a checkpoint, its kind and its suffix."""
    rng = random.Random(seed)
    made = rng.choice((repacked, strange, headed, None, None, None))
    if made is not None:
        return made(rng), made.__name__, '.safetensors' if made is headed else '.pth'
    form, change = rng.choice(FORMATS), rng.choice((flip, flip, flip_early, cut, insert, swap))
    data = change(written(whole(), form), rng)
    return data, f'{form} {change.__name__}', '.safetensors' if form == 'safetensors' else '.pth'


def same(weights):
    """Whether these are the entries that were written."""
    return set(weights) == set(entries()) and all(
        isinstance(weights[name], torch.Tensor)
        and not weights[name].is_meta
        and torch.equal(weights[name], value)
        for name, value in entries().items()
    )


def late(*_):
    raise TimeoutError('hung')


def main():
    folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter('ignore')
    signal.signal(signal.SIGALRM, late)
    with guarded_loading():
        for i in range(-len(FORMATS), count):
            # first a whole one of each format
            form = FORMATS[i] if i < 0 else ''
            data, kind, suffix = (
                (written(whole(), form), form, f'.{form}') if i < 0 else mutant(first + i)
            )
            path = folder / f'{first}{suffix}'
            path.write_bytes(data)
            start = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            signal.alarm(SECONDS)
            try:
                found = load_weights(str(path), 'cpu')
                weights = found.get('state_dict', found)
                came = 'loaded ' + ('the same' if same(weights) else f'{len(weights)} others')
            except FileError as error:
                came = f'refused {error}'
            except BaseException as error:
                came = f'FAILED {type(error).__name__}: {error}'
            signal.alarm(0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
            seconds = time.perf_counter() - start
            print(json.dumps([first + i, kind, came, grown, round(seconds, 2)]), flush=True)


if __name__ == '__main__':
    main()
