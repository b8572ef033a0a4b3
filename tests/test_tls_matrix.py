"""Certificates that must not get anybody in, over real connections: at their beginning, and by STARTTLS.

What is shown comes from contexts made by hand, since options refuse to show most of it. Whoever refuses has no handler
called, counts one failed handshake, and says one line at DEBUG.
"""

import logging
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import greensock
from authority import NOW, Issued, authority, context_for, issued, trust
from connections import AnySocket, attempt
from greensock.testing import Recorder, Serve, wait_until

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

STARTTLS, GO = b"STARTTLS\n", b"go ahead\n"

SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@cache
def made(host: str, by: str | None, usage: x509.ExtendedKeyUsage) -> Issued:
    """A certificate that trustme does not make: for one purpose only, or with *by* None signed by nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    signing: Any = key
    if by is not None:
        issuer = x509.load_pem_x509_certificate(trust(by)).subject
        signing = load_pem_private_key(authority(by).private_key_pem.bytes(), None)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(usage, critical=False)
        .sign(signing, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(trustme.LeafCert(secret, certificate.public_bytes(Encoding.PEM), []))


# -- two sides and what became of them ---------------------------------------------------------------------


class Client(Recorder):
    """A client that is connected with TLS at once, or starts it.

    Attributes:
        error: what ``connect`` or ``upgrade_tls`` has raised.
    """

    def __init__(self, server: greensock.Server, tls: object, host: str, *, upgrades: bool) -> None:
        super().__init__(error=lambda socket, error: None)
        self.error: Any = None
        try:
            if upgrades:
                socket = greensock.connect(server.address, self.handlers, server_hostname=host)
                socket.write(STARTTLS)
                self.wait_for("data")
                socket.upgrade_tls(tls)
            else:
                socket = greensock.connect(server.address, self.handlers, server_hostname=host, tls=tls)
        except OSError as error:
            self.error = error


class Host(Recorder):
    """A server that speaks TLS at once, or starts it when it is told to."""

    def __init__(self, serve: Serve, tls: object, *, upgrades: bool) -> None:
        super().__init__(data=self._start, error=lambda socket, error: None)
        self.tls = tls
        self.upgrades = upgrades
        self.server = serve(self.handlers, **({} if upgrades else {"tls": tls}))

    def _start(self, socket: AnySocket, data: bytes) -> None:
        if self.upgrades and not socket.encrypted:
            assert data == STARTTLS
            socket.write(GO)
            socket.upgrade_tls(self.tls)
        else:
            socket.write(data)

    @property
    def counts(self) -> tuple[int, ...]:
        """Handshakes done, failed, connections that got as far as ``open``, refused ones, faults of handlers."""
        stats = self.server.stats()
        return stats.handshakes, stats.handshake_failures, stats.accepted, stats.refused, stats.errors


def check_nothing_was_called(recorder: Recorder, upgraded: bool, *instead: str) -> None:
    """No handler knows of the other side; one that was connected before hears of the end."""
    assert recorder.events == (["open", "data", "close"] if upgraded else list(instead))


def lines_about(caplog: pytest.LogCaptureFixture, *, server: bool, port: int | None) -> list[str]:
    """What one side has said: a server names the client's address, a client the server's."""
    assert {record.levelno for record in caplog.records if record.name == "greensock"} <= {logging.DEBUG}
    said = [record.getMessage() for record in caplog.records if record.name == "greensock"]
    return [line for line in said if (f"127.0.0.1:{port}" in line) is not server]


@pytest.fixture(params=["connect", "upgrade_tls"])
def upgrades(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "upgrade_tls")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    return VERSIONS[request.param]


@pytest.fixture(autouse=True)
def debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "greensock")


def showing(leaf: Issued, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that shows *leaf*."""
    context = context_for(leaf, server=True)
    context.minimum_version = context.maximum_version = version
    return context


def presenting(leaf: Issued | None, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that trusts our authority, and shows *leaf* if it is asked for a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority("ours").configure_trust(context)
    context.minimum_version = context.maximum_version = version
    if leaf is not None:
        leaf.leaf.configure_cert(context)
    return context


# -- clients refuse servers --------------------------------------------------------------------------------

#: The certificate, the host that the client means, and what it says of it.
BAD_SERVERS: dict[str, tuple[Callable[[], Issued], str, str]] = {
    "expired": (lambda: issued("localhost", when="expired"), "localhost", "certificate has expired"),
    "not yet valid": (lambda: issued("localhost", when="not yet"), "localhost", "certificate is not yet valid"),
    "wrong name": (lambda: issued("other.test"), "localhost", "Hostname mismatch"),
    "wrong address": (lambda: issued("127.0.0.2"), "127.0.0.1", "IP address mismatch"),
    "wrong address of six": (lambda: issued("::2"), "::1", "IP address mismatch"),
    "a name for an address": (lambda: issued("localhost"), "127.0.0.1", "IP address mismatch"),
    "an address for a name": (lambda: issued("127.0.0.1"), "localhost", "Hostname mismatch"),
    "unknown authority": (lambda: issued("localhost", by="other"), "localhost", "unable to get local issuer"),
    "signed by itself": (lambda: made("localhost", None, SERVER), "localhost", "self-signed certificate"),
    "for clients only": (lambda: made("localhost", "ours", CLIENT), "localhost", "unsuitable certificate purpose"),
}


@pytest.mark.parametrize("case", BAD_SERVERS)
def test_clients_refuse(
    case: str, upgrades: bool, version: ssl.TLSVersion, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    leaf, name, message = BAD_SERVERS[case]
    host = Host(serve, showing(leaf(), version), upgrades=upgrades)
    client = Client(host.server, {"ca": trust()}, name, upgrades=upgrades)
    assert isinstance(client.error, ssl.SSLCertVerificationError)
    assert message in str(client.error)
    wait_until(lambda: host.server._shared.alive == 0, what="the server has been told")
    check_nothing_was_called(client, upgrades, "connect_error")
    check_nothing_was_called(host, upgrades)
    assert host.counts == ((0, 1, 1, 0, 0) if upgrades else (0, 1, 0, 1, 0))
    for server in (True, False):
        (line,) = lines_about(caplog, server=server, port=host.server.port)
        assert line.startswith("TLS handshake with ")
        assert server or message in line


GOOD_SERVERS: dict[str, tuple[Callable[[], Issued], str]] = {
    "name": (lambda: issued("localhost"), "localhost"),
    "wildcard": (lambda: issued("*.here.test"), "any.here.test"),
    "address": (lambda: issued("127.0.0.1"), "127.0.0.1"),
    "address of six": (lambda: issued("::1"), "::1"),
    "by an authority below": (lambda: issued("localhost", below=True), "localhost"),
    "rsa": (lambda: issued("localhost", rsa_key=True), "localhost"),
}


@pytest.mark.parametrize("case", GOOD_SERVERS)
def test_clients_accept(
    case: str, upgrades: bool, version: ssl.TLSVersion, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    leaf, name = GOOD_SERVERS[case]
    host = Host(serve, showing(leaf(), version), upgrades=upgrades)
    client = Client(host.server, {"ca": trust()}, name, upgrades=upgrades)
    assert client.error is None
    exchange(client, upgrades)
    assert client.log[client.events.index("handshake")][2:] == (True, None)
    assert host.counts == (1, 0, 1, 0, 0)
    assert [record for record in caplog.records if record.name == "greensock"] == []


def exchange(client: Client, upgrades: bool) -> None:
    """Have a word go there and back, so that both are certain."""
    socket = client.sockets[0]
    socket.write(b"hello")
    wait_until(lambda: client.received.endswith(b"hello"))
    assert client.received == (GO if upgrades else b"") + b"hello"
    socket.close()
    client.wait_for("close")


# -- servers refuse clients --------------------------------------------------------------------------------

BAD_CLIENTS: dict[str, tuple[Callable[[], Issued | None], str]] = {
    "missing": (lambda: None, "peer did not return a certificate"),
    "unknown authority": (lambda: issued("me.test", by="other"), "unable to get local issuer"),
    "the authority of the servers": (lambda: issued("me.test"), "certificate verify failed"),
    "expired": (lambda: issued("me.test", by="clients", when="expired"), "certificate has expired"),
    "not yet valid": (lambda: issued("me.test", by="clients", when="not yet"), "certificate is not yet valid"),
    "signed by itself": (lambda: made("me.test", None, CLIENT), "self-signed certificate"),
    "for servers only": (lambda: made("me.test", "clients", SERVER), "unsuitable certificate purpose"),
}


def demanding() -> greensock.TLS:
    return greensock.TLS(**issued("localhost").both, ca=trust("clients"), request_cert=True)


@pytest.mark.parametrize("case", BAD_CLIENTS)
def test_servers_refuse(
    case: str, upgrades: bool, version: ssl.TLSVersion, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    leaf, message = BAD_CLIENTS[case]
    host = Host(serve, demanding(), upgrades=upgrades)
    client = Client(host.server, presenting(leaf(), version), "localhost", upgrades=upgrades)
    if version is ssl.TLSVersion.TLSv1_2:
        assert isinstance(client.error, ssl.SSLError)
        wait_until(lambda: client.events[-1] == ("close" if upgrades else "connect_error"))
        check_nothing_was_called(client, upgrades, "connect_error")
    else:
        # RFC 8446, section 2: the client is done before the server looks at what it was given. It hears of it next.
        assert client.error is None
        socket, error = client.wait_for("close")
        assert isinstance(error, ssl.SSLError)
        assert (socket.close_reason, socket.bytes_read) == ("protocol", len(GO) if upgrades else 0)
        before = ["open", "data", "handshake"] if upgrades else ["handshake", "open"]
        assert client.events == [*before, "error", "close"]
    wait_until(lambda: host.server._shared.alive == 0, what="the server has closed")
    check_nothing_was_called(host, upgrades)
    assert host.counts == ((0, 1, 1, 0, 0) if upgrades else (0, 1, 0, 1, 0))
    (line,) = lines_about(caplog, server=True, port=host.server.port)
    assert line.startswith("TLS handshake with ")
    assert message in line


@pytest.mark.parametrize("below", [False, True])
def test_servers_accept(below: bool, upgrades: bool, version: ssl.TLSVersion, serve: Serve) -> None:
    host = Host(serve, demanding(), upgrades=upgrades)
    mine = issued("me.test", by="clients", below=below)
    client = Client(host.server, presenting(mine, version), "localhost", upgrades=upgrades)
    assert client.error is None
    exchange(client, upgrades)
    assert host.log[host.events.index("handshake")][2:] == (True, None)
    assert host.counts == (1, 0, 1, 0, 0)


@pytest.mark.parametrize("case", [case for case in BAD_CLIENTS if case != "missing"])
def test_a_bad_certificate_is_refused_where_none_is_needed(case: str, upgrades: bool, serve: Serve) -> None:
    leaf, _ = BAD_CLIENTS[case]
    tls = greensock.TLS(**issued("localhost").both, ca=trust("clients"), request_cert=True, reject_unauthorized=False)
    host = Host(serve, tls, upgrades=upgrades)
    Client(host.server, presenting(leaf(), ssl.TLSVersion.TLSv1_3), "localhost", upgrades=upgrades)
    wait_until(lambda: host.server._shared.alive == 0)
    check_nothing_was_called(host, upgrades)
    assert host.counts[:2] == (0, 1)


# -- in blocking style -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["expired", "wrong name", "unknown authority"])
def test_clients_without_handlers_refuse(case: str, upgrades: bool, serve: Serve) -> None:
    leaf, name, message = BAD_SERVERS[case]
    host = Host(serve, showing(leaf(), ssl.TLSVersion.TLSv1_3), upgrades=upgrades)
    if upgrades:
        socket = greensock.connect(host.server.address, server_hostname=name)
        socket.write(STARTTLS)
        assert socket.read_until(b"\n") == GO
        error = attempt(socket.upgrade_tls, {"ca": trust()})
        assert socket.closed
    else:
        error = attempt(lambda: greensock.connect(host.server.address, server_hostname=name, tls={"ca": trust()}))
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert message in str(error)
    wait_until(lambda: host.server._shared.alive == 0)
    assert host.counts[:2] == (0, 1)
