"""The service to copy, as it is served, asked by the program that is made for it, and looked at by systemd."""

import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import gevent.socket
import pytest

from greensock.serve.config import Config
from greensock.serve.settings import SETTINGS
from program import ROOT, Program

HERE = ROOT / "examples/service"
UNITS = sorted((HERE / "systemd").iterdir())


@pytest.fixture
def service(no_leaks: None) -> Program:
    """It serves, on free ports."""
    stats = ("--stats", "127.0.0.1:0")
    return Program("-m", "greensock", "serve", "--bind", "127.0.0.1:0", *stats, cwd=HERE)


def ask(address: tuple[str, int], line: bytes) -> bytes:
    with gevent.socket.create_connection(address, 10) as peer:
        peer.sendall(line)
        answer = b""
        while part := peer.recv(1000):
            answer += part
    return answer


def test_it_answers_with_records_and_counts(service: Program) -> None:
    try:
        address = service.address()
        assert ask(address, b"example.org\r\n") == (HERE / "records/example.org.txt").read_bytes()
        assert ask(address, b" Example.ORG \n") == (HERE / "records/example.org.txt").read_bytes()
        assert ask(address, b"?\r\n") == b"       2 example.org\r\n"
        for nothing in (b"example.com", b"..", b"../whois", b"/etc/passwd", b"records/example.org", b"", b"\xff.org"):
            assert ask(address, nothing + b"\r\n") == b"No match.\r\n"
        assert ask(address, b"x" * 300) == b"That is too long.\r\n"
        assert service.finish(signal.SIGTERM)[0] == 0
    finally:
        service.kill()


@pytest.mark.skipif(shutil.which("whois") is None, reason="whois is not installed")
def test_the_program_for_it_understands_it(service: Program) -> None:
    try:
        host, port = service.address()
        asking = ["whois", "-h", host, "-p", str(port), "example.net"]
        done = subprocess.run(asking, capture_output=True, text=True, timeout=20)
        assert "organisation: Internet Assigned Numbers Authority" in done.stdout
        assert service.finish(signal.SIGTERM)[0] == 0
    finally:
        service.kill()


def test_its_file_is_read_wherever_it_is_started() -> None:
    config = Config.read({}, {}, str(HERE / "greensock.toml"))
    assert config["target"] == f"{HERE}/whois.py:Whois"
    assert config["framing"] == "lines:max_size=256"


def test_what_it_says_in_the_environment_are_settings() -> None:
    texts = [path.read_text() for path in HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    named = set(re.findall(r"\bGREENSOCK_([A-Z_]+)\b", "\n".join(texts)))
    assert named
    assert {name.lower() for name in named} <= set(SETTINGS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_has_nothing_to_say_against_its_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = unit.read_text()
        (tmp_path / unit.name).write_text(text.replace("/opt/whois/.venv/bin/greensock", "/bin/true"))
    names = [tmp_path / name for name in ("whois.socket", "whois.service", "whois@1.service")]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_ends_it_gives_it_the_time_that_it_needs() -> None:
    config = Config.read({}, {}, str(HERE / "greensock.toml"))
    needed = config["drain_delay"] + config["drain_timeout"]
    for unit in UNITS:
        if unit.suffix == ".service":
            assert float(re.findall(r"^TimeoutStopSec=(\d+)$", unit.read_text(), re.MULTILINE)[0]) > needed + 1
    text = (HERE / "kubernetes.yaml").read_text()
    said = {name.lower(): value for name, value in re.findall(r'GREENSOCK_(DRAIN_\w+), value: "(\d+)"', text)}
    grace = float(re.findall(r"terminationGracePeriodSeconds: (\d+)", text)[0])
    config = Config.read({}, {f"GREENSOCK_{name.upper()}": value for name, value in said.items()})
    assert grace > config["drain_delay"] + config["drain_timeout"] + 1


def test_probes_ask_for_what_there_is(tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    service = Program("-m", "greensock", "serve", "--bind", "127.0.0.1:0", "--stats", f"unix:{stats}", cwd=HERE)
    try:
        service.address()
        probed = set(re.findall(r"path: (/\w+)", (HERE / "kubernetes.yaml").read_text()))
        probed |= set(re.findall(r"127\.0\.0\.1:9464(/\w+)", (HERE / "Dockerfile").read_text()))
        assert probed == {"/ready", "/stats"}
        for path in probed:
            with gevent.socket.socket(socket.AF_UNIX) as peer:
                peer.connect(str(stats))
                peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                answer = b""
                while part := peer.recv(65536):
                    answer += part
            assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert service.finish(signal.SIGTERM)[0] == 0
    finally:
        service.kill()
