"""stunnel in front of a server, and behind a client: what speaks in clear gets through TLS, and the ends of it too."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import greensock
from connections import AnySocket, attempt, stream
from foreign import Foreign, Start, find, needs
from greensock.testing import Peer, Recorder, Serve, wait_until
from tls_peer import credentials, trust

#: What it is called in Debian and elsewhere.
STUNNEL = "stunnel4" if find("stunnel4") else "stunnel"

BULK = 3_000_000

pytestmark = needs(STUNNEL)

#: Its configuration as a client.
VERIFYING = {"client": "yes", "CAfile": "@ca.pem", "verifyChain": "yes", "checkHost": "localhost"}

Tunnel = Callable[..., Foreign]


@pytest.fixture
def tunnel(foreign: Start, tmp_path: Path) -> Tunnel:
    """Start it between a free port and a server, with some more lines of its configuration, stunnel(8)."""

    def start(server: greensock.Server, **lines: str) -> Foreign:
        (tmp_path / "ca.pem").write_bytes(trust()["ca"])
        for name, mine in (("server", credentials()), ("client", credentials("client.example"))):
            (tmp_path / f"{name}.pem").write_bytes(mine["key"] + mine["cert"])
        common = {"accept": "127.0.0.1:0", "connect": f"127.0.0.1:{server.port}"}
        service = [f"{name} = {value}" for name, value in {**common, **lines}.items()]
        configuration = ["foreground = yes", "pid =", "[tunnel]", *service]
        (tmp_path / "stunnel.conf").write_text("\n".join(configuration).replace("@", f"{tmp_path}/"))
        return foreign(STUNNEL, tmp_path / "stunnel.conf")

    return start


def without_data(recorder: Recorder) -> list[str]:
    return [event for event in recorder.events if event != "data"]


class TestInFront:
    """A client in clear, stunnel, and a server with TLS."""

    @pytest.fixture
    def recorder(self) -> Recorder:
        return Recorder(data=lambda socket, data: socket.write(data))

    @pytest.fixture
    def server(self, serve: Serve, recorder: Recorder) -> greensock.Server:
        return serve(recorder.handlers, tls=greensock.TLS(**credentials()), allow_half_open=True)

    @pytest.fixture
    def client(self, server: greensock.Server, tunnel: Tunnel) -> Iterator[Peer]:
        with Peer(("127.0.0.1", tunnel(server, **VERIFYING).port())) as peer:
            yield peer

    def test_bulk_in_both_directions(self, client: Peer, recorder: Recorder) -> None:
        sending = gevent.spawn(client.send, stream(BULK))
        assert client.read_exactly(BULK) == stream(BULK)
        sending.get()
        assert recorder.sockets[0].encrypted

    def test_the_client_ends_first(self, client: Peer, recorder: Recorder) -> None:
        assert client.exchange(b"hello") == b"hello"
        client.finish()
        socket, *_ = recorder.wait_for("end")
        socket.end(b"last words")
        assert client.read_to_end() == b"last words"
        recorder.wait_for("close")
        assert without_data(recorder) == ["handshake", "open", "end", "close"]

    def test_the_server_ends_first(self, client: Peer, recorder: Recorder) -> None:
        assert client.exchange(b"hello") == b"hello"
        recorder.sockets[0].end(b"last words")
        assert client.read_to_end() == b"last words"
        client.send(b"and mine")
        client.finish()
        socket, error = recorder.wait_for("close")
        assert (error, socket.close_reason) == (None, "local")
        assert recorder.received == b"helloand mine"

    def test_the_tunnel_is_killed(self, server: greensock.Server, tunnel: Tunnel, recorder: Recorder) -> None:
        started = tunnel(server, **VERIFYING)
        with Peer(("127.0.0.1", started.port())) as client:
            assert client.exchange(b"hello") == b"hello"
            started.kill()
            socket, _ = recorder.wait_for("close")
        assert socket.close_reason == "truncated"
        assert without_data(recorder) == ["handshake", "open", "close"]

    @pytest.mark.parametrize("fault", [{"checkHost": "other.example"}, {"CAfile": "@server.pem"}], ids=str)
    def test_it_refuses(
        self, server: greensock.Server, tunnel: Tunnel, recorder: Recorder, fault: dict[str, str]
    ) -> None:
        with Peer(("127.0.0.1", tunnel(server, **{**VERIFYING, **fault}).port())) as client:
            client.send(b"hello")
            attempt(client.read_to_end)
        wait_until(lambda: server.stats().handshake_failures == 1)
        assert recorder.events == []

    def test_client_certificates(self, serve: Serve, tunnel: Tunnel, recorder: Recorder) -> None:
        server = serve(recorder.handlers, tls=greensock.TLS(**credentials(), **trust(), request_cert=True))
        with Peer(("127.0.0.1", tunnel(server, **VERIFYING).port())) as client:
            client.send(b"hello")
            attempt(client.read_to_end)
        wait_until(lambda: server.stats().handshake_failures == 1)
        assert recorder.events == []
        with Peer(("127.0.0.1", tunnel(server, **VERIFYING, cert="@client.pem").port())) as client:
            assert client.exchange(b"hello") == b"hello"
        assert recorder.log[0][2:] == (True, None)
        certificate: Any = recorder.sockets[0].peer_certificate()
        assert ("DNS", "client.example") in certificate["subjectAltName"]


class TestBehind:
    """A client with TLS, stunnel, and a server in clear."""

    @pytest.fixture
    def there(self) -> Recorder:
        return Recorder(data=lambda socket, data: socket.write(data))

    @pytest.fixture
    def server(self, serve: Serve, there: Recorder) -> greensock.Server:
        return serve(there.handlers, allow_half_open=True)

    def test_bulk_in_both_directions(self, server: greensock.Server, tunnel: Tunnel) -> None:
        here = Recorder()
        port = tunnel(server, cert="@server.pem").port()
        with greensock.connect(f"tls://localhost:{port}", here.handlers, tls=trust()) as socket:
            assert socket.authorized
            socket.write(stream(BULK))
            wait_until(lambda: len(here.received) >= BULK)
        assert here.received == stream(BULK)

    def test_the_client_ends_first(self, server: greensock.Server, tunnel: Tunnel, there: Recorder) -> None:
        here = Recorder()
        port = tunnel(server, cert="@server.pem").port()
        greensock.connect(f"tls://localhost:{port}", here.handlers, tls=trust()).end(b"hello")
        other, *_ = there.wait_for("end")
        other.end(b" and last words")
        socket, error = here.wait_for("close")
        assert (error, socket.close_reason) == (None, "local")
        assert here.received == b"hello and last words"

    def test_the_server_ends_first(self, server: greensock.Server, tunnel: Tunnel, there: Recorder) -> None:
        here = Recorder()
        port = tunnel(server, cert="@server.pem").port()
        socket = greensock.connect(f"tls://localhost:{port}", here.handlers, tls=trust(), allow_half_open=True)
        there.wait_for("open")
        there.sockets[0].end(b"last words")
        here.wait_for("end")
        socket.end(b"and mine")
        here.wait_for("close")
        there.wait_for("close")
        assert here.received == b"last words"
        assert there.received == b"and mine"

    def test_the_tunnel_is_killed(self, server: greensock.Server, tunnel: Tunnel) -> None:
        here = Recorder()
        started = tunnel(server, cert="@server.pem")
        socket = greensock.connect(f"tls://localhost:{started.port()}", here.handlers, tls=trust())
        socket.write(b"hello")
        here.wait_for("data")
        started.kill()
        here.wait_for("close")
        assert socket.close_reason == "truncated"
        assert "end" not in here.events

    @pytest.mark.parametrize("own", [True, False], ids=["with", "without"])
    def test_client_certificates(self, server: greensock.Server, tunnel: Tunnel, there: Recorder, own: bool) -> None:
        here = Recorder()
        demand = {"verifyChain": "yes", "requireCert": "yes", "CAfile": "@ca.pem"}
        port = tunnel(server, cert="@server.pem", **demand).port()
        mine = credentials("client.example") if own else {}
        socket = greensock.connect(f"tls://localhost:{port}", here.handlers, tls={**trust(), **mine})
        socket.write(b"hello")
        if own:
            here.wait_for("data")
        else:
            here.wait_for("close")
            assert socket.close_reason in ("protocol", "reset"), "it sends an alert, and then RST if there is data"
            assert there.events == []
        socket.close()


class TestStartTLS:
    """stunnel speaks SMTP until there is TLS, as a client and as a server."""

    def test_in_front(self, serve: Serve, tunnel: Tunnel) -> None:
        own = greensock.TLS(**credentials())
        heard = []

        def smtp(socket: AnySocket) -> None:
            socket.write(b"220 here\r\n")
            for line in socket.lines():
                heard.append((socket.encrypted, line))
                if line == b"STARTTLS":
                    socket.write(b"220 go ahead\r\n")
                    socket.upgrade_tls(own)
                else:
                    socket.write(b"250-here\r\n250 STARTTLS\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")

        server = serve(smtp)
        with Peer(("127.0.0.1", tunnel(server, **VERIFYING, protocol="smtp").port())) as client:
            assert client.read_exactly(4) == b"220 "
            client.send(b"NOOP\r\n")
            assert b"250 ok\r\n" in client.read_exactly(len(b"here\r\n250 ok\r\n"))
        assert heard == [(False, b"EHLO localhost"), (False, b"STARTTLS"), (True, b"NOOP")]
        assert server.stats().handshakes == 1

    def test_behind(self, serve: Serve, tunnel: Tunnel) -> None:
        def smtp(socket: AnySocket) -> None:
            socket.write(b"220 there\r\n")
            for line in socket.lines():
                socket.write(b"250 " + line + b"\r\n")

        port = tunnel(serve(smtp), cert="@server.pem", protocol="smtp").port()
        with greensock.connect(("localhost", port)) as socket:
            said = []

            def ask(line: bytes) -> bytes:
                socket.write(line + b"\r\n")
                while True:
                    said.append(socket.read_until(b"\r\n"))
                    if said[-1][3:4] == b" ":
                        return said[-1]

            assert socket.read_until(b"\r\n").startswith(b"220 there")
            ask(b"EHLO here")
            assert any(b"STARTTLS" in line for line in said)
            assert ask(b"STARTTLS").startswith(b"220 ")
            socket.upgrade_tls(trust())
            assert (socket.encrypted, socket.authorized) == (True, True)
            assert ask(b"NOOP") == b"250 NOOP\r\n"
