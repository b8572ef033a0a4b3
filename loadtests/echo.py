"""Every user keeps one connection, sends 64 random bytes at a time, and checks each byte that comes back.

    locust -f loadtests/echo.py --headless -u 50 -r 50 -t 10 -s 5 -H tcp://127.0.0.1:8080

A wrong reply, a lost connection and a refused one are failures; the user then connects again.
"""

import random
from time import perf_counter
from urllib.parse import urlsplit

import gevent
from gevent import socket
from locust import User, constant, run_single_user, task
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import STATE_CLEANUP

MESSAGE_SIZE = 64

#: Many exchanges in one task: what locust does between two tasks costs more than an exchange.
EXCHANGES_PER_TASK = 100

TIMEOUT = 10.0

#: Seconds until the next attempt after a refused connection. Without a pause a dead server would be a hot loop.
RETRY_AFTER = 0.5


class WrongReply(Exception):
    """What came back is not what was sent."""


class ConnectionLost(Exception):
    """The server ended the connection before its reply was complete."""


def exchange(connection: socket.socket, message: bytes) -> bytes:
    """Send *message* and return as many bytes, or more if more came."""
    connection.sendall(message)
    # A fast server may have answered already. Without this pause one user would go on and on while the others wait.
    gevent.sleep(0)
    reply = b""
    while len(reply) < len(message):
        received = connection.recv(2 * len(message))  # room for a reply that is too long
        if not received:
            raise ConnectionLost("the connection ended before the reply")
        reply += received
    return reply


class EchoUser(User):
    host = "tcp://127.0.0.1:8080"
    wait_time = constant(0)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        url = urlsplit(self.host or "")
        if url.scheme != "tcp" or not url.hostname or not url.port:
            raise StopTest(f"the host must be tcp://host:port, not {self.host!r}")
        self.address = (url.hostname, url.port)
        self.connection: socket.socket | None = None

    def on_start(self) -> None:
        self.connect()

    def on_stop(self) -> None:
        self.disconnect()

    @task
    def echo(self) -> None:
        # At the end locust kills the users that it finds between two tasks, when some have begun the next one already.
        # They must not begin an exchange then: the server would count it, and nobody would count its reply.
        if self.environment.runner and self.environment.runner.state == STATE_CLEANUP:
            return
        connection = self.connection or self.connect()
        if not connection:
            gevent.sleep(RETRY_AFTER)
            return
        for _ in range(EXCHANGES_PER_TASK):
            message = random.randbytes(MESSAGE_SIZE)
            started = perf_counter()
            try:
                reply = exchange(connection, message)
                if reply != message:
                    raise WrongReply("the reply differs from the message")
            except (OSError, ConnectionLost, WrongReply) as error:
                self.report("TCP", "echo", started, error=error)
                self.disconnect()
                return
            self.report("TCP", "echo", started, length=len(reply))

    def connect(self) -> socket.socket | None:
        """Try to open the connection. A failure is a row of the statistics, not a dead user."""
        started = perf_counter()
        try:
            self.connection = socket.create_connection(self.address, timeout=TIMEOUT)
        except OSError as error:
            self.report("CONN", "connect tcp", started, error=error)
            return None
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.report("CONN", "connect tcp", started)
        return self.connection

    def disconnect(self) -> None:
        if self.connection:
            self.connection.close()
            self.connection = None

    def report(
        self, request_type: str, name: str, started: float, *, length: int = 0, error: Exception | None = None
    ) -> None:
        self.environment.events.request.fire(
            request_type=request_type,
            name=name,
            response_time=(perf_counter() - started) * 1000,
            response_length=length,
            exception=error,
            context={},
        )


if __name__ == "__main__":
    run_single_user(EchoUser)
