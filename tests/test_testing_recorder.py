"""What a recorder notes, and what it is told to do."""

import pytest

from greensock.testing import Dial, Recorder, Serve


def test_a_recorder_notes_events_in_order_and_does_what_it_was_told(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data.upper()))
    with dial(serve(recorder.handlers)) as peer:
        assert peer.exchange(b"hello") == b"HELLO"
        peer.finish()
        assert peer.read_to_end() == b""
    socket, error = recorder.wait_for("close")
    assert error is None
    assert recorder.events == recorder.of(socket) == ["open", "data", "end", "close"]
    assert recorder.sockets == [socket]
    assert recorder.received == b"hello"


def test_a_recorder_refuses_an_event_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="unknown events: dta"):
        Recorder(dta=print)


def test_a_recorder_handles_error_only_when_told() -> None:
    assert "error" not in Recorder().handlers
    assert "error" in Recorder(error=print).handlers


def test_a_recorder_that_waits_in_vain_says_what_came_instead(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers))
    recorder.wait_for("open")
    with pytest.raises(AssertionError, match=r"never came true: 2 x 'open' in \['open'\]"):
        recorder.wait_for("open", 2, timeout=0.02)
