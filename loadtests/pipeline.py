"""Every user keeps sixteen requests under way on its one connection, and checks the answers, which come in order.

    greensock serve loadtests/_services.py:Echo --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/pipeline.py --headless -u 20 -r 20 -t 10 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

The second runs against any service that echoes lines; leave out ``--gs-stats`` if it is none of greensock's.
"""

import random

from locust import constant, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()

DEPTH = 16
MESSAGES_PER_TASK = 1000


class PipelineUser(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant(0)

    @task
    def pipeline(self) -> None:
        first = random.getrandbits(64)
        messages = [b"%063x" % number for number in range(first, first + MESSAGES_PER_TASK)]
        answers = self.client.exchange_many(messages, depth=DEPTH, name="pipelined")
        assert answers == messages, "what came back is not what was sent"


if __name__ == "__main__":
    run_single_user(PipelineUser)
