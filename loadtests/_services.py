"""What the load tests here are made for, to be served by ``greensock serve``; each one's docstring says how.

Messages are lines, so that telnet and nc can talk to them as well. (locust passes over files with such a name.)
"""

import time

import gevent

import greensock


class Echo(greensock.Handlers[None]):
    """Each message comes back."""

    def data(self, socket: greensock.Socket[None], data: bytes) -> None:
        socket.write_message(data)


class Chat(greensock.Handlers[None]):
    """Each message goes to everybody, its sender included."""

    def __init__(self) -> None:
        self.room = greensock.Group()

    def open(self, socket: greensock.Socket[None]) -> None:
        self.room.add(socket)

    def data(self, socket: greensock.Socket[None], data: bytes) -> None:
        self.room.write(data + b"\n")


class Bulk(Echo):
    """``send 100`` is answered with so many messages of 32 KiB, which is more than a slow peer reads; others come back.

    A loop that writes is all it takes: it waits when too much is queued, and only this connection does.
    """

    MESSAGE = b"x" * 32767

    def data(self, socket: greensock.Socket[None], data: bytes) -> None:
        command, _, count = data.partition(b" ")
        if command != b"send":
            socket.write_message(data)
            return
        for _ in range(int(count)):
            socket.write_message(self.MESSAGE)


class Stalling(Echo):
    """An echo that does nothing in the first second of every ten, as a process does that collects garbage."""

    PERIOD = 10.0
    STALL = 1.0

    def data(self, socket: greensock.Socket[None], data: bytes) -> None:
        left = self.STALL - time.time() % self.PERIOD
        if left > 0:
            gevent.sleep(left)
        socket.write_message(data)
