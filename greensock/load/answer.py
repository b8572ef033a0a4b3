"""A request that the test itself judges, before it is recorded."""

from types import TracebackType
from typing import Any, Final, Self

from gevent import GreenletExit
from locust.exception import (
    CatchResponseError,
    InterruptTaskSet,
    LocustError,
    RescheduleTask,
    RescheduleTaskImmediately,
    StopTest,
    StopUser,
)

from .rows import Ledger, RequestFailed

#: How locust's control flow leaves a task: no failure of the request that was made in it.
_CONTROL: Final = (InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser)


class Answer:
    """What came back, for a test that judges itself: use it as a context manager.

    ::

        with self.client.exchange(b"get 1", catch_response=True) as answer:
            if answer.message == b"busy":
                answer.failure("busy")

    Attributes:
        message: the answer; None if there is none.
        error: why there is none.
        request_meta: what the ``request`` event is going to be fired with.

    At the end of the block the request is recorded, as a failure if the block raises. One without an answer is a
    failure whatever the block says, and :class:`RequestFailed` is raised after it.
    """

    def __init__(self, ledger: Ledger, request_meta: dict[str, Any]) -> None:
        self.message = request_meta["response"]
        self.error: Exception | None = request_meta["exception"]
        self.request_meta = request_meta
        self._ledger = ledger
        self._entered = False

    def success(self) -> None:
        """Record the request as a success, in spite of an earlier :meth:`failure`.

        Raises:
            LocustError: it was not answered, or this is not in a with-block.
        """
        self._check_entered()
        if self.error is not None:
            raise LocustError("a request that was not answered is no success")
        self.request_meta["exception"] = None

    def failure(self, why: object) -> None:
        """Record the request as a failure.

        Args:
            why: an exception, or a text. Of few different ones: each has a line in locust's report.

        Raises:
            LocustError: this is not in a with-block.
        """
        self._check_entered()
        self.request_meta["exception"] = why if isinstance(why, Exception) else CatchResponseError(why)

    def _check_entered(self) -> None:
        if not self._entered:
            raise LocustError(
                "an answer is judged in a with-block: with client.exchange(…, catch_response=True) as answer"
            )

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(raised, GreenletExit):
            return  # killed, and so neither a success nor a failure
        if self.error is None and isinstance(raised, Exception) and not isinstance(raised, _CONTROL):
            self.failure(raised)
        self._ledger.fire(self.request_meta)
        if self.error is not None:
            raise RequestFailed(str(self.error)) from self.error
