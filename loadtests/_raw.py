"""The same echo three times, for ``beside_raw.py``: on a socket of gevent's in twenty lines, as locustfiles for TCP are
written by hand, by :class:`greensock.locust.SocketUser`, and by that with several requests under way."""

import os
from time import perf_counter
from typing import Any

from gevent import socket
from locust import User, constant, events, task

from greensock.framing import Lines
from greensock.locust import SocketUser

MESSAGE = b"%063d" % 4711
EXCHANGES_PER_TASK = 100
DEPTH = 16

if "LISTEN" in os.environ:
    events.request.add_listener(lambda **_: None)


class RawUser(User):
    """What it measures is what the others are compared with, so it does as little as it can."""

    wait_time = constant(0)

    def on_start(self) -> None:
        host, _, port = str(self.host).removeprefix("tcp://").rpartition(":")
        self.connection = socket.create_connection((host, int(port)), timeout=10)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_stop(self) -> None:
        self.connection.close()

    def exchange(self, message: bytes) -> bytes:
        began = perf_counter()
        error = None
        reply = b""
        try:
            self.connection.sendall(message + b"\n")
            while not reply.endswith(b"\n"):
                received = self.connection.recv(65536)
                if not received:
                    raise ConnectionError("the connection ended")
                reply += received
        except OSError as failed:
            error = failed
        self.environment.events.request.fire(
            request_type="TCP",
            name="raw",
            response_time=(perf_counter() - began) * 1000,
            response_length=len(reply),
            exception=error,
            context={},
        )
        return reply[:-1]

    @task
    def echo(self) -> None:
        for _ in range(EXCHANGES_PER_TASK):
            assert self.exchange(MESSAGE) == MESSAGE


class OneByOne(SocketUser):
    framing = Lines()
    wait_time = constant(0)

    @task
    def echo(self) -> None:
        for _ in range(EXCHANGES_PER_TASK):
            assert self.client.exchange(MESSAGE) == MESSAGE


class Pipelined(SocketUser):
    framing = Lines()
    wait_time = constant(0)
    messages: Any = [MESSAGE] * (10 * EXCHANGES_PER_TASK)

    @task
    def echo(self) -> None:
        assert self.client.exchange_many(self.messages, depth=DEPTH) == self.messages
