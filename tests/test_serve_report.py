"""The state of a process, for a person."""

import threading

import gevent
import gevent.event
import pytest

from greensock.serve import native
from greensock.serve.report import SOCKETS, report
from greensock.testing import Dial, Recorder, Serve, wait_until


def test_servers_and_what_waits_in_them(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(bytes(int(data))))
    server, other = serve(recorder.handlers, max_buffered=10_000_000), serve(recorder.handlers)
    peers = [dial(server, receive_buffer=4096) for _ in range(SOCKETS + 2)]
    for number, peer in enumerate(peers):
        peer.send(str(8_000_000 + number * 10_000).encode())
    wait_until(lambda: server.stats().messages_written == len(peers) and server.stats().buffered > 0)
    told = report([server, other], native.get_ident()).splitlines()
    assert told[0].startswith("greensock: state of process ")
    assert told[1] == repr(server)
    assert f"  {server.stats().buffered} bytes buffered, 0 handlers running, {len(peers)} accepted, 0 errors" in told[2]
    shown = sorted(server.sockets, key=lambda socket: socket.buffered, reverse=True)[:SOCKETS]
    assert told[3 : 3 + SOCKETS] == [f"  {socket!r}" for socket in shown]
    assert told[3 + SOCKETS] == repr(other)
    server.stop(0)


def test_greenlets_with_one_stack_are_counted_together(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()

    def wait_here(socket: object, data: object) -> None:
        gate.wait()

    recorder = Recorder(data=wait_here)
    server = serve(recorder.handlers)
    for _ in range(3):
        dial(server).send(b"hello")
    recorder.wait_for("data", 3)
    lines = report([server], native.get_ident()).splitlines()
    at = next(index for index, line in enumerate(lines) if "wait_here: gate.wait()" in line)
    assert lines[at - 1] == "  3 in"
    assert "the loop is stuck in" not in lines
    gate.set()


def test_another_thread_sees_where_the_loop_is(serve: Serve) -> None:
    server = serve({"data": print})
    told: list[str] = []
    main = native.get_ident()
    thread = threading.Thread(target=lambda: told.append(report([server], main)))
    thread.start()
    thread.join()
    lines = told[0].splitlines()
    at = lines.index("the loop is stuck in")
    assert any("test_another_thread_sees_where_the_loop_is" in line for line in lines[at:])


def test_a_server_that_changes_meanwhile_is_told_without_numbers(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve({"data": print})

    def changes() -> None:
        raise RuntimeError("Set changed size during iteration")

    monkeypatch.setattr(server, "stats", changes)
    assert repr(server) in report([server], native.get_ident())
