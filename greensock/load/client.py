"""What a user of locust's speaks through: one connection, made on first use, whose every message is in the statistics.

A request that is not answered is recorded as a failure and ends the task, with :class:`RequestFailed`.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal, overload

import gevent
from gevent import GreenletExit

from ..errors import SocketClosed
from .answer import Answer
from .connection import since
from .generator import effort_of
from .oneway import OneWay
from .replies import Replies, Reply, Scheduled
from .rows import Batch, RequestFailed
from .talk import Owner, Request

if TYPE_CHECKING:
    from ..locust import SocketUser

#: Seconds by which a timer may be late, because the loop waits in whole milliseconds (epoll_wait(2)). What ``stream``
#: sends within them is on time.
TIMER: Final = 0.0015

#: Seconds after which it is late: the generator has no time, or too much is under way.
LATE: Final = 0.01


class SocketClient(OneWay):
    """The connection of one user. Any number of greenlets may use it at the same time.

    ``name`` is that of the row, of which there should be few: locust's UI shows 500. ``timeout`` is in seconds; None is
    the user's ``response_timeout``.
    """

    def __init__(self, user: "SocketUser") -> None:
        super().__init__(user)
        self._kind = user.address.scheme.upper()
        self._hub = gevent.get_hub()

    # -- requests ------------------------------------------------------------------------------------

    @overload
    def exchange(
        self,
        message: Any,
        *,
        name: str | None = None,
        catch_response: Literal[True],
        context: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Answer: ...
    @overload
    def exchange(
        self,
        message: Any,
        *,
        name: str | None = None,
        catch_response: bool = False,
        context: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any: ...
    def exchange(
        self,
        message: Any,
        *,
        name: str | None = None,
        catch_response: bool = False,
        context: dict[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Send *message* and wait for the reply.

        Args:
            message: as the user's framing encodes it.
            catch_response: return an :class:`Answer`, which the test judges in a with-block.
            context: for listeners of the event ``request``.

        Returns:
            The reply, as the framing decodes it, or an :class:`Answer`.

        Raises:
            RequestFailed: there was none, which is recorded. Not with *catch_response*.
            ValueError, TypeError: the framing cannot encode *message*; nothing was sent.
        """
        name = self._name or name or "exchange"
        reply = Reply(self._hub)
        request = None
        try:
            request = self._ask(message, reply, self._user.response_timeout if timeout is None else timeout)
            reply.wait()
        except BaseException as gave_up:
            if request is not None or reply.under_way:  # else nothing was sent
                self._gave_up(name, request, gave_up)
            raise
        response_time = (reply.arrived - request.began) * 1000
        error = reply.error
        if error is None and not catch_response and not context:
            self._ledger.record(self._kind, name, response_time, reply.message)
            return reply.message
        meta = self._ledger.meta(self._kind, name, response_time, reply.message, error=error, context=context)
        if catch_response:
            return Answer(self._ledger, meta)
        self._ledger.fire(meta)
        if error is not None:
            raise RequestFailed(str(error)) from error
        return reply.message

    def exchange_many(
        self, messages: Iterable[Any], *, depth: int = 32, name: str | None = None, timeout: float | None = None
    ) -> list[Any]:
        """Send *messages* without waiting for each reply: at most *depth* of them are under way at a time.

        Returns:
            The replies, in the order of the messages.

        Raises:
            RequestFailed: one was not answered. No more were sent then; each that was is recorded.
            ValueError, TypeError: as for :meth:`exchange`. Those that are under way are not waited for.
        """
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        name = self._name or name or "exchange"
        limit = self._limit(timeout)
        rest = iter(messages)
        replies = Replies(self._hub)
        answers: list[Any] = []
        batch = Batch(self._ledger, self._kind, name)
        try:
            while True:
                fresh = list(islice(rest, depth - replies.under_way)) if replies.error is None else []
                if fresh:
                    self._ask_all(fresh, replies, limit, len(answers))
                    answers.extend(fresh)  # places for their replies
                elif not replies.under_way:
                    break
                for request, arrived, answer, error in replies.take():
                    response_time = (arrived - request.began) * 1000
                    if error is None:
                        answers[request.place] = answer
                        batch.add(response_time, answer)
                    else:
                        self._ledger.record_failure(self._kind, name, response_time, error)
                batch.flush(when_due=True)
        finally:
            self._abort(replies.give_up())
            batch.flush()
        if replies.error is not None:
            raise RequestFailed(str(replies.error)) from replies.error
        return answers

    def stream(
        self,
        rate: float,
        messages: Iterable[Any],
        *,
        name: str | None = None,
        seconds: float | None = None,
        timeout: float | None = None,
        most: int = 1000,
    ) -> int:
        """Send *messages* on schedule, *rate* of them a second, whether or not replies come: an open loop.

        A reply's time is counted from when its request was **to be** sent, so that those which a stalled server held up
        are measured, and not left out (coordinated omission). locust's summary tells how many were sent late.

        Args:
            rate: messages a second, of this user.
            messages: as many as there are, or an endless iterator.
            seconds: stop sending after so many; None: when there are no more messages, or the user is to stop.
            most: so many requests may be under way; what is due meanwhile is sent late.

        Returns:
            How many were answered. Those that were not are recorded as failures.
        """
        if not rate > 0:
            raise ValueError(f"rate must be a number of messages a second above 0, not {rate!r}")
        if most < 1:
            raise ValueError(f"most must be at least 1, not {most}")
        name = self._name or name or "stream"
        limit = self._limit(timeout)
        effort = effort_of(self._user.environment)
        replies = Scheduled(self._recorder(name))
        self.connect()
        start = perf_counter()
        try:
            for number, message in enumerate(messages):
                offset = number / rate
                if seconds is not None and offset >= seconds:
                    break
                if self.sleep(start + offset - perf_counter()):
                    break
                replies.wait(most - 1)
                late = perf_counter() - start - offset
                effort.scheduled += 1
                effort.late += late > LATE
                self._ask(message, replies, limit, start + offset if late > TIMER else 0.0)
            replies.wait(0)
        finally:
            self._abort(replies.give_up())
        return replies.answers

    # -- asking --------------------------------------------------------------------------------------

    def _ask(self, message: Any, owner: Owner, timeout: float, began: float = 0.0) -> Request:
        while True:
            talk = self._talk or self._open()
            try:
                return talk.ask(message, owner, timeout, began)
            except SocketClosed:
                self._forget(talk)  # it has just ended, and nothing was sent

    def _ask_all(self, messages: list[Any], owner: Owner, timeout: float, place: int) -> None:
        while True:
            talk = self._talk or self._open()
            try:
                talk.ask_all(messages, owner, timeout, place)
                return
            except SocketClosed:
                self._forget(talk)

    def _recorder(self, name: str) -> Callable[[Request, float, Any, Exception | None], None]:
        """What records the replies of a stream."""

        def record(request: Request, arrived: float, message: Any, error: Any) -> None:
            response_time = (arrived - request.began) * 1000
            if error is None:
                self._ledger.record(self._kind, name, response_time, message)
            else:
                self._ledger.record_failure(self._kind, name, response_time, error)

        return record

    def _gave_up(self, name: str, request: Request | None, why: BaseException) -> None:
        """Somebody has left a request that was sent: he was killed, or a timeout of the test's own ended his wait."""
        if request is not None:
            request.owner = None
        if isinstance(why, GreenletExit):
            self._abort(1)
        else:
            waited = None if request is None else since(request.began)
            self._ledger.record_failure(self._kind, name, waited, TimeoutError("no reply in time"))

    def _abort(self, requests: int) -> None:
        """So many were sent, and nobody waits for their replies any more."""
        effort_of(self._user.environment).aborted += requests
