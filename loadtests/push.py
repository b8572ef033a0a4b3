"""A room in which every user says something once a second, and hears what all say: fan-out, timed end to end.

    greensock serve loadtests/_services.py:Chat --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/push.py --headless -u 50 -r 50 -t 10 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

Messages carry the time at which they were sent, so that the row ``PUSH said`` tells how long they were on their way.
That is exact on one machine, and off by the difference of the clocks between two. The second runs against any service
that sends each line to everybody.
"""

import time
from typing import Any

from locust import constant_pacing, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()


class Member(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant_pacing(1)

    def on_start(self) -> None:
        self.client.connect()

    def on_push(self, message: Any) -> tuple[str, float]:
        sent, _, _ = message.partition(b" ")
        return "said", float(sent)

    @task
    def say(self) -> None:
        self.client.send(b"%.6f and 45 characters that somebody else wants to hear" % time.time(), name="say")


if __name__ == "__main__":
    run_single_user(Member)
