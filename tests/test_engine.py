"""Turns and runners: each trap that the engine covers, caused on purpose."""

import itertools
import logging
import shutil
import signal
import subprocess
import threading
from time import monotonic
from typing import Any

import gevent
import gevent.event
import gevent.local
import gevent.socket
import greenlet
import pytest
from gevent.exceptions import LoopExit

import greensock
from greensock import wire
from greensock.engine import Engine
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch


def echo(socket: Any, data: bytes) -> None:
    socket.write(data)


# -- turns -----------------------------------------------------------------------------------------------


def test_handlers_that_do_not_block_share_one_switch(serve: Serve, dial: Dial) -> None:
    server = serve(Recorder(data=echo).handlers)
    peers = [dial(server) for _ in range(20)]
    wait_until(lambda: server.connections == 20)
    for peer in peers:
        peer.socket.send(b"x")  # does not turn the loop
    runners = set()
    switches = 0

    def count(event: str, switched: Any) -> None:
        nonlocal switches
        switches += 1
        runners.add(id(switched[1]))

    greenlet.settrace(count)
    try:
        gevent.sleep(0.01)
    finally:
        greenlet.settrace(None)
    assert [peer.read_exactly(1) for peer in peers] == [b"x"] * 20
    assert switches <= 8, "20 messages, and a switch there and back for all of them"


def test_a_blocked_handler_holds_nobody_up(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()

    def handle(socket: Any, data: bytes) -> None:
        if data == b"wait":
            gate.wait()
        socket.write(data)

    server = serve({"data": handle})
    slow, quick = dial(server), dial(server)
    slow.send(b"wait")
    for _ in range(10):
        assert quick.exchange(b"go") == b"go"
    assert server.stats().handlers_running == 1
    gate.set()
    assert slow.read_exactly(4) == b"wait"


def test_what_was_written_before_a_handler_blocks_goes_out_then(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()

    def handle(socket: Any, data: bytes) -> None:
        socket.write(b"be")
        socket.write(b"fore")
        gate.wait()
        socket.write(b"after")

    peer = dial(serve({"data": handle}))
    peer.send(b"?")
    assert peer.read_exactly(6) == b"before"
    gate.set()
    assert peer.read_exactly(5) == b"after"


def test_a_busy_socket_is_not_ready_again_in_every_turn(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    recorder = Recorder(data=lambda socket, data: gate.wait())
    peer = dial(serve(recorder.handlers))
    peer.send(b"1")
    recorder.wait_for("data")
    peer.send(b"2")
    socket = recorder.sockets[0]
    wait_until(lambda: not socket._reader.active)
    gate.set()
    recorder.wait_for("data", 2)
    assert recorder.received == b"12"


def test_a_runner_that_was_left_behind_takes_no_other_socket(serve: Serve, dial: Dial) -> None:
    """Its handlers would block unseen, and what they wrote would stay corked."""
    gate = gevent.event.Event()
    other_gate = gevent.event.Event()

    def handle(socket: Any, data: bytes) -> None:
        if data == b"first":
            gate.wait()
            engine.ready.append(second_socket())  # ready while this runner comes back
        else:
            socket.write(b"corked?")
            other_gate.wait()

    def second_socket() -> Any:
        return recorder.sockets[1]

    recorder = Recorder(data=handle)
    server = serve(recorder.handlers)
    engine = Engine.of_this_hub()
    first, second = dial(server), dial(server)
    recorder.wait_for("open", 2)
    first.send(b"first")
    recorder.wait_for("data")
    second.socket.send(b"second")
    gate.set()
    assert second.read_exactly(7) == b"corked?"
    other_gate.set()
    wait_until(lambda: not engine.blocked)


@pytest.mark.parametrize("way", ["spawn", "timer", "callback", "thread", "this greenlet"])
def test_what_others_write_goes_out_without_another_event(way: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    recorder.wait_for("open")
    socket = recorder.sockets[0]
    loop = gevent.get_hub().loop
    timer = loop.timer(0.001)
    if way == "spawn":
        gevent.spawn(socket.write, b"late")
    elif way == "timer":
        timer.start(socket.write, b"late")
    elif way == "callback":
        loop.run_callback(socket.write, b"late")
    elif way == "thread":
        caller = threading.Thread(target=greensock.call_from_thread, args=(socket, socket.write, b"late"))
        caller.start()
        caller.join()
    else:
        socket.write(b"late")
    began = monotonic()
    assert peer.read_exactly(4) == b"late"
    assert monotonic() - began < 1, "it waited for another event"
    timer.close()


def test_ours_runs_before_the_prepare_watcher_of_gevent(serve: Serve, dial: Dial) -> None:
    """Else a callback that a handler makes would wait for the next event."""
    called = gevent.event.Event()
    peer = dial(serve({"data": lambda socket, data: gevent.get_hub().loop.run_callback(called.set)}))
    peer.send(b"x")
    assert called.wait(5)
    loop: Any = gevent.get_hub().loop
    assert Engine.of_this_hub()._prepare.priority == loop.MAXPRI


def test_reads_stay_below_the_size_from_which_malloc_maps_memory() -> None:
    assert wire.READ_SIZE + 33 < 128 * 1024, "M_MMAP_THRESHOLD, mallopt(3), and the header of a bytes object"


# -- exceptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [ValueError, gevent.GreenletExit, gevent.Timeout, SystemExit, MemoryError, RecursionError, LoopExit]
)
@pytest.mark.parametrize("blocks", [False, True])
def test_an_exception_harms_its_own_connection_only(
    kind: type[BaseException], blocks: bool, serve: Serve, dial: Dial
) -> None:
    def handle(socket: Any, data: bytes) -> None:
        if data == b"fail":
            if blocks:
                gevent.sleep(0)
            raise kind
        socket.write(data)

    recorder = Recorder(data=handle)
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(5)]
    wait_until(lambda: server.connections == 5)
    for index, peer in enumerate(peers):
        peer.socket.send(b"fail" if index == 2 else b"fine")
    assert peers.pop(2).is_reset()
    assert [peer.read_exactly(4) for peer in peers] == [b"fine"] * 4
    _, error = recorder.wait_for("close")
    assert isinstance(error, kind)
    assert server.stats().errors == 1


def test_a_killed_handler_ends_its_connection(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: gevent.sleep(1000))
    peer = dial(serve(recorder.handlers))
    peer.send(b"x")
    engine = Engine.of_this_hub()
    wait_until(lambda: engine.blocked)
    (socket,) = engine.blocked
    gevent.kill(socket._running)
    assert peer.is_reset()
    recorder.wait_for("close")


def test_a_keyboard_interrupt_goes_to_the_main_greenlet(serve: Serve, dial: Dial) -> None:
    def handle(socket: Any, data: bytes) -> None:
        raise KeyboardInterrupt

    peer = dial(serve({"data": handle}))
    peer.send(b"x")
    with pytest.raises(KeyboardInterrupt):
        gevent.sleep(5)
    assert peer.is_reset()


@pytest.mark.parametrize("name", ["greensock", "greensock.access"])
def test_a_log_that_is_broken_harms_no_other_connection(
    name: str, serve: Serve, dial: Dial, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def handle(socket: Any, data: bytes) -> None:
        if data == b"fail":
            raise ValueError("on purpose")
        socket.write(data)

    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError("a broken filter")

    caplog.set_level(logging.INFO)
    logger = logging.getLogger(name)
    server = serve({"data": handle})
    fails, fine = dial(server), dial(server)
    wait_until(lambda: server.connections == 2)
    logger.addFilter(broken)
    try:
        fails.socket.send(b"fail")
        fine.socket.send(b"fine")
        assert fails.is_reset()
        assert fine.read_exactly(4) == b"fine"
        wait_until(lambda: server._shared.alive == 1)
    finally:
        logger.removeFilter(broken)
    assert "RuntimeError: a broken filter" in capfd.readouterr().err, "as logging tells of its own failures"


INTERRUPTED = """
    import sys, gevent, greensock

    def data(socket, data):
        if data.startswith(b"late"):
            gevent.spawn(socket.write, data)  # which the hub sends, and no runner
        elif data.startswith(b"block"):
            gevent.sleep(0)
            socket.write(data)
        else:
            socket.write(data)

    server = greensock.listen(("127.0.0.1", 0), {"data": data})
    print(server.port, flush=True)
    for number in range(1, int(sys.argv[1]) + 1):
        try:
            gevent.sleep(1000)
        except KeyboardInterrupt:
            print("interrupt", number, flush=True)
    server.stop(5)
    print("left", server._shared.alive, flush=True)
"""


def test_an_interrupt_anywhere_under_load_reaches_main_and_repeats_no_byte(launch: Launch) -> None:
    """Python raises it wherever it happens to be: in the engine, in a handler, behind a send that was made."""
    program = launch(INTERRUPTED, "20")
    address = ("127.0.0.1", int(program.line()))
    lost = 0
    done = gevent.event.Event()

    def exchange_until_it_breaks() -> None:
        with Peer(address) as peer:
            for number in itertools.count():
                message = b"%d." % number * 10
                peer.send(message)
                assert peer.read_exactly(len(message)) == message
                if done.is_set():
                    return

    def load() -> None:
        nonlocal lost
        while not done.is_set():
            try:
                exchange_until_it_breaks()
            except (EOFError, ConnectionError):
                lost += 1

    loads = [gevent.spawn(load) for _ in range(16)]
    assert program.process.stdout
    try:
        for number in range(1, 21):
            with Peer(address) as peer:  # what is answered is answered while main sleeps, and may be interrupted
                assert peer.exchange(b"ready") == b"ready"
            program.send(signal.SIGINT)
            gevent.socket.wait_read(program.process.stdout.fileno(), 10)
            assert program.line() == f"interrupt {number}"
            if number == 19:
                done.set()  # before the program stops: what is refused then would count
                gevent.joinall(loads, 10, raise_error=True)
        assert program.line() == "left 0"
    finally:
        gevent.killall(loads)
    assert lost <= 19, "an interrupt harms one connection at most"


def interrupting(call: str, when: str) -> tuple[str, ...]:
    """A command that makes a program be interrupted in the middle of a system call."""
    command = ("strace", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGINT:when={when}")
    if shutil.which("strace") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("strace cannot inject signals here")
    return command


@pytest.mark.parametrize("way", [b"at once", b"late", b"block"])
@pytest.mark.parametrize("call", ["sendto", "recvfrom"])
def test_an_interrupt_in_a_system_call_ends_that_connection_and_repeats_no_byte(
    call: str, way: bytes, launch: Launch
) -> None:
    program = launch(INTERRUPTED, "1", wrapper=interrupting(call, "3"))
    address = ("127.0.0.1", int(program.line()))
    with Peer(address) as one, Peer(address) as other:
        for message in (way + b" 1", way + b" 2"):
            assert one.exchange(message) == message
        one.send(way + b" 3")
        try:
            rest = one.read_to_end()
        except ConnectionResetError:
            rest = b""
        assert rest in (b"", way + b" 3"), "never twice"
        assert program.line() == "interrupt 1"
        other.finish()
        assert other.read_to_end() == b""
    assert program.line() == "left 0"


def test_an_interrupt_in_accept_does_not_end_accepting(launch: Launch) -> None:
    program = launch(INTERRUPTED, "2", wrapper=interrupting("accept4", "3"))
    address = ("127.0.0.1", int(program.line()))
    with Peer(address) as first, Peer(address) as hit:
        assert first.exchange(b"hello") == b"hello"
        assert program.line() == "interrupt 1"
        with Peer(address) as third:
            assert third.exchange(b"hello") == b"hello"
        hit.close()


CLOSED = """
    import gc, gevent, gevent.event, gevent.socket, greensock
    from greensock.engine import Engine
    from greensock.runners import Runner

    def close(socket, error):
        gevent.sleep(0)
        gone.set()

    gone = gevent.event.Event()
    server = greensock.listen(("127.0.0.1", 0), {"close": close})
    gevent.socket.create_connection(server.address).close()
    gone.wait()
    server.close()
    engine = Engine.of_this_hub()
    print(len(engine.runners.returned), flush=True)  # its handler had blocked, and has only just come back
    engine.close()
    print([runner for runner in gc.get_objects() if isinstance(runner, Runner) and runner], flush=True)
    print(Engine.of_this_hub() is engine, flush=True)
"""


def test_an_engine_that_is_closed_ends_its_runners_and_is_replaced(launch: Launch) -> None:
    status, output, errors = launch(CLOSED).finish()
    assert (status, output) == (0, "1\n[]\nFalse\n"), errors


def test_the_engine_is_that_of_the_hub() -> None:
    assert Engine.of_this_hub() is Engine.of_this_hub()


LOGGING = """
    import gevent.monkey; gevent.monkey.patch_all()
    import logging, sys, gevent, gevent.event, gevent.socket, greensock

    handler = logging.StreamHandler(sys.stdout)
    logging.basicConfig(level=logging.INFO, handlers=[handler], format="%(name)s %(message)s")

    def handle(socket, data):
        raise ValueError("on purpose")

    server = greensock.listen(("127.0.0.1", 0), {"data": handle})
    def hold():  # as a slow disk would
        handler.acquire()
        held.set()
        gevent.sleep(0.1)
        handler.release()

    held = gevent.event.Event()
    gevent.spawn(hold)
    held.wait()
    client = gevent.socket.create_connection(server.address)
    client.sendall(b"x")
    try:
        client.recv(1)
    except ConnectionResetError:
        pass
    client.close()
    server.stop(1)
"""


def test_a_log_handler_that_is_held_loses_no_line(launch: Launch) -> None:
    """In a hub callback its lock could not be waited for."""
    status, output, errors = launch(LOGGING).finish()
    assert status == 0, errors
    assert "data handler of 127.0.0.1" in output
    assert "BlockingSwitchOutError" not in output + errors
    assert "greensock.access 127.0.0.1" in output


ABORT = """
    import gevent, gevent.socket, greensock

    def open(socket):
        socket.resume()  # its watcher is started, and libev has not seen it yet
        socket.terminate()

    gone = 0
    def close(socket, error):
        global gone
        gone += 1

    server = greensock.listen(("127.0.0.1", 0), {"open": open, "close": close})
    for _ in range(100):
        gevent.socket.create_connection(server.address).close()
    server.stop(1)
    print(gone)
"""


def test_no_watcher_is_left_on_a_closed_descriptor(launch: Launch) -> None:
    """libev aborts the process when it finds one."""
    status, output, errors = launch(ABORT).finish()
    assert (status, output) == (0, "100\n"), errors
