"""Connections that begin with a TLS handshake, and those that never get further."""

import gc
import logging
import os
import signal
import ssl
from contextvars import ContextVar
from typing import Any

import gevent
import gevent.local
import pytest
from gevent.event import Event

import greensock
from authority import context_for, issued
from connections import AnySocket, attempt, stream, turns
from greensock import CloseReason
from greensock.engine import HANDSHAKES_PER_TURN, Engine
from greensock.testing import Dial, Recorder, Serve, wait_until
from tls_peer import HERE, SecurePeer, client_context, credentials, trust


def secure(serve: Serve, recorder: Recorder, **options: Any) -> greensock.Server:
    return serve(recorder.handlers, tls=greensock.TLS(**credentials()), **options)


# -- the events -----------------------------------------------------------------------------------------


def test_events_of_a_connection(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data.upper()))
    server = secure(serve, recorder)
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"hello") == b"HELLO"
        peer.finish()
        assert peer.read_to_end() == b""
    recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "data", "end", "close"]
    assert recorder.log[0][2:] == (False, None), "no certificate was asked for"
    socket, error = recorder.wait_for("close")
    assert error is None
    assert socket.close_reason is CloseReason.EOF
    stats = server.stats()
    assert (stats.handshakes, stats.handshake_failures, stats.accepted, stats.refused) == (1, 0, 1, 0)
    assert (stats.bytes_read, stats.bytes_written) == (5, 5), "bytes are the application's"


def test_client_and_server(serve: Serve) -> None:
    there, here = Recorder(data=lambda socket, data: socket.write(data)), Recorder()
    server = secure(serve, there)
    assert server.url == f"tls://127.0.0.1:{server.port}"
    socket = greensock.connect(server.url, here.handlers, tls=trust())
    assert (socket.encrypted, socket.authorized, socket.authorization_error) == (True, True, None)
    assert here.log[0][2:] == (True, None)
    data = stream(1_500_000)
    socket.write(data)
    wait_until(lambda: len(here.received) == len(data))
    assert here.received == data
    socket.end()
    there.wait_for("close")
    here.wait_for("close")
    assert [event for event in there.events if event != "data"] == ["handshake", "open", "end", "close"]
    assert [event for event in here.events if event != "data"] == ["handshake", "open", "close"]


def test_data_that_comes_with_the_end_of_the_handshake(serve: Serve) -> None:
    recorder = Recorder()
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        peer.tls.do_handshake()
        # Finished, data and close_notify in one segment: all of it is there when ``open`` has not run
        finished = peer._outgoing.read()
        data = peer.encrypt(b"early")
        attempt(peer.tls.unwrap)
        peer.send_raw(finished + data + peer._outgoing.read())
        recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "data", "end", "close"]
    assert recorder.received == b"early"


def test_a_session_behind_a_handshake_handler_that_blocks_is_its_own_handler(serve: Serve) -> None:
    def handle(socket: AnySocket) -> None:
        try:
            Event().wait()
        finally:
            recorder.log.append(("handled", socket))

    recorder = Recorder(handshake=lambda socket, *_: gevent.sleep(0), handle=handle)
    server = secure(serve, recorder)
    with SecurePeer(server.address):
        recorder.wait_for("handle")
        turns()
        assert server.stats().handlers_running == 1
        server.stop(0)
        recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "handle", "handled", "close"]


def test_a_session_whose_server_drains_behind_a_handshake_handler_is_told_after_open(serve: Serve) -> None:
    def shaken(socket: AnySocket, *_: object) -> None:
        gevent.sleep(0)
        server.stop(close_active=True)

    recorder = Recorder(handshake=shaken, handle=lambda socket: socket.recv())
    server = secure(serve, recorder)
    with SecurePeer(server.address):
        recorder.wait_for("stopping")
    recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "handle", "stopping", "close"]


def test_a_runner_on_which_a_callback_of_the_handshake_left_something_does_not_outlive_it(serve: Serve) -> None:
    local = gevent.local.local()
    context = context_for(issued(*HERE), server=True)
    context.sni_callback = lambda *_: setattr(local, "value", "left")
    recorder = Recorder(handle=lambda socket: socket.recv())
    server = serve(recorder.handlers, tls=context)
    with SecurePeer(server.address) as peer:
        peer.finish()
        recorder.wait_for("close")


@pytest.mark.parametrize("blocks", [False, True])
def test_what_a_handshake_handler_sets_is_seen_in_its_session_and_nothing_else_stays(
    blocks: bool, serve: Serve
) -> None:
    def shaken(socket: AnySocket, *_: object) -> None:
        if blocks:
            gevent.sleep(0)
        variable.set("set")
        local.value = socket  # which takes the runner out of use

    def look(socket: AnySocket, *_: object) -> None:
        seen.append(variable.get())

    seen: list[str] = []
    variable = ContextVar("variable", default="-")
    local = gevent.local.local()
    recorder = Recorder(handshake=shaken, open=look, handle=look, close=look)
    server = secure(serve, recorder)
    with SecurePeer(server.address) as peer:
        peer.finish()
        recorder.wait_for("close")
    assert seen == ["set"] * 3


@pytest.mark.parametrize("size", [10, 16_384, 40_000])
@pytest.mark.parametrize("kind", ["events", "session"])
def test_data_and_a_reset_that_come_with_the_end_of_the_handshake(kind: str, size: int, serve: Serve) -> None:
    """As of a client that sends its data and leaves without reading the tickets: its kernel resets the connection."""
    got: list[bytes] = []
    if kind == "session":
        recorder = Recorder(handle=lambda socket: got.extend(socket))
    else:
        recorder = Recorder(data=lambda socket, data: got.append(data))
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        peer.tls.do_handshake()
        peer.send_raw(peer._outgoing.read() + peer.encrypt(stream(size)))
        peer.reset()
    socket, error = recorder.wait_for("close")
    assert b"".join(got) == stream(size)
    assert server.stats().bytes_read == socket.bytes_read == size
    assert isinstance(error, ConnectionError)
    assert socket.close_reason is CloseReason.RESET
    assert (recorder.events[:2], recorder.events[-1]) == (["handshake", "open"], "close")


def test_early_data_waits_for_a_paused_socket(serve: Serve) -> None:
    recorder = Recorder(open=lambda socket: socket.pause())
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        peer.tls.do_handshake()
        peer.send_raw(peer._outgoing.read() + peer.encrypt(b"early"))
        socket, *_ = recorder.wait_for("open")
        turns()
        assert recorder.events == ["handshake", "open"]
        socket.resume()
        recorder.wait_for("data")
        assert recorder.received == b"early"


@pytest.mark.parametrize("way", ["close", "terminate"])
def test_the_handshake_handler_may_refuse(serve: Serve, way: str) -> None:
    recorder = Recorder(handshake=lambda socket, authorized, error: getattr(socket, way)())
    server = secure(serve, recorder)
    with SecurePeer(server.address) as peer:
        assert attempt(peer.read_to_end) is None or way == "terminate"
    wait_until(lambda: server.stats().refused == 1)
    assert recorder.events == ["handshake"]
    stats = server.stats()
    assert (stats.handshakes, stats.handshake_failures, stats.accepted, stats.closed) == (1, 0, 0, 0)


def test_a_handshake_handler_that_raises(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def fail(socket: object, authorized: bool, error: object) -> None:
        raise LookupError("never seen you")

    recorder = Recorder(handshake=fail)
    server = secure(serve, recorder)
    with SecurePeer(server.address) as peer:
        attempt(peer.read_to_end)
    wait_until(lambda: server.stats().refused == 1)
    assert recorder.events == ["handshake"]
    assert "never seen you" in caplog.text


def test_the_client_handler_of_handshake_may_refuse(serve: Serve) -> None:
    there = Recorder()
    server = secure(serve, there)
    here = Recorder(handshake=lambda socket, authorized, error: socket.terminate())
    with pytest.raises(greensock.SocketClosed, match="its 'handshake' handler has closed it"):
        greensock.connect(server.url, here.handlers, tls=trust())
    assert here.events == ["handshake", "connect_error"]
    wait_until(lambda: server.stats().connections == 0)


# -- what is no handshake -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00",
        bytes(range(256)) * 8,
        b"\x16\x03\x01\xff\xff" + b"\0" * 70000,
    ],
    ids=["http", "nul", "bytes", "huge"],
)
def test_garbage(serve: Serve, dial: Dial, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    server = secure(serve, recorder)
    caplog.set_level(logging.DEBUG, "greensock")
    peer = dial(server)
    attempt(peer.send, garbage)
    attempt(peer.finish)
    attempt(peer.read_to_end)
    wait_until(lambda: server.stats().refused == 1)
    assert recorder.events == []
    lines = [record for record in caplog.records if record.name == "greensock"]
    assert [record.levelno for record in lines] == [logging.DEBUG]
    assert f"127.0.0.1:{peer_port(lines[0])}" in lines[0].getMessage()
    assert lines[0].exc_info is None
    assert server.stats().handshake_failures == 1


def peer_port(record: logging.LogRecord) -> str:
    return record.getMessage().split("127.0.0.1:")[1].split()[0]


@pytest.mark.parametrize("ending", ["stall", "finish", "reset"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_hello_that_stops(serve: Serve, share: float, ending: str) -> None:
    recorder = Recorder()
    server = secure(serve, recorder, handshake_timeout=0.2 if ending == "stall" else 10.0)
    with SecurePeer(server.address, shake=False) as peer:
        hello = peer.hello()
        peer.send_raw(hello[: int(len(hello) * share)])
        if ending == "finish":
            peer.break_off()
        elif ending == "reset":
            turns()
            peer.reset()
        wait_until(lambda: server.stats().refused == 1)
    assert recorder.events == []
    assert server.stats().handshake_failures == 1
    assert not Engine.of_this_hub().clocks.watched


def test_a_stall_after_the_hello(serve: Serve) -> None:
    recorder = Recorder()
    server = secure(serve, recorder, handshake_timeout=0.2)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        assert peer.is_reset()
    assert recorder.events == []
    assert server.stats().handshake_failures == 1


def test_a_slow_handshake_is_none_too_slow(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        for byte in peer.hello():
            peer.send_raw(bytes([byte]))
            gevent.sleep(0)
        peer.feed()
        peer.shake_hands()
        assert peer.exchange(b"there") == b"there"


def test_a_client_is_told_why(serve: Serve) -> None:
    server = secure(serve, Recorder())
    here = Recorder()
    with pytest.raises(ssl.SSLCertVerificationError, match=f"cannot connect to {server.url}: .*verify"):
        greensock.connect(server.url, here.handlers)  # the system's authorities do not know ours
    assert here.events == ["connect_error"]
    wait_until(lambda: server.stats().handshake_failures == 1)


def test_a_client_of_a_server_without_tls(serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.write(b"220 hello\r\n")})
    with pytest.raises(ssl.SSLError, match="cannot connect to"):
        greensock.connect(server.address, tls=trust())


def test_a_client_of_a_server_that_is_silent(serve: Serve) -> None:
    server = serve(Recorder().handlers)
    here = Recorder()
    with pytest.raises(TimeoutError, match=rf"\] cannot connect to {server.url}: no TLS handshake in time$"):
        greensock.connect(server.address, here.handlers, tls=trust(), timeout=0.1)
    assert here.events == ["connect_error"]


def test_a_client_whose_own_deadline_is_shorter(serve: Serve) -> None:
    server = serve(Recorder().handlers)
    with pytest.raises(TimeoutError, match=rf"\] cannot connect to {server.url}: no TLS handshake in \d+\.\d s$"):
        greensock.connect(server.address, tls=trust(), timeout=None, handshake_timeout=0.1)


def test_a_client_of_a_server_that_hangs_up(serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.close()})
    with pytest.raises(ssl.SSLEOFError, match="the peer ended during the handshake"):
        greensock.connect(server.address, tls=trust())


def test_a_client_that_is_killed_in_the_handshake(serve: Serve) -> None:
    there, here = Recorder(), Recorder()
    server = serve(there.handlers)
    connecting = gevent.spawn(greensock.connect, server.address, here.handlers, tls=trust())
    there.wait_for("data")
    connecting.kill()
    there.wait_for("close")
    assert here.events == []


# -- many ----------------------------------------------------------------------------------------------


def test_handshakes_do_not_hold_up_others(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder)
    engine = Engine.of_this_hub()
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, engine._handshakes)

    check = gevent.get_hub().loop.check()
    check.start(watch)
    try:
        with SecurePeer(server.address) as peer:
            others = [gevent.spawn(SecurePeer, server.address) for _ in range(60)]
            while not all(others):
                assert peer.exchange(b"still here") == b"still here"
                if all(other.ready() for other in others):
                    break
            for other in gevent.joinall(others, raise_error=True):
                other.get().close()
    finally:
        check.stop()
        check.close()
    assert most == HANDSHAKES_PER_TURN
    wait_until(lambda: not server.connections)
    assert server.stats().handshakes == 61


@pytest.mark.leaks
def test_a_thousand_bad_handshakes_leave_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder)

    def storm(count: int) -> None:
        for number in range(count):
            with SecurePeer(server.address, shake=False) as peer:
                hello = peer.hello()
                match number % 4:
                    case 0:
                        peer.send_raw(b"GET / HTTP/1.0\r\n\r\n")
                    case 1:
                        peer.send_raw(hello[: number % len(hello)])
                    case 2:
                        peer.send_raw(hello)
                        peer.reset()
                    case 3:
                        peer.send_raw(hello)
                        peer.feed()
        wait_until(lambda: server._shared.alive == 1, what="all but the one that behaves are gone")

    gc.collect()
    gc.disable()
    try:
        with SecurePeer(server.address) as well_behaved:
            storm(40)
            before = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
            storm(1000)
            after = len(gc.get_objects()), len(os.listdir("/proc/self/fd"))
            assert well_behaved.exchange(b"who is making this noise?") == b"who is making this noise?"
        assert after[0] - before[0] < 400, "objects are left that only the garbage collector would find"
        assert after[1] == before[1]
    finally:
        gc.enable()


# -- stopping ------------------------------------------------------------------------------------------


def test_a_drain_lets_handshakes_finish(serve: Serve) -> None:
    recorder = Recorder()
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        server.stop(close_active=True)
        peer.shake_hands()
        assert peer.read_to_end() == b""
        peer.finish()
        recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "stopping", "close"]
    assert recorder.sockets[0].close_reason is CloseReason.STOPPED


def test_a_stop_with_a_timeout_ends_handshakes(serve: Serve) -> None:
    recorder = Recorder()
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        server.stop(0.05)
        assert peer.is_reset()
    assert recorder.events == []
    assert server.stats().refused == 1


def test_handshakes_count_as_connections(serve: Serve, dial: Dial) -> None:
    server = secure(serve, Recorder(), max_connections=1)
    with SecurePeer(server.address, shake=False) as first:
        first.send_raw(first.hello())
        first.feed()
        second = SecurePeer(server.address, shake=False)
        with second:
            second.send_raw(second.hello())
            turns()
            assert server.full()
            first.reset()
            second.feed()
            second.shake_hands()


# -- new certificates ------------------------------------------------------------------------------------


def test_reload_of_the_certificate(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers, tls=greensock.TLS(**credentials("localhost", "old.example")))

    def names(peer: SecurePeer) -> set[str]:
        found: Any = peer.tls.getpeercert()
        return {name for kind, name in found["subjectAltName"] if kind == "DNS"}

    with SecurePeer(server.address) as old:
        assert "old.example" in names(old)
        server.reload(tls=greensock.TLS(**credentials("localhost", "new.example")))
        with SecurePeer(server.address) as new:
            assert "new.example" in names(new)
            assert new.exchange(b"new") == b"new"
        assert old.exchange(b"old") == b"old", "a live connection stays as it is"


def test_reload_is_all_or_nothing(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder)
    for handlers, tls, error in (
        ({"data": lambda socket, data: socket.write(b"new")}, {"key": "nonsense", "cert": "nonsense"}, ValueError),
        ({"dta": print}, greensock.TLS(**credentials()), TypeError),
        (None, None, TypeError),
    ):
        before = server._shared.tls
        with pytest.raises(error):
            server.reload(handlers, tls=tls)
        assert server._shared.tls is before
        with SecurePeer(server.address) as peer:
            assert peer.exchange(b"as before") == b"as before"


def test_reload_does_not_begin_tls(serve: Serve) -> None:
    server = serve(Recorder().handlers)
    with pytest.raises(ValueError, match="tls: this server speaks in clear"):
        server.reload(tls=greensock.TLS(**credentials()))


def test_live_connections_survive_many_reloads(serve: Serve) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder)
    with SecurePeer(server.address) as peer:
        for _ in range(30):
            server.reload(tls=greensock.TLS(**credentials()))
            gc.collect()
            with SecurePeer(server.address) as other:
                assert other.exchange(b"x") == b"x"
            assert peer.exchange(b"y") == b"y"


# -- addresses ------------------------------------------------------------------------------------------


def test_tls_addresses(serve: Serve) -> None:
    with pytest.raises(ValueError, match="tls://127.0.0.1:0 needs tls="):
        greensock.listen("tls://127.0.0.1:0", Recorder().handlers)
    server = secure(serve, Recorder(), address="tls://127.0.0.1:0")
    assert server.url == f"tls://127.0.0.1:{server.port}"
    assert isinstance(server.tls, greensock.TLS)
    with SecurePeer(server.address):
        pass


def test_a_unix_socket_with_tls(serve: Serve, tmp_path: Any) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = secure(serve, recorder, address=f"unix:{tmp_path}/socket")
    with pytest.raises(ValueError, match="server_hostname"):
        greensock.connect(server.url, tls=trust())
    here = Recorder()
    socket = greensock.connect(server.url, here.handlers, tls=trust(), server_hostname="localhost")
    socket.write(b"by a path")
    here.wait_for("data")
    assert here.received == b"by a path"
    socket.close()
    recorder.wait_for("close")


def test_host_names_are_verified(serve: Serve) -> None:
    server = serve(Recorder().handlers, tls=greensock.TLS(**credentials("elsewhere.example")))
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for|mismatch"):
        greensock.connect(server.address, tls=trust())
    with greensock.connect(server.address, tls=trust(), server_hostname="elsewhere.example") as socket:
        assert socket.authorized
        assert socket.server_name == "elsewhere.example"


def test_no_verification_if_told_so(serve: Serve) -> None:
    server = serve(Recorder().handlers, tls=greensock.TLS(**credentials("elsewhere.example")))
    here = Recorder()
    with greensock.connect(server.address, here.handlers, tls={"reject_unauthorized": False}) as socket:
        assert not socket.authorized
        assert isinstance(socket.authorization_error, ssl.SSLCertVerificationError)
    here.wait_for("close")
    assert here.log[0][2:] == (False, socket.authorization_error)


def test_contexts_of_others_are_taken_as_they_are(serve: Serve) -> None:
    there = context_for(issued(*HERE), server=True)
    there.maximum_version = ssl.TLSVersion.TLSv1_2
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers, tls=there)
    here = Recorder()
    with greensock.connect(server.address, here.handlers, tls=client_context(), server_hostname="localhost") as socket:
        assert socket.tls_version == "TLSv1.2"
        socket.write(b"1.2")
        here.wait_for("data")


def test_a_context_whose_callback_blocks(serve: Serve) -> None:
    """It runs user code in the middle of a handshake, which must not get into other connections' bytes."""
    there = context_for(issued(*HERE), server=True)
    seen = []

    def choose(tls: object, name: str | None, context: object) -> None:
        gevent.sleep(0.01)
        seen.append(name)

    there.sni_callback = choose
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers, tls=there)

    def talk(number: int) -> None:
        with SecurePeer(server.address) as peer:
            data = stream(5000, number * 1000)
            assert peer.exchange(data) == data

    gevent.joinall([gevent.spawn(talk, number) for number in range(20)], raise_error=True)
    assert seen == ["localhost"] * 20


def test_a_signal_in_the_middle_of_a_handshake_reaches_the_main_greenlet(serve: Serve) -> None:
    context = context_for(issued(*HERE), server=True)
    context.sni_callback = lambda tls, name, context: (
        signal.raise_signal(signal.SIGINT) if name == "localhost" else None
    )
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers, tls=context)
    with SecurePeer(server.address, server_hostname="127.0.0.1") as other:
        with pytest.raises(KeyboardInterrupt):
            SecurePeer(server.address)
        assert other.exchange(b"still here") == b"still here"
    wait_until(lambda: server.stats().refused == 1)
    recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "data", "close"]


def test_sockets_in_a_handshake_are_left_to_the_parent_of_a_fork(serve: Serve) -> None:
    recorder = Recorder()
    server = secure(serve, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        child = os.fork()
        if child == 0:
            os._exit(0 if not server._shared.handshaking else 1)
        assert os.waitpid(child, 0)[1] == 0
        peer.shake_hands()
        recorder.wait_for("open")
