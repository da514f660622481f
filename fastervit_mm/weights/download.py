"""Files named by a URL: downloaded once, to torch.hub's folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from ..errors import FileError
from ..variants import WEIGHTS_URL

LICENCE_NOTE = (
    "NVIDIA's FasterViT weights are under their own non-commercial licence (NVIDIA "
    'Source Code License-NC), not under the Apache-2.0 licence of this package'
)


def fetch(checkpoint: str) -> Path:
    """Path of ``checkpoint``; a URL is downloaded once, to torch.hub's folder.

    Raises:
        FileError: the download failed; the message says where to put the file by hand.
    """
    url = urlparse(checkpoint)
    if url.scheme not in ('http', 'https'):
        return Path(checkpoint.removeprefix('file://')).expanduser()
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(url.path).name
    if is_main_process() and not path.is_file():
        _download(checkpoint, path)
    barrier()
    if not path.is_file():  # another node, with a disk of its own
        _download(checkpoint, path)
    return path


def _download(url: str, path: Path) -> None:
    print_log(f'downloading {url} to {path}', logger='current')
    if url.startswith(WEIGHTS_URL):
        print_log(LICENCE_NOTE, logger='current')
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path))
    except OSError as error:  # urllib's errors among them
        raise FileError(
            f'cannot download {url} ({error}); fetch it elsewhere and put it at {path}, '
            'or give its path as init_cfg.checkpoint '
            '(--cfg-options model.backbone.init_cfg.checkpoint=PATH), or '
            'model.backbone.init_cfg=None to start from random weights'
        ) from None
