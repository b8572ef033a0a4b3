"""The reading half of a socket: what the kernel has, delivered as bytes or as messages.

With a framing one read may give many messages. They are held here and delivered one by one, so that a handler
that pauses, closes or reloads, or whose queue is full, has its way before the next one.
"""

from itertools import islice
from operator import length_hint
from typing import Any, Final

from .frames import Frames
from .handshaking import Handshaking
from .shared import Shared
from .state import (
    BY_HAND,
    CAREFUL,
    CLOSED,
    CLOSING,
    DEAD,
    ENDED,
    EOF_READ,
    FIN_SENT,
    FRAMED,
    HANDSHAKING,
    HELD,
    MORE,
    OPEN,
    PAUSED,
    PENDING,
    SECURE,
    UNDECIDED,
    UNREADABLE,
    CloseReason,
)
from .wire import READ_SIZE, SMALL_READ, Plain

#: So many messages of one socket are delivered before others have their turn: a read of 120,000 bytes may hold as many.
MESSAGES_PER_TURN: Final = 256


class Receiving(Handshaking):
    """Reads, and the delivery of what was read."""

    __slots__ = ("_frames", "_read_size")

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared, remote_address)
        self._read_size = READ_SIZE
        self._frames: Frames | None = None
        if shared.options.framing is not None:
            self._flags |= FRAMED

    # -- what a runner does --------------------------------------------------------------------------

    def _serve(self) -> None:
        flags = self._flags
        if flags:  # few sockets have any, and to ask for each would cost a tenth of what Python does for a message
            careful = flags & CAREFUL
            if careful == FRAMED:
                self._serve_messages()
                return
            if careful == SECURE:
                self._serve_secure()
                return
            if careful and self._serve_carefully():
                return
        size = self._read_size
        try:
            data = self._wire.read(size)
        except BlockingIOError:
            return
        except OSError as error:
            self._reading_failed(error)
            return
        if data:
            got = len(data)
            if (got < SMALL_READ) is (size != SMALL_READ):
                data = self._adapt(data)
                got = len(data)
            self.bytes_read += got
            self._counters.messages_read += 1
            handler = self._table.data
            if handler is not None:
                handler(self, data)
        else:
            self._end_of_input()
        if self._queue.size and not self._corks:
            self._flush()

    def _adapt(self, data: bytes) -> bytes:
        """*data* says that the other size of reads is the better one now: what to deliver of it."""
        if self._read_size != SMALL_READ:
            self._read_size = SMALL_READ
            return data
        self._read_size = READ_SIZE
        try:
            return data + self._wire.read(READ_SIZE)  # so that what came together is delivered together
        except BlockingIOError:
            pass
        except OSError as error:
            self._sending_failed(error)  # it comes only once; what the kernel still has is read to the end
        return data

    def _serve_carefully(self) -> bool:
        """Do what is due before or instead of a plain read. False if there is no such thing."""
        flags = self._flags
        if flags & PENDING:
            self._deliver_event()
        elif self._state is CLOSED:
            pass
        elif flags & HANDSHAKING:
            self._shake()
        elif flags & UNREADABLE:
            self._stop_reading()
        elif self._state is CLOSING:
            self._discard()
        elif flags & SECURE:
            self._serve_secure()
        elif flags & FRAMED:
            self._serve_messages()
        else:
            return False
        return True

    def _end_of_input(self) -> None:
        """The peer's FIN was read, and all before it was delivered."""
        self._flags |= EOF_READ
        self._reader.stop()
        if self._is_cut_off():
            return
        if self._flags & DEAD:
            self._close_now()  # sending has failed; this was the rest of what could be read
        elif self._state is ENDED:
            if self._flags & FIN_SENT:
                self._close(CloseReason.LOCAL, None)  # at once, unless TLS waits for room to say its goodbye
        elif self._shared.options.allow_half_open:
            self._emit("end")
        else:
            self._because(CloseReason.EOF, None)
            self._emit("end")
            self._close(CloseReason.EOF, None)

    def _read_once(self) -> bytes | None:
        """Read once, whatever the wire: None if there is nothing now, or if reading fails, which then is seen to."""
        wire = self._wire
        size = self._read_size
        try:
            data = wire.read(size)
        except BlockingIOError:
            data = None
        except OSError as error:
            self._reading_failed(error)
            return None
        if self._flags & SECURE:  # then the wire knows better what size is good
            if wire.more or self._flags & MORE:
                self._note_more()
        elif data and (len(data) < SMALL_READ) is (size != SMALL_READ):
            data = self._adapt(data)
        return data

    def _serve_secure(self) -> None:
        try:
            if self._flags & FRAMED:
                self._serve_messages()
                return
            data = self._read_once()
            if data:
                self.bytes_read += len(data)
                self._counters.messages_read += 1
                handler = self._table.data
                if handler is not None:
                    handler(self, data)
            elif data is not None:
                self._end_of_input()
            if self._queue.size and not self._corks:
                self._flush()
        finally:
            if self._wire.backlog is not None:
                self._push_words()

    def _reading_failed(self, error: OSError) -> None:
        error.__traceback__ = None  # its frames hold the socket, which would keep itself alive by it
        self._flags &= ~MORE
        reason = self._wire.reason_of(error)
        if reason is CloseReason.TRUNCATED:
            self._truncated(error)
            return
        self._because(reason, error)
        if reason is CloseReason.PROTOCOL and not self._flags & BY_HAND:  # where the reader is told
            self._protocol_failed("TLS", error)
        self._close_now()

    def _truncated(self, error: OSError) -> None:
        """A peer with TLS has ended without saying so: bytes may be missing, and somebody else may have ended it."""
        if self._state is ENDED or self._flags & DEAD:
            self._end_of_input()  # this side has said all, or can say no more: nothing depends on it
            return
        self._flags |= EOF_READ
        self._reader.stop()
        self._because(CloseReason.TRUNCATED, error)
        self._close(CloseReason.TRUNCATED, error)

    # -- messages ------------------------------------------------------------------------------------

    def _serve_messages(self) -> None:
        frames = self._frames
        if frames is None:
            try:
                frames = self._frames = Frames(self._shared.options.framing.decoder())
            except BaseException as error:
                self._framing_failed(error)
                return
        if self._flags & HELD:
            self._deliver_messages(frames)
        else:
            data = self._read_once()
            if data:
                self.bytes_read += len(data)
                messages = frames.feed(data)
                count = len(messages)
                self._counters.messages_read += count
                if count == 1 and frames.failure is None:  # as a request comes for whose answer the peer waits
                    handler = self._table.data
                    if handler is not None:
                        handler(self, messages[0])
                elif count or frames.failure is not None:
                    frames.messages = iter(messages)
                    self._flags |= HELD
                    self._deliver_messages(frames)
            elif data is not None:
                self._end_of_input()
        if self._queue.size and not self._corks:
            self._flush()

    def _deliver_messages(self, frames: Frames) -> None:
        for message in islice(frames.messages, MESSAGES_PER_TURN):
            handler = self._table.data
            if handler is not None:
                handler(self, message)
            if self._flags & UNDECIDED and (self._flags & UNREADABLE or self._state not in (OPEN, ENDED)):
                return
        if length_hint(frames.messages):
            return  # the engine comes back for the rest
        self._flags &= ~HELD
        failure, frames.failure = frames.failure, None
        if failure is not None:
            self._framing_failed(failure)

    def _is_cut_off(self) -> bool:
        """The peer has ended: whether that was inside a message, which then is told."""
        if self._frames is not None and not self._flags & DEAD:
            try:
                self._frames.decoder.close()
            except BaseException as error:
                self._framing_failed(error)
                return True
        return False

    # -- users ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop the delivery of ``data``. What the peer sends waits in the kernel, and then in the peer.

        A FIN or a reset is noticed only after :meth:`resume`, by a write, or by a timeout.
        """
        self._check_thread()
        if self._state is OPEN or self._state is ENDED:
            if self._flags & DEAD:
                self._close_now()  # no write will tell of the end any more, nor will ``drain`` come to resume it
                return
            self._flags |= PAUSED
            self._stop_reading()

    def resume(self) -> None:
        """Deliver ``data`` again."""
        self._check_thread()
        self._flags &= ~PAUSED
        self._watch()
