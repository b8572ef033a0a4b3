"""What a socket is and tells: its members, from ``data`` to ``repr``, and who handles its events.

Its events are in ``test_events``, handlers that raise in ``test_events_errors``; writing and closing have their own.
"""

import copy
import pickle
import re
import socket as sockets
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, Pair, stream, turns, wait_for_kernel
from greensock import SocketState
from greensock.testing import Dial, Recorder, Serve, wait_until
from listening import ipv6

# -- what it tells -------------------------------------------------------------------------------------------


def test_data_is_the_users_and_none_at_first(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: setattr(socket, "data", (socket.data or 0) + len(data)))
    server = serve(recorder.handlers, data="the server's")
    one, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    assert [socket.data for socket in recorder.sockets] == [None, None]
    one.send(b"1")
    recorder.wait_for("data")
    one.send(b"22")
    recorder.wait_for("data", 2)
    assert sorted(str(socket.data) for socket in recorder.sockets) == ["3", "None"]
    other.close()
    one.close()
    recorder.wait_for("close", 2)
    assert sorted(str(socket.data) for socket in recorder.sockets) == ["3", "None"]
    assert server.data == "the server's"


def test_a_socket_knows_its_server(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    assert socket.server is server
    assert socket in server.sockets
    peer.close()
    recorder.wait_for("close")
    assert socket.server is server


def test_states(serve: Serve, dial: Dial) -> None:
    states: list[tuple[str, SocketState, bool]] = []

    def note(event: str) -> Any:
        return lambda socket, *_: states.append((event, socket.state, socket.closed))

    recorder = Recorder(**{event: note(event) for event in ("open", "data", "end", "close")})
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    peer.finish()
    recorder.wait_for("close")
    assert states == [
        ("open", SocketState.OPEN, False),
        ("data", SocketState.OPEN, False),
        ("end", SocketState.OPEN, False),
        ("close", SocketState.CLOSED, True),
    ]
    assert [state.name for state in SocketState] == ["CONNECTING", "OPEN", "ENDED", "CLOSING", "CLOSED"]


def test_repr_has_number_peer_state_and_queued_bytes(pair: Pair) -> None:
    socket, peer, recorder = pair
    host, port = peer.address
    with socket.cork():
        socket.write(b"12345")
        match = re.fullmatch(rf"<Socket #(\d+) {host}:{port} OPEN 5 bytes queued>", repr(socket))
        assert match, repr(socket)
    socket.end()
    assert "ENDED" in repr(socket)
    socket.close()
    assert "CLOSING" in repr(socket)
    peer.close()
    recorder.wait_for("close")
    assert repr(socket) == f"<Socket #{match[1]} {host}:{port} CLOSED 0 bytes queued>"


def test_each_socket_has_a_number_of_its_own(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    for _ in range(3):
        dial(server)
    recorder.wait_for("open", 3)
    assert len({repr(socket).split()[1] for socket in recorder.sockets}) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", pytest.param("::1", marks=ipv6)])
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_addresses_are_those_of_the_system_also_after_the_close(host: str, how: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, (host, 0)))
    (socket,) = recorder.wait_for("open")
    remote, local = peer.socket.getsockname(), peer.socket.getpeername()
    assert (socket.remote_address, socket.local_address) == (remote, local)
    getattr(peer, how)()
    recorder.wait_for("close")
    assert (socket.remote_address, socket.local_address) == (remote, local)


def test_local_address_can_be_asked_for_first_after_the_close(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, ("0.0.0.0", 0)))
    recorder.wait_for("open")
    local = peer.socket.getpeername()
    peer.reset()
    (socket, _) = recorder.wait_for("close")
    assert socket.local_address == local


@pytest.mark.parametrize("named", [False, True])
def test_addresses_of_unix_sockets_are_paths(named: bool, serve: Serve, tmp_path: Path) -> None:
    recorder = Recorder()
    serve(recorder.handlers, f"unix:{tmp_path}/server")
    with gevent.socket.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as peer:
        if named:
            peer.bind(f"{tmp_path}/peer")
        peer.connect(f"{tmp_path}/server")
        (socket,) = recorder.wait_for("open")
        remote = f"{tmp_path}/peer" if named else ""
        assert (socket.remote_address, socket.local_address) == (remote, f"{tmp_path}/server")
        assert socket.family is sockets.AF_UNIX
    recorder.wait_for("close")
    assert (socket.remote_address, socket.local_address) == (remote, f"{tmp_path}/server")


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_has_no_twin(pair: Pair, twin: Any) -> None:
    socket, *_ = pair
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        twin(socket)


def test_family_and_fileno(pair: Pair) -> None:
    socket, peer, recorder = pair
    assert socket.family is sockets.AddressFamily.AF_INET
    descriptor = socket.fileno()
    probe = sockets.socket(fileno=descriptor)
    try:
        assert probe.getpeername() == peer.address
    finally:
        probe.detach()
    peer.close()
    recorder.wait_for("close")
    assert socket.fileno() == -1
    assert socket.family is sockets.AF_INET


def test_it_is_not_encrypted(pair: Pair) -> None:
    assert pair[0].encrypted is False


def test_the_class_is_generic() -> None:
    assert greensock.Socket[int].__origin__ is greensock.Socket  # type: ignore[attr-defined]


# -- options of the kernel -------------------------------------------------------------------------------------


def _option(socket: AnySocket, level: int, name: int) -> int:
    probe = sockets.socket(fileno=socket.fileno())
    try:
        return probe.getsockopt(level, name)
    finally:
        probe.detach()


@pytest.mark.parametrize("given", [True, False])
def test_no_delay_is_that_of_the_kernel(given: bool, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, no_delay=given))
    (socket,) = recorder.wait_for("open")
    for wanted in (given, not given, given):
        socket.no_delay = wanted
        assert socket.no_delay is wanted
        assert bool(_option(socket, sockets.IPPROTO_TCP, sockets.TCP_NODELAY)) is wanted


@pytest.mark.parametrize("given", [60.0, 7, None])
def test_keepalive_is_that_of_the_kernel(given: float | None, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, keepalive=given))
    (socket,) = recorder.wait_for("open")
    assert socket.keepalive == given
    for wanted in (30, None, 5, 32767):
        socket.keepalive = wanted
        assert socket.keepalive == wanted
        assert bool(_option(socket, sockets.SOL_SOCKET, sockets.SO_KEEPALIVE)) is (wanted is not None)
        if wanted is not None:
            assert _option(socket, sockets.IPPROTO_TCP, sockets.TCP_KEEPIDLE) == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("no_delay", value) for value in (1, 0, None, "yes")),
        *(("keepalive", value) for value in (0, -1, True, "60", float("nan"), float("inf"), 32768)),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: Any, pair: Pair) -> None:
    socket, _, _ = pair
    before = getattr(socket, name)
    with pytest.raises(ValueError, match=name):
        setattr(socket, name, value)
    assert getattr(socket, name) == before


def tcp_options(socket: AnySocket) -> tuple[bool, float | None]:
    return socket.no_delay, socket.keepalive


def test_a_closed_socket_has_no_options(pair: Pair) -> None:
    socket, peer, recorder = pair
    peer.close()
    recorder.wait_for("close")
    assert tcp_options(socket) == (False, None)
    socket.no_delay = True
    socket.keepalive = 60
    assert tcp_options(socket) == (False, None)


def test_a_unix_socket_has_no_options_of_tcp(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s"))
    (socket,) = recorder.wait_for("open")
    socket.no_delay = True
    socket.keepalive = 60
    assert tcp_options(socket) == (False, None)


# -- pause and resume ------------------------------------------------------------------------------------------


def test_pause_stops_the_delivery_and_resume_restarts_it(pair: Pair) -> None:
    socket, peer, recorder = pair
    peer.send(b"1")
    recorder.wait_for("data")
    socket.pause()
    socket.pause()
    peer.send(b"2")
    wait_for_kernel(socket)
    turns()
    assert recorder.received == b"1"
    socket.resume()
    socket.resume()
    recorder.wait_for("data", 2)
    peer.send(b"3")
    recorder.wait_for("data", 3)
    assert recorder.received == b"123"


def test_a_paused_socket_holds_up_its_peer_and_loses_nothing(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    sending = gevent.spawn(peer.send, stream(20_000_000))
    gevent.sleep(0.2)
    assert not sending.ready()
    assert socket.bytes_read == 0
    socket.resume()
    sending.get()
    wait_until(lambda: socket.bytes_read == 20_000_000)
    assert recorder.received == stream(20_000_000)


def test_a_socket_may_pause_in_open_and_in_data(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.pause(), data=lambda socket, data: socket.pause())
    peer = dial(serve(recorder.handlers))
    peer.send(b"1")
    (socket,) = recorder.wait_for("open")
    wait_for_kernel(socket)
    turns()
    assert recorder.events == ["open"]
    socket.resume()
    recorder.wait_for("data")
    peer.send(b"2")
    wait_for_kernel(socket)
    turns()
    assert recorder.received == b"1"
    socket.resume()
    recorder.wait_for("data", 2)


def test_a_paused_socket_writes(pair: Pair) -> None:
    socket, peer, _ = pair
    socket.pause()
    socket.write(stream(1_000_000))
    assert peer.read_exactly(1_000_000) == stream(1_000_000)


def test_resume_while_a_handler_blocks_does_not_nest(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"1":
            socket.pause()
            go_on.wait()

    go_on = Event()
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"1")
    socket, _ = recorder.wait_for("data")
    peer.send(b"2")
    socket.resume()
    turns()
    assert recorder.received == b"1"
    go_on.set()
    recorder.wait_for("data", 2)


# -- reload ----------------------------------------------------------------------------------------------------


def test_reload_replaces_the_handlers_of_this_socket_alone(serve: Serve, dial: Dial) -> None:
    old, new, newer = Recorder(), Recorder(), Recorder()
    server = serve(old.handlers)
    one, other = dial(server), dial(server)
    old.wait_for("open", 2)
    socket = next(socket for socket in old.sockets if socket.remote_address == one.address)
    socket.reload(new.handlers)
    one.send(b"1")
    new.wait_for("data")
    other.send(b"2")
    old.wait_for("data")
    server.reload(newer.handlers)
    one.send(b"3")
    new.wait_for("data", 2)
    other.send(b"4")
    newer.wait_for("data")
    one.finish()
    new.wait_for("close")
    assert new.events == ["data", "data", "end", "close"]
    assert old.events == ["open", "open", "data"]
    assert newer.events == ["data"]


def test_events_that_the_new_handlers_do_not_name_are_gone(pair: Pair) -> None:
    socket, peer, recorder = pair
    closed = Event()
    socket.reload({"close": lambda socket, error: closed.set()})
    peer.send(b"?")
    peer.finish()
    assert closed.wait(5)
    assert recorder.events == ["open"]
    assert socket.bytes_read == 1


def test_a_running_handler_finishes_as_it_was(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.reload(new.handlers)
        go_on.wait()
        old.log.append(("finished", socket))

    go_on = Event()
    old, new = Recorder(data=answer), Recorder()
    peer = dial(serve(old.handlers))
    peer.send(b"1")
    old.wait_for("data")
    peer.send(b"2")
    turns()
    assert new.events == []
    go_on.set()
    new.wait_for("data")
    assert old.events == ["open", "data", "finished"]
    assert new.received == b"2"


@pytest.mark.parametrize(
    "bad", [{}, {"dat": print}, {"data": 5}, {"data": None}, object(), None, greensock.Handlers()], ids=repr
)
def test_what_listen_would_refuse_is_refused_and_the_old_ones_stay(bad: object, pair: Pair) -> None:
    socket, peer, recorder = pair
    with pytest.raises(TypeError):
        socket.reload(bad)
    peer.send(b"?")
    recorder.wait_for("data")


# -- ref and unref ---------------------------------------------------------------------------------------------


def test_run_waits_for_a_referenced_socket_and_not_for_others(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    server.unref()
    one, _ = dial(server), dial(server)
    recorder.wait_for("open", 2)
    running = gevent.spawn(greensock.run, server, signals=False)
    first, second = recorder.sockets
    if first.remote_address != one.address:
        first, second = second, first
    second.unref()
    second.unref()
    turns()
    assert not running.ready()
    second.ref()
    second.ref()
    first.unref()
    turns()
    assert not running.ready()
    second.unref()
    running.get(timeout=2)
    assert {first.state, second.state} == {SocketState.OPEN}, "they live on"
    first.ref()
    running = gevent.spawn(greensock.run, server, signals=False)
    turns()
    assert not running.ready()
    one.close()
    running.get(timeout=2)


def test_the_end_of_a_socket_that_is_not_referenced_counts_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    server.unref()
    one, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    for socket in recorder.sockets:
        if socket.remote_address == one.address:
            socket.unref()
    one.close()
    ended, _ = recorder.wait_for("close")
    ended.ref()
    ended.unref()
    running = gevent.spawn(greensock.run, server, signals=False)
    turns()
    assert not running.ready()
    other.close()
    running.get(timeout=2)


# -- stopping --------------------------------------------------------------------------------------------------


def test_stopping_is_true_once_the_server_drains(serve: Serve, dial: Dial) -> None:
    def say_goodbye(socket: AnySocket) -> None:
        stopping.append(socket.stopping)
        socket.write(b"goodbye")

    stopping: list[bool] = []
    recorder = Recorder(stopping=say_goodbye)
    server = serve(recorder.handlers)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    assert socket.stopping is False
    server.stop(close_active=True)
    assert peer.read_to_end() == b"goodbye"
    peer.close()
    recorder.wait_for("close")
    assert stopping == [True]
    assert recorder.events == ["open", "stopping", "close"]
