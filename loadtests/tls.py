"""Every user connects with TLS, exchanges a hundred lines, and connects again: handshakes and records.

    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost
    greensock serve loadtests/_services.py:Echo --framing lines --stats 127.0.0.1:8081 --bind tls://127.0.0.1:8443 --tls-cert cert.pem --tls-key key.pem
    locust -f loadtests/tls.py --headless -u 50 -r 50 -t 10 -s 5 -H tls://localhost:8443 --ca cert.pem --gs-stats 127.0.0.1:8081

Connecting and the handshake have rows of their own. Without ``--ca`` the service is verified by the system's authorities.
"""  # noqa: E501

from pathlib import Path
from typing import Any

from locust import constant, events, run_single_user, task

from greensock import TLS
from greensock.framing import Lines
from greensock.locust import SocketUser, fine_buckets, install

install()
fine_buckets()

EXCHANGES_PER_CONNECTION = 100


class TlsUser(SocketUser):
    host = "tls://localhost:8443"
    framing = Lines()
    wait_time = constant(0)

    @task
    def visit(self) -> None:
        for number in range(EXCHANGES_PER_CONNECTION):
            self.client.exchange(b"%063d" % number, name="echo")
        self.client.close()


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_option(parser: Any) -> None:
    parser.add_argument("--ca", metavar="FILE", help="authorities to verify the service by, PEM")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def read_authorities(environment: Any, **_: Any) -> None:
    if environment.parsed_options.ca:
        TlsUser.tls = TLS(ca=Path(environment.parsed_options.ca))


if __name__ == "__main__":
    run_single_user(TlsUser)
