"""The load client of ``loadtests/compare``: it counts right, keeps its schedule, and finds every kind of fault."""

import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest

import greensock
from connections import stream
from foreign import Foreign, Start
from greensock.testing import Peer, Serve, wait_until
from measure.client import build_load_client

AnySocket = greensock.Socket[Any]
Load = Callable[..., Foreign]

#: Both ways to send messages: one after the other, and on a schedule.
SCHEDULES = pytest.mark.parametrize("schedule", [(), ("--rate", 2000)], ids=["closed loop", "open loop"])


class Outcome(NamedTuple):
    status: int
    answer: dict[str, Any]

    def percentile(self, percent: float) -> float:
        """In seconds."""
        return float(dict(self.answer["percentiles"])[percent]) / 1e6


def outcome(load: Foreign) -> Outcome:
    status = load.finish()
    lines = load.output.splitlines()
    assert lines, load.said
    return Outcome(status, json.loads(lines[-1]))


class Echo:
    """An echo server that can do something else instead, when so many bytes have come.

    Args:
        at: how many those are.
        instead: is given the socket and what has just come; the rest is echoed as before.
    """

    def __init__(self, at: int = 0, instead: Callable[[AnySocket, bytes], object] | None = None) -> None:
        self.received = 0
        self.at = at
        self.instead = instead
        self.handlers = {"data": self.data}

    def data(self, socket: AnySocket, data: bytes) -> None:
        self.received += len(data)
        if self.instead is not None and self.received >= self.at:
            instead, self.instead = self.instead, None
            instead(socket, data)
        else:
            socket.write(data)


def flip_a_bit(socket: AnySocket, data: bytes) -> None:
    socket.write(data[:7] + bytes([data[7] ^ 1]) + data[8:])


def stall(socket: AnySocket, data: bytes) -> None:
    time.sleep(0.3)  # with all other connections, and all greenlets
    socket.write(data)


def hang_up(socket: AnySocket, data: bytes) -> None:
    socket.end()


@pytest.fixture(scope="session")
def program() -> Path:
    return build_load_client()


@pytest.fixture
def load(program: Path, foreign: Start) -> Load:
    """A function that starts the load client against the server on a port, with no time to warm up in."""

    def start(mode: str, port: int, *options: object) -> Foreign:
        return foreign(str(program), mode, "127.0.0.1", port, "--warmup", 0, *options)

    return start


# -- one message after the other, and messages on a schedule ---------------------------------------------


def test_correct_replies_are_counted(serve: Serve, load: Load) -> None:
    echo = Echo()
    status, answer = outcome(load("echo", serve(echo.handlers).port, "--connections", 4, "--seconds", 0.2))
    assert (status, answer["failures"], answer["error"]) == (0, 0, "")
    # Each connection has one message before the clock runs, and one whose reply comes when it has stopped.
    assert 0 < answer["messages"] <= echo.received // 64 - 4 <= answer["messages"] + 4
    percents, latencies = zip(*answer["percentiles"], strict=True)
    assert percents == (50, 75, 90, 95, 99, 99.9, 99.99, 100)
    assert latencies == tuple(sorted(latencies)) and latencies[0] > 0


def test_a_rate_is_kept(serve: Serve, load: Load) -> None:
    echo = Echo()
    options = ("--connections", 3, "--rate", 1000, "--seconds", 0.4)
    status, answer = outcome(load("echo", serve(echo.handlers).port, *options))
    assert (status, answer["failures"]) == (0, 0)
    assert answer["offered"] == pytest.approx(1000, abs=1 / 0.4)  # to the message
    assert echo.received // 64 - 3 == round(answer["offered"] * 0.4), "sent, beside one on each new connection"
    assert answer["messages"] <= echo.received // 64 - 3
    assert answer["late_us"] >= 0


def test_more_than_a_server_can_do_is_offered_all_the_same(serve: Serve, load: Load) -> None:
    def slowly(socket: AnySocket, data: bytes) -> None:
        time.sleep(0.005)
        socket.write(data)

    # Each of 100 connections has one message, for which the server needs 5 ms: half of them cannot be done in time.
    options = ("--connections", 100, "--rate", 400, "--seconds", 0.25)
    got = outcome(load("echo", serve({"data": slowly}).port, *options))
    assert (got.status, got.answer["offered"]) == (0, pytest.approx(400, abs=1 / 0.25))
    assert got.answer["messages"] <= got.answer["seconds"] / 0.005 + 1
    assert got.percentile(100) > 0.2, "100 messages take half a second, of which the schedule has half"


def test_latency_counts_from_the_schedule(serve: Serve, load: Load) -> None:
    port = serve(Echo(200 * 64, stall).handlers).port
    got = outcome(load("echo", port, "--connections", 1, "--rate", 1000, "--seconds", 1))
    assert (got.status, got.answer["failures"]) == (0, 0)
    # 300 of 1000 messages were due while the server stood still, the first of them for 0.3 s.
    assert got.percentile(100) > 0.29
    assert got.percentile(90) > 0.15
    assert got.percentile(75) > 0.04


def test_a_stall_at_the_end_counts_like_any_other(serve: Serve, load: Load) -> None:
    port = serve(Echo(450 * 64, stall).handlers).port
    got = outcome(load("echo", port, "--connections", 1, "--rate", 1000, "--seconds", 0.5))
    assert (got.status, got.answer["failures"]) == (0, 0)
    assert got.answer["offered"] == pytest.approx(1000, abs=1 / 0.5)
    assert got.answer["messages"] < 500, "the last replies came when the clock had stopped"
    assert got.percentile(100) > 0.28


@SCHEDULES
def test_a_wrong_byte_is_found(serve: Serve, load: Load, schedule: tuple[object, ...]) -> None:
    port = serve(Echo(20 * 64, flip_a_bit).handlers).port
    status, answer = outcome(load("echo", port, "--connections", 1, "--seconds", 0.2, *schedule))
    assert (status, answer["failures"]) == (1, 1)
    assert answer["error"].endswith("byte 7 of the reply is wrong")


@SCHEDULES
def test_a_reply_to_somebody_else_is_found(serve: Serve, load: Load, schedule: tuple[object, ...]) -> None:
    last: dict[str, bytes] = {}

    def swap(socket: AnySocket, data: bytes) -> None:
        socket.write(last["message"])

    echo = Echo(20 * 64, swap)

    def data(socket: AnySocket, data: bytes) -> None:
        echo.data(socket, data)
        last["message"] = data

    port = serve({"data": data}).port
    status, answer = outcome(load("echo", port, "--connections", 1, "--seconds", 0.2, *schedule))
    assert status == 1
    assert "of the reply is wrong" in answer["error"]


@SCHEDULES
def test_a_byte_too_many_is_found(serve: Serve, load: Load, schedule: tuple[object, ...]) -> None:
    port = serve(Echo(20 * 64, lambda socket, data: socket.write(data + b"x")).handlers).port
    status, answer = outcome(load("echo", port, "--connections", 1, "--seconds", 0.2, *schedule))
    assert status == 1
    # On a schedule, the next message may be on its way already, and the byte is taken for its reply.
    assert "more bytes than were sent" in answer["error"] or "byte 0 of the reply is wrong" in answer["error"]


@SCHEDULES
def test_a_server_that_closes_early_is_a_failure(serve: Serve, load: Load, schedule: tuple[object, ...]) -> None:
    port = serve(Echo(20 * 64, hang_up).handlers).port
    status, answer = outcome(load("echo", port, "--connections", 1, "--seconds", 0.2, *schedule))
    assert (status, answer["failures"]) == (1, 1)
    assert any(words in answer["error"] for words in ("closed by the server", "reset", "Broken pipe"))


# -- downloads -------------------------------------------------------------------------------------------


def source(difference: int, asked: list[int]) -> dict[str, Any]:
    """Handlers of a server that sends so many bytes more than it is asked for."""

    def data(socket: AnySocket, data: bytes) -> None:
        (count,) = struct.unpack(">Q", data)
        asked.append(count)
        socket.end(bytes(count + difference))

    return {"data": data}


def test_a_download_is_counted(serve: Serve, load: Load) -> None:
    asked: list[int] = []
    status, answer = outcome(load("download", serve(source(0, asked)).port, "--bytes", 8 << 20))
    assert (status, answer["failures"], answer["messages"]) == (0, 0, 8)
    assert asked == [2 << 20, 8 << 20], "the first is to warm up"


def test_a_download_that_ends_too_early_is_a_failure(serve: Serve, load: Load) -> None:
    status, answer = outcome(load("download", serve(source(-1, [])).port, "--bytes", 4 << 20))
    assert (status, answer["failures"]) == (1, 2)
    assert answer["error"] == f"{1 << 20} bytes were asked for, {(1 << 20) - 1} came"


def test_a_download_of_too_many_bytes_is_a_failure(serve: Serve, load: Load) -> None:
    status, answer = outcome(load("download", serve(source(1, [])).port, "--bytes", 4 << 20))
    assert (status, answer["failures"]) == (1, 2)
    assert answer["error"] == f"more than the {1 << 20} bytes that were asked for came"


# -- a slow reader ---------------------------------------------------------------------------------------


def test_a_slow_reader_never_reads_faster_than_it_is_told(serve: Serve, load: Load) -> None:
    echo = Echo()
    options = ("--connections", 3, "--size", 1000, "--read-rate", 200_000, "--seconds", 0.5)
    slow = load("slow", serve(echo.handlers).port, *options)
    slow.wait_for("ready")
    status, answer = outcome(slow)
    assert (status, answer["failures"]) == (0, 0)
    assert 0 < answer["bytes_read"] <= 200_000 * (answer["seconds"] + 0.0005)  # they are rounded
    assert 0 < answer["messages"] <= answer["bytes_read"] // 1000
    assert answer["bytes_sent"] > 2 * answer["bytes_read"], "it sends as much as it can"


def test_a_slow_reader_ends_when_it_is_told_to(serve: Serve, load: Load) -> None:
    echo = Echo()
    slow = load("slow", serve(echo.handlers).port, "--size", 1000, "--connections", 1, "--seconds", 60)
    slow.wait_for("ready")
    wait_until(lambda: echo.received > 1_000_000)
    slow.hang_up()
    status, answer = outcome(slow)
    assert (status, answer["failures"]) == (0, 0)
    assert answer["seconds"] < 60
    assert answer["messages"] == answer["bytes_read"] // 1000


def test_a_slow_reader_compares_what_it_reads(serve: Serve, load: Load) -> None:
    port = serve(Echo(500_000, flip_a_bit).handlers).port
    status, answer = outcome(load("slow", port, "--connections", 1, "--read-rate", 50_000_000, "--seconds", 60))
    assert (status, answer["failures"]) == (1, 1)
    assert "of the reply is wrong" in answer["error"]


# -- the ceiling -----------------------------------------------------------------------------------------


@pytest.fixture
def ceiling(program: Path, foreign: Start) -> int:
    """The port of the echo server that the load client can be."""
    server = foreign(str(program), "echo-server", "127.0.0.1", 0)
    return int(server.wait_for("\n").split()[-1])


@pytest.mark.parametrize("size", [1, 64, 1 << 20])
def test_the_ceiling_echoes(ceiling: int, load: Load, size: int) -> None:
    status, answer = outcome(load("echo", ceiling, "--connections", 5, "--size", size, "--seconds", 0.1))
    assert (status, answer["failures"]) == (0, 0)
    assert answer["messages"] > 0


def test_the_ceiling_keeps_what_the_kernel_does_not_take(ceiling: int) -> None:
    size = 20_000_000
    with Peer(("127.0.0.1", ceiling), receive_buffer=4096) as peer:
        sending = gevent.spawn(peer.send, stream(size))
        assert peer.read_exactly(1000) == stream(1000)
        assert peer.read_exactly(size - 1000) == stream(size - 1000, 1000)
        sending.get()
        peer.finish()
        assert peer.read_to_end() == b""


def test_connections_may_come_and_go(ceiling: int, load: Load) -> None:
    status, answer = outcome(load("churn", ceiling, "--connections", 10, "--sources", 4, "--seconds", 0.1))
    assert (status, answer["failures"]) == (0, 0)
    assert answer["messages"] > 10


# -- the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("echo", "--rate", -1), "a number is out of its range"),
        (("slow", "--read-rate", 0), "a number is out of its range"),
        (("churn", "--rate", 100), "--rate is for echo without --pipeline"),
        (("slow", "--tls", "cert.pem"), "--tls is for echo, churn and idle"),
        (("dance",), "no such mode: dance"),
    ],
)
def test_what_makes_no_sense_is_refused(program: Path, foreign: Start, options: tuple[object, ...], error: str) -> None:
    mode, *rest = options
    load = foreign(str(program), mode, "127.0.0.1", 1, *rest)
    assert load.finish() == 2
    assert load.said == f"load: {error}\n"
