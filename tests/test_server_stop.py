"""The end of a server: of its accepting, with what is in the backlog, and what remains to start again.

How its connections end is in ``test_draining``.
"""

import math
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

import greensock
from connections import Gate, echoing, leave, wait_and_answer
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch

# -- without waiting -------------------------------------------------------------------------------------


def test_stop_ends_accepting_and_leaves_the_connections_alone(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    server.stop()
    assert not server.started
    assert server.closed
    with pytest.raises(ConnectionRefusedError):
        dial(server)
    assert peer.exchange(b"hello") == b"hello"
    assert recorder.events == ["open", "data"]
    assert not recorder.sockets[0].stopping


def test_close_does_so_at_once_and_the_connections_can_still_be_stopped(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    server.close()
    server.close()
    assert not server.started
    assert peer.exchange(b"hello") == b"hello"
    server.stop(0)
    assert peer.is_reset()
    assert recorder.events == ["open", "data", "close"]


@pytest.mark.parametrize("backlog", [4096, 49])  # listen(2): the kernel holds one more than that
def test_what_is_already_in_the_backlog_is_accepted_first(serve: Serve, backlog: int) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, backlog=backlog)
    with ExitStack() as stack:
        # Sockets that do not turn the loop, so that all are still in the backlog.
        peers = [stack.enter_context(socket.create_connection(server.address, 10)) for _ in range(50)]
        for peer in peers:
            peer.sendall(b"hello")
        assert recorder.events == []
        server.stop()
        assert server.connections == 50
        recorder.wait_for("data", 50)
        assert all(peer.recv(100) == b"hello" for peer in peers)


def test_so_is_the_backlog_of_a_listener_that_somebody_else_made(serve: Serve) -> None:
    recorder = Recorder()
    with ExitStack() as stack:
        listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        peers = [stack.enter_context(socket.create_connection(listener.getsockname(), 10)) for _ in range(50)]
        server = serve(recorder.handlers, listener, backlog=1)
        server.stop()
        assert server.connections == len(peers) == 50


def test_so_is_the_backlog_behind_stop_accepting(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    server.stop_accepting()
    peer = dial(server)
    server.stop()
    assert peer.exchange(b"hello") == b"hello"


def test_no_more_than_max_connections_are_accepted_from_the_backlog(serve: Serve) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, max_connections=2)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(server.address, 10))
        server.stop()
        assert server.connections == 2


def test_a_stopped_server_may_be_stopped_again(serve: Serve) -> None:
    server = serve(echoing().handlers)
    for _ in range(2):
        server.stop()
        server.stop(0)
        server.stop(1000)  # there is nothing to wait for
        server.stop(1000, close_active=True)
        server.close()
    assert server.closed


def test_a_server_that_never_started_may_be_stopped() -> None:
    greensock.Server(("127.0.0.1", 0), echoing().handlers).stop(0, close_active=True)


@pytest.mark.parametrize("timeout", [True, False, "1", b"1", [1]])
def test_a_timeout_that_is_no_number_is_a_type_error_and_stops_nothing(serve: Serve, dial: Dial, timeout: Any) -> None:
    server = serve(echoing().handlers)
    with pytest.raises(TypeError, match="timeout"):
        server.stop(timeout)
    assert dial(server).exchange(b"hello") == b"hello"


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, math.inf])
def test_a_timeout_that_cannot_be_is_a_value_error_and_stops_nothing(serve: Serve, dial: Dial, timeout: float) -> None:
    server = serve(echoing().handlers)
    with pytest.raises(ValueError, match="timeout"):
        server.stop(timeout, close_active=True)
    assert dial(server).exchange(b"hello") == b"hello"


def test_the_backlog_is_drained_too(serve: Serve) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    with ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(server.address, 10)) for _ in range(50)]
        server.stop(close_active=True)
        recorder.wait_for("stopping", 50)
        for peer in peers:
            assert peer.recv(100) == b"", "a clean end, no reset"
            peer.close()
        recorder.wait_for("close", 50)
    for accepted in recorder.sockets:
        assert recorder.of(accepted) == ["open", "stopping", "close"]


def test_a_storm_of_connections_does_not_keep_it_from_stopping(serve: Serve) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    address = server.address
    outcomes: list[str] = []

    def storm() -> None:
        while True:
            try:
                with Peer(address) as peer:
                    outcome = "served" if peer.exchange(b"hello") == b"hello" else "garbled"
            except ConnectionRefusedError:
                return
            except (EOFError, ConnectionResetError):
                outcome = "cut off"
            outcomes.append(outcome)

    storms = [gevent.spawn(storm) for _ in range(20)]
    wait_until(lambda: outcomes.count("served") >= 200)
    server.stop(10, close_active=True)
    gevent.joinall(storms, timeout=10, raise_error=True)
    assert all(greenlet.ready() for greenlet in storms)
    assert "garbled" not in outcomes
    assert server.connections == 0
    assert recorder.events.count("open") == recorder.events.count("close")


# -- starting again --------------------------------------------------------------------------------------


def test_a_stopped_server_may_be_started_again_at_the_same_port_with_the_same_handlers(
    serve: Serve, dial: Dial
) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    address = server.address
    for round_ in (1, 2, 3):
        with Peer(server.address) as peer:
            assert peer.exchange(b"hello") == b"hello"
            server.stop(0)
        assert not server.started
        with pytest.raises(ConnectionRefusedError):
            dial(server)
        server.start()
        assert server.started
        assert server.address == address
        assert server.stats().accepted == round_, "the counters go on"
    assert dial(server).exchange(b"hello") == b"hello"
    assert recorder.events.count("open") == 4


def test_connections_of_before_live_through_a_restart(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    before = dial(server)
    recorder.wait_for("open")
    server.stop()
    server.start()
    after = dial(server)
    recorder.wait_for("open", 2)
    assert server.connections == 2
    for peer in (before, after):
        assert peer.exchange(b"hello") == b"hello"


def test_a_unix_server_may_be_started_again(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = serve(echoing().handlers, f"unix:{path}")
    for _ in range(3):
        server.stop(0)
        assert not path.exists()
        server.start()
        assert dial(server).exchange(b"hello") == b"hello"


def test_a_server_on_a_given_socket_cannot_start_again_and_says_why(serve: Serve) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    other = socket.create_server(("127.0.0.1", 0))
    for address in (given, f"fd://{other.detach()}"):
        server = serve(echoing().handlers, address)
        server.stop(0)
        with pytest.raises(RuntimeError, match="cannot start again"):
            server.start()
        assert not server.started
        assert server.closed


def test_start_of_a_started_server_changes_nothing(serve: Serve, dial: Dial) -> None:
    server = serve(echoing().handlers)
    address = server.address
    server.start()
    assert server.address == address
    assert dial(server).exchange(b"hello") == b"hello"


# -- with and serve_forever ------------------------------------------------------------------------------


def test_leaving_a_with_block_drains(dial: Dial) -> None:
    gate = Gate()
    recorder = Recorder(data=wait_and_answer(gate))
    with greensock.listen(("127.0.0.1", 0), recorder.handlers) as server:
        busy, idle = dial(server), dial(server)
        busy.send(b"question")
        recorder.wait_for("data")
        gevent.spawn(leave, idle).link_value(lambda _: gate.open())
        answer = gevent.spawn(leave, busy)
    assert server.closed
    assert server.connections == 0
    assert answer.get(timeout=10) == b"answer to question"
    assert recorder.events.count("stopping") == recorder.events.count("close") == 2


def test_an_exception_leaves_a_with_block_after_the_drain(dial: Dial) -> None:
    recorder = echoing()
    with pytest.raises(KeyError, match="on purpose"), greensock.listen(("127.0.0.1", 0), recorder.handlers) as server:
        peer = dial(server)
        recorder.wait_for("open")
        rest = gevent.spawn(leave, peer)
        raise KeyError("on purpose")
    assert rest.get(timeout=10) == b""
    assert server.closed
    assert recorder.events == ["open", "stopping", "close"]


def test_a_with_block_gives_up_after_ten_seconds(monkeypatch: pytest.MonkeyPatch, dial: Dial) -> None:
    assert greensock.server.EXIT_TIMEOUT == 10
    monkeypatch.setattr(greensock.server, "EXIT_TIMEOUT", 0.05)
    recorder = Recorder(data=lambda socket, data: gevent.event.Event().wait())
    with greensock.listen(("127.0.0.1", 0), recorder.handlers) as server:
        peer = dial(server)
        peer.send(b"hello")
        recorder.wait_for("data")
    assert server.closed
    assert peer.is_reset()


@pytest.mark.parametrize("started", [True, False])
def test_serve_forever_serves_until_stop(dial: Dial, started: bool) -> None:
    server = greensock.Server(("127.0.0.1", 0), echoing().handlers)
    if started:
        server.start()
    serving = gevent.spawn(server.serve_forever)
    wait_until(lambda: server.started)
    assert dial(server).exchange(b"hello") == b"hello"
    assert not serving.ready()
    server.stop(0)
    serving.get(timeout=10)


SERVES_FOREVER = """
    import signal
    import gevent
    import greensock

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = greensock.listen("127.0.0.1:0", {"data": lambda socket, data: socket.write(data)})

    def serving():
        print(before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)), flush=True)
        while True:  # an interrupt in the instant before it sleeps is heard by gevent when it wakes up
            gevent.sleep(0.05)

    gevent.spawn(serving)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", server.closed)
"""


def test_serve_forever_does_not_touch_signals(launch: Launch) -> None:
    program = launch(SERVES_FOREVER)
    assert program.line() == "True"
    assert program.finish(signal.SIGTERM)[0] == -signal.SIGTERM
    program = launch(SERVES_FOREVER)
    assert program.line() == "True"
    status, output, _ = program.finish(signal.SIGINT)
    assert (status, output) == (0, "interrupted True\n")
