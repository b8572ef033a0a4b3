"""locust in the process that runs the tests, without its monkey-patching, which greensock does not need.

Programs that are patched are tested from outside, in ``test_locust.py``.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
try:
    pytest.importorskip("locust")
    from locust.env import Environment
finally:
    del os.environ["LOCUST_SKIP_MONKEY_PATCH"]

import greensock
from greensock.framing import Lines
from greensock.load.generator import Effort, effort_of
from greensock.load.talk import EVENTS, Request, Talk
from greensock.locust import Backoff, SocketUser
from greensock.testing import Serve

#: The row of a connection that was made.
CONNECTED = ("CONN", "connect tcp", True)


class Lab:
    """An environment without a runner, in which a test does what users do, and what was recorded of it."""

    def __init__(self) -> None:
        self.environment = Environment()
        #: what the event ``request`` was fired with
        self.requests: list[dict[str, Any]] = []
        #: exceptions of users
        self.errors: list[Exception] = []
        self.users: list[SocketUser] = []
        self.environment.events.request.add_listener(lambda **request: self.requests.append(request))
        self.environment.events.user_error.add_listener(lambda exception, **_: self.errors.append(exception))

    def user(self, host: str, kind: type[SocketUser] | None = None, **attributes: Any) -> SocketUser:
        """A user of *host*. Its class has *attributes*, which beside those of a test are short waits, and lines."""
        quick = {"framing": Lines(), "connect_timeout": 5.0, "response_timeout": 5.0, "reconnect": Backoff(0.01, 0.05)}
        made = type("User", (kind or SocketUser,), {**({} if kind else quick), "host": host, **attributes})
        user: SocketUser = made(self.environment)
        self.users.append(user)
        return user

    @property
    def rows(self) -> list[tuple[str, str, bool]]:
        """Type and name of each request, and whether it was a success, in the order in which they were recorded."""
        return [(told["request_type"], told["name"], told["exception"] is None) for told in self.requests]

    def failures(self, kind: str) -> list[str]:
        """How locust tells the failures of rows of that type."""
        failed = [told["exception"] for told in self.requests if told["request_type"] == kind]
        return [repr(exception) for exception in failed if exception is not None]

    @property
    def effort(self) -> Effort:
        return effort_of(self.environment)


@pytest.fixture
def lab(no_leaks: None) -> Iterator[Lab]:
    """A :class:`Lab`, whose users end with the test."""
    made = Lab()
    yield made
    for user in made.users:
        user.client.close()


def echo(socket: Any, line: bytes) -> None:
    """``wait`` waits, ``die`` ends the connection, ``silence`` has no reply, and all else comes back."""
    if line.startswith(b"wait "):
        gevent.sleep(float(line.split()[1]))
    if line == b"die":
        socket.terminate()
    elif line != b"silence":
        socket.write_message(line)


@pytest.fixture
def host(serve: Serve) -> str:
    """The url of an echo of lines."""
    return serve({"data": echo}, framing=Lines()).url


class Slow:
    """An echo that answers everything that has come, in the order *rearrange* gives it, and notes how much that was."""

    def __init__(self, rearrange: Callable[[list[Any]], list[Any]] = list) -> None:
        self.most = 0
        self._rearrange = rearrange
        self._waiting: list[Any] = []

    def data(self, socket: Any, message: bytes) -> None:
        self._waiting.append(message)
        if len(self._waiting) == 1:
            gevent.spawn_later(0.002, self._answer, socket)

    def _answer(self, socket: Any) -> None:
        waiting, self._waiting = self._waiting, []
        self.most = max(self.most, len(waiting))
        for message in self._rearrange(waiting):
            socket.write_message(message)


class Conversation:
    """A :class:`Talk` on a connection of its own, and what it has told."""

    def __init__(self, url: str, key_of: Callable[[Any], Any] | None = None, framing: Any = Lines()) -> None:  # noqa: B008
        #: messages that were no replies, and when they came
        self.pushed: list[tuple[Any, float]] = []
        #: what ended the connection, once it has
        self.lost: list[Exception | None] = []
        self.mistakes: list[Exception] = []
        self.talk = Talk(key_of, lambda *told: self.pushed.append(told), self._lost, self.mistakes.append)
        options: dict[str, Any] = {"framing": framing, "timeout": 5.0, "max_buffered": 1 << 40}
        self.socket: Any = greensock.connect(url, EVENTS, data=self.talk, **options)

    def _lost(self, talk: Talk, error: Exception | None) -> None:
        self.lost.append(error)
        talk.closed(greensock.SocketClosed("the connection ended"))


class Notes:
    """An owner of requests, and what became of them."""

    def __init__(self) -> None:
        self.under_way = 0
        self.answers: list[tuple[Request, Any]] = []
        self.arrived: list[float] = []
        self.failures: list[tuple[Request, Exception]] = []

    def answered(self, message: Any, request: Request, arrived: float) -> None:
        self.answers.append((request, message))
        self.arrived.append(arrived)

    def failed(self, error: Exception, request: Request) -> None:
        self.failures.append((request, error))

    @property
    def errors(self) -> list[str]:
        """Why requests have failed."""
        return [repr(error) for _, error in self.failures]


Converse = Callable[..., Conversation]


@pytest.fixture
def converse(no_leaks: None) -> Iterator[Converse]:
    """A function that begins a :class:`Conversation`, which ends with the test."""
    begun: list[Conversation] = []

    def converse(url: str, *arguments: Any, **options: Any) -> Conversation:
        begun.append(Conversation(url, *arguments, **options))
        return begun[-1]

    yield converse
    for conversation in begun:
        conversation.socket.terminate()
