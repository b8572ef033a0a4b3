"""The same service measured by an open loop and by a closed one. It stands still in the first second of every ten.

    greensock serve loadtests/_services.py:Stalling --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/open_loop.py --headless -u 10 -r 10 -t 60 -s 15 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

Half of the users send fifty messages a second, come what may (``stream``); the others wait for each reply before they send
the next one, fifty a second at most. While the service stands still the latter have one request each that waits, and do
not send the fifty that would wait as well: their p99 says that all is well (coordinated omission). By hand: of ten seconds'
requests a tenth is held up, for anything between 0 and 1 s, so that p95 is 500 ms, p99 900 ms, and the mean 50 ms. Of whole
periods, that is, so let it run for a multiple of ten seconds.
"""  # noqa: E501

from itertools import repeat

from locust import constant, constant_pacing, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()

RATE = 50


class Open(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant(0)

    @task
    def go_on(self) -> None:
        self.client.stream(RATE, repeat(b"hello"), name="open loop")


class Closed(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant_pacing(1 / RATE)

    @task
    def wait_for_it(self) -> None:
        self.client.exchange(b"hello", name="closed loop")


if __name__ == "__main__":
    run_single_user(Open)
