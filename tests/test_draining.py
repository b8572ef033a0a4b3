"""How the connections of one owner end together: told to stop, waited for, and terminated when time is over."""

from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import Any

import gevent
import gevent.event
import pytest

import greensock
from connections import AnySocket, Gate, attempt, echoing, leave, narrow_listener, turns, wait_and_answer
from greensock.draining import Draining
from greensock.testing import Dial, Recorder, Serve, wait_until


def owner_of(client: AnySocket) -> Draining:
    """What ``greensock.run()`` stops in place of a server."""
    owner: Draining = next(owner for owner in client._engine.owners if owner._shared is client._shared)
    return owner


# -- told to stop --------------------------------------------------------------------------------------


def test_draining_closes_those_that_are_idle_now(serve: Serve, dial: Dial) -> None:
    stopping: list[bool] = []
    recorder = echoing(stopping=lambda socket: stopping.append(socket.stopping))
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(3)]
    recorder.wait_for("open", 3)
    server.stop(close_active=True)
    for peer in peers:
        assert peer.read_to_end() == b"", "a clean end"
        peer.close()
    recorder.wait_for("close", 3)
    for accepted in recorder.sockets:
        assert recorder.of(accepted) == ["open", "stopping", "close"]
        assert accepted.close_reason is greensock.CloseReason.STOPPED
    assert [entry[2] for entry in recorder.log if entry[0] == "close"] == [None] * 3
    assert stopping == [True] * 3


def test_a_handler_that_runs_finishes_and_its_output_is_sent(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    recorder = Recorder(data=wait_and_answer(gate))
    server = serve(recorder.handlers)
    busy, idle = dial(server), dial(server)
    busy.send(b"question")
    recorder.wait_for("data")
    accepted = recorder.log[-1][1]
    draining = gevent.spawn(server.stop, 1000, close_active=True)
    assert idle.read_to_end() == b"", "the idle one does not wait for the busy one"
    idle.close()
    recorder.wait_for("close")
    assert accepted.stopping
    assert accepted.state is greensock.SocketState.OPEN
    assert not draining.ready()
    gate.open()
    assert busy.read_to_end() == b"answer to question"
    busy.close()
    draining.get(timeout=10)
    assert recorder.of(accepted) == ["open", "data", "stopping", "close"]
    assert accepted.close_reason is greensock.CloseReason.STOPPED
    assert accepted.unsent == 0


def test_nothing_new_is_delivered_to_one_that_was_told_to_stop(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    recorder = Recorder(data=wait_and_answer(gate))
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"first")
    recorder.wait_for("data")
    server.stop(close_active=True)
    peer.send(b"second")
    gate.open()
    assert peer.read_to_end() == b"answer to first"
    peer.close()
    recorder.wait_for("close")
    assert recorder.received == b"first"


def test_stopping_is_the_chance_to_say_goodbye(serve: Serve, dial: Dial) -> None:
    def goodbye(socket: Any) -> None:
        gevent.sleep(0)
        socket.write(b"good")
        gevent.sleep(0)
        socket.write(b"bye")

    recorder = echoing(stopping=goodbye)
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    server.stop(close_active=True)
    assert peer.read_to_end() == b"goodbye"


def test_what_is_queued_is_sent_before_the_end(serve: Serve, dial: Dial) -> None:
    size = 8 << 20
    recorder = Recorder(open=lambda socket: socket.write(bytes(size)))
    server = serve(recorder.handlers)
    peer = dial(server)
    (accepted,) = recorder.wait_for("open")
    draining = gevent.spawn(server.stop, 1000, close_active=True)
    assert len(peer.read_to_end()) == size
    peer.close()
    draining.get(timeout=10)
    assert accepted.unsent == 0


def test_each_gets_stopping_once_however_often_stop_is_called(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    recorder = Recorder(data=wait_and_answer(gate))
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"question")
    recorder.wait_for("data")
    for _ in range(3):
        server.stop(close_active=True)
    gate.open()
    assert peer.read_to_end() == b"answer to question"
    server.stop(close_active=True)
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "stopping", "close"]


def test_one_that_closes_already_is_not_told_to_stop(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.close())
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    server.stop(close_active=True)
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]
    assert recorder.sockets[0].close_reason is greensock.CloseReason.LOCAL


def test_one_that_has_ended_its_side_is_told(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.end(b"end"))
    server = serve(recorder.handlers)
    peer = dial(server)
    assert peer.read_to_end() == b"end"
    server.stop(close_active=True)
    recorder.wait_for("stopping")
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "stopping", "close"]


def test_a_paused_one_is_closed_too(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.pause())
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"not read")
    recorder.wait_for("open")
    server.stop(close_active=True)
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "stopping", "close"]


def test_a_stopping_handler_that_raises_harms_nobody_else(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def one_raises(socket: Any) -> None:
        if socket is recorder.sockets[0]:
            raise ValueError("on purpose")
        socket.write(b"bye")

    recorder = echoing(stopping=one_raises)
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(3)]
    recorder.wait_for("open", 3)
    server.stop(close_active=True)
    ends = sorted("reset" if peer.is_reset() else "clean" for peer in peers)
    assert ends == ["clean", "clean", "reset"]
    for peer in peers:
        peer.close()
    recorder.wait_for("close", 3)
    assert [record.message for record in caplog.records if "on purpose" in record.message]


def test_it_may_be_told_by_the_hub_which_cannot_wait(serve: Serve, dial: Dial) -> None:
    recorder = echoing(stopping=lambda socket: socket.write(b"bye"))
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    raised: list[BaseException | None] = []
    stop = partial(server.stop, close_active=True)
    server.loop.run_callback(lambda: raised.append(attempt(stop)))
    assert leave(peer) == b"bye"
    recorder.wait_for("close")
    assert raised == [None]


def test_a_client_is_told_as_well(serve: Serve) -> None:
    there, here = echoing(), Recorder(stopping=lambda socket: socket.write(b"bye"))
    client = greensock.connect(serve(there.handlers).address, here.handlers)
    owner = owner_of(client)
    stopping = gevent.spawn(owner.stop, 1000, close_active=True)
    there.wait_for("close")
    stopping.get(timeout=10)
    assert there.received == b"bye"
    assert here.events[:2] == ["open", "stopping"] and here.events[-1] == "close"
    assert client.close_reason is greensock.CloseReason.STOPPED


def test_sockets_of_another_owner_are_left_alone(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    first, second = Recorder(data=wait_and_answer(gate)), Recorder(data=wait_and_answer(gate))
    one, other = serve(first.handlers), serve(second.handlers)
    peers = dial(one), dial(other), dial(other)
    for peer in peers[:2]:
        peer.send(b"question")
    wait_until(lambda: gate.inside == 2)
    one.stop(0, close_active=True)
    assert peers[0].is_reset()
    assert first.events == ["open", "data", "close"]
    gate.open()
    assert peers[1].read_exactly(18) == b"answer to question"
    peers[2].send(b"!")
    assert peers[2].read_exactly(11) == b"answer to !"
    assert "stopping" not in second.events and "close" not in second.events


# -- with a deadline -----------------------------------------------------------------------------------


def test_with_a_timeout_it_waits_for_the_last_to_go_and_no_longer(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(3)]
    recorder.wait_for("open", 3)
    stopping = gevent.spawn(server.stop, 1000)
    for peer in peers:
        assert not stopping.ready()
        assert peer.exchange(b"hello") == b"hello", "without close_active they are not disturbed"
        peer.close()
    stopping.get(timeout=10)
    assert "stopping" not in recorder.events
    assert recorder.events.count("close") == 3


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_when_the_time_is_over_the_rest_is_terminated(serve: Serve, dial: Dial, timeout: float) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(3)]
    recorder.wait_for("open", 3)
    before = monotonic()
    server.stop(timeout)
    assert timeout <= monotonic() - before < timeout + 2
    assert recorder.events.count("close") == 3, "close has been delivered when stop returns"
    assert server.connections == 0
    assert all(peer.is_reset() for peer in peers)
    assert {accepted.close_reason for accepted in recorder.sockets} == {greensock.CloseReason.STOPPED}
    assert [entry[2] for entry in recorder.log if entry[0] == "close"] == [None] * 3


def test_a_peer_that_reads_nothing_does_not_hold_up_a_drain(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(bytes(8 << 20)))
    server = serve(recorder.handlers)
    peer = dial(server)
    (accepted,) = recorder.wait_for("open")
    server.stop(0.05, close_active=True)
    assert recorder.events == ["open", "stopping", "close"]
    assert accepted.unsent > 0
    assert peer.is_reset()


@pytest.mark.parametrize("event", ["open", "data", "stopping", "end"])
def test_handlers_that_still_run_are_killed_and_close_follows(
    serve: Serve, dial: Dial, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned_up = []

    def never_returns(socket: Any, *args: object) -> None:
        try:
            gevent.event.Event().wait()
        finally:
            cleaned_up.append(event)

    recorder = Recorder(**{event: never_returns})
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    if event in ("data", "end"):
        peer.send(b"hello") if event == "data" else peer.finish()
        recorder.wait_for(event)
    server.stop(0.05, close_active=True)
    assert cleaned_up == [event]
    assert recorder.events[-2:] == [event, "close"]
    assert recorder.events.count("close") == 1
    stats = server.stats()
    assert (stats.handlers_running, stats.connections, stats.errors) == (0, 0, 0)
    assert caplog.records == []


def test_a_close_handler_that_never_returns_is_killed(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(close=lambda socket, error: gevent.event.Event().wait())
    server = serve(recorder.handlers)
    dial(server).close()
    recorder.wait_for("close")
    server.stop(0.05, close_active=True)
    assert server.stats().handlers_running == 0
    assert recorder.events == ["open", "end", "close"]


def test_the_last_event_of_those_that_waited_for_their_peers_is_not_killed(serve: Serve, dial: Dial) -> None:
    def wait(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(500_000))
        attempt(socket.flush)

    def close(socket: AnySocket, error: Exception | None) -> None:
        go_on.wait()
        recorder.log.append(("closed", socket))

    go_on = gevent.event.Event()
    recorder = Recorder(data=wait, close=close)
    server = serve(recorder.handlers, narrow_listener())
    peers = [dial(server, receive_buffer=4096) for _ in range(12)]
    recorder.wait_for("open", 12)
    for peer in peers[1:]:  # the other has its last event at once, which has the greenlets of these used again
        peer.send(b"?")
    wait_until(lambda: server.stats().handlers_running == 11)
    server.stop(0)
    turns()
    go_on.set()
    recorder.wait_for("closed", 12)
    assert server.stats().errors == 0


def test_a_session_that_waited_keeps_what_it_has_set_until_its_last_event(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        variable.set("set")
        socket.recv()

    variable = ContextVar("variable", default="-")
    seen: list[str] = []
    recorder = Recorder(handle=handle, close=lambda socket, error: seen.append(variable.get()))
    server = serve(recorder.handlers)
    dial(server)
    recorder.wait_for("handle")
    server.stop(0)
    recorder.wait_for("close")
    assert seen == ["set"]


def test_it_returns_by_the_timeout_when_a_handler_refuses_to_die(serve: Serve, dial: Dial) -> None:
    refusals = []
    released = gevent.event.Event()

    def refuses(socket: Any, data: bytes) -> None:
        while not released.is_set():
            try:
                released.wait()
            except BaseException as error:
                refusals.append(error)

    recorder = Recorder(data=refuses)
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"hello")
    recorder.wait_for("data")
    for attempts in (1, 2):
        before = monotonic()
        server.stop(0.05, close_active=True)
        assert monotonic() - before < 2
        assert len(refusals) == attempts
    assert all(isinstance(refusal, gevent.GreenletExit) for refusal in refusals)
    assert peer.is_reset(), "its connection is gone all the same"
    assert "close" not in recorder.events
    released.set()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "close"]


def test_it_returns_by_the_timeout_when_a_killed_handler_takes_long_to_clean_up(serve: Serve, dial: Dial) -> None:
    gate = Gate()

    def slow_to_leave(socket: Any, data: bytes) -> None:
        try:
            gevent.event.Event().wait()
        finally:
            gate.wait()

    recorder = Recorder(data=slow_to_leave)
    server = serve(recorder.handlers)
    dial(server).send(b"hello")
    recorder.wait_for("data")
    server.stop(0, close_active=True)
    assert gate.inside == 1
    gate.open()
    recorder.wait_for("close")


def test_it_may_be_called_again_and_harder(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    recorder = Recorder(data=wait_and_answer(gate))
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"question")
    recorder.wait_for("data")
    server.stop()
    gentle = gevent.spawn(server.stop, 1000)
    draining = gevent.spawn(server.stop, 1000, close_active=True)
    wait_until(lambda: recorder.sockets[0].stopping)
    assert not draining.ready()
    server.stop(0)
    gevent.joinall([gentle, draining], timeout=10, raise_error=True)
    assert gentle.ready()
    assert draining.ready()
    assert peer.is_reset()
    assert recorder.events == ["open", "data", "close"]


def test_it_waits_for_the_last_event_of_each(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    recorder = echoing(close=lambda socket, error: gate.wait())
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    peer.close()
    wait_until(lambda: gate.inside)
    assert server.connections == 0
    stopping = gevent.spawn(server.stop, 1000, close_active=True)
    turns()
    assert not stopping.ready()
    gate.open()
    stopping.get(timeout=10)
    assert server.stats().handlers_running == 0


def test_each_that_waits_has_a_deadline_of_its_own(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    patient = gevent.spawn(server.stop, 1000)
    turns()
    before = monotonic()
    hasty = gevent.spawn(server.stop, 0.1)
    hasty.get(timeout=10)
    assert 0.1 <= monotonic() - before < 2
    patient.get(timeout=10)
    assert peer.is_reset()
    assert recorder.events == ["open", "close"]


def test_a_client_whose_handler_still_runs_is_killed(serve: Serve) -> None:
    server = serve(Recorder(open=lambda socket: socket.write(b"?")).handlers)
    gate = Gate()
    here = Recorder(data=lambda socket, data: gate.wait())
    client = greensock.connect(server.address, here.handlers)
    wait_until(lambda: gate.inside)
    owner_of(client).stop(0.05, close_active=True)
    assert here.events == ["open", "data", "close"]
    assert client.close_reason is greensock.CloseReason.STOPPED


def test_who_is_killed_while_it_waits_leaves_nothing(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    stopping = gevent.spawn(server.stop, 1000)
    turns()
    assert server._waiting == 1
    stopping.kill()
    assert server._waiting == 0
    assert peer.exchange(b"hello") == b"hello", "and nobody was terminated"


# -- from a handler ------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 0, 1000])
def test_a_handler_that_drains_its_server_finishes_as_well(serve: Serve, dial: Dial, timeout: float | None) -> None:
    def shut_down(socket: Any, data: bytes) -> None:
        socket.server.stop(timeout, close_active=True)
        socket.write(b"stopped")

    recorder = Recorder(data=shut_down, stopping=lambda socket: socket.write(b"!"))
    server = serve(recorder.handlers)
    own, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    others = gevent.spawn(leave, other)
    own.send(b"stop")
    assert leave(own) == b"stopped!"
    if timeout == 0:  # terminated, which its peer may learn before or after the goodbye and the FIN
        with suppress(ConnectionResetError):
            assert others.get(timeout=10) in (b"", b"!")
    else:
        assert others.get(timeout=10) == b"!"
    recorder.wait_for("close", 2)
    assert not server.started


def test_two_handlers_that_drain_their_server_do_not_wait_for_each_other_for_ever(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.server.stop(0.1, close_active=True))
    server = serve(recorder.handlers)
    peers = [dial(server), dial(server)]
    for peer in peers:
        peer.send(b"stop")
    recorder.wait_for("data", 2)
    for peer in peers:
        peer.is_reset()
        peer.close()
    recorder.wait_for("close", 2)
    assert server.connections == 0


def test_a_handler_that_terminates_all_others_is_not_killed_itself(serve: Serve, dial: Dial) -> None:
    finished = []

    def shut_down(socket: Any, data: bytes) -> None:
        if data == b"stop":
            socket.server.stop(0)
            finished.append(socket)
        else:
            gevent.event.Event().wait()

    recorder = Recorder(data=shut_down)
    server = serve(recorder.handlers)
    own, other = dial(server), dial(server)
    other.send(b"wait")
    recorder.wait_for("data")
    own.send(b"stop")
    wait_until(lambda: finished)
    assert other.is_reset()
    recorder.wait_for("close")
    assert server.closed


@pytest.mark.parametrize("event", ["open", "end", "stopping", "close"])
def test_a_stop_from_any_handler_does_not_wait_for_its_own_socket(event: str, serve: Serve, dial: Dial) -> None:
    def shut_down(socket: Any, *_: object) -> None:
        if not stopped:
            stopped.append(socket)
            socket.server.stop(1000, close_active=True)
            stopped.append("returned")

    stopped: list[Any] = []
    recorder = Recorder(**{event: shut_down})
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    if event == "stopping":
        server.stop(close_active=True)
    elif event != "open":
        peer.finish()
    leave(peer)
    wait_until(lambda: len(stopped) == 2)
    recorder.wait_for("close")
    assert server.closed
    assert recorder.events.count("close") == 1
