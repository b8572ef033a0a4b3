"""Names that clients ask for: the certificate that each gets, what no honest client asks, and what an entry may be."""

import ssl
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority import Issued, context_for, issued, shake, trust
from greensock import TLS
from greensock.endpoints import Endpoint, client_side, server_side
from greensock.testing import PATIENCE
from greensock.tls import host_name
from handshakes import OURS, STAR, der, refused, served, shown
from interrupts import everywhere, interrupted


class TestNames:
    """Which certificate a client gets for the name that it asks for."""

    EXACT = issued("x.b.test")
    UNICODE = issued("xn--bcher-kva.test")

    @pytest.mark.parametrize("kind", ["TLS", "mapping", "context"])
    def test_each_name_gets_its_certificate(self, kind: str) -> None:
        def entry(leaf: Issued) -> Any:
            if kind == "context":
                return context_for(leaf, server=True)
            return TLS(**leaf.both) if kind == "TLS" else leaf.both

        sni = {"*.B.test.": entry(STAR), "X.b.TEST": entry(self.EXACT), "b\u00fccher.test": entry(self.UNICODE)}
        server = server_side(TLS(**OURS.both, sni=sni))
        for name, leaf in {
            "x.b.test": self.EXACT,
            "X.B.Test": self.EXACT,
            "y.b.test": STAR,
            "Y.b.test.": STAR,
            "x.y.b.test": OURS,
            "b.test": OURS,
            "other.test": OURS,
            "test": OURS,
            "127.0.0.1": OURS,
            "B\u00fccher.test": self.UNICODE,
        }.items():
            made = shake(client_side(TLS(ca=trust(), reject_unauthorized=False), name), server)
            assert shown(made) == der(leaf), name
            asked = host_name("server_name", name)
            assert made.server.server_name == (None if asked == "127.0.0.1" else asked)

    def test_the_name_is_known_without_entries(self) -> None:
        assert served("a.test").server.server_name == "a.test"
        client = client_side(TLS(reject_unauthorized=False), None)
        assert shake(client, server_side(OURS.both)).server.server_name is None

    def test_what_a_signal_raises_meanwhile_ends_the_handshake_and_is_not_lost(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        server = server_side(TLS(**OURS.both, sni={"*.b.test": STAR.both}))
        hook = sys.unraisablehook

        def strike(number: int) -> str:
            to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = client_side(TLS(reject_unauthorized=False), "y.b.test").wrap(to_client, to_server)
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            secured, raised = server.wrap(to_server, to_client), []

            def shake() -> None:
                try:
                    secured.do_handshake()
                except BaseException as error:
                    raised.append(type(error))

            place = interrupted(shake, number, "__call__")
            assert raised == [KeyboardInterrupt if place else ssl.SSLWantReadError]
            assert sys.unraisablehook is hook
            return place

        assert len(list(everywhere(strike))) > 3, "it has struck"
        assert capfd.readouterr() == ("", "")


class TestHellos:
    """What a client may ask for that no honest one does: the server's side of a handshake that goes no further."""

    def hello(self, name: bytes, server: Endpoint) -> Any:
        """The server's object after a hello that asks for *name*."""
        placeholder = b"q" * len(name)
        prefix = b"\0" + len(name).to_bytes(2, "big")
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_side(TLS(reject_unauthorized=False), placeholder.decode()).wrap(to_client, to_server)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        said = to_server.read()
        assert said.count(prefix + placeholder) == 1
        to_server.write(said.replace(prefix + placeholder, prefix + name))
        secured = server.wrap(to_server, to_client)
        with pytest.raises(ssl.SSLError) as caught:
            secured.do_handshake()
        return secured if isinstance(caught.value, ssl.SSLWantReadError) else caught.value

    @pytest.mark.parametrize(
        "name", [b".b.test", b"..", b"\x7f", b"b.test:1", b" ", b"x y.b.tes", b"*", b"*.", b"b.test\n"]
    )
    def test_what_is_no_name_gets_the_outer_certificate(self, name: bytes) -> None:
        server = server_side(TLS(**OURS.both, sni={"*.b.test": STAR.both}))
        secured = self.hello(name, server)
        assert secured.server_name == name.decode().removesuffix(".")
        assert secured.context is server.context

    def test_a_name_that_is_not_ascii_is_refused_without_a_traceback(
        self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unraisable: list[object] = []
        monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
        hook = sys.unraisablehook
        plain = context_for(OURS, server=True)
        plain.sni_callback = lambda *asked: None
        for server in (server_side(OURS.both), server_side(plain)):
            for name in (b"\xff", b"a\xc3\xa4.test"):
                assert type(self.hello(name, server)) is ssl.SSLError
        assert unraisable == []
        assert sys.unraisablehook is hook
        assert capfd.readouterr() == ("", "")

    def test_mistakes_of_a_users_callback_are_still_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unraisable: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda told: unraisable.append(type(told.exc_value)))
        context = context_for(OURS, server=True)

        def fail(*asked: object) -> None:
            raise ZeroDivisionError

        context.sni_callback = fail
        assert isinstance(self.hello(b"a.test", server_side(context)), ssl.SSLError)
        assert unraisable == [ZeroDivisionError]

    def test_a_callback_that_cannot_decode_is_told_like_any_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unraisable: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda told: unraisable.append(type(told.exc_value)))
        context = context_for(OURS, server=True)

        def fail(*asked: object) -> None:
            b"\xff".decode()

        context.sni_callback = fail
        assert isinstance(self.hello(b"a.test", server_side(context)), ssl.SSLError)
        assert unraisable == [UnicodeDecodeError]

    def test_threads_that_shake_hands_at_the_same_time_share_the_hook_and_leave_it_as_it_was(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unraisable: list[Any] = []
        monkeypatch.setattr(sys, "unraisablehook", lambda told: unraisable.append(type(told.exc_value)))
        hook = sys.unraisablehook
        begun, go_on = threading.Event(), threading.Event()
        slow = context_for(OURS, server=True)

        def wait(*asked: object) -> None:
            begun.set()
            go_on.wait(PATIENCE)
            raise ZeroDivisionError

        slow.sni_callback = wait
        thread = threading.Thread(target=self.hello, args=(b"a.test", server_side(slow)))
        thread.start()
        try:
            assert begun.wait(PATIENCE)
            shared = sys.unraisablehook
            assert shared is not hook
            assert isinstance(self.hello(b"\xff", server_side(OURS.both)), ssl.SSLError)
            assert sys.unraisablehook is shared, "it is not the second one's to take away"
        finally:
            go_on.set()
            thread.join()
        assert sys.unraisablehook is hook
        assert unraisable == [ZeroDivisionError], "what goes wrong in a callback is told, and the name is not"

    def test_a_hook_that_was_set_during_a_handshake_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # so that it is put back after this
        seen: list[object] = []
        context = context_for(OURS, server=True)
        context.sni_callback = lambda *asked: setattr(sys, "unraisablehook", seen.append)
        self.hello(b"a.test", server_side(context))
        assert sys.unraisablehook == seen.append

    @given(name=st.binary(min_size=3, max_size=60))
    def test_any_name(self, name: bytes) -> None:
        server = server_side(TLS(**OURS.both, sni={"*.b.test": STAR.both}))
        answer = self.hello(name, server)
        if not isinstance(answer, Exception):
            assert answer.server_name == name.decode("ascii").lower().removesuffix(".")


class TestEntries:
    """What an entry of ``sni`` may be, and what it decides."""

    def test_protocols_and_ciphers_are_those_of_the_name(self) -> None:
        inner = TLS(**STAR.both, alpn=["inner"], ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
        server = server_side(
            TLS(**OURS.both, alpn=["outer"], ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", sni={"*.b.test": inner})
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=trust().decode())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["inner", "outer"])
        for name, protocol, cipher in (("x.b.test", "inner", "AES256"), ("a.test", "outer", "AES128")):
            made = shake(client_side(context, name), server)
            assert made.ok
            assert made.client.selected_alpn_protocol() == protocol
            assert cipher in made.client.cipher()[0]

    @pytest.mark.parametrize(
        ("option", "value"),
        [("request_cert", True), ("reject_unauthorized", False), ("min_version", "TLSv1.3")],
    )
    def test_what_openssl_settles_before_it_knows_the_name(self, option: str, value: object) -> None:
        inner = {**STAR.both, option: value}
        match = rf"^sni\['b.test'\] must have the same {option} as the outer options"
        refused(match, **OURS.both, sni={"b.test": inner})
        refused(match, **{**OURS.both, option: value}, sni={"b.test": STAR.both})
        assert TLS(**{**OURS.both, option: value}, sni={"b.test": inner}).sni

    def test_why_that_is_refused(self) -> None:
        """SSL_set_SSL_CTX(3) does not take over what the context for the name demands of the client."""
        strict = context_for(STAR, server=True, trusting="clients")
        strict.minimum_version = ssl.TLSVersion.TLSv1_3
        outer = context_for(OURS, server=True)

        def change(tls: Any, name: str | None, context: ssl.SSLContext) -> None:
            tls.context = strict

        outer.sni_callback = change
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(cadata=trust().decode())
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        made = shake(client_side(client, "x.b.test"), server_side(outer))
        assert made.ok
        assert made.client.version() == "TLSv1.2"
        assert made.server.getpeercert(True) is None

    def test_other_authorities_for_a_name(self) -> None:
        """A session begun under one name can be resumed under another, where its authority is not trusted."""
        mutual: dict[str, Any] = {"request_cert": True, "ca": trust("clients")}
        same = TLS(**OURS.both, **mutual, sni={"*.b.test": {**STAR.both, **mutual}})
        client = client_side(TLS(ca=trust(), **issued("me", by="clients").both), "x.b.test")
        assert shown(shake(client, server_side(same))) == der(STAR)
        other = {**STAR.both, "request_cert": True, "ca": trust("other")}
        refused(r"^sni\['b.test'\] must have the same ca as the outer", **OURS.both, **mutual, sni={"b.test": other})
        assert TLS(**OURS.both, sni={"b.test": {**STAR.both, "ca": trust()}}).sni, "where nobody is verified"

    def test_contexts_that_demand_something_else(self) -> None:
        strict = context_for(STAR, server=True, trusting="clients")
        refused(r"^sni\['b.test'\] must have the verify_mode", **OURS.both, sni={"b.test": strict})
        newer = context_for(STAR, server=True)
        newer.minimum_version = ssl.TLSVersion.TLSv1_3
        refused(r"^sni\['b.test'\] must have .* minimum_version", **OURS.both, sni={"b.test": newer})
        mutual: dict[str, Any] = {"request_cert": True, "ca": trust("clients")}
        refused(r"^sni\['b.test'\] must be a TLS with the same ca", **OURS.both, **mutual, sni={"b.test": strict})
