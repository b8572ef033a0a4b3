"""``examples/redis_client.py`` with a real Redis, and its framing by itself."""

import os
import random
import shutil
import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import FrameError, FrameTooLarge, IncompleteRead, SocketClosed
from greensock.testing import wait_until
from program import ROOT, Launch

sys.path.append(str(ROOT / "examples"))

resp: Any = __import__("resp")
redis_client: Any = __import__("redis_client")

if shutil.which("redis-server") is None:
    if "CI" in os.environ:
        raise RuntimeError("redis-server has to be installed")
    needs_redis = pytest.mark.skip(reason="redis-server is not installed (Debian: redis-server)")
else:
    needs_redis = pytest.mark.usefixtures("no_leaks")


def is_listening(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a Redis of this test alone."""
    path = tmp_path / "redis"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: is_listening(path))
        yield f"unix:{path}"
        process.kill()


@pytest.fixture
def redis(server: str) -> Iterator[Any]:
    client = redis_client.Redis(server)
    yield client
    client.close()


# -- with Redis ------------------------------------------------------------------------------------------


@needs_redis
def test_commands(redis: Any) -> None:
    assert redis("PING") == "PONG"
    assert redis("GET", "nothing") is None
    assert redis("SET", "text", b"two words\r\nand \xff") == "OK"
    assert redis("GET", "text") == b"two words\r\nand \xff"
    assert redis("INCRBY", "number", -5) == -5
    assert redis("RPUSH", "list", "a", "b", "") == 3
    assert redis("LRANGE", "list", 0, -1) == [b"a", b"b", b""]
    assert redis("LRANGE", "nothing", 0, -1) == []
    assert redis("MULTI") == "OK"
    assert redis("LRANGE", "list", 0, 0) == redis("GET", "nothing") == "QUEUED"
    assert redis("EXEC") == [[b"a"], None]
    large = random.Random(5).randbytes(1_000_000)
    redis("SET", "large", large)
    assert redis("GET", "large") == large


@needs_redis
def test_an_error_is_raised_and_harms_nobody(redis: Any) -> None:
    with pytest.raises(resp.RedisError, match="ERR wrong number of arguments"):
        redis("GET")
    with pytest.raises(resp.RedisError, match="WRONGTYPE"):
        redis.many([("SET", "text", "a"), ("INCR", "number"), ("LPUSH", "text", "b"), ("INCR", "number")])
    assert redis("INCR", "number") == 3


@needs_redis
def test_a_hundred_greenlets_share_it(redis: Any) -> None:
    def work(number: int) -> list[int]:
        return [int(redis("INCR", f"key {number}")) for _ in range(50)]

    working = [gevent.spawn(work, number) for number in range(100)]
    gevent.joinall(working, raise_error=True)
    assert all(greenlet.value == list(range(1, 51)) for greenlet in working)
    assert redis("INFO", "clients").count(b"connected_clients:1\r\n") == 1


@needs_redis
def test_many(redis: Any) -> None:
    assert redis.many(("SET", number, number * number) for number in range(1000)) == ["OK"] * 1000
    assert redis.many(("GET", number) for number in range(1000)) == [b"%d" % (n * n) for n in range(1000)]


@needs_redis
def test_who_gives_up_leaves_no_reply_to_the_next(redis: Any) -> None:
    """The bug of redis-py that came up as users seeing each other's data (CVE-2023-28858)."""
    redis("SET", "mine", "mine")
    with pytest.raises(TimeoutError):
        redis("BLPOP", "empty", 0.2, timeout=0.05)
    waiting = gevent.spawn(redis, "BLPOP", "empty", 0.2)
    gevent.sleep(0.01)
    waiting.kill()
    assert redis("GET", "mine") == b"mine"


@needs_redis
def test_a_redis_that_goes_away_fails_all(server: str, redis: Any) -> None:
    def wait() -> None:
        with pytest.raises(SocketClosed):
            redis("BLPOP", "empty", 0)

    waiting = [gevent.spawn(wait) for _ in range(5)]
    wait_until(lambda: redis.exchange.pending == 5)
    other = redis_client.Redis(server)
    with pytest.raises(SocketClosed):
        other("SHUTDOWN", "NOSAVE")
    gevent.joinall(waiting, raise_error=True)
    with pytest.raises(SocketClosed):
        redis("PING")


@needs_redis
def test_the_program(server: str, example: Launch) -> None:
    line = example("redis_client", server, "100").line()
    assert line.startswith("100 greenlets, 10200 commands, ") and line.endswith("one connection")


# -- the framing alone -----------------------------------------------------------------------------------

words = st.binary(max_size=20)
lines = st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=20)
values = st.recursive(
    st.one_of(st.none(), st.integers(0, 2**28), words, lines), lambda inner: st.lists(inner, max_size=5), max_leaves=20
)


@given(st.lists(values, max_size=10), st.lists(st.integers(1, 20)))
def test_replies_are_read_whatever_the_cuts(replies: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(resp.Resp().encode, replies))
    decoder = resp.Replies().decoder()
    found: list[Any] = []
    position = 0
    for size in [*cuts, len(data)]:
        found += decoder.feed(data[position : position + size])
        position += size
    decoder.close()
    assert found == replies


@given(st.lists(words, min_size=1, max_size=10))
def test_commands_are_what_the_other_side_reads(command: list[bytes]) -> None:
    assert resp.Resp().decoder().feed(resp.Replies().encode(command)) == [command]


def test_errors_and_negative_numbers() -> None:
    (error, number) = resp.Replies().decoder().feed(b"-ERR no\r\n:-7\r\n")
    assert isinstance(error, resp.RedisError) and str(error) == "ERR no" and number == -7


@pytest.mark.parametrize("data", [b"?\r\n", b":x\r\n", b"$-2\r\n", b"*-2\r\n", b"$999999999999\r\n", b"\r\n"])
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(FrameError) as failure:
        resp.Replies().decoder().feed(b"+OK\r\n" + data)
    assert failure.value.messages == ["OK"]


def test_a_line_without_end() -> None:
    with pytest.raises(FrameTooLarge):
        resp.Replies().decoder().feed(b"+" + b"x" * 5000)


@pytest.mark.parametrize("data", [b"$5\r\nhal", b"*2\r\n:1\r\n", b"+O"])
def test_an_end_inside_a_reply(data: bytes) -> None:
    decoder = resp.Replies().decoder()
    decoder.feed(data)
    with pytest.raises(IncompleteRead):
        decoder.close()
