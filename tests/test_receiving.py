"""Messages of a framing on their way to the handlers: held, delivered one by one, and what acts in between."""

import logging
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, fill_kernel, narrow_listener, reset_after, stream, turns
from greensock import CloseReason, FrameError, FrameTooLarge, IncompleteRead
from greensock.framing import LengthPrefixed
from greensock.receiving import MESSAGES_PER_TURN
from greensock.testing import Dial, Recorder, Serve, wait_until
from greensock.wire import READ_SIZE, SMALL_READ


class Words:
    """A framing of the tests' own: words that a comma ends. ``!`` is no word, and five letters are too many."""

    class Decoder:
        def __init__(self) -> None:
            self.rest = b""

        def feed(self, data: bytes) -> list[bytes]:
            *words, self.rest = (self.rest + data).split(b",")
            for index, word in enumerate([*words, self.rest]):
                if b"!" in word:
                    raise FrameError("exclaimed", words[:index])
                if len(word) > 4:
                    raise FrameTooLarge(f"{len(word)} letters", words[:index])
                if b"?" in word:
                    raise ZeroDivisionError("a fault in the decoder")
            return words

        def close(self) -> None:
            if self.rest:
                raise IncompleteRead("inside a word", self.rest)

    def decoder(self) -> "Words.Decoder":
        return Words.Decoder()

    def encode(self, message: bytes) -> bytes:
        if b"," in message:
            raise ValueError("a comma in a word")
        return message + b","


def echo(socket: AnySocket, word: bytes) -> None:
    socket.write_message(word)


def words_of(recorder: Recorder) -> list[bytes]:
    return [entry[2] for entry in recorder.log if entry[0] == "data"]


# -- delivery --------------------------------------------------------------------------------------------


def test_whole_messages_are_delivered_however_they_come(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=echo)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send_bytewise(b"one,two,")
    assert peer.read_exactly(8) == b"one,two,"
    assert peer.exchange(b",a,,b,") == b",a,,b,"
    assert words_of(recorder) == [b"one", b"two", b"", b"a", b"", b"b"]


def test_what_handlers_write_to_the_messages_of_one_read_goes_out_together(serve: Serve, dial: Dial) -> None:
    peer = dial(serve({"data": echo}, framing=Words()))
    peer.send(b"a,b,c,")
    assert peer.read() == b"a,b,c,"


@pytest.mark.parametrize("size", [1, 4, SMALL_READ, SMALL_READ + 1, 5_000, READ_SIZE, 3 * READ_SIZE])
def test_messages_of_any_size_follow_small_ones(size: int, serve: Serve, dial: Dial) -> None:
    peer = dial(serve({"data": echo}, framing=LengthPrefixed(max_size=10**6)))
    small, large = LengthPrefixed().encode(b"small"), LengthPrefixed().encode(stream(size))
    for message in (small, small, large, small, large + small, small + large, large + large, small):
        assert peer.exchange(message) == message


def test_what_came_before_a_reset_that_a_second_read_meets_is_delivered(serve: Serve, dial: Dial) -> None:
    held, go_on = Event(), Event()

    def wait(socket: AnySocket, word: bytes) -> None:
        if word == b"wait":
            held.set()
            go_on.wait()

    recorder = Recorder(data=wait)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"wait,")
    held.wait()
    reset_after(peer, b"a" * 4 + b",b" * (SMALL_READ // 2 - 2) + b",")  # as much as a small read takes
    go_on.set()
    (socket, *_) = recorder.wait_for("close")
    assert words_of(recorder) == [b"wait", b"aaaa", *[b"b"] * (SMALL_READ // 2 - 2)]
    assert socket.close_reason is CloseReason.RESET


def test_a_client_is_delivered_messages_too(serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.write(b"one,two,") and None})
    recorder = Recorder(data=echo)
    with greensock.connect(server.address, recorder.handlers, framing=Words()):
        recorder.wait_for("data", 2)
    assert words_of(recorder) == [b"one", b"two"]
    recorder.wait_for("close")


def test_a_message_is_what_is_counted(serve: Serve, dial: Dial) -> None:
    server = serve({"data": echo}, framing=Words())
    dial(server).exchange(b"one,two,three"[:8] + b"x,")
    stats = server.stats()
    assert (stats.messages_read, stats.messages_written) == (3, 3)
    assert (stats.bytes_read, stats.bytes_written) == (10, 10)


def test_many_messages_of_one_read_leave_others_their_turn(serve: Serve, dial: Dial) -> None:
    many = 10 * MESSAGES_PER_TURN
    order: list[bytes] = []
    server = serve({"data": lambda socket, word: order.append(word)}, framing=Words())
    busy, other = dial(server), dial(server)
    wait_until(lambda: server.connections == 2)
    busy.send(b"a," * many)
    other.send(b"b,")
    wait_until(lambda: len(order) == many + 1)
    assert order.index(b"b") < many


def test_without_a_data_handler_messages_are_dropped_and_nothing_is_kept(serve: Serve, dial: Dial) -> None:
    server = serve({"close": lambda socket, error: None}, framing=Words())
    with dial(server) as peer:
        peer.send(b"a,b,")
        wait_until(lambda: server.stats().messages_read == 2)
        peer.finish()
        assert peer.read_to_end() == b""


# -- what acts between two messages ----------------------------------------------------------------------


def test_a_pause_acts_before_the_next_message(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: socket.pause())
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,c,")
    for count, expected in enumerate([b"a", b"b", b"c"], 1):
        recorder.wait_for("data", count)
        turns()
        assert words_of(recorder)[-1] == expected and len(words_of(recorder)) == count
        recorder.sockets[0].resume()
    peer.send(b"d,")
    recorder.wait_for("data", 4)


def test_pause_and_resume_in_one_handler_lose_and_double_nothing(serve: Serve, dial: Dial) -> None:
    def data(socket: AnySocket, word: bytes) -> None:
        socket.pause()
        socket.resume()

    recorder = Recorder(data=data)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,c,")
    peer.finish()
    recorder.wait_for("close")
    assert words_of(recorder) == [b"a", b"b", b"c"]


def test_what_was_held_comes_before_what_is_read_later_and_before_the_end(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: socket.pause() if word == b"a" else None)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,")
    recorder.wait_for("data")
    peer.send(b"c,")
    peer.finish()
    turns()
    recorder.sockets[0].resume()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "data", "data", "end", "close"]
    assert words_of(recorder) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_a_close_acts_before_the_next_message(how: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: getattr(socket, how)())
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,c,")
    peer.finish()
    recorder.wait_for("close")
    assert words_of(recorder) == [b"a"]


def test_after_this_sides_end_messages_are_still_delivered(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: socket.end())
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,c,")
    assert peer.read_to_end() == b""
    peer.finish()
    recorder.wait_for("close")
    assert words_of(recorder) == [b"a", b"b", b"c"]


def test_a_reload_acts_before_the_next_message(serve: Serve, dial: Dial) -> None:
    later = Recorder()

    def data(socket: AnySocket, word: bytes) -> None:
        socket.server.reload(later.handlers)

    server = serve({"data": data}, framing=Words())
    dial(server).send(b"a,b,c,")
    later.wait_for("data", 2)
    assert words_of(later) == [b"b", b"c"]


def test_a_reload_of_the_socket_acts_before_the_next_message(serve: Serve, dial: Dial) -> None:
    later = Recorder()
    server = serve({"data": lambda socket, word: socket.reload(later.handlers)}, framing=Words())
    dial(server).send(b"a,b,c,")
    later.wait_for("data", 2)
    assert words_of(later) == [b"b", b"c"]


def test_a_full_queue_holds_the_next_message_back(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: fill_kernel(socket) if word == b"fill" else None)
    peer = dial(serve(recorder.handlers, narrow_listener(), framing=Words()), receive_buffer=4096)
    peer.send(b"fill,b,c,")
    recorder.wait_for("data")
    wait_until(lambda: not recorder.sockets[0]._running)
    turns()
    assert words_of(recorder) == [b"fill"]
    peer.read_exactly(1_000_000)
    recorder.wait_for("data", 3)
    assert words_of(recorder) == [b"fill", b"b", b"c"]


def test_a_handler_that_blocks_holds_its_own_messages_only(serve: Serve, dial: Dial) -> None:
    go = Event()

    def data(socket: AnySocket, word: bytes) -> None:
        if word == b"wait":
            go.wait()

    recorder = Recorder(data=data)
    server = serve(recorder.handlers, framing=Words())
    blocked, other = dial(server), dial(server)
    blocked.send(b"wait,then,")
    recorder.wait_for("data")
    other.send(b"b,")
    recorder.wait_for("data", 2)
    assert words_of(recorder) == [b"wait", b"b"]
    go.set()
    recorder.wait_for("data", 3)
    assert words_of(recorder) == [b"wait", b"b", b"then"]


def test_a_handler_that_raises_loses_no_message_if_its_error_is_handled(serve: Serve, dial: Dial) -> None:
    def data(socket: AnySocket, word: bytes) -> None:
        if word != b"b":
            raise ValueError(word)
        socket.write_message(word)

    recorder = Recorder(data=data, error=lambda socket, error: socket.write_message(b"oops"))
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b,c,")
    assert peer.read_exactly(12) == b"oops,b,oops,"
    assert recorder.events == ["open", "data", "error", "data", "data", "error"]


def test_a_drain_drops_what_a_paused_socket_held(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: socket.pause())
    server = serve(recorder.handlers, framing=Words())
    peer = dial(server)
    peer.send(b"a,b,")
    recorder.wait_for("data")
    gevent.spawn(server.stop, 5, close_active=True)
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "stopping", "close"]


# -- when it is no message -------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "kind"), [(b"a,b!,c,", FrameError), (b"a,bcdef", FrameTooLarge)])
def test_what_is_no_message_is_told_after_the_messages_before_it_and_closes(
    sent: bytes, kind: type[FrameError], serve: Serve, dial: Dial
) -> None:
    recorder = Recorder(data=echo, error=lambda socket, error: socket.write(b"bad"))
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(sent)
    assert peer.read_to_end() == b"a,bad"
    peer.close()
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "data", "error", "close"]
    assert type(recorder.wait_for("error")[1]) is kind
    assert error is recorder.wait_for("error")[1]
    assert socket.close_reason is CloseReason.PROTOCOL
    assert socket.server.stats().errors == 0, "no handler has raised"


def test_without_an_error_handler_it_closes_and_is_a_debug_line(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "greensock")
    recorder = Recorder(data=echo)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,b!")
    assert peer.read_to_end() == b"a,"
    peer.close()
    assert isinstance(recorder.wait_for("close")[1], FrameError)
    lines = [record for record in caplog.records if record.name == "greensock"]
    assert [record.levelno for record in lines] == [logging.DEBUG]
    assert "exclaimed" in lines[0].getMessage() and lines[0].exc_info is None


def test_nothing_after_it_is_delivered_however_much_comes(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"!")
    recorder.wait_for("error")
    peer.send(b"a,b,c," * 1000)
    peer.finish()
    recorder.wait_for("close")
    assert recorder.events == ["open", "error", "close"]


def test_a_paused_socket_is_told_when_it_resumes(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, word: socket.pause(), error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"a,!")
    recorder.wait_for("data")
    turns()
    assert recorder.events == ["open", "data"]
    recorder.sockets[0].resume()
    recorder.wait_for("error")
    peer.close()
    recorder.wait_for("close")


def test_an_error_handler_that_raises_terminates(serve: Serve, dial: Dial) -> None:
    def fail(socket: AnySocket, error: Exception) -> None:
        raise RuntimeError("in error") from None

    recorder = Recorder(error=fail)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"!")
    assert peer.is_reset()
    socket, _ = recorder.wait_for("close")
    assert socket.close_reason is CloseReason.PROTOCOL


def test_an_error_handler_that_closes_does_not_change_the_reason(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(error=lambda socket, error: socket.close())
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"!")
    assert peer.read_to_end() == b""
    peer.close()
    assert recorder.wait_for("close")[0].close_reason is CloseReason.PROTOCOL


@pytest.mark.parametrize("half_open", [False, True])
def test_the_end_inside_a_message_is_an_error_and_no_end(half_open: bool, serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=echo, error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=Words(), allow_half_open=half_open))
    peer.send(b"a,b")
    peer.finish()
    assert peer.read_to_end() == b"a,"
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "data", "error", "close"]
    assert isinstance(error, IncompleteRead) and error.partial == b"b"
    assert socket.close_reason is CloseReason.PROTOCOL


def test_a_reset_inside_a_message_is_a_reset(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(error=lambda socket, error: None)
    server = serve(recorder.handlers, framing=Words())
    peer = dial(server)
    peer.send(b"a,b")
    recorder.wait_for("data")
    peer.reset()
    socket, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError) and socket.close_reason is CloseReason.RESET
    assert "error" not in recorder.events


def test_a_fault_in_the_decoder_is_logged_as_one_and_closes(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(data=echo)
    server = serve(recorder.handlers, framing=Words())
    peer = dial(server)
    peer.send(b"?")
    assert peer.is_reset()
    socket, error = recorder.wait_for("close")
    assert isinstance(error, ZeroDivisionError) and socket.close_reason is CloseReason.HANDLER_ERROR
    assert server.stats().errors == 1
    assert "a fault in the decoder" in caplog.text


@pytest.mark.parametrize("fault", [ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("where", ["decoder", "close"])
def test_a_decoder_that_cannot_begin_or_end_closes_once(
    where: str, fault: type[BaseException], serve: Serve, dial: Dial
) -> None:
    class Broken(Words):
        def decoder(self) -> Words.Decoder:
            class Decoder(Words.Decoder):
                def close(self) -> None:
                    raise fault

            if where == "decoder":
                raise fault
            return Decoder()

    recorder = Recorder(error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=Broken()))
    peer.send(b"a")
    peer.finish()
    assert peer.read_to_end() == b""
    assert isinstance(recorder.wait_for("close")[1], fault)
    assert recorder.events == ["open", "error", "close"]


def test_a_fault_in_the_decoder_closes_although_the_error_handler_bears_it(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=Words()))
    peer.send(b"?")
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "error", "close"]


def test_the_socket_does_not_keep_itself_alive_by_the_error(serve: Serve, dial: Dial) -> None:
    import gc
    import weakref

    closed: list[weakref.ref[AnySocket]] = []
    errors: list[Exception] = []

    def close(socket: AnySocket, error: Exception) -> None:
        errors.append(error)
        closed.append(weakref.ref(socket))

    gc.collect()
    gc.disable()
    try:
        peer = dial(serve({"close": close}, framing=Words()))
        peer.send(b"!")
        peer.read_to_end()
        peer.close()
        wait_until(lambda: closed)
        wait_until(lambda: closed[0]() is None)
    finally:
        gc.enable()
    assert errors


# -- writing ---------------------------------------------------------------------------------------------


def test_a_message_that_cannot_be_encoded_queues_nothing(serve: Serve, dial: Dial) -> None:
    outcome: list[Any] = []

    def data(socket: AnySocket, word: bytes) -> None:
        try:
            socket.write_message(b"a,b")
        except ValueError as error:
            outcome.extend([str(error), socket.buffered])
        socket.write_message(b"ok")

    assert dial(serve({"data": data}, framing=Words())).exchange(b"go,") == b"ok,"
    assert outcome == ["a comma in a word", 0]


def test_write_message_needs_a_framing(serve: Serve, dial: Dial) -> None:
    refused: list[TypeError] = []

    def data(socket: AnySocket, data: bytes) -> None:
        with pytest.raises(TypeError, match="framing=") as caught:
            socket.write_message(data)
        refused.append(caught.value)
        socket.write(data)

    dial(serve({"data": data})).exchange(b"x")
    assert refused


@pytest.mark.parametrize("start", [greensock.listen, greensock.connect])
@pytest.mark.parametrize("framing", ["lines", 4, Words, object()])
def test_what_is_no_framing_is_refused(framing: object, start: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="framing must be a framing"):
        start(("127.0.0.1", 0 if start is greensock.listen else 9), {"data": print}, framing=framing)


def test_the_framing_is_an_attribute_of_the_server(serve: Serve) -> None:
    framing = Words()
    assert serve({"data": echo}, framing=framing).framing is framing
