"""Every user keeps one connection, sends a line of 63 characters, and checks that the same comes back.

    greensock serve loadtests/_services.py:Echo --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/echo.py --headless -u 50 -r 50 -t 10 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

The second runs against any service that echoes lines; leave out ``--gs-stats`` if it is none of greensock's.
"""

import random

from locust import constant, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()

#: Many exchanges in one task: what locust does between two tasks costs more than an exchange.
EXCHANGES_PER_TASK = 100


class EchoUser(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant(0)

    @task
    def echo(self) -> None:
        for _ in range(EXCHANGES_PER_TASK):
            message = b"%063x" % random.getrandbits(252)
            with self.client.exchange(message, name="echo", catch_response=True) as answer:
                if answer.error is None and answer.message != message:
                    answer.failure("what came back is not what was sent")


if __name__ == "__main__":
    run_single_user(EchoUser)
