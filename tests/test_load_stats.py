"""The numbers of a service: read from what a real one answers, refused if something else does, and put in a row."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import greensock
from greensock.framing import Lines
from greensock.load.stats import COLUMNS, GAUGES, RATES, TOTALS, Endpoint, History
from greensock.serve.monitor import Monitor
from greensock.testing import Dial, Serve

COUNTERS = sorted({*RATES, *TOTALS})


def counted(**numbers: Any) -> dict[str, Any]:
    """What a server at one address counts."""
    zeros = dict.fromkeys((*COUNTERS, *GAUGES, "buffered_peak"), 0)
    return {"url": "tcp://127.0.0.1:1", "started_at": 1.0, **zeros, **numbers}


# -- asking ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081/stats"),
        ("tcp://[::1]:8081", "http://[::1]:8081/stats"),
        ("http://stats.example:8081", "http://stats.example:8081/stats"),
        ("http://stats.example/", "http://stats.example:80/stats"),
        ("HTTP://[::1]/of/it?x=1", "http://[::1]:80/of/it?x=1"),
        ("unix:/run/x.sock", "unix:/run/x.sock (/stats)"),
    ],
)
def test_forms_of_addresses(address: str, told: str) -> None:
    assert str(Endpoint(address)) == told


@pytest.mark.parametrize("address", ["", "8081", "host:port", "https://host:1/", "tls://host:1", "fd://3", "http://"])
def test_no_address_is_told_by_itself(address: str) -> None:
    with pytest.raises(ValueError, match="bad address"):
        Endpoint(address)


@pytest.mark.parametrize("path", ["", "unix"])
def test_a_service_tells_its_numbers(serve: Serve, dial: Dial, tmp_path: Any, path: str) -> None:
    server = serve({"data": lambda socket, line: socket.write_message(line)}, framing=Lines())
    peer = dial(server)
    assert peer.exchange(b"hello\n") == b"hello\n"
    address = f"unix:{tmp_path}/stats" if path else "127.0.0.1:0"
    monitor = Monitor(address, [server], more=lambda: {"reloads": (0, "")}, ready=lambda: True)
    try:
        [numbers] = Endpoint(monitor.server.url).fetch()
    finally:
        monitor.close()
    assert numbers["url"] == server.url
    assert (numbers["connections"], numbers["messages_read"], numbers["messages_written"]) == (1, 1, 1)
    assert set(numbers) >= {*COUNTERS, *GAUGES}


def answering(serve: Serve, reply: bytes) -> Endpoint:
    """Where whatever is asked is answered with *reply*, and that is all."""

    def answer(socket: Any, request: bytes) -> None:
        socket.write(reply)
        socket.close()

    return Endpoint(serve({"data": answer}, framing=Lines(b"\r\n\r\n")).url)


def http(body: object, status: str = "200 OK") -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(text), text)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (b"", "RemoteDisconnected|ended|closed"),
        (b"+PONG\r\n", "PONG"),
        (http({}, "404 Not Found"), "404 Not Found"),
        (http(b"hello"), "Expecting value"),
        (http([]), "no list of servers"),
        (http({"servers": []}), "no list of servers"),
        (http({"servers": [1]}), "no url"),
        (http({"servers": [{"url": "tcp://x:1"}]}), "no number 'accepted'"),
        (http({"servers": [counted(errors="many")]}), "no number 'errors'"),
        (http({"servers": [counted(), counted(url=None)]}), "no url"),
        (http(b"x" * 2_000_000), "more than 1048576 bytes"),
    ],
)
def test_what_is_no_service_is_a_value_error_that_says_why(serve: Serve, reply: bytes, why: str) -> None:
    endpoint = answering(serve, reply)
    with pytest.raises(ValueError, match=why) as caught:
        endpoint.fetch()
    assert str(endpoint) in str(caught.value)


def test_who_does_not_answer_is_an_os_error(serve: Serve) -> None:
    silent = Endpoint(serve({"data": lambda socket, data: None}).url)
    with pytest.raises(TimeoutError):
        silent.fetch(timeout=0.05)
    closed = serve({"data": lambda socket, data: None})
    endpoint = Endpoint(closed.url)
    closed.stop(0)
    with pytest.raises(ConnectionRefusedError):
        endpoint.fetch()


def test_an_answer_without_a_length_ends_with_the_connection(serve: Serve) -> None:
    reply = b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"servers": [counted(errors=3)]}).encode()
    assert answering(serve, reply).fetch() == [counted(errors=3)]


# -- in the course of time -------------------------------------------------------------------------------


def test_rates_are_by_the_second_and_totals_from_the_first_sample_on() -> None:
    history = History()
    first = history.add(10.0, [counted(messages_read=1000, drains=5, connections=3)]).total()
    assert (first["messages_read_per_s"], first["messages_read"], first["drains"]) == (0, 0, 0)
    assert first["connections"] == 3
    second = history.add(12.0, [counted(messages_read=1500, drains=6, connections=2)]).total()
    assert (second["messages_read_per_s"], second["messages_read"], second["drains"]) == (250, 500, 1)
    history.rebase()
    third = history.add(13.0, [counted(messages_read=1510, drains=6)]).total()
    assert (third["messages_read_per_s"], third["messages_read"], third["drains"]) == (10, 10, 0)


def test_a_server_that_was_started_anew_loses_nothing_and_has_no_negative_rate() -> None:
    history = History()
    history.add(1.0, [counted(messages_read=100)])
    history.add(2.0, [counted(messages_read=130)])
    sample = history.add(3.0, [counted(messages_read=7, started_at=2.5)]).total()
    assert (sample["messages_read_per_s"], sample["messages_read"]) == (7, 37)


def test_the_peak_is_that_of_the_test() -> None:
    history = History()
    assert history.add(1.0, [counted(buffered_peak=900)]).total()["buffered_peak"] == 0, "it was before"
    assert history.add(2.0, [counted(buffered_peak=900, buffered=20)]).total()["buffered_peak"] == 20
    assert history.add(3.0, [counted(buffered_peak=950)]).total()["buffered_peak"] == 950
    assert history.add(4.0, [counted(buffered_peak=950)]).total()["buffered_peak"] == 950
    history.rebase()
    assert history.add(5.0, [counted(buffered_peak=950, buffered=1)]).total()["buffered_peak"] == 1


def test_servers_of_one_service_are_told_apart_and_together() -> None:
    history = History()
    history.add(1.0, [counted(url="tcp://a:1"), counted(url="unix:/b")])
    sample = history.add(2.0, [counted(url="tcp://a:1", accepted=2), counted(url="unix:/b", accepted=3)])
    assert {url: numbers["accepted"] for url, numbers in sample.servers.items()} == {"tcp://a:1": 2, "unix:/b": 3}
    assert sample.total()["accepted"] == 5
    assert set(sample.total()) == set(COLUMNS)


def test_a_service_may_grow_an_address_in_the_middle() -> None:
    history = History()
    history.add(1.0, [counted(url="tcp://a:1", errors=1)])
    sample = history.add(2.0, [counted(url="tcp://a:1", errors=1), counted(url="tcp://b:1", errors=7)])
    assert sample.total()["errors"] == 0, "what it had counted before it was first seen is not of this test"


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(0, 1000), st.booleans()), min_size=1))
def test_totals_are_the_sum_of_all_growth_and_rates_make_them_up(steps: list[tuple[float, int, bool]]) -> None:
    history = History()
    history.add(0.0, [counted(drains=5)])
    now, count, started, grown, by_rates = 0.0, 5, 1.0, 0, 0.0
    for seconds, growth, restarted in steps:
        now += seconds
        if restarted:
            count, started = 0, started + 1
        count += growth
        grown += growth
        server = counted(drains=count, messages_read=count, started_at=started)
        sample = history.add(now, [server]).total()
        by_rates += sample["messages_read_per_s"] * seconds
        assert sample["drains"] == grown
        assert sample["messages_read_per_s"] >= 0
    assert by_rates == pytest.approx(sample["messages_read"])


def test_greensock_counts_all_that_is_shown() -> None:
    fields = set(greensock.Stats.__dataclass_fields__)
    assert fields >= {*COUNTERS, *GAUGES, "buffered_peak", "started_at"}
