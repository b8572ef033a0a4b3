"""What goes one way between a user of locust and the service: messages that have no reply, and those that are none."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple

from gevent.event import AsyncResult

from ..errors import SocketClosed
from .connection import Connecting, since
from .rows import PUSH, SEND, RequestFailed
from .talk import Talk

if TYPE_CHECKING:
    from ..locust import SocketUser

_Match = Callable[[Any], object]


class _Expected(NamedTuple):
    """Somebody waits for a message that is no reply."""

    talk: Talk
    match: _Match | None
    result: "AsyncResult[tuple[Any, float]]"

    def wants(self, message: Any) -> bool:
        return self.match is None or bool(self.match(message))


class OneWay(Connecting):
    """What a client sends and is sent without a reply, and how it calls that."""

    def __init__(self, user: "SocketUser") -> None:
        super().__init__(user)
        self._name: str | None = None
        self._expected: list[_Expected] = []

    @contextmanager
    def rename_request(self, name: str) -> Iterator[None]:
        """What is recorded in this with-block has the *name*, whatever it was given.

        ::

            with self.client.rename_request("get by id"):
                self.client.exchange(b"get 4711")
        """
        before, self._name = self._name, name
        try:
            yield
        finally:
            self._name = before

    def send(self, message: Any, *, name: str | None = None) -> None:
        """Send *message*, to which there is no reply. It has no response time; blocks while the peer takes too little.

        Raises:
            RequestFailed: the connection ended while this waited, which is recorded.
            ValueError, TypeError: as for :meth:`exchange`.
        """
        name = self._name or name or "send"
        while True:
            talk = self._talk or self._open()
            try:
                more = talk.socket.write_message(message)
                break
            except SocketClosed:
                self._forget(talk)  # it has just ended, and nothing was sent
        try:
            if not more:
                talk.socket.sendall(b"")
        except SocketClosed as error:
            self._ledger.record_failure(SEND, name, None, SocketClosed("the connection ended before all was sent"))
            raise RequestFailed(str(error)) from error
        self._ledger.record(SEND, name, None)

    def expect(self, match: _Match | None = None, *, name: str | None = None, timeout: float | None = None) -> Any:
        """Wait for a message that is no reply. Its time is counted from this call, and ``on_push`` does not get it.

        In ``on_connect`` what has come already is taken first, and counted from when the connection was there.

        Args:
            match: is called with each, and answers whether it is this one; None: any is.

        Raises:
            RequestFailed: none came, which is recorded.
        """
        name = self._name or name or "expect"
        talk = self._talk or self._open()
        began = perf_counter()
        for place, (message, arrived) in enumerate(self._held or ()):
            if match is None or match(message):
                assert self._held is not None
                del self._held[place]
                self._ledger.record(PUSH, name, max(0.0, arrived - self._connected) * 1000, message)
                return message
        result: AsyncResult[tuple[Any, float]] = AsyncResult()
        expected = _Expected(talk, match, result)
        self._expected.append(expected)
        try:
            result.wait(self._limit(timeout))
        finally:
            if expected in self._expected:
                self._expected.remove(expected)
        error: Any = result.exception if result.ready() else TimeoutError("no message in time")
        if error is not None:
            self._ledger.record_failure(PUSH, name, since(began), error)
            raise RequestFailed(str(error)) from error
        message, arrived = result.get()  # type: ignore[misc]
        self._ledger.record(PUSH, name, (arrived - began) * 1000, message)
        return message

    def _pushed(self, message: Any, arrived: float) -> None:
        try:
            for expected in self._expected:
                if expected.wants(message):
                    self._expected.remove(expected)
                    expected.result.set((message, arrived))
                    return
        except Exception as error:  # of the test's own; the message has come all the same
            self._user_failed(error)
        if self._held is None:
            self._tell_user(message, arrived)
        else:
            self._held.append((message, arrived))

    def _tell_user(self, message: Any, arrived: float) -> None:
        try:
            told = self._user.on_push(message)
        except Exception as error:
            self._user_failed(error)
            told = None
        name, sent_at = told if isinstance(told, tuple) else (told, None)
        since = perf_counter() - arrived
        response_time = None if sent_at is None else max(0.0, time() - since - sent_at) * 1000
        self._ledger.record(PUSH, self._name or name or "push", response_time, message)

    def _fail_expected(self, talk: Talk, error: Exception) -> bool:
        failed = [expected for expected in self._expected if expected.talk is talk]
        for expected in failed:
            self._expected.remove(expected)
            expected.result.set_exception(error)
        return bool(failed)

    def _limit(self, timeout: float | None) -> float:
        return self._user.response_timeout if timeout is None else timeout
