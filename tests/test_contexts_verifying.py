"""Who is verified, by whom, and what a connection knows of it afterwards."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from authority import Issued, context_for, issued, shake, trust
from greensock import TLS
from greensock.endpoints import Endpoint, client_side, server_side
from handshakes import OURS, TRUSTING, der

# -- clients verify --------------------------------------------------------------------------------------


class TestClientsVerify:
    """What the server shows is refused by the client, and the server is told."""

    CASES: ClassVar[dict[str, tuple[Issued, str, str]]] = {
        "expired": (issued("a.test", when="expired"), "a.test", "certificate has expired"),
        "not yet valid": (issued("a.test", when="not yet"), "a.test", "certificate is not yet valid"),
        "wrong name": (issued("b.test"), "a.test", "Hostname mismatch"),
        "wrong address": (issued("127.0.0.2"), "127.0.0.1", "IP address mismatch"),
        "a name for an address": (issued("a.test"), "127.0.0.1", "IP address mismatch"),
        "an address for a name": (issued("127.0.0.1"), "a.test", "Hostname mismatch"),
        "two labels for one star": (issued("*.a.test"), "x.y.a.test", "Hostname mismatch"),
        "unknown authority": (issued("a.test", by="other"), "a.test", "unable to get local issuer"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_refused(self, case: str) -> None:
        leaf, name, message = self.CASES[case]
        made = shake(client_side(TRUSTING, name), server_side(context_for(leaf, server=True)))
        assert isinstance(made.client_error, ssl.SSLCertVerificationError)
        assert message in str(made.client_error)
        assert isinstance(made.server_error, ssl.SSLError)

    @pytest.mark.parametrize("case", CASES)
    def test_let_through_when_told_to(self, case: str) -> None:
        leaf, name, _ = self.CASES[case]
        for hostname in (name, None):
            client = client_side(TLS(ca=trust(), reject_unauthorized=False), hostname)
            made = shake(client, server_side(context_for(leaf, server=True)))
            assert made.ok
            authorized, error = client.authorization(made.client)
            assert authorized is False
            assert isinstance(error, ssl.SSLCertVerificationError)
            assert "not verified: reject_unauthorized is False" in str(error)

    @pytest.mark.parametrize("name", ["a.test", "A.TEST", "a.test.", "127.0.0.1", "::1", "[::1]"])
    def test_accepted(self, name: str) -> None:
        client = client_side(TRUSTING, name)
        made = shake(client, server_side(OURS.both))
        assert made.ok
        assert client.authorization(made.client) == (True, None)
        plain = name.lower().strip("[].")
        assert client.hostname == plain
        assert made.server.server_name == (plain if plain == "a.test" else None), "addresses are not sent"

    def test_by_default_the_authorities_of_the_system_decide(self) -> None:
        defaults: tuple[object, ...] = (True, TLS(), {})
        for tls in defaults:
            endpoint = client_side(tls, "a.test")
            assert endpoint.context.verify_mode == ssl.CERT_REQUIRED
            assert endpoint.context.check_hostname
            assert "certificate verify failed" in str(shake(endpoint, server_side(OURS.both)).client_error)
        assert client_side(True, "a.test").context is client_side(True, "b.test").context

    def test_what_is_given_as_authority_is_trusted_as_it_is(self) -> None:
        leaf = issued("a.test", below=True)
        intermediate = leaf.leaf.cert_chain_pems[1].bytes()
        assert shake(client_side(TLS(ca=intermediate), "a.test"), server_side(leaf.both)).ok
        assert shake(client_side(TLS(ca=OURS.cert), "a.test"), server_side(OURS.both)).ok

    def test_contexts_that_verify_nothing(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = client_side(context, "a.test")
        authorized, error = client.authorization(shake(client, server_side(OURS.both)).client)
        assert authorized is False
        assert isinstance(error, ssl.SSLCertVerificationError)

    def test_that_nothing_was_verified_is_told_as_openssl_tells_what_fails(self) -> None:
        client = client_side(TLS(ca=trust(), reject_unauthorized=False), "a.test")
        _, error = client.authorization(shake(client, server_side(OURS.both)).client)
        assert isinstance(error, ssl.SSLCertVerificationError)
        text = "the server's certificate was not verified: reject_unauthorized is False"
        assert (str(error), error.verify_message, error.verify_code) == (text, text, 0)
        assert (error.errno, error.library, error.reason) == (ssl.SSL_ERROR_SSL, "SSL", "CERTIFICATE_VERIFY_FAILED")


# -- servers verify --------------------------------------------------------------------------------------


def presenting(leaf: Issued | None) -> Endpoint:
    """A client that may show what TLS() would refuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=trust().decode())
    if leaf:
        leaf.leaf.configure_cert(context)
    return client_side(context, "a.test")


class TestServersVerify:
    """What the client shows is refused by the server, whose side of the handshake never ends well."""

    MUTUAL: ClassVar[dict[str, Any]] = {**OURS.both, "ca": trust("clients"), "request_cert": True}
    CASES: ClassVar[dict[str, tuple[Issued | None, str]]] = {
        "missing": (None, "did not return a certificate"),
        "unknown authority": (issued("me", by="other"), "unable to get local issuer"),
        "the authority of the server": (issued("me"), "certificate verify failed"),
        "expired": (issued("me", by="clients", when="expired"), "certificate has expired"),
        "not yet valid": (issued("me", by="clients", when="not yet"), "certificate is not yet valid"),
    }

    @pytest.mark.parametrize("case", CASES)
    def test_refused(self, case: str) -> None:
        leaf, message = self.CASES[case]
        made = shake(presenting(leaf), server_side(self.MUTUAL))
        assert isinstance(made.server_error, ssl.SSLError)
        assert message in str(made.server_error)

    @pytest.mark.parametrize("case", ["unknown authority", "the authority of the server", "expired", "not yet valid"])
    def test_a_bad_one_is_refused_also_where_none_is_needed(self, case: str) -> None:
        leaf, message = self.CASES[case]
        made = shake(presenting(leaf), server_side({**self.MUTUAL, "reject_unauthorized": False}))
        assert message in str(made.server_error)

    @pytest.mark.parametrize("reject", [True, False])
    def test_accepted(self, reject: bool) -> None:
        mine = issued("me", by="clients", below=True)
        server = server_side({**self.MUTUAL, "reject_unauthorized": reject})
        made = shake(client_side(TLS(ca=trust(), **mine.both), "a.test"), server)
        assert made.ok
        assert server.authorization(made.server) == (True, None)
        assert made.server.getpeercert(True) == der(mine)

    def test_none_given_where_none_is_needed(self) -> None:
        server = server_side({**self.MUTUAL, "reject_unauthorized": False})
        made = shake(presenting(None), server)
        assert made.ok
        authorized, error = server.authorization(made.server)
        assert authorized is False
        assert isinstance(error, ssl.SSLCertVerificationError)
        assert str(error) == "the peer gave no certificate"

    def test_none_asked_for(self) -> None:
        server = server_side({**OURS.both, "reject_unauthorized": False})
        made = shake(presenting(issued("me", by="clients")), server)
        assert made.ok
        assert server.authorization(made.server) == (False, None)

    def test_a_resumed_session_is_as_authorized_as_the_first(self) -> None:
        server = server_side(self.MUTUAL)
        client = client_side(TLS(ca=trust(), **issued("me", by="clients").both), "a.test")
        session = shake(client, server).client.session
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        again = client.context.wrap_bio(to_client, to_server, server_hostname="a.test", session=session)
        other = server.wrap(to_server, to_client)
        for side in (again, other, again, other):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        assert other.session_reused
        assert server.authorization(other) == (True, None)

    def test_authorities_alone_ask_for_nothing(self) -> None:
        server = server_side({**OURS.both, "ca": trust("clients")})
        made = shake(presenting(issued("me", by="clients")), server)
        assert made.ok
        assert made.server.getpeercert(True) is None
        assert server.authorization(made.server) == (False, None)


# -- the authorities of the system -----------------------------------------------------------------------


class TestSystem:
    """The environment says where they are (SSL_CERT_FILE), as openssl(1) has it."""

    #: No other test has options like these, whose context would have been made before.
    ALONE: ClassVar[dict[str, Any]] = {"alpn": ["of the system"]}

    @pytest.fixture(autouse=True)
    def system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(trust("system"))
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))

    def test_a_client_without_authorities_trusts_those_of_the_system(self) -> None:
        client = client_side(TLS(**self.ALONE), "a.test")
        assert shake(client, server_side(issued("a.test", by="system").both)).ok
        assert not shake(client, server_side(OURS.both)).ok

    def test_authorities_stand_in_place_of_those_of_the_system(self) -> None:
        client = client_side(TLS(ca=trust(), **self.ALONE), "a.test")
        assert shake(client, server_side(OURS.both)).ok
        assert not shake(client, server_side(issued("a.test", by="system").both)).ok

    def test_a_server_that_asks_for_certificates_trusts_those_of_the_system(self) -> None:
        server = server_side({**OURS.both, **self.ALONE, "request_cert": True})
        known, unknown = (presenting(issued("me", by=name)) for name in ("system", "clients"))
        assert shake(known, server).ok
        assert not shake(unknown, server).ok
