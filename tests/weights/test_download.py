"""Downloads: whole or not there, resumed, checked, and no two URLs in one file."""

import hashlib
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.variants import WEIGHTS_URL
from fastervit_mm.weights.download import _StayOnHttps, cache_path, fetch

CONTENT = bytes(range(256)) * 40


class Server(BaseHTTPRequestHandler):
    """Serves `CONTENT`; breaks off after ``breaks_after`` bytes, as often as it says."""

    asked: ClassVar[list] = []
    breaks_after: ClassVar[list] = []
    ranges = True
    part: ClassVar[dict] = {}  # what it sends of a part, where that is not what was asked for

    def do_GET(self):
        self.asked.append((self.path, self.headers.get('Range')))
        start = 0
        if self.ranges and self.headers.get('Range'):
            start = int(self.headers['Range'].removeprefix('bytes=').rstrip('-'))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        changed = self.part if start or 'always' in self.part else {}
        content = CONTENT[changed.get('start', start) :][: changed.get('most')]
        first = changed.get('stated', changed.get('start', start))
        sent = f'bytes {first}-{first + len(content) - 1}/{len(CONTENT)}'
        self.send_response(206 if start or changed else 200)
        if start or changed:
            self.send_header('Content-Range', changed.get('sent', sent))
        self.send_header('Content-Length', str(len(content)))
        self.send_header('ETag', changed.get('etag', '"one"'))
        self.end_headers()
        end = self.breaks_after.pop(0) if self.breaks_after else len(content)
        self.wfile.write(content[:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def url(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Server, 'asked', [])
    monkeypatch.setattr(Server, 'breaks_after', [])
    monkeypatch.setattr(Server, 'ranges', True)
    monkeypatch.setattr(Server, 'part', {})
    server = HTTPServer(('127.0.0.1', 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def test_a_file_is_downloaded_once(url):
    path = fetch(f'{url}/a/weights.pth')
    assert path.read_bytes() == CONTENT and path.name == 'weights.pth'
    assert fetch(f'{url}/a/weights.pth') == path and len(Server.asked) == 1
    assert {p.name for p in path.parent.iterdir()} <= {'weights.pth', 'weights.pth.lock'}


def test_two_urls_never_share_a_file(url):
    one, other = fetch(f'{url}/a/w.pth'), fetch(f'{url}/b/w.pth')
    third = fetch(f'{url}/b/w.pth?revision=2')
    assert len({one, other, third}) == 3 and len(Server.asked) == 3


def test_the_published_weights_keep_their_names(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    file = 'fastervit_0_224_1k.pth.tar'
    assert cache_path(WEIGHTS_URL + file) == tmp_path / 'hub/checkpoints' / file
    assert cache_path('https://elsewhere.org/' + file).parent != tmp_path / 'hub/checkpoints'


def test_a_download_that_breaks_off_is_no_file_and_goes_on_later(url):
    Server.breaks_after[:] = [1000, 2000]
    for have in (1000, 3000):
        with pytest.raises(FileError, match=f'cannot download .*{have}') as caught:
            fetch(f'{url}/w.pth')
        assert '\n' not in str(caught.value)
        path = cache_path(f'{url}/w.pth')
        assert not path.exists()
        assert path.with_name('w.pth.part').stat().st_size == have
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT
    assert [r for _, r in Server.asked] == [None, 'bytes=1000-', 'bytes=3000-']


def test_a_server_that_cannot_go_on_starts_again(url):
    Server.breaks_after[:] = [1000]
    with pytest.raises(FileError):
        fetch(f'{url}/w.pth')
    Server.ranges = False
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT


@pytest.mark.parametrize(
    'part',
    [
        dict(start=500),
        dict(start=500, stated=2000),
        dict(etag='"two"'),
        dict(etag='W/"one"'),
        dict(etag=''),
        dict(sent='bytes 1000-10239/*'),
        dict(sent=''),
    ],
)
def test_a_part_that_was_not_asked_for_is_not_taken(part, url):
    """The file is downloaded once more, whole."""
    Server.breaks_after[:] = [1000]
    with pytest.raises(FileError):
        fetch(f'{url}/w.pth')
    Server.part = part
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT
    assert [asked for _, asked in Server.asked] == [None, 'bytes=1000-', None]


def test_a_part_of_the_rest_is_not_the_rest(url):
    """Content-Length is that of the part; what is lacking comes with the next tries."""
    Server.breaks_after[:] = [1000]
    Server.part = dict(most=5000)
    for have in (1000, 6000):
        with pytest.raises(FileError, match=f'{have} of {len(CONTENT)} bytes came'):
            fetch(f'{url}/w.pth')
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT


def test_a_server_that_sends_parts_only_is_one_line(url):
    Server.part = dict(always=True, most=5000)
    with pytest.raises(FileError, match='a part of it where all was asked for') as caught:
        fetch(f'{url}/w.pth')
    assert '\n' not in str(caught.value) and not cache_path(f'{url}/w.pth').exists()


def test_a_part_that_is_too_long_is_thrown_away(url):
    path = cache_path(f'{url}/w.pth')
    path.parent.mkdir(parents=True)
    path.with_name('w.pth.part').write_bytes(CONTENT + b'of another file')
    path.with_name('w.pth.part.version').write_text('"one"')
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT


def test_the_hash_in_a_name_is_checked(url):
    right = hashlib.sha256(CONTENT).hexdigest()[:8]
    assert fetch(f'{url}/mine-{right}.safetensors').read_bytes() == CONTENT
    with pytest.raises(FileError, match=f'has the hash {right}, its name says 0000000a'):
        fetch(f'{url}/mine-0000000a.safetensors')
    folder = cache_path(f'{url}/mine-0000000a.safetensors').parent
    assert not [p for p in folder.iterdir() if p.suffix != '.lock']
    assert fetch(f'{url}/mine-20240101.safetensors').read_bytes() == CONTENT  # a date


def test_a_part_of_an_unknown_version_is_thrown_away(url):
    path = cache_path(f'{url}/w.pth')
    path.parent.mkdir(parents=True)
    path.with_name('w.pth.part').write_bytes(b'of an older file')
    assert fetch(f'{url}/w.pth').read_bytes() == CONTENT
    assert Server.asked == [('/w.pth', None)]


def test_two_jobs_at_once_download_it_once(url):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(f'{url}/w.pth'))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and found[0].read_bytes() == CONTENT and len(Server.asked) == 1


def test_a_server_that_leads_away_from_https_is_not_followed():
    handler = _StayOnHttps()
    request = urllib.request.Request('https://example.org/a.pth')
    with pytest.raises(OSError, match='leads to http://example.org/a.pth, which is not https'):
        handler.redirect_request(request, None, 302, '', {}, 'http://example.org/a.pth')
    assert handler.redirect_request(request, None, 302, '', {}, 'https://x.org/a.pth') is not None


@pytest.mark.parametrize('there', ['localhost', '127.0.0.1', '[::1]'])
def test_only_a_server_of_this_machine_leads_to_this_machine(there):
    handler, onwards = _StayOnHttps(), f'http://{there}:8000/b.pth'
    asked = urllib.request.Request('http://localhost:9000/a.pth')
    assert handler.redirect_request(asked, None, 302, '', {}, onwards).full_url == onwards
    away = handler.redirect_request(asked, None, 302, '', {}, 'https://example.org/a.pth')
    for request in (away, urllib.request.Request('https://example.org/a.pth')):
        with pytest.raises(OSError, match=r'leads to http://.*/b\.pth, which is not https'):
            handler.redirect_request(request, None, 302, '', {}, onwards)


@pytest.mark.parametrize('url', ['https://[bad/x.pth', 'http://[::1/x.pth'])
def test_what_is_no_url(url):
    with pytest.raises(
        ArgumentError, match=f'^{re.escape(url)} is no URL .*; give one, or a path$'
    ):
        fetch(url)


@pytest.mark.parametrize('url', ['http://example.org/w.pth', 'ftp://example.org/w.pth'])
def test_only_https_leaves_the_machine(url):
    with pytest.raises(ArgumentError, match=f'^{url} is not https'):
        fetch(url)


def test_paths_are_paths(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert str(fetch('a/b.pth')) == 'a/b.pth'
    assert fetch(f'file://{tmp_path}/b.pth') == tmp_path / 'b.pth'
    assert fetch('~/b.pth') == tmp_path / 'b.pth'
