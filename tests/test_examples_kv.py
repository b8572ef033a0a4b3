"""``examples/kv.py`` with the programs that it is made for, and its framing by itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent.subprocess
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import FrameError, FrameTooLarge, IncompleteRead
from greensock.testing import Peer, wait_until
from program import ROOT, Launch

sys.path.append(str(ROOT / "examples"))

resp: Any = __import__("resp")

if shutil.which("redis-cli") is None or shutil.which("redis-benchmark") is None:
    if "CI" in os.environ:
        raise RuntimeError("redis-cli and redis-benchmark have to be installed")
    needs_redis = pytest.mark.skip(reason="redis-cli and redis-benchmark are not installed (Debian: redis-tools)")
else:
    needs_redis = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def port(example: Launch) -> str:
    return str(example("kv", "127.0.0.1:0").address()[1])


def cli(port: str, *words: str) -> str:
    done = subprocess.run(["redis-cli", "-p", port, *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


@needs_redis
def test_redis_cli(port: str) -> None:
    assert cli(port, "ping") == "PONG"
    assert cli(port, "get", "a") == ""
    assert cli(port, "set", "a", "5") == "OK"
    assert cli(port, "incr", "a") == "6"
    assert cli(port, "get", "a") == "6"
    assert cli(port, "incr", "new") == "1"
    assert cli(port, "del", "a", "a", "b") == "1"
    assert cli(port, "get", "a") == ""
    assert cli(port, "set", "text", "two words\nand a line") == "OK"
    assert cli(port, "get", "text") == "two words\nand a line"


@needs_redis
def test_what_expires_is_gone(port: str) -> None:
    assert cli(port, "expire", "a", "1") == "0"
    cli(port, "set", "a", "1", "ex", "100")
    assert cli(port, "get", "a") == "1"
    assert cli(port, "expire", "a", "0") == "1"
    assert cli(port, "get", "a") == ""
    cli(port, "set", "b", "1", "ex", "0")
    assert cli(port, "get", "b") == ""


@needs_redis
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nosuch"], "unknown command"),
        (["get"], "wrong number of arguments"),
        (["set", "a", "1", "px", "5"], "syntax error"),
        (["set", "a", "1", "ex", "soon"], "invalid literal"),
    ],
)
def test_a_mistake_is_answered(words: list[str], complaint: str, port: str) -> None:
    assert complaint in cli(port, *words)
    assert cli(port, "ping") == "PONG"


@needs_redis
def test_what_is_no_number_is_not_incremented(port: str) -> None:
    cli(port, "set", "a", "x")
    assert cli(port, "incr", "a").startswith("ERR")
    assert cli(port, "get", "a") == "x"


@needs_redis
def test_subscribers_get_what_is_published(port: str) -> None:
    with gevent.subprocess.Popen(["redis-cli", "-p", port, "subscribe", "news"], stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        try:
            assert reader.stdout.readline() == b"subscribe\n"
            assert [reader.stdout.readline() for _ in range(2)] == [b"news\n", b"1\n"]
            assert cli(port, "publish", "news", "hello") == "1"
            assert [reader.stdout.readline() for _ in range(3)] == [b"message\n", b"news\n", b"hello\n"]
            assert cli(port, "publish", "other", "hello") == "0"
        finally:
            reader.terminate()
    wait_until(lambda: cli(port, "publish", "news", "hello") == "0")


@needs_redis
def test_redis_benchmark(port: str, tmp_path: Path) -> None:
    command = ["redis-benchmark", "-p", port, "-t", "ping_mbulk,set,get,incr", "-n", "20000", "-P", "16", "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)
    assert [line.split(",")[0] for line in done.stdout.splitlines()[1:]] == ['"PING_MBULK"', '"SET"', '"GET"', '"INCR"']
    assert "rror" not in done.stdout + done.stderr.replace("Could not fetch server CONFIG", "")
    assert cli(port, "get", "counter:__rand_int__") == "20000"


def test_what_is_no_resp_ends_that_connection_only(port: str) -> None:
    with Peer(("127.0.0.1", int(port))) as bad, Peer(("127.0.0.1", int(port))) as good:
        bad.send(b"*1\r\n$4\r\nPING\r\nGET / HTTP/1.1\r\n\r\n")
        assert bad.read_to_end() == b"+PONG\r\n"
        good.send(b"*1\r\n$4\r\nPING\r\n")
        assert good.read_exactly(7) == b"+PONG\r\n"


# -- the framing -----------------------------------------------------------------------------------------

COMMANDS = st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), max_size=5)


def on_the_wire(commands: list[list[bytes]]) -> bytes:
    return b"".join(resp.Resp().encode(command) for command in commands)


@given(COMMANDS, st.lists(st.integers(1, 200)))
def test_any_cut_of_the_bytes_gives_the_same_commands(commands: list[list[bytes]], cuts: list[int]) -> None:
    data = on_the_wire(commands)
    decoder = resp.Resp().decoder()
    found = []
    for size in [*cuts, len(data)]:
        found += decoder.feed(data[:size])
        data = data[size:]
    decoder.close()
    assert found == commands


def test_a_large_word_in_small_pieces_is_looked_at_once() -> None:
    decoder = resp.Resp().decoder()
    assert decoder.feed(b"*1\r\n$4000000\r\n") == []
    for _ in range(40_000):
        assert decoder.feed(b"x" * 100) == []  # each look would copy what has come
    assert decoder.feed(b"\r\n") == [[b"x" * 4_000_000]]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PING\r\n", FrameError),
        (b"*1\r\n*1\r\n", FrameError),
        (b"*-1\r\n", FrameError),
        (b"*x\r\n", FrameError),
        (b"*12345678901234567890", FrameError),
        (b"*1025\r\n", FrameTooLarge),
        (b"*1\r\n$16777217\r\n", FrameTooLarge),
    ],
)
def test_what_is_no_command_is_an_error_after_the_commands_before_it(data: bytes, kind: type[FrameError]) -> None:
    with pytest.raises(kind) as caught:
        resp.Resp().decoder().feed(on_the_wire([[b"a"], [b"b"]]) + data)
    assert caught.value.messages == [[b"a"], [b"b"]]
    decoder = resp.Resp().decoder()
    with pytest.raises(FrameError):
        for index in range(len(data)):
            decoder.feed(data[index : index + 1])


@pytest.mark.parametrize("data", [b"*", b"*1\r\n", b"*1\r\n$5\r\nab", b"*2\r\n$0\r\n\r\n"])
def test_the_end_inside_a_command_is_an_incomplete_read(data: bytes) -> None:
    decoder = resp.Resp().decoder()
    assert decoder.feed(data) == []
    with pytest.raises(IncompleteRead):
        decoder.close()
