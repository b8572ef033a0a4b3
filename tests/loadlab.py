"""locust in the process that runs the tests, without its monkey-patching, which greensock does not need.

Programs that are patched are tested from outside, in ``test_locust.py``.
"""

import os
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
try:
    pytest.importorskip("locust")
    from locust.env import Environment
finally:
    del os.environ["LOCUST_SKIP_MONKEY_PATCH"]

from greensock.framing import Lines
from greensock.load.generator import Effort, effort_of
from greensock.locust import Backoff, SocketUser
from greensock.testing import Serve


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
