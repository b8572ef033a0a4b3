"""``examples/legacy_http.py`` with the programs that one asks a web server with."""

import re
import signal
import subprocess
from pathlib import Path

import pytest

from greensock.testing import Peer
from program import Launch, Program
from services import need

FILES = {"page.html": b"<p>hello", "large.bin": bytes(range(256)) * 20_000, "empty": b""}


@pytest.fixture
def serving(example: Launch, tmp_path: Path) -> tuple[Program, str]:
    """The program, and the URL of what it serves."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    program = example("legacy_http", "127.0.0.1:0", str(tmp_path))
    host, port = program.address()
    return program, f"http://{host}:{port}/"


def curl(*arguments: str) -> bytes:
    return subprocess.run(
        [need("curl", "curl"), "--silent", "--show-error", "--max-time", "20", *arguments],
        check=True,
        capture_output=True,
    ).stdout


def test_curl(serving: tuple[Program, str]) -> None:
    _, url = serving
    for name, content in FILES.items():
        assert curl(url + name) == content
    assert b'<a href="page.html">page.html</a>' in curl(url)
    head = curl("--head", url + "page.html").decode()
    assert head.startswith("HTTP/1.0 200 OK\r\n")
    assert "Content-type: text/html\r\n" in head and "Content-Length: 8\r\n" in head
    assert curl("--output", "/dev/null", "--write-out", "%{http_code}", url + "missing") == b"404"
    assert curl("--output", "/dev/null", "--write-out", "%{http_code}", "--data", "x", url + "page.html") == b"501"


def test_curl_with_many_at_once(serving: tuple[Program, str], tmp_path: Path) -> None:
    _, url = serving
    curl("--parallel", "--parallel-max", "30", "--output", str(tmp_path / "copy#1"), f"{url}large.bin?[1-60]")
    copies = list(tmp_path.glob("copy*"))
    assert len(copies) == 60
    assert all(copy.read_bytes() == FILES["large.bin"] for copy in copies)


def test_wrk(serving: tuple[Program, str]) -> None:
    _, url = serving
    command = [need("wrk", "wrk"), "--threads", "1", "--connections", "64", "--duration", "2s", url + "page.html"]
    report = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    served = re.search(r"(\d+) requests in", report)
    assert served and int(served[1]) > 100, report
    assert "Socket errors" not in report and "Non-2xx" not in report, report


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_finished(serving: tuple[Program, str], number: signal.Signals) -> None:
    program, url = serving
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    with Peer((host, int(port)), receive_buffer=4096) as peer:
        peer.send(b"GET /large.bin HTTP/1.0\r\n\r\n")
        head = peer.read_exactly(15)
        program.send(number)
        assert (head + peer.read_to_end()).endswith(FILES["large.bin"])
    status, output, errors = program.finish()
    assert (status, output) == (0, "")
    assert "GET /large.bin HTTP/1.0" in errors and "Traceback" not in errors
