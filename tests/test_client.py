"""``connect``: the socket on the connecting side, its events, and how connecting fails."""

import gc
import signal
import socket as sockets
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, stream, turns
from greensock import CloseReason, SocketClosed, SocketState
from greensock.engine import Engine
from greensock.testing import Recorder, Serve, wait_until
from program import Launch


def echo(socket: AnySocket, data: bytes) -> None:
    socket.write(data)


@pytest.fixture
def server(serve: Serve) -> greensock.Server:
    return serve({"data": echo})


@pytest.fixture
def refusing() -> tuple[str, int]:
    with sockets.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        return address


# -- connected -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tuple", "text", "url", "name"])
def test_every_form_of_address(form: str, server: greensock.Server) -> None:
    forms = {
        "tuple": server.address,
        "text": f"127.0.0.1:{server.port}",
        "url": server.url,
        "name": ("localhost", server.port),
    }
    recorder = Recorder()
    with greensock.connect(forms[form], recorder.handlers) as client:
        assert client.state is SocketState.OPEN and client.server is None
        assert client.remote_address == server.address
        assert client.local_address[0] == "127.0.0.1" and client.family == sockets.AF_INET
        client.write("hello")
        recorder.wait_for("data")
    recorder.wait_for("close")
    assert recorder.received == b"hello"


def test_ipv6_and_unix(serve: Serve, tmp_path: Any) -> None:
    for address in (("::1", 0), f"unix:{tmp_path}/s"):
        server = serve({"data": echo}, address)
        recorder = Recorder()
        with greensock.connect(server.url, recorder.handlers) as client:
            client.write("hello")
            recorder.wait_for("data")
        recorder.wait_for("close")
    assert client.remote_address == f"{tmp_path}/s"


def test_a_descriptor() -> None:
    ours, theirs = sockets.socketpair()
    recorder = Recorder()
    with theirs:
        greensock.connect(f"fd://{ours.detach()}", recorder.handlers)
        theirs.sendall(b"hello")
        recorder.wait_for("data")
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "end", "close"]


def test_a_client_that_ends_with_its_data_gives_the_events_of_the_contract(serve: Serve) -> None:
    ours, theirs = Recorder(), Recorder(open=lambda socket: socket.end("bye"))
    server = serve(ours.handlers)
    greensock.connect(server.address, theirs.handlers)
    ours.wait_for("close")
    theirs.wait_for("close")
    assert ours.events == ["open", "data", "end", "close"]
    assert theirs.events == ["open", "close"]


def test_data_is_there_before_the_first_event(server: greensock.Server) -> None:
    seen: list[Any] = []
    with greensock.connect(server.address, {"open": lambda socket: seen.append(socket.data)}, data="mine") as client:
        assert seen == ["mine"] and client.data == "mine"


def test_open_has_begun_and_may_block(server: greensock.Server) -> None:
    go = Event()
    recorder = Recorder(open=lambda socket: go.wait())
    with greensock.connect(server.address, recorder.handlers) as client:
        assert recorder.events == ["open"]
        client.write("hello")
        turns()
        assert recorder.events == ["open"], "one handler at a time"
        go.set()
        recorder.wait_for("data")


def test_connect_does_not_fail_because_open_does(server: greensock.Server) -> None:
    def fail(socket: AnySocket) -> None:
        raise ValueError("in open")

    recorder = Recorder(open=fail, error=lambda socket, error: None)
    with greensock.connect(server.address, recorder.handlers):
        recorder.wait_for("error")
    recorder.wait_for("close")
    recorder = Recorder(open=fail)
    client = greensock.connect(server.address, recorder.handlers)
    recorder.wait_for("close")
    assert client.close_reason is CloseReason.HANDLER_ERROR


def test_connecting_inside_a_handler(serve: Serve, server: greensock.Server) -> None:
    def forward(socket: AnySocket, data: bytes) -> None:
        def back(other: AnySocket, reply: bytes) -> None:
            socket.write(reply)
            other.close()

        greensock.connect(server.address, {"data": back}).write(data)

    recorder = Recorder()
    with greensock.connect(serve({"data": forward}).address, recorder.handlers) as client:
        client.write("through")
        recorder.wait_for("data")
    assert recorder.received == b"through"


def test_many_at_once(server: greensock.Server) -> None:
    recorder = Recorder(data=lambda socket, data: socket.end())
    connecting = [gevent.spawn(greensock.connect, server.address, recorder.handlers) for _ in range(500)]
    for greenlet in connecting:
        greenlet.get().write("x")
    recorder.wait_for("close", 500)


def test_reload(server: greensock.Server) -> None:
    before, after = Recorder(), Recorder()
    with greensock.connect(server.address, before.handlers) as client:
        client.reload(after.handlers)
        client.write("x")
        after.wait_for("data")
        with pytest.raises(TypeError):
            client.reload({"nonsense": print})
    after.wait_for("close")
    assert before.events == ["open"]


def test_pause_and_resume(server: greensock.Server) -> None:
    recorder = Recorder(open=lambda socket: socket.pause())
    with greensock.connect(server.address, recorder.handlers) as client:
        client.write("x")
        wait_until(lambda: server.stats().bytes_written == 1)
        turns()
        assert recorder.events == ["open"]
        client.resume()
        recorder.wait_for("data")


def test_half_open(serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.end("bye"), "data": lambda socket, data: heard.append(data)})
    heard: list[bytes] = []
    recorder = Recorder()
    client = greensock.connect(server.address, recorder.handlers, allow_half_open=True)
    recorder.wait_for("end")
    assert client.state is SocketState.OPEN
    client.end("thanks")
    recorder.wait_for("close")
    wait_until(lambda: heard == [b"thanks"])


def test_an_idle_client(server: greensock.Server) -> None:
    recorder = Recorder()
    client = greensock.connect(server.address, recorder.handlers, idle_timeout=0.05)
    recorder.wait_for("close")
    assert recorder.events == ["open", "timeout", "close"] and client.close_reason is CloseReason.TIMEOUT


def test_a_client_goes_on_reading_while_its_own_queue_is_full(serve: Serve) -> None:
    """Both sides send far more than the kernel holds before they read: two that stopped would never start again."""
    size = 12_000_000
    ours, theirs = Recorder(), Recorder(open=lambda socket: socket.end(stream(size)))
    server = serve(ours.handlers, allow_half_open=True)
    ours._behaviour["open"] = lambda socket: socket.end(stream(size))
    greensock.connect(server.address, theirs.handlers, allow_half_open=True)
    theirs.wait_for("close", timeout=30)
    ours.wait_for("close")
    assert ours.received == theirs.received == stream(size)


@pytest.mark.parametrize("paused", [False, True])
def test_it_is_kept_while_it_is_open_and_not_longer(paused: bool, server: greensock.Server) -> None:
    reference = weakref.ref(greensock.connect(server.address, {"data": lambda socket, data: None}))
    client = reference()
    assert client is not None
    if paused:
        client.pause()
    del client
    gc.collect()
    assert reference() is not None
    (accepted,) = server.sockets
    accepted.write("x")
    server.stop(0)
    client = reference()
    assert client is not None
    client.terminate()
    del client
    wait_until(lambda: gc.collect() is not None and reference() is None)
    assert not Engine.of_this_hub().kept


def test_in_another_thread_with_a_hub_of_its_own(server: greensock.Server) -> None:
    outcome: list[bytes] = []

    def run() -> None:
        recorder = Recorder(data=lambda socket, data: socket.end())
        greensock.connect(server.address, recorder.handlers).write("hello")
        greensock.run()
        outcome.append(recorder.received)
        hub = gevent.get_hub()
        Engine.of_this_hub().close()
        hub.destroy(destroy_loop=True)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: outcome)
    thread.join()
    assert outcome == [b"hello"]


# -- without handlers ------------------------------------------------------------------------------------


def test_without_handlers_it_writes_and_closes(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    with greensock.connect(server.address) as client:
        client.write("hel")
        client.sendall("lo")
        client.flush(5)
        assert client.buffered == 0
        with pytest.raises(TypeError, match="reads it himself"):
            client.reload({"data": print})
    recorder.wait_for("close")
    assert recorder.received == b"hello"
    wait_until(lambda: client.closed)


def test_without_handlers_nothing_is_taken_from_the_kernel(serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.write("hello")})
    client = greensock.connect(server.address)
    turns()
    assert client.bytes_read == 0
    client.terminate()
    assert client.closed


# -- what is refused, without an event -------------------------------------------------------------------


@pytest.mark.parametrize("address", ["nonsense", ("127.0.0.1", 70000), ("", 80), "http://a:80", ("127.0.0.1", 0), 5])
def test_a_bad_address_is_a_valueerror_and_no_event(address: Any) -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="bad address"):
        greensock.connect(address, recorder.handlers)
    assert recorder.events == []


@pytest.mark.parametrize("name", ["backlog", "reuse_port", "ipv6_only", "max_connections"])
def test_options_of_servers_are_refused_by_name(name: str, server: greensock.Server) -> None:
    options: dict[str, Any] = {name: 1}
    with pytest.raises(TypeError, match=f"option '{name}' is for listening"):
        greensock.connect(server.address, {"data": echo}, **options)


def test_bad_arguments(server: greensock.Server) -> None:
    with pytest.raises(TypeError, match="unknown option 'idle_timout'; did you mean 'idle_timeout'"):
        greensock.connect(server.address, idle_timout=5)
    with pytest.raises(ValueError, match="timeout must be"):
        greensock.connect(server.address, timeout=-1)
    with pytest.raises(ValueError, match="no_delay"):
        greensock.connect(server.address, no_delay="no")
    with pytest.raises(TypeError, match="unknown event 'nope'"):
        greensock.connect(server.address, {"nope": print})
    with pytest.raises(ValueError, match="server_hostname"):
        greensock.connect(server.address, tls=True, server_hostname="no name")


# -- failures --------------------------------------------------------------------------------------------


def test_connect_error_comes_once_and_alone_and_then_the_exception(refusing: tuple[str, int]) -> None:
    recorder = Recorder(connect_error=lambda socket, error: states.append((socket.data, socket.state, socket.closed)))
    states: list[Any] = []
    with pytest.raises(ConnectionRefusedError, match=f"tcp://127.0.0.1:{refusing[1]}") as caught:
        greensock.connect(refusing, recorder.handlers, data="mine")
    assert states == [("mine", SocketState.CLOSED, True)]
    assert recorder.events == ["connect_error"] and recorder.log[0][2] is caught.value
    socket = recorder.log[0][1]
    with pytest.raises(SocketClosed):
        socket.write("x")
    socket.close()
    socket.terminate()
    socket.resume()
    socket.pause()
    assert socket.fileno() == -1 and f"127.0.0.1:{refusing[1]} CLOSED" in repr(socket)
    turns()
    assert recorder.events == ["connect_error"]


def test_what_connect_error_raises_is_raised_instead(refusing: tuple[str, int]) -> None:
    def fail(socket: AnySocket, error: Exception) -> None:
        raise KeyError("instead")

    with pytest.raises(KeyError, match="instead"):
        greensock.connect(refusing, {"connect_error": fail})


def test_a_name_that_does_not_resolve_is_an_oserror_that_names_it() -> None:
    recorder = Recorder()
    with pytest.raises(OSError, match="no-such-host.invalid"):
        greensock.connect("no-such-host.invalid:80", recorder.handlers)
    assert recorder.events == ["connect_error"]


def test_a_timeout_is_a_connect_error_too() -> None:
    recorder = Recorder()
    with sockets.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = [greensock.connect(listener.getsockname())]
        with pytest.raises(TimeoutError):
            while True:
                fillers.append(greensock.connect(listener.getsockname(), recorder.handlers, timeout=0.1))
        for filler in fillers:
            filler.terminate()
    assert recorder.events[-1] == "connect_error"
    assert recorder.events.count("connect_error") == 1


def test_a_kill_is_no_connect_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(greensock.net, "resolve", lambda host, port: gevent.sleep(1000))
    connecting = gevent.spawn(greensock.connect, "somewhere:80", recorder.handlers)
    turns()
    connecting.kill()
    assert recorder.events == []
    assert not Engine.of_this_hub().kept


def test_a_kill_when_it_is_connected_ends_the_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(seconds: float) -> None:
        raise gevent.GreenletExit

    ours, theirs = Recorder(), Recorder()
    server = serve(ours.handlers)
    monkeypatch.setattr("greensock.client.gevent", SimpleNamespace(sleep=killed))
    with pytest.raises(gevent.GreenletExit):
        greensock.connect(server.address, theirs.handlers)
    ours.wait_for("close")
    assert ours.sockets[0].close_reason is CloseReason.RESET
    assert theirs.events in ([], ["open", "close"])
    assert not Engine.of_this_hub().kept - {server}


# -- run() and signals -----------------------------------------------------------------------------------


def test_run_waits_for_clients_that_are_referenced(server: greensock.Server) -> None:
    server.unref()
    recorder = Recorder()
    client = greensock.connect(server.address, recorder.handlers)
    running = gevent.spawn(greensock.run, signals=False)
    turns()
    assert not running.dead
    client.unref()
    for accepted in server.sockets:
        accepted.unref()
    running.get(timeout=5)
    client.close()


DRAINED = """
    import sys, gevent, greensock

    class Client(greensock.Handlers):
        def stopping(self, socket): socket.write("bye")
        def close(self, socket, error): print("close", socket.close_reason, error, flush=True)

    greensock.connect(("127.0.0.1", int(sys.argv[1])), Client())
    gevent.spawn(print, "running", flush=True)  # which begins when run() waits, and has taken the signals
    greensock.run()
    print("done", flush=True)
"""


def test_term_drains_clients(launch: Launch, serve: Serve) -> None:
    recorder = Recorder()
    program = launch(DRAINED, str(serve(recorder.handlers).port))
    program.wait_for("running")
    program.send(signal.SIGTERM)
    assert program.wait_for("close") == "close stopped None"
    assert program.wait_for("done")
    recorder.wait_for("close")
    assert recorder.received == b"bye"


PENDING = """
    import gevent, greensock, signal
    from greensock import net

    net.resolve = lambda host, port: gevent.sleep(1000)
    gevent.spawn(greensock.connect, "somewhere:80", timeout=None)
    gevent.sleep(0.01)
    gevent.spawn(print, "running", flush=True)
    greensock.run()
    print("done", flush=True)
"""


def test_a_connection_that_is_not_there_yet_does_not_hold_up_a_drain(launch: Launch) -> None:
    program = launch(PENDING)
    program.wait_for("running")
    program.send(signal.SIGTERM)
    assert program.wait_for("done")
