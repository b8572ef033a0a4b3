"""What a locust user sends and is sent without a reply, and what is recorded of it."""

from time import time
from typing import Any

import gevent
import pytest
from gevent.event import Event

from connections import attempt
from greensock.framing import Lines
from greensock.testing import Serve, wait_until
from loadlab import CONNECTED, Lab, host, lab

from greensock.locust import RequestFailed, SocketClient, SocketUser

__all__ = ["host", "lab"]


def test_what_is_sent_one_way_has_no_response_time(lab: Lab, host: str) -> None:
    lab.user(host).client.send(b"silence", name="tell")
    assert lab.rows == [CONNECTED, ("SEND", "tell", True)]
    assert lab.requests[1]["response_time"] is None


def send_much(client: SocketClient) -> None:
    """20 MB, which is more than the kernel takes."""
    for _ in range(200):
        client.send(b"x" * 99_999)


def test_who_sends_more_than_the_peer_reads_waits(lab: Lab, serve: Serve) -> None:
    go_on = Event()

    def data(socket: Any, message: bytes) -> None:
        go_on.wait()

    server = serve({"data": data}, framing=Lines(max_size=100_000))
    client = lab.user(server.url, framing=Lines(max_size=100_000)).client
    sending = gevent.spawn(send_much, client)
    gevent.sleep(0.2)
    assert not sending.ready()
    assert client.socket is not None and client.socket.buffered < 1_000_000
    go_on.set()
    sending.get(timeout=10)
    assert lab.rows.count(("SEND", "send", True)) == 200


def test_sending_to_a_connection_that_ends_meanwhile_is_a_failure(lab: Lab, serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.pause()}, framing=Lines(max_size=100_000))
    client = lab.user(server.url, framing=Lines(max_size=100_000)).client
    sending = gevent.spawn(attempt, send_much, client)
    gevent.sleep(0.2)
    next(iter(server.sockets)).terminate()
    assert isinstance(sending.get(timeout=10), RequestFailed)
    assert lab.failures("SEND") == ["SocketClosed('the connection ended before all was sent')"]


@pytest.fixture
def crier(serve: Serve) -> str:
    """The url of a service that sends ``go`` to who says something, and then what he said."""

    def cry(socket: Any, line: bytes) -> None:
        socket.write_message(b"go")
        gevent.sleep(0.02)
        socket.write_message(line)

    return serve({"data": cry}, framing=Lines()).url


def named(self: SocketUser, message: bytes) -> Any:
    if message == b"mistake":
        raise KeyError("mistake")
    return (message.decode(), time() - 0.5) if message == b"timed" else message.decode()


@pytest.mark.parametrize(("said", "told"), [(b"x", None), (b"timed", 500.0)])
def test_a_push_is_a_row_with_a_time_only_if_that_is_known(lab: Lab, crier: str, said: bytes, told: Any) -> None:
    client = lab.user(crier, on_push=named).client
    client.send(said)
    wait_until(lambda: len(lab.rows) == 4)
    assert lab.rows[2:] == [("PUSH", "go", True), ("PUSH", said.decode(), True)]
    times = [request["response_time"] for request in lab.requests[2:]]
    assert times[0] is None
    assert times[1] is None if told is None else 499 < times[1] < 1000
    assert lab.requests[3]["response_length"] == len(said)


def test_pushes_that_nobody_names(lab: Lab, crier: str) -> None:
    lab.user(crier).client.send(b"x")
    wait_until(lambda: len(lab.rows) == 4)
    assert lab.rows[2:] == [("PUSH", "push", True)] * 2


def test_a_mistake_in_on_push_is_an_exception_of_the_user_and_the_message_is_counted(lab: Lab, crier: str) -> None:
    client = lab.user(crier, on_push=named).client
    client.send(b"mistake")
    wait_until(lambda: len(lab.rows) == 4)
    assert lab.rows[3] == ("PUSH", "push", True)
    assert [type(error) for error in lab.errors] == [KeyError]
    client.send(b"x")
    wait_until(lambda: len(lab.rows) == 7)


def test_expect_takes_what_it_is_for_and_on_push_the_rest(lab: Lab, crier: str) -> None:
    client = lab.user(crier, on_push=named).client
    client.send(b"said")
    assert client.expect(lambda message: message != b"go", name="heard") == b"said"
    assert lab.rows[2:] == [("PUSH", "go", True), ("PUSH", "heard", True)]
    assert 10 < lab.requests[3]["response_time"] < 5000
    client.send(b"x")
    assert [client.expect(), client.expect()] == [b"go", b"x"]


def test_what_is_expected_in_vain_is_a_failure(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed, match="no message in time"):
        client.expect(timeout=0.02)
    expecting = gevent.spawn(attempt, client.expect)
    gevent.sleep(0.01)
    client.send(b"die")
    assert isinstance(expecting.get(timeout=10), RequestFailed)
    assert lab.failures("PUSH") == [
        "TimeoutError('no message in time')",
        "SocketClosed('the connection ended: reset')",
    ]
    assert [row[0] for row in lab.rows] == ["CONN", "PUSH", "SEND", "PUSH"], "it is told once"


def test_a_slow_on_push_makes_a_slow_reader(lab: Lab, serve: Serve) -> None:
    def flood(socket: Any, message: bytes) -> None:
        for _ in range(300):
            socket.write_message(b"x" * 60_000)

    server = serve({"data": flood}, framing=Lines())
    go_on = Event()
    client = lab.user(server.url, on_push=lambda self, message: go_on.wait() and None).client
    client.send(b"flood")
    wait_until(lambda: server.stats().buffered > 65536, what="the server waits for its reader")
    assert lab.rows == [CONNECTED, ("SEND", "send", True)]
    go_on.set()
    wait_until(lambda: lab.rows.count(("PUSH", "push", True)) == 300)
