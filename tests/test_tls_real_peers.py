"""TLS with the programs that will be at the other end: OpenSSL's own, curl, Node and Bun."""

import re
import ssl
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import greensock
from connections import AnySocket, stream
from foreign import Foreign, Start, StartScript, needs
from greensock import CloseReason
from greensock.testing import Recorder, Serve, wait_until
from tls_peer import credentials, trust

VERSIONS = ["1.2", "1.3"]
BULK = 3_000_000

#: It buffers what it prints into a pipe, and has not told what it waits for.
OPENSSL = ("stdbuf", "-oL", "openssl")

runtimes = pytest.mark.parametrize("runtime", [pytest.param(name, marks=needs(name)) for name in ("node", "bun")])
versions = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with what programs read from files: authorities, keys and certificates."""
    (tmp_path / "ca.pem").write_bytes(trust()["ca"])
    for name, mine in (("server", credentials()), ("client", credentials("client.example"))):
        (tmp_path / f"{name}.crt").write_bytes(mine["cert"])
        (tmp_path / f"{name}.key").write_bytes(mine["key"])
    (tmp_path / "bulk").write_bytes(stream(BULK))
    return tmp_path


def echo() -> Recorder:
    return Recorder(data=lambda socket, data: socket.write(data))


def secure(serve: Serve, recorder: Recorder, **tls: Any) -> greensock.Server:
    return serve(recorder.handlers, tls=greensock.TLS(**credentials(), **tls))


def ending(recorder: Recorder) -> tuple[AnySocket, Any, CloseReason | None]:
    """Block until the connection has closed: the socket, what ``close`` was given, and why it closed."""
    socket, error = recorder.wait_for("close")
    return socket, error, socket.close_reason


def without_repetitions(events: list[str]) -> list[str]:
    return [event for event, before in zip(events, [None, *events], strict=False) if event != before]


# -- openssl s_client --------------------------------------------------------------------------------------


@pytest.fixture
def s_client(foreign: Start, files: Path) -> Callable[..., Foreign]:
    """Start it, with options, as a client of a server."""

    def start(server: greensock.Server, *options: object) -> Foreign:
        where = ("-connect", f"127.0.0.1:{server.port}")
        trusting = ("-CAfile", files / "ca.pem", "-verify_return_error", "-verify_hostname", "localhost")
        return foreign(*OPENSSL, "s_client", *where, *trusting, *options)

    return start


@needs("openssl", "stdbuf")
class TestOpenSSLClient:
    @versions
    def test_a_dialogue(self, serve: Serve, s_client: Callable[..., Foreign], version: str) -> None:
        recorder = echo()
        client = s_client(secure(serve, recorder), f"-tls{version.replace('.', '_')}", "-servername", "LocalHost")
        socket, *_ = recorder.wait_for("open")
        assert (socket.tls_version, socket.server_name) == (f"TLSv{version}", "localhost")
        said = client.wait_for("Verify return code: 0 (ok)")
        assert "Verification: OK" in said
        name, *_ = socket.cipher() or [""]
        assert f"New, TLSv{version}, Cipher is {name}" in said
        client.say("hello")
        client.wait_for("hello\n")
        client.say("Q")
        assert client.finish() == 0
        assert ending(recorder)[1:] == (None, "eof"), "it says close_notify"
        assert recorder.events == ["handshake", "open", "data", "end", "close"]

    @versions
    def test_it_sees_our_close_notify(self, serve: Serve, s_client: Callable[..., Foreign], version: str) -> None:
        recorder = Recorder(open=lambda socket: socket.end("bye\n"))
        client = s_client(secure(serve, recorder), f"-tls{version.replace('.', '_')}", "-msg")
        assert client.finish() == 0
        assert re.search(r"bye\n(.*\n)+<<< .*, warning close_notify\n(.*\n)+closed\n", client.said)
        assert ending(recorder)[1:] == (None, "local")

    def test_a_killed_one_has_cut_off_its_words(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = echo()
        client = s_client(secure(serve, recorder))
        client.wait_for("Verify return code: 0 (ok)")
        client.say("hello")
        client.wait_for("hello\n")
        client.kill()
        assert ending(recorder)[2] == "truncated"
        assert recorder.events == ["handshake", "open", "data", "close"]

    def test_renegotiation_is_refused(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = echo()
        client = s_client(secure(serve, recorder), "-tls1_2", "-msg")
        client.say("hello")
        client.wait_for("hello\n")
        client.say("R")
        assert client.finish() != 0
        assert re.search(r"<<< .*, warning no_renegotiation", client.said)
        assert ending(recorder)[2] == "protocol", "s_client leaves with an alert; others may go on as before"

    def test_new_keys(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = echo()
        client = s_client(secure(serve, recorder), "-tls1_3", "-msg")
        client.wait_for("Verify return code: 0 (ok)")
        client.say("K")  # an update that asks for one in return, which comes before the next data
        client.wait_for(">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
        client.say("with new keys")
        client.wait_for("with new keys\n")
        client.say("k")  # one that does not
        client.wait_until(lambda: client.said.count(">>> TLS 1.3, Handshake [length 0005], KeyUpdate") == 2, "update")
        client.say("with newer keys")
        client.wait_for("with newer keys\n")
        client.say("Q")
        assert client.finish() == 0
        assert client.said.count("<<< TLS 1.3, Handshake [length 0005], KeyUpdate") == 1
        assert ending(recorder)[1:] == (None, "eof")

    @pytest.mark.parametrize("certificate", [False, True])
    def test_sessions_are_resumed_in_tls_1_2(
        self, serve: Serve, s_client: Callable[..., Foreign], files: Path, certificate: bool
    ) -> None:
        recorder = Recorder()
        server = secure(serve, recorder, **trust(), request_cert=certificate)
        own = ("-cert", files / "client.crt", "-key", files / "client.key") if certificate else ()
        client = s_client(server, "-tls1_2", "-reconnect", *own)
        client.say("Q")
        assert client.finish() == 0
        assert (client.said.count("New, TLSv1.2"), client.said.count("Reused, TLSv1.2")) == (1, 5)
        recorder.wait_for("close", 6)
        assert [entry[2:] for entry in recorder.log if entry[0] == "handshake"] == [(certificate, None)] * 6

    @pytest.mark.parametrize("certificate", [False, True])
    def test_sessions_are_resumed_in_tls_1_3(
        self, serve: Serve, s_client: Callable[..., Foreign], files: Path, certificate: bool
    ) -> None:
        recorder = echo()
        server = secure(serve, recorder, **trust(), request_cert=certificate)
        own = ("-cert", files / "client.crt", "-key", files / "client.key") if certificate else ()
        for word, option in (("New", "-sess_out"), ("Reused", "-sess_in")):
            client = s_client(server, "-tls1_3", option, files / "session", *own)
            client.say("hello")
            client.wait_for("hello\n")  # what comes after the tickets
            client.say("Q")
            assert client.finish() == 0
            assert f"{word}, TLSv1.3" in client.said
        recorder.wait_for("close", 2)
        assert [entry[2:] for entry in recorder.log if entry[0] == "handshake"] == [(certificate, None)] * 2

    def test_bulk(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = Recorder()
        client = s_client(secure(serve, recorder), "-quiet")
        client.send(stream(BULK))
        wait_until(lambda: len(recorder.received) == BULK)
        assert recorder.received == stream(BULK)
        socket = recorder.sockets[0]
        socket.write(stream(BULK))
        socket.end()
        assert client.finish() == 0
        assert client.output == stream(BULK)
        assert ending(recorder)[1:] == (None, "local")

    def test_what_is_too_old(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = Recorder()
        server = secure(serve, recorder)
        for version in ("-tls1", "-tls1_1"):
            client = s_client(server, version, "-cipher", "ALL:@SECLEVEL=0")
            assert client.finish() != 0
            assert "alert protocol version" in client.said
        wait_until(lambda: server.stats().handshake_failures == 2)
        assert recorder.events == []

    @versions
    def test_client_certificates(
        self, serve: Serve, s_client: Callable[..., Foreign], files: Path, version: str
    ) -> None:
        recorder = echo()
        server = secure(serve, recorder, **trust(), request_cert=True)
        flag = f"-tls{version.replace('.', '_')}"
        client = s_client(server, flag)
        assert client.finish() != 0
        assert "alert certificate required" in client.said or "alert handshake failure" in client.said
        wait_until(lambda: server.stats().handshake_failures == 1)
        assert recorder.events == []
        client = s_client(server, flag, "-cert", files / "client.crt", "-key", files / "client.key")
        client.say("it is me")
        client.wait_for("it is me\n")
        assert recorder.log[0][2:] == (True, None)
        client.say("Q")
        assert client.finish() == 0
        ending(recorder)

    def test_it_refuses_another_name(self, serve: Serve, s_client: Callable[..., Foreign]) -> None:
        recorder = Recorder()
        server = secure(serve, recorder)
        client = s_client(server, "-verify_hostname", "other.example")
        assert client.finish() != 0
        assert "hostname mismatch" in client.said
        wait_until(lambda: server.stats().handshake_failures == 1)
        assert recorder.events == []


# -- curl --------------------------------------------------------------------------------------------------


def answer(socket: AnySocket) -> None:
    """As little as curl takes for an answer: what was posted, or what was agreed on."""
    head = socket.read_until(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length: (\d+)", head.lower())
    body = socket.read_exactly(int(length[1])) if length else b""
    body = body or f"{socket.tls_version} {socket.alpn_protocol} {socket.authorized}\n".encode()
    socket.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    socket.write(body)


@needs("curl")
class TestCurl:
    @pytest.fixture
    def server(self, serve: Serve) -> greensock.Server:
        return serve(answer, tls=greensock.TLS(**credentials(), **trust(), alpn=["http/1.1"]))

    @pytest.fixture
    def curl(self, foreign: Start, files: Path) -> Callable[..., Foreign]:
        def start(url: str, *options: object) -> Foreign:
            return foreign("curl", "--silent", "--show-error", "--cacert", files / "ca.pem", *options, url)

        return start

    @versions
    def test_a_page(self, server: greensock.Server, curl: Callable[..., Foreign], version: str) -> None:
        client = curl(f"https://localhost:{server.port}/", f"--tlsv{version}", "--tls-max", version, "--ipv4")
        assert client.finish() == 0, client.said
        assert client.output.decode() == f"TLSv{version} http/1.1 False\n"
        wait_until(lambda: server.stats().closed == 1)

    def test_bulk(self, server: greensock.Server, curl: Callable[..., Foreign], files: Path) -> None:
        client = curl(f"https://127.0.0.1:{server.port}/", "--data-binary", f"@{files / 'bulk'}", "-H", "Expect:")
        assert client.finish() == 0, client.said
        assert client.output == stream(BULK)
        stats = server.stats()
        assert min(stats.bytes_read, stats.bytes_written) > BULK

    def test_it_says_goodbye(self, serve: Serve, curl: Callable[..., Foreign]) -> None:
        reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        recorder = Recorder(data=lambda socket, data: socket.write(reply))
        client = curl(f"https://127.0.0.1:{secure(serve, recorder).port}/")
        assert client.finish() == 0, client.said
        assert ending(recorder)[1:] == (None, "eof")

    @pytest.mark.parametrize("fault", ["name", "authority"])
    def test_it_refuses(self, server: greensock.Server, curl: Callable[..., Foreign], fault: str) -> None:
        if fault == "name":
            client = curl(f"https://other.example:{server.port}/", "--connect-to", "::127.0.0.1:")
        else:
            client = curl(f"https://127.0.0.1:{server.port}/", "--cacert", "/etc/ssl/certs/ca-certificates.crt")
        assert client.finish() == 60, "CURLE_PEER_FAILED_VERIFICATION"
        wait_until(lambda: server.stats().refused == 1 or server.stats().closed == 1)
        assert server.stats().bytes_read == 0

    @versions
    def test_client_certificates(self, serve: Serve, curl: Callable[..., Foreign], files: Path, version: str) -> None:
        server = serve(answer, tls=greensock.TLS(**credentials(), **trust(), request_cert=True))
        url = f"https://127.0.0.1:{server.port}/"
        limits = (f"--tlsv{version}", "--tls-max", version)
        client = curl(url, *limits)
        assert client.finish() != 0
        assert "alert" in client.said
        assert server.stats().accepted == 0
        client = curl(url, *limits, "--cert", files / "client.crt", "--key", files / "client.key")
        assert client.finish() == 0, client.said
        assert client.output.decode() == f"TLSv{version} None True\n"
        assert (server.stats().handshakes, server.stats().handshake_failures) == (1, 1)


# -- openssl s_server --------------------------------------------------------------------------------------


@pytest.fixture
def s_server(foreign: Start, files: Path) -> Callable[..., Foreign]:
    """Start it, with options."""

    def start(*options: object) -> Foreign:
        own = ("-cert", files / "server.crt", "-key", files / "server.key")
        return foreign(*OPENSSL, "s_server", "-accept", "127.0.0.1:0", *own, *options)

    return start


@needs("openssl", "stdbuf")
class TestOpenSSLServer:
    @versions
    def test_a_dialogue(self, s_server: Callable[..., Foreign], version: str) -> None:
        server = s_server(f"-tls{version.replace('.', '_')}", "-rev", "-alpn", "b")
        here = Recorder(data=lambda socket, data: socket.end())
        tls = {**trust(), "alpn": ["a", "b"]}
        with greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=tls) as socket:
            assert (socket.tls_version, socket.alpn_protocol) == (f"TLSv{version}", "b")
            socket.write(b"hello\n")
            here.wait_for("close")
        assert here.received == b"olleh\n"
        assert without_repetitions(here.events) == ["handshake", "open", "data", "close"]
        assert socket.close_reason == "local"

    @versions
    def test_its_close_notify_is_seen(self, s_server: Callable[..., Foreign], version: str) -> None:
        server = s_server(f"-tls{version.replace('.', '_')}", "-www")
        here = Recorder()
        greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust()).write(b"GET / HTTP/1.0\r\n\r\n")
        assert ending(here)[1:] == (None, "eof")
        assert f"TLSv{version}".encode() in here.received
        assert without_repetitions(here.events) == ["handshake", "open", "data", "end", "close"]

    def test_a_killed_one_has_cut_off_its_words(self, s_server: Callable[..., Foreign]) -> None:
        server = s_server("-rev")
        here = Recorder()
        socket = greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust())
        socket.write(b"hello\n")
        here.wait_for("data")
        server.kill()
        assert ending(here)[2] == "truncated"
        assert "end" not in here.events

    @versions
    def test_bulk(self, s_server: Callable[..., Foreign], version: str) -> None:
        server = s_server(f"-tls{version.replace('.', '_')}", "-quiet")
        here = Recorder()
        socket = greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust())
        socket.write(stream(BULK))
        socket.flush()
        server.wait_until(lambda: len(server.output) >= BULK, "all")
        assert server.output == stream(BULK)
        server.send(stream(BULK))
        wait_until(lambda: len(here.received) >= BULK)
        assert here.received == stream(BULK)
        socket.close()
        assert ending(here)[1:] == (None, "local")

    def test_new_keys(self, s_server: Callable[..., Foreign]) -> None:
        server = s_server("-msg")
        here = Recorder()
        with greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust()) as socket:
            server.say("K")
            server.wait_for(">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
            server.say("with new keys")
            here.wait_for("data")
            socket.write(b"me too\n")
            server.wait_for("<<< TLS 1.3, Handshake [length 0005], KeyUpdate")
            server.wait_for("me too\n")
        assert here.received == b"with new keys\n"

    def test_renegotiation_is_refused(self, s_server: Callable[..., Foreign]) -> None:
        server = s_server("-tls1_2", "-msg")
        here = Recorder()
        greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust())
        server.say("r")
        server.wait_for("warning no_renegotiation")
        assert ending(here)[2] in ("protocol", "truncated")
        assert here.events.count("handshake") == 1

    @versions
    def test_client_certificates(self, s_server: Callable[..., Foreign], files: Path, version: str) -> None:
        demand = ("-Verify", "3", "-verify_return_error", "-CAfile", files / "ca.pem")
        server = s_server(f"-tls{version.replace('.', '_')}", "-rev", *demand)
        here = Recorder()
        with greensock.connect(
            ("127.0.0.1", server.port()), here.handlers, tls={**trust(), **credentials("client.example")}
        ) as socket:
            socket.write(b"it is me\n")
            here.wait_for("data")
        assert "depth=0" in server.said
        here.wait_for("close")
        server.kill()

    @versions
    def test_without_the_certificate_that_it_demands(
        self, s_server: Callable[..., Foreign], files: Path, version: str
    ) -> None:
        server = s_server(f"-tls{version.replace('.', '_')}", "-Verify", "3", "-CAfile", files / "ca.pem")
        here = Recorder()
        if version == "1.2":
            with pytest.raises(ssl.SSLError, match="handshake failure"):
                greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust())
            assert here.events == ["connect_error"]
        else:  # the client has done its part before the server looks at it: RFC 8446, section 2
            greensock.connect(("127.0.0.1", server.port()), here.handlers, tls=trust())
            socket, error, reason = ending(here)
            assert reason == "protocol"
            assert "certificate required" in str(error)
            assert socket.bytes_read == 0


# -- Node and Bun ------------------------------------------------------------------------------------------


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def agreeing(runtime: str, version: str) -> dict[str, Any]:
    """Options for the protocol "b" and a version of TLS; Bun takes both as they go over the wire."""
    if runtime == "node":
        return {"ALPNProtocols": ["b"], "maxVersion": f"TLSv{version}"}
    return {"ALPNProtocols": "\1b", "maxVersion": {"1.2": 0x0303, "1.3": 0x0304}[version]}


@runtimes
class TestScriptClients:
    @pytest.fixture
    def client(self, runtime: str, script: StartScript) -> Callable[..., Any]:
        name = "servername" if runtime == "node" else "serverName"

        def start(server: greensock.Server, *, host: str = "localhost", trusting: bool = True, **options: Any) -> Any:
            tls = {name: host, **(trust() if trusting else {}), **options.pop("tls", {})}
            return script(runtime, "connect", tls, port=server.port, **options)

        return start

    @versions
    def test_a_dialogue(self, serve: Serve, client: Callable[..., Any], runtime: str, version: str) -> None:
        recorder = echo()
        peer = client(secure(serve, recorder, alpn=["b"]), tls=agreeing(runtime, version))
        opened = peer.event("open")
        assert (opened["authorized"], opened["version"], opened["alpn"]) == (True, f"TLSv{version}", "b")
        peer.say("write hello")
        peer.event("data", size=5, sha256=digest(b"hello"))
        peer.say("end")
        assert ending(recorder)[1:] == (None, "eof"), "it says close_notify"
        assert recorder.events == ["handshake", "open", "data", "end", "close"]
        assert recorder.sockets[0].server_name == "localhost"
        peer.event("close")

    def test_bulk_in_both_directions(self, serve: Serve, client: Callable[..., Any], files: Path) -> None:
        recorder = echo()
        peer = client(secure(serve, recorder))
        peer.event("open")
        peer.say(f"send {files / 'bulk'}")
        peer.event("data", size=BULK, sha256=digest(stream(BULK)))
        assert recorder.received == stream(BULK)

    def test_this_side_ends_first(self, serve: Serve, client: Callable[..., Any]) -> None:
        recorder = Recorder(open=lambda socket: socket.end(b"bye"))
        peer = client(secure(serve, recorder), allowHalfOpen=True)
        peer.event("data", sha256=digest(b"bye"))
        peer.event("end")
        peer.say("write afterwards")
        recorder.wait_for("data")
        peer.say("end")
        assert ending(recorder)[1:] == (None, "local")
        assert recorder.received == b"afterwards"
        assert recorder.events == ["handshake", "open", "data", "close"]

    def test_the_other_side_ends_first(self, serve: Serve, client: Callable[..., Any]) -> None:
        recorder = Recorder()
        server = serve(recorder.handlers, tls=greensock.TLS(**credentials()), allow_half_open=True)
        peer = client(server, allowHalfOpen=True)
        peer.event("open")
        peer.say("end")
        socket, *_ = recorder.wait_for("end")
        socket.end(b"last words")
        assert ending(recorder)[1:] == (None, "local")
        peer.event("close")
        assert peer.event("data")["size"] == 10

    def test_a_broken_off_connection(self, serve: Serve, client: Callable[..., Any], runtime: str) -> None:
        recorder = echo()
        peer = client(secure(serve, recorder))
        peer.say("write hello")
        peer.event("data")
        peer.say("destroy")
        assert ending(recorder)[2] == {"node": "truncated", "bun": "reset"}[runtime], "FIN of one, RST of the other"
        assert "end" not in recorder.events

    def test_a_killed_one(self, serve: Serve, client: Callable[..., Any]) -> None:
        recorder = echo()
        peer = client(secure(serve, recorder))
        peer.say("write hello")
        peer.event("data")
        peer.kill()
        assert ending(recorder)[2] == "truncated"

    @pytest.mark.parametrize("fault", [{"host": "other.example"}, {"trusting": False}], ids=["name", "authority"])
    def test_it_refuses(self, serve: Serve, client: Callable[..., Any], fault: dict[str, Any]) -> None:
        recorder = echo()
        server = secure(serve, recorder)
        peer = client(server, **fault)
        peer.say("write hello")
        peer.finish()
        assert "data" not in peer.names
        wait_until(lambda: server.stats().refused + server.stats().closed == 1)
        assert recorder.received == b""

    def test_client_certificates(self, serve: Serve, client: Callable[..., Any]) -> None:
        recorder = echo()
        server = secure(serve, recorder, **trust(), request_cert=True)
        peer = client(server)
        peer.finish()
        wait_until(lambda: server.stats().handshake_failures == 1)
        assert recorder.events == []
        peer = client(server, tls=credentials("client.example"))
        peer.say("write it-is-me")
        peer.event("data")
        assert recorder.log[0][2:] == (True, None)


@runtimes
class TestScriptServers:
    @pytest.fixture
    def server(self, runtime: str, script: StartScript) -> Callable[..., Any]:
        def start(*names: str, **options: Any) -> Any:
            tls = {**credentials(*names), **options.pop("tls", {})}
            peer: Any = script(runtime, "listen", tls, **options)
            peer.address = ("127.0.0.1", peer.event("listening")["port"])
            return peer

        return start

    @versions
    def test_a_dialogue(self, server: Callable[..., Any], runtime: str, version: str) -> None:
        here = Recorder()
        peer = server(echo=True, tls=agreeing(runtime, version))
        socket = greensock.connect(peer.address, here.handlers, tls={**trust(), "alpn": ["a", "b"]})
        assert (socket.authorized, socket.tls_version, socket.alpn_protocol) == (True, f"TLSv{version}", "b")
        socket.write(b"hello")
        here.wait_for("data")
        assert here.received == b"hello"
        peer.say("end")
        assert ending(here)[1:] == (None, "eof"), "it says close_notify"
        assert here.events == ["handshake", "open", "data", "end", "close"]
        peer.event("close")

    def test_bulk_in_both_directions(self, server: Callable[..., Any]) -> None:
        here = Recorder()
        socket = greensock.connect(server(echo=True).address, here.handlers, tls=trust())
        socket.write(stream(BULK))
        wait_until(lambda: len(here.received) >= BULK)
        assert here.received == stream(BULK)
        socket.close()
        ending(here)

    def test_this_side_ends_first(self, server: Callable[..., Any]) -> None:
        here = Recorder()
        peer = server(allowHalfOpen=True)
        greensock.connect(peer.address, here.handlers, tls=trust()).end(b"bye")
        peer.event("data", sha256=digest(b"bye"))
        peer.event("end")
        peer.say("write afterwards")
        here.wait_for("data")
        peer.say("end")
        assert ending(here)[1:] == (None, "local")
        assert here.received == b"afterwards"

    def test_a_broken_off_connection(self, server: Callable[..., Any], runtime: str) -> None:
        here = Recorder()
        peer = server(echo=True)
        greensock.connect(peer.address, here.handlers, tls=trust()).write(b"hello")
        here.wait_for("data")
        peer.say("destroy")
        assert ending(here)[2] == {"node": "truncated", "bun": "reset"}[runtime]
        assert "end" not in here.events

    def test_wrong_ones_are_refused(self, server: Callable[..., Any]) -> None:
        here = Recorder()
        with pytest.raises(ssl.SSLError, match="certificate verify failed"):
            greensock.connect(server("other.example").address, here.handlers, tls=trust())
        assert here.events == ["connect_error"]

    def test_client_certificates(self, server: Callable[..., Any]) -> None:
        here = Recorder()
        peer = server(echo=True, tls={**trust(), "requestCert": True, "rejectUnauthorized": True})
        socket = greensock.connect(peer.address, here.handlers, tls={**trust(), **credentials("client.example")})
        assert peer.event("open")["authorized"]
        socket.write(b"it is me")
        here.wait_for("data")
        socket.close()
        ending(here)
