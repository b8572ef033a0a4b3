"""Every user connects, exchanges one line, ends the connection, and begins again: new connections for each second.

    greensock serve loadtests/_services.py:Echo --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/connect_storm.py --headless -u 50 -r 50 -t 10 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

The row ``CONN connect tcp`` has how long connecting took. Each connection leaves a port of this machine unusable for a
minute, unless the peer is on it too (tcp(7), tcp_tw_reuse): from one address there are some 28,000 of them a minute.
"""  # noqa: E501

from locust import constant, run_single_user, task

from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()


class StormUser(SocketUser):
    host = "tcp://127.0.0.1:8080"
    framing = Lines()
    wait_time = constant(0)

    @task
    def come_and_go(self) -> None:
        self.client.exchange(b"hello", name="hello")
        self.client.close()


if __name__ == "__main__":
    run_single_user(StormUser)
