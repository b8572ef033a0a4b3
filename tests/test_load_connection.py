"""The connection of a locust user: made when it is needed, again when it was lost, and ended in order."""

from time import perf_counter
from typing import Any

import gevent
import gevent.socket
import pytest

from authority import issued, trust
from connections import attempt
from greensock import TLS, endpoints
from greensock.framing import Lines
from greensock.testing import Serve, wait_until
from loadlab import CONNECTED, Lab, echo, host, lab

from greensock.locust import Backoff, RequestFailed, SocketUser
from locust.exception import StopTest, StopUser

__all__ = ["host", "lab"]

# -- connections -----------------------------------------------------------------------------------------


def free_port() -> int:
    with gevent.socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_a_refused_connection_is_tried_again_by_whoever_needs_it(lab: Lab, serve: Serve) -> None:
    port = free_port()
    client = lab.user(f"tcp://127.0.0.1:{port}").client
    asking = gevent.spawn(client.exchange, b"hello")
    wait_until(lambda: len(lab.rows) > 2)
    assert set(lab.rows) == {("CONN", "connect tcp", False)}
    assert len(set(lab.failures("CONN"))) == 1, "which is one line of locust's report"
    assert "ConnectionRefusedError(111, " in lab.failures("CONN")[0]
    serve({"data": echo}, ("127.0.0.1", port), framing=Lines())
    assert asking.get(timeout=10) == b"hello"
    assert lab.rows[-2:] == [CONNECTED, ("TCP", "exchange", True)]


def test_the_pauses_grow_and_are_never_longer_than_the_longest() -> None:
    backoff = Backoff(0.1, 3.0)
    for failures, most in ((1, 0.1), (2, 0.2), (5, 1.6), (6, 3.0), (10_000, 3.0)):
        pauses = [backoff.pause(failures) for _ in range(100)]
        assert most / 2 <= min(pauses) < max(pauses) <= most


@pytest.mark.parametrize("reconnect", [None, Backoff(10.0, 10.0)])
def test_a_user_who_cannot_connect_may_be_stopped(lab: Lab, reconnect: Backoff | None) -> None:
    """At once if it does not try again, and otherwise while it waits to."""
    user = lab.user(f"tcp://127.0.0.1:{free_port()}", reconnect=reconnect)
    asking = gevent.spawn(attempt, user.client.exchange, b"hello")
    wait_until(lambda: lab.rows)
    user._state = "stopping"  # as locust says it
    assert isinstance(asking.get(timeout=10), StopUser)
    assert lab.rows == [("CONN", "connect tcp", False)]


def test_without_reconnect_a_user_connects_again_only_after_it_has_closed(lab: Lab, host: str) -> None:
    client = lab.user(host, reconnect=None).client
    client.exchange(b"hello")
    client.close()
    with pytest.raises(RequestFailed):
        client.exchange(b"die")
    with pytest.raises(StopUser):
        client.exchange(b"hello")
    assert [row[0] for row in lab.rows] == ["CONN", "TCP", "CONN", "TCP"]


def test_a_peer_that_only_accepts_is_no_hot_loop(lab: Lab, serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.close()})
    client = lab.user(server.url, reconnect=Backoff(0.02, 0.02)).client
    began = perf_counter()
    for _ in range(5):
        with pytest.raises(RequestFailed):
            client.exchange(b"hello")
    assert perf_counter() - began > 4 * 0.01


def test_a_connection_that_the_peer_ends_in_between_is_no_failure(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines())
    client = lab.user(server.url).client
    client.exchange(b"hello")
    next(iter(server.sockets)).close()
    wait_until(lambda: client.socket is None)
    assert client.exchange(b"hello") == b"hello"
    exchanged = ("TCP", "exchange", True)
    assert lab.rows == [CONNECTED, exchanged, ("DISC", "eof", True), CONNECTED, exchanged]
    assert lab.requests[2]["response_time"] is None


def test_a_connection_that_is_reset_in_between_is_one(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines())
    client = lab.user(server.url).client
    client.exchange(b"hello")
    next(iter(server.sockets)).terminate()
    wait_until(lambda: client.socket is None)
    assert lab.rows[-1] == ("DISC", "reset", False)
    assert lab.failures("DISC") == ["SocketClosed('the connection ended: reset')"]
    assert client.exchange(b"hello") == b"hello"


def test_closing_reads_what_the_peer_still_has_to_say(lab: Lab, serve: Serve) -> None:
    def say_goodbye(socket: Any) -> None:
        for number in range(1000):
            socket.write_message(b"%d" % number)

    server = serve({"data": echo, "end": say_goodbye}, framing=Lines())
    client = lab.user(server.url).client
    client.exchange(b"hello")
    client.close()
    client.close()
    assert lab.rows.count(("PUSH", "push", True)) == 1000
    assert client.socket is None and server.connections == 0
    assert client.exchange(b"hello") == b"hello", "which connects again"


def test_a_peer_that_does_not_end_is_left_after_a_second(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines(), allow_half_open=True)
    client = lab.user(server.url).client
    client.exchange(b"hello")
    began = perf_counter()
    client.close()
    assert 0.9 < perf_counter() - began < 5


def test_who_waits_is_told_when_another_closes(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    client.connect()
    asking = gevent.spawn(attempt, client.exchange, b"silence")
    expecting = gevent.spawn(attempt, client.expect)
    gevent.sleep(0.01)
    client.close()
    assert isinstance(asking.get(timeout=10), RequestFailed)
    assert isinstance(expecting.get(timeout=10), RequestFailed)
    assert lab.failures("TCP") == lab.failures("PUSH") == ["SocketClosed('the connection ended: local')"]


def test_unix_sockets(lab: Lab, serve: Serve, tmp_path: Any) -> None:
    server = serve({"data": echo}, f"unix:{tmp_path}/socket", framing=Lines())
    assert lab.user(server.url).client.exchange(b"hello") == b"hello"
    assert lab.rows == [("CONN", "connect unix", True), ("UNIX", "exchange", True)]


# -- TLS -------------------------------------------------------------------------------------------------


def test_connecting_and_the_handshake_have_rows_of_their_own(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines(), tls=issued("localhost").both)
    user = lab.user(f"tls://localhost:{server.port}", tls={"ca": trust()})
    assert user.client.exchange(b"hello") == b"hello"
    assert lab.rows == [CONNECTED, ("CONN", "handshake tls", True), ("TLS", "exchange", True)]
    assert user.client.socket is not None and user.client.socket.authorized
    assert user.client.socket.server_name == "localhost"


def test_a_server_that_cannot_be_verified_is_a_failed_handshake(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines(), tls=issued("localhost").both)
    user = lab.user(f"tls://localhost:{server.port}", reconnect=None)
    with pytest.raises(StopUser):
        user.client.exchange(b"hello")
    assert lab.rows == [CONNECTED, ("CONN", "handshake tls", False)]
    assert "CERTIFICATE_VERIFY_FAILED" in lab.failures("CONN")[0]


def test_the_users_of_a_class_share_one_context(lab: Lab, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve({"data": echo}, framing=Lines(), tls=issued("localhost").both)
    contexts = set()
    of_clients = endpoints.client_side

    def seen(*arguments: Any) -> Any:
        endpoint = of_clients(*arguments)
        contexts.add(id(endpoint.context))
        return endpoint

    monkeypatch.setattr(endpoints, "client_side", seen)
    first = lab.user(f"tls://localhost:{server.port}", tls={"ca": trust()})
    for user in (first, type(first)(lab.environment)):
        lab.users.append(user)
        user.client.exchange(b"hello")
        user.client.close()
        user.client.exchange(b"hello")
    assert lab.rows.count(("CONN", "handshake tls", True)) == 4
    assert len(contexts) == 1
    assert isinstance(type(first).tls, TLS), "the mapping was read once"


def test_the_name_that_is_verified_may_be_another(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines(), tls=issued("service.example").both)
    user = lab.user(f"tls://127.0.0.1:{server.port}", tls=TLS(ca=trust()), server_hostname="service.example")
    assert user.client.exchange(b"hello") == b"hello"


# -- on_connect ------------------------------------------------------------------------------------------


def test_on_connect_runs_first_on_each_connection(lab: Lab, host: str) -> None:
    def log_in(self: SocketUser) -> None:
        self.client.exchange(b"log in", name="log in")

    client = lab.user(host, on_connect=log_in).client
    calls = [gevent.spawn(client.exchange, b"%d" % number) for number in range(3)]
    gevent.joinall(calls, timeout=10, raise_error=True)
    client.close()
    client.exchange(b"again")
    names = [row[1] for row in lab.rows]
    assert names == ["connect tcp", "log in", *["exchange"] * 3, "connect tcp", "log in", "exchange"]


def test_an_on_connect_that_gets_no_reply_is_tried_again_on_another_connection(lab: Lab, host: str) -> None:
    attempts: list[Any] = []

    def log_in(self: SocketUser) -> None:
        attempts.append(self.client.socket)
        self.client.exchange(b"silence" if len(attempts) < 3 else b"log in", timeout=0.02, name="log in")

    client = lab.user(host, on_connect=log_in).client
    assert client.exchange(b"hello") == b"hello"
    failed = [CONNECTED, ("TCP", "log in", False)]
    assert lab.rows == [*failed, *failed, CONNECTED, ("TCP", "log in", True), ("TCP", "exchange", True)]
    assert len({id(socket) for socket in attempts}) == 3


def test_a_connection_that_is_lost_in_on_connect_is_not_made_again_inside_of_it(lab: Lab, host: str) -> None:
    attempts: list[Any] = []

    def log_in(self: SocketUser) -> None:
        attempts.append(None)
        if len(attempts) == 1:
            for _ in range(2):
                with pytest.raises(RequestFailed):
                    self.client.exchange(b"die", name="log in")
            raise RequestFailed("not logged in")

    client = lab.user(host, on_connect=log_in).client
    assert client.exchange(b"hello") == b"hello"
    assert lab.rows == [CONNECTED, ("TCP", "log in", False), CONNECTED, ("TCP", "exchange", True)]


def test_a_mistake_in_on_connect_is_raised_and_leaves_no_connection(lab: Lab, host: str) -> None:
    def mistake(self: SocketUser) -> None:
        raise KeyError("mistake")

    client = lab.user(host, on_connect=mistake).client
    with pytest.raises(KeyError, match="mistake"):
        client.exchange(b"hello")
    assert client.socket is None


def test_a_greeting_that_comes_at_once_is_there_for_on_connect(lab: Lab, serve: Serve) -> None:
    """As servers of SMTP, FTP and MySQL begin."""

    def greet(self: SocketUser) -> None:
        gevent.sleep(0.05)
        self.greeting = self.client.expect(lambda line: line.startswith(b"220"), name="greeting")  # type: ignore[attr-defined]

    def greeting(socket: Any) -> None:
        socket.write_message(b"noise")
        socket.write_message(b"220 welcome")

    server = serve({"open": greeting, "data": echo}, framing=Lines())
    user = lab.user(server.url, on_connect=greet, on_push=lambda self, message: message.decode())
    assert user.client.exchange(b"hello") == b"hello"
    assert user.greeting == b"220 welcome"  # type: ignore[attr-defined]
    assert lab.rows == [CONNECTED, ("PUSH", "greeting", True), ("PUSH", "noise", True), ("TCP", "exchange", True)]
    assert 0 <= lab.requests[1]["response_time"] < 50, "from the connection to the greeting"
    assert lab.requests[2]["response_time"] is None


# -- what cannot be --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"host": None}, "there is no host"),
        ({"host": ""}, "there is no host"),
        ({"host": "http://localhost:1"}, "unknown scheme 'http'"),
        ({"host": "tcp://localhost"}, "the port is missing"),
        ({"host": "tcp://localhost:0"}, "port 0, at which nothing can be reached"),
        ({"host": "fd://3"}, "none of tcp://host:port"),
        ({"framing": None}, "there is no framing"),
        ({"framing": Lines}, "framing must be"),
        ({"connect_timeout": 0}, "timeout"),
        ({"host": "tls://localhost:1", "tls": {"cipher": "x"}}, "cipher"),
        ({"host": "tls://localhost:1", "tls": 5}, "tls must be"),
        ({"host": "tls://localhost:1", "tls": TLS(ca=trust()), "server_hostname": "a b"}, "server_hostname"),
    ],
)
def test_a_user_that_cannot_be_stops_the_test_and_says_why(lab: Lab, attributes: dict[str, Any], why: str) -> None:
    given = {"host": "tcp://localhost:1", **attributes}
    with pytest.raises(StopTest, match=why) as caught:
        lab.user(**given)
    assert str(caught.value).startswith("User: ")


# -- how users end ---------------------------------------------------------------------------------------


def test_a_user_that_is_stopped_between_two_tasks_begins_nothing_more(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    client.exchange(b"hello")
    client.retire()
    for call in (client.connect, lambda: client.exchange(b"x"), lambda: client.send(b"x"), client.expect):
        with pytest.raises(StopUser):
            call()
    assert lab.rows == [CONNECTED, ("TCP", "exchange", True)]
    client.close()
    wait_until(lambda: client.socket is None)


class Forgetful(SocketUser):
    """Ends without closing its connection."""

    framing = Lines()

    def on_start(self) -> None:
        self.client.exchange(b"hello")
        raise KeyError("a mistake in on_start")

    def on_stop(self) -> None:
        pass


@pytest.mark.leaks  # the hub reports the mistake, as locust leaves it
def test_no_connection_is_left_of_a_user_however_it_ends(lab: Lab, serve: Serve) -> None:
    server = serve({"data": echo}, framing=Lines())
    user = lab.user(server.url, Forgetful)
    user.start(gevent.pool.Group()).join(10)
    wait_until(lambda: server.stats().closed == 1)
    assert lab.errors and isinstance(lab.errors[0], KeyError)
