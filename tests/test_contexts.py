"""Contexts: those that options become, and those of the user's, which are taken as they are."""

import gc
import ssl
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import gevent.ssl
import pytest

from authority import context_for, issued, shake, trust
from greensock import TLS
from greensock.contexts import CIPHERS, adopt, is_context
from greensock.endpoints import client_side, server_side
from handshakes import OURS, STAR, TRUSTING, refused

# -- contexts of ours ------------------------------------------------------------------------------------


def test_our_contexts_are_safe() -> None:
    for context in (server_side(OURS.both).context, client_side(TRUSTING, "a.test").context):
        for option in ("OP_NO_RENEGOTIATION", "OP_NO_COMPRESSION", "OP_CIPHER_SERVER_PREFERENCE"):
            assert context.options & getattr(ssl, option), option
        assert not context.options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        assert not context.options & 0x4, "SSL_OP_LEGACY_SERVER_CONNECT"
        assert not context.options & ssl.OP_NO_TICKET, "CVE-2024-2511"
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_contexts_that_serve_are_never_let_go() -> None:
    """OpenSSL would go on to call into one that is gone: CVE-2026-19445."""
    fresh = issued("kept.test")
    ours = weakref.ref(server_side(TLS(**fresh.both)).context)
    context = context_for(fresh, server=True)
    server_side(context)
    theirs = weakref.ref(context)
    del context
    gc.collect()
    assert ours() is not None
    assert theirs() is not None


def test_contexts_that_connect_are_not_gathered_for_ever() -> None:
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(3)]
    references = [weakref.ref(client_side(context, "a.test").context) for context in contexts]
    contexts.clear()
    gc.collect()
    assert [reference() for reference in references] == [None] * 3


def test_of_contexts_that_connect_only_the_latest_are_kept() -> None:
    def used(number: int) -> ssl.SSLContext:
        return client_side(TLS(ca=trust(), alpn=[f"number {number}"]), "a.test").context

    references = [weakref.ref(used(number)) for number in range(130)]
    gc.collect()
    assert references[0]() is None
    assert references[-1]() is used(129)
    assert shake(client_side(TLS(ca=trust(), alpn=["number 0"]), "a.test"), server_side(OURS.both)).ok


# -- ciphers ---------------------------------------------------------------------------------------------


def chosen(**options: Any) -> list[str]:
    """The ciphers of TLS 1.2 of a server with *options*."""
    ciphers = server_side(TLS(**OURS.both, **options)).context.get_ciphers()
    return [str(cipher["name"]) for cipher in ciphers if cipher["protocol"] != "TLSv1.3"]


def test_the_ciphers_of_tls_1_2() -> None:
    default = chosen()
    assert default
    assert all(
        name.startswith("ECDHE-") and name.endswith(("GCM-SHA256", "GCM-SHA384", "POLY1305")) for name in default
    )
    assert chosen(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256") == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    several = chosen(ciphers="HIGH:!SHA1:!aNULL:@STRENGTH")
    assert several
    assert "ECDHE-RSA-AES256-SHA" not in several


@pytest.mark.parametrize(
    ("ciphers", "match"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256:MISSPELT", "has a name that OpenSSL does not know: 'MISSPELT'"),
        ("TLS_AES_128_GCM_SHA256", "are those of TLS 1.2; 'TLS_AES_128_GCM_SHA256' is of TLS 1.3"),
        ("HIGH:!ALL", "selects nothing"),
    ],
)
def test_ciphers_that_are_none(ciphers: str, match: str) -> None:
    refused(f"^ciphers {match}", ciphers=ciphers)


@pytest.mark.parametrize("separator", [":", ",", " ", ", "])
def test_ciphers_are_separated_as_openssl_has_it(separator: str) -> None:
    wanted = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]
    assert chosen(ciphers=separator.join(wanted)) == wanted
    refused("^ciphers has a name .*'MISSPELT'$", ciphers=separator.join([*wanted, "MISSPELT"]))


def test_what_is_left_out_need_not_be_known() -> None:
    """A list for several versions of OpenSSL may exclude what this one never had."""
    assert chosen(ciphers="ECDHE+AESGCM:!MISSPELT:-MISSPELT:+MISSPELT") == chosen(ciphers="ECDHE+AESGCM")


def test_without_ciphers_they_are_forward_secret_and_the_strongest_comes_first() -> None:
    assert chosen() == chosen(ciphers=CIPHERS)
    assert "256" in chosen()[0]


# -- contexts of the user's ------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["ssl", "gevent"])
def test_contexts_are_taken_as_they_are(make: type[ssl.SSLContext]) -> None:
    server, client = make(ssl.PROTOCOL_TLS_SERVER), make(ssl.PROTOCOL_TLS_CLIENT)
    OURS.leaf.configure_cert(server)
    client.load_verify_locations(cadata=trust().decode())
    before = (server.options, server.verify_mode, server.minimum_version, server.verify_flags)
    endpoints = client_side(client, "a.test"), server_side(server)
    assert (endpoints[0].context, endpoints[1].context) == (client, server)
    assert not any(endpoint.private_bios for endpoint in endpoints)
    assert before == (server.options, server.verify_mode, server.minimum_version, server.verify_flags)
    made = shake(*endpoints)
    assert made.ok
    assert endpoints[0].authorization(made.client) == (True, None)
    assert endpoints[1].authorization(made.server) == (False, None)
    with pytest.raises(ValueError, match="^tls must be an SSLContext for a server; this one is for clients$"):
        server_side(client)
    with pytest.raises(ValueError, match="^tls must be an SSLContext for a client; this one is for servers$"):
        client_side(server, "a.test")


@pytest.mark.parametrize("make", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["ssl", "gevent"])
def test_contexts_with_a_callback_of_the_users(make: type[ssl.SSLContext]) -> None:
    asked: list[Any] = []
    server = make(ssl.PROTOCOL_TLS_SERVER)
    OURS.leaf.configure_cert(server)
    server.sni_callback = lambda tls, name, context: asked.append((tls, name))
    endpoint = server_side(server)
    assert endpoint.private_bios
    made = shake(client_side(TRUSTING, "a.test"), endpoint)
    assert made.ok
    assert asked == [(made.server, "a.test")]


def test_contexts_of_a_class_of_the_users() -> None:
    class Mine(ssl.SSLContext):
        pass

    class Object(ssl.SSLObject):
        pass

    assert server_side(Mine(ssl.PROTOCOL_TLS_SERVER)).private_bios
    context = context_for(OURS, server=True)
    context.sslobject_class = Object
    endpoint = server_side(context)
    assert endpoint.private_bios
    assert type(shake(client_side(TRUSTING, "a.test"), endpoint).server) is Object


def test_a_context_for_both_sides_serves_and_connects() -> None:
    with pytest.warns(DeprecationWarning):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS)
    OURS.leaf.configure_cert(context)
    context.load_verify_locations(cadata=trust().decode())
    client = client_side(context, None)
    made = shake(client, server_side(context))
    assert made.ok
    assert client.authorization(made.client)[0] is False, "such a context verifies nobody"


@pytest.mark.parametrize("make", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["ssl", "gevent"])
@pytest.mark.parametrize("server", [True, False])
def test_code_of_the_users_is_known_by_its_callbacks(
    make: type[ssl.SSLContext], server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssl, "SSLContext", ssl.SSLContext)  # gevent leaves its own there when it sets such a callback
    protocol = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    plain, told = make(protocol), make(protocol)
    told._msg_callback = lambda *message: None  # type: ignore[attr-defined]
    for _ in range(2):
        assert [adopt(context, server) for context in (plain, told)] == [False, True]
    if server:  # clients have none
        plain.sni_callback = lambda *name: None
        assert adopt(plain, server)


def test_what_is_a_context() -> None:
    class Mine(ssl.SSLContext):
        pass

    for kind in (ssl.SSLContext, gevent.ssl.SSLContext, Mine):
        assert is_context(kind(ssl.PROTOCOL_TLS_CLIENT))
    others: tuple[object, ...] = (ssl.SSLContext, None, True, {}, TLS(), ssl.MemoryBIO())
    assert not any(map(is_context, others))


# -- patched and not -------------------------------------------------------------------------------------


PROGRAM = """
from gevent import monkey
{first}
import greensock, sys
assert {patched_first} or "ssl" not in sys.modules
from greensock.endpoints import client_side, server_side
key, cert, ca = {key!r}, {cert!r}, {ca!r}
inner = dict(key={inner_key!r}, cert={inner_cert!r}, request_cert=True, ca=ca)
def make(alpn):
    tls = greensock.TLS(key=key, cert=cert, alpn=[alpn], request_cert=True, ca=ca, sni={{"*.b.test": inner}})
    return client_side(tls, "x.b.test"), server_side(tls)
made = [{early}]
{then}
made.append(make("late"))
import ssl, gevent.ssl
for kind in (ssl.SSLContext, gevent.ssl.SSLContext):
    server, client = kind(ssl.PROTOCOL_TLS_SERVER), kind(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain({path!r})
    server.sni_callback = lambda tls, name, context: None
    client.load_verify_locations(cadata=ca)
    made.append((client_side(client, "a.test"), server_side(server)))
for client, server in made:
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    one, two = client.wrap(a, b), server.wrap(b, a)
    for side in (one, two, one, two):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    two.write(b"x")
    assert one.read(1) == b"x"
    assert client.authorization(one) == (True, None)
    print(two.server_name, server.authorization(two))
"""


@pytest.mark.parametrize("patched", ["never", "first", "after the import", "after the first use"])
def test_patched_or_not(patched: str, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(OURS.key + OURS.cert)
    program = PROGRAM.format(
        first="monkey.patch_all()" if patched == "first" else "",
        patched_first=patched == "first",
        early="" if patched == "after the import" else "make('early')",
        then="monkey.patch_all()" if patched.startswith("after") else "",
        key=OURS.key,
        cert=OURS.cert,
        ca=trust().decode(),
        inner_key=STAR.key,
        inner_cert=STAR.cert,
        path=str(both),
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"x.b.test (True, None)", "None (False, None)"}
