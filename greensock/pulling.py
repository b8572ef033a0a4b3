"""How blocking style gets its input: pulled from the kernel by who asks for it, where events have it pushed at them.

One read for each time that the kernel is ready, so that a peer that floods gets no more turns than the others.
"""

from socket import SO_RCVBUF, SOL_SOCKET
from time import monotonic

from .state import (
    BY_HAND,
    CLOSED,
    CLOSING,
    ENDED,
    EOF_READ,
    FIN_SENT,
    FRAMED,
    INPUT_ENDS,
    TOLD_TO_STOP,
    UNTIMED,
    CloseReason,
)
from .waiting import Input, Waiting
from .wire import READ_SIZE, SMALL_READ


class Pulling(Waiting):
    """Gives the bytes that come, and what there is when no more will."""

    __slots__ = ()

    def _receive(self, most: int, deadline: float | None, timeout: float | None) -> bytes:
        """The next bytes, after waiting for them; ``b""`` at the end. A wire that decrypts may give more than *most*.

        Together with :meth:`_last_input` the one way in which blocking style reads the wire.
        """
        reader, wire = self._reader, self._wire
        while self._flags & INPUT_ENDS == BY_HAND:
            if not reader.active:
                reader.start(self._engine.on_readable, self)  # and read at once: there may be something already
            elif not wire.more:
                if self._queue.size and not self._corks:
                    self._flush()
                if deadline is None and self._flags & UNTIMED == BY_HAND:
                    self._engine.wait(self)  # _wait(), without the call
                else:
                    self._wait(deadline, timeout)
                if self._flags & INPUT_ENDS != BY_HAND:
                    break
            size = self._read_size
            if size > most:
                size = most
            try:
                data = wire.read(size)
                got = len(data)
                self.bytes_read += got  # before what may find that sending fails, which closes and hands on the count
                if got == size == SMALL_READ < most and wire.tls is None:
                    self._read_size = READ_SIZE
                    data = self._rest_of(data, min(most, READ_SIZE))
                    got = len(data)
            except BlockingIOError:
                if wire.backlog is not None:
                    self._push_words()
                if deadline is not None and monotonic() >= deadline:
                    raise self._timed_out(timeout) from None
                continue
            except OSError as error:
                self._reading_failed(error)
                break
            if wire.backlog is not None:
                self._push_words()
            if not got:
                self._input_ended()
                break
            if got < SMALL_READ:
                self._read_size = SMALL_READ
            if not self._flags & FRAMED:
                self._counters.messages_read += 1
            return data
        return self._last_input(most)

    def _count(self, data: bytes) -> bytes:
        self.bytes_read += len(data)
        if not self._flags & FRAMED:
            self._counters.messages_read += 1
        return data

    def _rest_of(self, data: bytes, most: int) -> bytes:
        """A small read was full: *data* and what else has come."""
        try:
            rest = self._wire.read(most - len(data))
            self.bytes_read += len(rest)
            return data + rest
        except BlockingIOError:
            pass
        except OSError as error:
            self._sending_failed(error)  # it comes only once
        return data

    # -- the end of input ----------------------------------------------------------------------------

    def _input_ended(self) -> None:
        """The peer's FIN was read. This side may still write, and closes by itself only when it has ended before."""
        self._flags |= EOF_READ
        self._reader.stop()
        if self._state is ENDED and self._flags & FIN_SENT:
            self._both_ended()

    def _last_input(self, most: int) -> bytes:
        """What there is when no more is to be waited for: what came before the end, the end, or an error."""
        data = self._input
        assert data is not None
        flags = self._flags
        if data.saved:
            chunk, data.saved = data.saved, b""
            return chunk
        if flags & EOF_READ and flags & BY_HAND:
            return b""
        if flags & TOLD_TO_STOP:
            if flags & BY_HAND and self._state is not CLOSED:
                return self._received_before_stop(data, most)
            if not flags & BY_HAND and self.close_reason is CloseReason.STOPPED:
                return b""
        raise self._closed_error()

    def _received_before_stop(self, data: Input, most: int) -> bytes:
        """The server drains: what the kernel has, but not for ever, for the peer may go on sending."""
        if data.allowance is None:
            data.allowance = self._wire.getsockopt(SOL_SOCKET, SO_RCVBUF)
        if data.allowance <= 0:
            return b""
        try:
            chunk = self._wire.read(min(most, READ_SIZE))
        except BlockingIOError:
            chunk = b""
        except OSError as error:
            self._reading_failed(error)
            raise self._closed_error()  # noqa: B904 - it has a cause of its own, which "from" would take away
        data.allowance = data.allowance - len(chunk) if chunk else 0
        return self._count(chunk) if chunk else b""

    # -- what others do to the socket ----------------------------------------------------------------

    def _sending_failed(self, error: OSError) -> None:
        if self._flags & INPUT_ENDS == BY_HAND:
            self._save_input()
        super()._sending_failed(error)

    def _save_input(self) -> None:
        """Sending has failed, and the descriptor is closed for it: keep what had arrived before."""
        data = self._input
        assert data is not None
        parts = []
        left = self._wire.getsockopt(SOL_SOCKET, SO_RCVBUF)
        try:
            while left > 0 and (chunk := self._wire.read(READ_SIZE)):
                parts.append(self._count(chunk))
                left -= len(chunk)
        except OSError:
            pass
        data.saved = b"".join(parts)

    def _close(self, reason: CloseReason, error: BaseException | None) -> None:
        if self._input is not None and self._state is not CLOSING and self._state is not CLOSED:
            self._reader.stop()  # from now on it is for what is discarded
            if reason is not CloseReason.TRUNCATED:  # which is the peer's doing: as after a reset, the rest can be read
                self._forget_input()
            self._wake_later()
        super()._close(reason, error)

    def _forget_input(self) -> None:
        """This side has closed the connection, and wants to know no more: neither bytes nor messages."""
        data = self._input
        if data is not None and self._state is not CLOSING and self._state is not CLOSED:
            data.clear()
            if self._frames is not None:
                self._frames.clear()

    # -- users ---------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Drop what is queued and reset the connection (RST) at once; ``unsent`` tells what was dropped.

        In blocking style nothing is given any more of what had been received.
        """
        self._check_thread()
        self._forget_input()
        super().terminate()
