"""The race for a connection: who wins, who is closed, and what is said when nobody wins."""

import _socket
import errno
import itertools
import os
import select
import socket as sockets
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import dialing, net
from greensock.address import parse
from greensock.dialing import dial, interleave

V4, V6 = int(_socket.AF_INET), int(_socket.AF_INET6)


@pytest.fixture
def listener() -> Iterator[sockets.socket]:
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def refusing() -> int:
    """A port that nobody listens on."""
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that does not answer: its backlog is full, and the kernel drops who comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(sockets.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(3):
            filler = stack.enter_context(sockets.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def a_name_for(monkeypatch: pytest.MonkeyPatch, *names: Any) -> Any:
    """An address whose name resolves to *names*."""
    candidates = [(V6 if ":" in name[0] else V4, name) for name in names]
    monkeypatch.setattr(net, "resolve", lambda host, port: candidates)
    return parse(("somewhere", 80))


# -- one address -----------------------------------------------------------------------------------------


def test_it_connects(listener: sockets.socket) -> None:
    wire = dial(parse(listener.getsockname()), 5)
    try:
        assert wire.getpeername() == listener.getsockname()
        assert not wire.getblocking()
        assert not os.get_inheritable(wire.fileno())
    finally:
        wire.close()


def test_a_refusal_has_its_class_its_number_and_the_address(refusing: int) -> None:
    with pytest.raises(ConnectionRefusedError, match=f"cannot connect to tcp://127.0.0.1:{refusing}") as caught:
        dial(parse(("127.0.0.1", refusing)), 5)
    assert caught.value.errno == errno.ECONNREFUSED


def test_silence_is_a_timeout_that_names_the_address(silent: tuple[str, int]) -> None:
    with pytest.raises(TimeoutError, match=f"no answer from 127.0.0.1:{silent[1]}") as caught:
        dial(parse(silent), 0.1)
    assert caught.value.errno == errno.ETIMEDOUT


def test_unix(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(FileNotFoundError, match=path):
        dial(parse(f"unix:{path}"), 5)
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(path)
        with pytest.raises(ConnectionRefusedError, match=path):
            dial(parse(f"unix:{path}"), 5)
        listener.listen()
        dial(parse(f"unix:{path}"), 5).close()


def test_a_full_unix_backlog_is_waited_for(tmp_path: Any) -> None:
    path = str(tmp_path / "s")
    with sockets.socket(sockets.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(path)
        listener.listen(0)
        listener.setblocking(False)
        stack.callback(dial(parse(f"unix:{path}"), 5).close)
        with pytest.raises(TimeoutError):
            dial(parse(f"unix:{path}"), 0.05)
        waiting = gevent.spawn(dial, parse(f"unix:{path}"), 5)
        gevent.sleep(0.02)
        listener.accept()[0].close()
        stack.callback(waiting.get().close)


def test_a_socket_that_connected_to_itself_is_a_refused_one() -> None:
    race = dialing._Race(parse(("127.0.0.1", 1)), [], None, None)
    with sockets.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.connect(own.getsockname())  # RFC 9293, 3.5: allowed, and what the kernel does by chance
        wire: Any = own
        assert race.judge(wire, own.getsockname(), 0) is None
    assert isinstance(race.defeat(), ConnectionRefusedError)


def test_a_connection_that_is_reset_while_it_is_looked_at_was_made_and_a_read_tells_the_rest(
    listener: sockets.socket,
) -> None:
    race = dialing._Race(parse(listener.getsockname()), [], None, None)
    with sockets.create_connection(listener.getsockname()) as own:
        peer, _ = listener.accept()
        peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        poll = select.poll()
        poll.register(own, 0)
        assert poll.poll(10_000), "it is reset"
        wire: Any = own
        assert race.judge(wire, listener.getsockname(), 0) is wire
        with pytest.raises(ConnectionResetError):
            own.recv(1)


def test_no_descriptor_is_an_oserror(listener: sockets.socket) -> None:
    import resource

    address = parse(listener.getsockname())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (listener.fileno() + 1, limits[1]))
    taken = []
    try:
        with pytest.raises(OSError, match="cannot connect to tcp://127.0.0.1") as caught:
            while True:
                taken.append(dial(address, 5))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for wire in taken:
            wire.close()
    assert caught.value.errno == errno.EMFILE


# -- several ---------------------------------------------------------------------------------------------


def test_a_refused_address_gives_way_at_once(
    listener: sockets.socket, refusing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 1000)
    where = a_name_for(monkeypatch, ("127.0.0.1", refusing), listener.getsockname())
    dial(where, 5).close()


def test_a_silent_address_costs_a_quarter_of_a_second(
    listener: sockets.socket, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = a_name_for(monkeypatch, silent, listener.getsockname())
    wire = dial(where, 5)
    assert wire.getpeername() == listener.getsockname()
    wire.close()  # and no_leaks sees whether the other one is


def test_the_silent_one_may_still_win(
    listener: sockets.socket, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 0.01)
    where = a_name_for(monkeypatch, silent, ("127.0.0.1", 1), listener.getsockname())
    dial(where, 5).close()


@pytest.mark.skipif(not _socket.has_ipv6, reason="no IPv6")
def test_a_dead_ipv6_and_a_live_ipv4_address(listener: sockets.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    where = a_name_for(monkeypatch, ("::1", 1, 0, 0), ("2001:db8::1", 80, 0, 0), listener.getsockname())
    dial(where, 5).close()


def test_a_failure_at_all_addresses_names_each(refusing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    where = a_name_for(monkeypatch, ("127.0.0.1", refusing), ("127.0.0.2", refusing))
    with pytest.raises(ConnectionRefusedError) as caught:
        dial(where, 5)
    assert str(caught.value).endswith(
        f"cannot connect to tcp://somewhere:80: 127.0.0.1:{refusing}: Connection refused; "
        f"127.0.0.2:{refusing}: Connection refused"
    )


def test_the_failure_that_tells_most_is_raised(refusing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    where = a_name_for(monkeypatch, ("255.255.255.255", 80), ("127.0.0.1", refusing))
    with pytest.raises(ConnectionRefusedError, match="255.255.255.255:80: "):
        dial(where, 5)


def test_the_deadline_is_for_all_of_them(silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY", 0.01)
    where = a_name_for(monkeypatch, *[silent, ("127.0.0.1", 1)] * 3)
    with pytest.raises(TimeoutError, match="Connection refused; no answer from"):
        dial(where, 0.2)


def test_the_deadline_is_for_the_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "resolve", lambda host, port: gevent.sleep(1000))
    with pytest.raises(TimeoutError, match="cannot connect to tcp://somewhere:80 in 0.05 s: its name is being looked"):
        dial(parse("somewhere:80"), 0.05)


@pytest.mark.parametrize("stage", ["name", "connection"])
def test_a_kill_leaves_nothing(stage: str, silent: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    where = parse(silent)
    if stage == "name":
        monkeypatch.setattr(net, "resolve", lambda host, port: gevent.sleep(1000))
    dialing_greenlet = gevent.spawn(dial, where, None)
    gevent.sleep(0.02)
    dialing_greenlet.kill()
    assert isinstance(dialing_greenlet.value, gevent.GreenletExit)


def test_an_outer_timeout_leaves_nothing(silent: tuple[str, int]) -> None:
    with gevent.Timeout(0.05, False):  # type: ignore[arg-type]
        dial(parse(silent), None)
        raise AssertionError("it cannot have connected")


# -- descriptors -----------------------------------------------------------------------------------------


def test_a_connected_descriptor_is_taken_over() -> None:
    ours, theirs = sockets.socketpair()
    with theirs:
        wire = dial(parse(f"fd://{ours.detach()}"), 5)
        theirs.sendall(b"x")
        assert wire.read(1) == b"x" and not wire.getblocking()
        wire.close()


def test_what_is_no_connected_stream_is_refused_and_stays_open() -> None:
    with sockets.socket() as unconnected, sockets.socket(type=sockets.SOCK_DGRAM) as datagrams:
        for one, complaint in ((unconnected, "not connected"), (datagrams, "not a stream")):
            with pytest.raises(ValueError, match=complaint):
                dial(parse(f"fd://{one.fileno()}"), 5)
            one.getsockname()
    with pytest.raises(OSError, match="cannot use fd://987654") as caught:
        dial(parse("fd://987654"), 5)
    assert caught.value.errno == errno.EBADF


# -- the order -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from([V4, V6]), st.integers(0, 9))))
def test_families_alternate_and_keep_their_order(candidates: list[tuple[int, Any]]) -> None:
    found = interleave(candidates)
    unique = list(dict.fromkeys(candidates))
    assert sorted(found) == sorted(unique)
    for family in (V4, V6):
        assert [c for c in found if c[0] == family] == [c for c in unique if c[0] == family]
    both = 2 * min(sum(c[0] == V4 for c in unique), sum(c[0] == V6 for c in unique))
    assert all(a[0] != b[0] for a, b in itertools.pairwise(found[:both]))
    assert not found or found[0] == unique[0]
