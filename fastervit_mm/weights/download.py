"""Files named by a URL: downloaded once and whole, to torch.hub's folder."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from filelock import FileLock
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from tqdm import tqdm

from ..errors import ArgumentError, FileError
from ..variants import WEIGHTS_URL

LICENCE_NOTE = (
    "NVIDIA's FasterViT weights are under their own non-commercial licence (NVIDIA "
    'Source Code License-NC), not under the Apache-2.0 licence of this package'
)
THIS_MACHINE = ('localhost', '127.0.0.1', '::1')
BLOCK = 1 << 20  # bytes read at a time


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits; read block by block."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def cache_path(url: str) -> Path:
    """Where the file of ``url`` is kept: no two URLs share one.

    The published weights keep their names, under which they may be put there by hand.

    Args:
        url: of a file.
    """
    name = Path(urlparse(url).path).name
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    if url == WEIGHTS_URL + name:
        return folder / name
    return folder / hashlib.sha256(url.encode()).hexdigest()[:16] / (name or 'file')


def fetch(checkpoint: str) -> Path:
    """Path of ``checkpoint``; a URL is downloaded once, to torch.hub's folder.

    Raises:
        ArgumentError: a URL that is none, or not https.
        FileError: the download failed; the message says where to put the file by hand.
    """
    if '://' not in checkpoint or checkpoint.startswith('file://'):
        return Path(checkpoint.removeprefix('file://')).expanduser()
    try:
        allowed = _is_allowed(checkpoint)
    except ValueError as error:
        raise ArgumentError(f'{checkpoint} is no URL ({error}); give one, or a path') from None
    if not allowed:
        raise ArgumentError(
            f'{checkpoint} is not https: what comes that way can be changed on its way; '
            'fetch the file by a way that you trust and give its path'
        )
    path = cache_path(checkpoint)
    if is_main_process() and not path.is_file():
        _download(checkpoint, path)
    barrier()
    if not path.is_file():  # another node, with a disk of its own
        _download(checkpoint, path)
    return path


def _download(url: str, path: Path) -> None:
    """Download to ``path``, which is there only when it is whole."""
    print_log(f'downloading {url} to {path}', logger='current')
    if url.startswith(WEIGHTS_URL):
        print_log(LICENCE_NOTE, logger='current')
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    try:
        with FileLock(path.with_name(f'{path.name}.lock')):  # two jobs, or the ranks of a node
            if path.is_file():
                return
            _download_part(url, part)
            part.replace(path)
    except (OSError, http.client.HTTPException) as error:  # urllib's errors among them
        raise FileError(
            f'cannot download {url} ({error}); fetch it elsewhere and put it at {path}, '
            'or give its path as init_cfg.checkpoint '
            '(--cfg-options model.backbone.init_cfg.checkpoint=PATH; in timm '
            "pretrained_cfg_overlay=dict(file='PATH'), --pretrained-path PATH), or "
            'model.backbone.init_cfg=None to start from random weights'
        ) from None


class _StayOnHttps(urllib.request.HTTPRedirectHandler):
    """A server may send elsewhere, but not to where what comes can be changed on its way.

    One elsewhere may not send to this machine either: the user has named no server here.
    """

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        may_stay = urlparse(req.full_url).scheme == 'http'  # on this machine, where it began
        if urlparse(newurl).scheme != 'https' and not (may_stay and _is_allowed(newurl)):
            raise OSError(f'it leads to {newurl}, which is not https')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_allowed(url: str) -> bool:
    address = urlparse(url)
    return address.scheme == 'https' or (
        address.scheme == 'http' and address.hostname in THIS_MACHINE
    )


def _download_part(url: str, part: Path) -> None:
    """Download to ``part``, from where an earlier download stopped; it is whole at the end.

    Raises:
        OSError: fewer bytes came than the server announced, others than were asked for, or another
            hash than the name says.
    """
    mark = part.with_name(f'{part.name}.version')  # what the server calls the file's content
    have = part.stat().st_size if part.is_file() and mark.is_file() else 0
    wanted = mark.read_text() if have else ''
    request = urllib.request.Request(url, headers={'User-Agent': 'fastervit_mm'})
    if have:
        request.add_header('Range', f'bytes={have}-')
        request.add_header('If-Range', wanted)  # else it sends the new file, whole
    try:
        response = urllib.request.build_opener(_StayOnHttps).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        if not have or error.code != 416:  # what is there is whole, or of another file
            raise
        part.unlink()
        return _download_part(url, part)
    resumed = response.status == 206
    if resumed and not _goes_on(response.headers, have, wanted):
        response.close()
        if not have:
            raise OSError('the server sends a part of it where all was asked for')
        part.unlink()
        return _download_part(url, part)  # once: nothing is there to go on from
    if not resumed:
        mark.unlink(missing_ok=True)
        version = _version(response.headers)
        if version and not version.startswith('W/'):
            mark.write_text(version)
    with response:
        total = _total(response.headers, resumed)
        with open(part, 'ab' if resumed else 'wb') as file:
            _copy(response, file, part.name, have * resumed, total)
    came = part.stat().st_size
    if total is not None and came > total:
        part.unlink()
        raise OSError(f'{came} bytes came of a file of {total}; the next try starts again')
    if total is not None and came < total:
        raise OSError(f'{came} of {total} bytes came; the next try goes on from there')
    mark.unlink(missing_ok=True)
    _check_hash(url, part)


def _version(headers: Any) -> str | None:
    """What a server calls the content that it sends."""
    return headers.get('ETag') or headers.get('Last-Modified')


def _range(headers: Any) -> tuple[int, int] | None:
    """The first byte of what is sent, and how many the whole file has; None: it is not said."""
    match = re.fullmatch(r'bytes (\d+)-\d+/(\d+)', headers.get('Content-Range') or '')
    return match and (int(match[1]), int(match[2]))


def _goes_on(headers: Any, have: int, wanted: str) -> bool:
    """Whether a part of a file is what is missing of the one that was begun.

    Args:
        headers: of the server's answer.
        have: bytes that are there.
        wanted: what the server called the content that they are of.
    """
    sent, version = _range(headers), _version(headers)
    # a date may be left out of a part, an ETag may not
    same = version == wanted or (version is None and not wanted.startswith('"'))
    return bool(have) and sent is not None and sent[0] == have and same


def _total(headers: Any, resumed: bool) -> int | None:
    """How many bytes the whole file has, where the server says so.

    Args:
        headers: of the server's answer.
        resumed: it sends a part, whose place was checked.
    """
    sent = _range(headers) if resumed else None
    announced = headers.get('Content-Length')
    if sent is not None:
        return sent[1]
    return None if announced is None else int(announced)


def _copy(response: Any, file: Any, name: str, start: int, total: int | None) -> None:
    with tqdm(
        desc=name, initial=start, total=total, unit='B', unit_scale=True, unit_divisor=1024
    ) as bar:
        while block := response.read(BLOCK):
            file.write(block)
            bar.update(len(block))


def _check_hash(url: str, part: Path) -> None:
    """Of a file whose name ends in the start of its SHA-256: PyTorch's, and published ones of ours."""
    address = urlparse(url)
    match = re.search(r'-([0-9a-f]{8,})\.(\w+)$', address.path)
    if (
        match is None
        or match[1].isdigit()
        or not (match[2] == 'safetensors' or address.hostname == 'download.pytorch.org')
    ):
        return
    found = sha256_of(part)
    if not found.startswith(match[1]):
        part.unlink()
        raise OSError(f'the file has the hash {found[: len(match[1])]}, its name says {match[1]}')
