"""A few users ask for 16 MiB at once and read them slowly. The others must not notice, nor the server's memory.

    greensock serve loadtests/_services.py:Bulk --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/slow_reader.py --headless -u 20 -r 20 -t 10 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081 --gs-check-server-buffered 8000000

What the kernel does not take waits in the server, at most a mebibyte for each connection, and the drains in the tab
``Server`` count how often it went on. The row ``TCP echo`` is of those who read: its p99 is to be as without the others.
"""  # noqa: E501

from typing import Any

import gevent
from gevent.event import Event
from locust import constant, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()

MESSAGES = 512

#: Seconds that a slow reader takes for every 16 messages.
PAUSE = 0.05


class SlowReader(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    weight = 1
    wait_time = constant(0)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.left = 0
        self.has_all = Event()

    def on_push(self, message: Any) -> str:
        self.left -= 1
        if not self.left:
            self.has_all.set()
        elif self.left % 16 == 0:
            gevent.sleep(PAUSE)  # nothing is read meanwhile
        return "bulk"

    @task
    def ask_for_much(self) -> None:
        self.left = MESSAGES
        self.has_all.clear()
        self.client.send(b"send %d" % MESSAGES, name="ask for bulk")
        self.has_all.wait(30)


class Reader(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    weight = 4
    wait_time = constant(0.01)

    @task
    def echo(self) -> None:
        self.client.exchange(b"hello", name="echo")


if __name__ == "__main__":
    run_single_user(SlowReader)
