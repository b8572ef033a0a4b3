"""TLS as options: what is refused when they are said, and what handshakes made with them let through."""

import copy
import dataclasses
import gc
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, ClassVar

import gevent.ssl
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from authority import PASSPHRASE, Handshake, Issued, context_for, issued, shake, trust
from greensock import TLS
from greensock.tls import Endpoint, client_side, host_name, server_side

OURS = issued("a.test", "127.0.0.1", "::1")
RSA = issued("a.test", rsa_key=True)
TRUSTING = TLS(ca=trust())


def refused(match: str, **options: Any) -> None:
    """TLS(**options) is a ValueError that says so, with nothing chained to it."""
    with pytest.raises(ValueError, match=match) as caught:
        TLS(**options)
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def served(name: str = "a.test", client: object = TRUSTING, **options: Any) -> Handshake:
    return shake(client_side(client, name), server_side(TLS(**{**OURS.both, **options})))


def shown(made: Handshake) -> bytes:
    """The certificate that the server showed."""
    assert made.ok
    der = made.client.getpeercert(True)
    assert isinstance(der, bytes)
    return der


def der(leaf: Issued) -> bytes:
    return ssl.PEM_cert_to_DER_cert(str(leaf.leaf.cert_chain_pems[0].bytes(), "ascii"))


# -- the object ------------------------------------------------------------------------------------------


def test_it_cannot_be_changed() -> None:
    tls = TLS(**OURS.both)
    for name in ("ciphers", "identities", "anything"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(tls, name, None)
    assert not hasattr(tls, "__dict__")
    assert copy.copy(tls) == copy.deepcopy(tls) == tls


def test_equal_options_are_equal_and_share_a_context() -> None:
    one, two = TLS(**OURS.both, alpn=["h2"]), TLS(**OURS.both, alpn=("h2",))
    assert one == two
    assert hash(one) == hash(two)
    assert server_side(one).context is server_side(two).context
    assert server_side(one).context is not server_side(TLS(**OURS.both)).context
    assert client_side({"ca": trust()}, "a.test").context is client_side(TRUSTING, "b.test").context


def test_defaults() -> None:
    tls = TLS()
    assert (tls.identities, tls.ca, tls.passphrase, tls.server_name, tls.ciphers) == ((), None, None, None, None)
    assert (tls.request_cert, tls.reject_unauthorized, tls.alpn, tls.min_version) == (False, True, (), "TLSv1.2")
    assert tls.sni == ()


def test_a_repr_shows_no_secret() -> None:
    key = OURS.encoded(Encoding.PEM, PrivateFormat.PKCS8, b"swordfish")
    tls = TLS(key=key, cert=OURS.cert, ca=trust(), passphrase="swordfish", alpn=["h2"], sni={"B.test": RSA.both})
    inner = "TLS(key=<secret>, cert=<1>)"
    assert repr(tls) == f"TLS(key=<secret>, cert=<1>, ca=<1>, alpn=('h2',), sni={{'b.test': {inner}}})"
    everything = repr(dataclasses.astuple(tls)) + repr(server_side(tls))
    for line in [*key.decode().splitlines()[1:-1], "swordfish"]:
        assert line not in everything
    assert repr(TLS()) == "TLS()"


def test_options_of_a_kind_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match=r"unknown option 'certt' of TLS; did you mean 'cert'\? The options are key, "):
        TLS(certt="x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown option 'colour' of TLS. The options are "):
        server_side({"colour": 1})
    with pytest.raises(TypeError, match="unknown option 1 of TLS"):
        client_side({1: 2}, "a.test")
    with pytest.raises(TypeError, match="unknown option 'kee' of TLS; did you mean 'key'"):
        TLS(sni={"a.test": {"kee": 1}})
    with pytest.raises(TypeError, match="positional"):
        TLS(OURS.key)  # type: ignore[call-arg]


# -- contents, as OpenSSL takes them ---------------------------------------------------------------------


@pytest.mark.parametrize("leaf", [OURS, RSA], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_keys_of_every_form_serve(leaf: Issued, encoding: Encoding, form: PrivateFormat) -> None:
    assert shown(served(key=leaf.encoded(encoding, form), cert=der(leaf))) == der(leaf)


@pytest.mark.parametrize("leaf", [OURS, RSA], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        (Encoding.PEM, PrivateFormat.PKCS8),
        (Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
        (Encoding.DER, PrivateFormat.PKCS8),
    ],
)
@pytest.mark.parametrize(
    "passphrase", [PASSPHRASE, PASSPHRASE.decode(), bytearray(PASSPHRASE), lambda: PASSPHRASE], ids=type
)
def test_encrypted_keys(leaf: Issued, encoding: Encoding, form: PrivateFormat, passphrase: Any) -> None:
    key = leaf.encoded(encoding, form, PASSPHRASE)
    assert served(key=key, cert=leaf.cert, passphrase=passphrase).ok
    refused("^passphrase is missing: key is encrypted$", key=key, cert=leaf.cert)
    refused("^passphrase is wrong for key, or", key=key, cert=leaf.cert, passphrase="wrong")
    refused(r"^passphrase is wrong for key\[0\]", key=[key], cert=[leaf.cert], passphrase=b"")


def test_an_encrypted_key_never_asks_on_the_terminal() -> None:
    """Where there is a terminal the question would be put to it, and the process would stand still."""
    program = f"""
import greensock, os, pty
child, terminal = pty.fork()
if child == 0:
    try:
        greensock.TLS(key={OURS.encoded(Encoding.PEM, PrivateFormat.PKCS8, PASSPHRASE)!r}, cert={OURS.cert!r})
    except ValueError as error:
        print(error, flush=True)
    os._exit(0)
said = b""
try:
    while piece := os.read(terminal, 1000):
        said += piece
except OSError:  # the other side is gone
    pass
assert os.waitpid(child, 0)[1] == 0
print(said.decode().strip())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("passphrase is missing: key is encrypted\n", "")


def test_a_passphrase_that_nobody_needs_is_not_asked_for() -> None:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        return "x"

    assert TLS(**OURS.both, passphrase=ask).passphrase is None
    assert TLS(**OURS.both, passphrase="x").passphrase is None
    assert asked == []


@pytest.mark.parametrize("wrong", [1, ["x"], lambda: 1])
def test_what_is_no_passphrase(wrong: Any) -> None:
    key = OURS.encoded(Encoding.PEM, PrivateFormat.PKCS8, PASSPHRASE)
    refused("^passphrase must be str, bytes or a function", key=key, cert=OURS.cert, passphrase=wrong)


def test_a_passphrase_that_openssl_would_cut() -> None:
    key = OURS.encoded(Encoding.PEM, PrivateFormat.PKCS8, PASSPHRASE)
    refused("^passphrase must have at most 1024 bytes", key=key, cert=OURS.cert, passphrase="x" * 1025)


def test_chains_are_sent() -> None:
    leaf = issued("a.test", below=True)
    assert served(**leaf.both).ok
    alone = leaf.leaf.cert_chain_pems[0].bytes()
    made = served(key=leaf.key, cert=alone)
    assert "unable to get local issuer" in str(made.client_error)


def test_files_and_lists(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(RSA.key)
    with (tmp_path / "key").open() as file:
        tls = TLS(key=[OURS.key, file], cert=[OURS.cert, RSA.cert])
    assert shown(shake(client_side(TRUSTING, "a.test"), server_side(tls))) == der(OURS)
    assert len(tls.identities) == 2


@pytest.mark.parametrize(("ciphers", "leaf"), [("ECDHE+aECDSA", OURS), ("ECDHE+aRSA", RSA)], ids=["ecdsa", "rsa"])
def test_of_several_certificates_a_client_gets_the_one_that_it_can_verify(ciphers: str, leaf: Issued) -> None:
    tls = TLS(key=[OURS.key, RSA.key], cert=[OURS.cert, RSA.cert])
    context = context_for(leaf, server=False, trusting="ours")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    assert shown(shake(client_side(context, "a.test"), server_side(tls))) == der(leaf)


def test_keys_that_do_not_match() -> None:
    refused("^key does not match cert; ", key=issued("b.test").key, cert=OURS.cert)
    refused("^key does not match cert; ", key=RSA.key, cert=OURS.cert)
    refused(r"^key\[1\] does not match cert\[1\]; ", key=[OURS.key, OURS.key], cert=[OURS.cert, RSA.cert])
    other = issued("c.test", rsa_key=True)
    refused(r"^key\[1\] does not match cert\[1\]; ", key=[OURS.key, other.key], cert=[OURS.cert, RSA.cert])
    chain = issued("a.test", below=True)
    backwards = b"".join(part.bytes() for part in reversed(chain.leaf.cert_chain_pems))
    refused("^key does not match cert; in a chain the key's own certificate comes first", key=chain.key, cert=backwards)


def test_contents_that_only_openssl_can_judge() -> None:
    garbled = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
    refused("^key is not a private key that OpenSSL takes", key=garbled, cert=OURS.cert)
    ssh = OURS.encoded(Encoding.PEM, PrivateFormat.OpenSSH)
    refused("^key is not a private key that OpenSSL takes", key=ssh, cert=OURS.cert)
    signature = der(OURS).rindex(b"\x06\x08\x2a\x86\x48")  # its algorithm: an object identifier, made a NULL
    broken = der(OURS)[:signature] + b"\x05" + der(OURS)[signature + 1 :]
    refused("^cert holds a certificate that OpenSSL does not take$", key=OURS.key, cert=broken)
    refused("^ca holds a certificate that OpenSSL does not take", ca=broken)
    refused("^ca holds a certificate that OpenSSL does not take", ca=broken, **OURS.both)


def test_what_may_not_serve_now() -> None:
    expired = issued("a.test", when="expired").both
    refused("^cert expired on ", **expired)
    refused("^cert is not valid before ", **issued("a.test", when="not yet").both)
    refused(r"^sni\['b.test'\]: cert expired on ", **OURS.both, sni={"b.test": expired})


def test_keys_that_are_too_small() -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl(1) makes the key")
    command = "openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=a.test -keyout - -out -"
    made = subprocess.run(command.split(), capture_output=True, check=True).stdout
    refused("^cert is too weak: ee key too small$", cert=made)


@given(contents=st.binary(max_size=200), option=st.sampled_from(["key", "cert", "ca", "text"]))
def test_garbage(contents: bytes, option: str) -> None:
    mark = "swordfish"
    label = b"CERTIFICATE" if option in ("cert", "ca") else b"PRIVATE KEY"
    pem = b"-----BEGIN %b-----\n%b%b\n-----END %b-----\n" % (label, mark.encode(), contents, label)
    options: dict[str, Any] = {**OURS.both, option: pem}
    if option == "text":
        option = "key"
        options = {**OURS.both, "key": mark + contents.decode("latin-1")}
    with pytest.raises(ValueError, match=f"^{option} |^passphrase is missing: key") as caught:
        TLS(**options)
    assert mark not in str(caught.value)
    assert caught.value.__context__ is None


# -- memory, not a disk ----------------------------------------------------------------------------------


def test_a_key_never_lies_on_disk() -> None:
    """Python tells an audit hook what it opens and creates; what OpenSSL reads was made by memfd_create(2)."""
    program = f"""
import os, sys
import greensock
from greensock import contexts
events, made = [], []
create = os.memfd_create
os.memfd_create = lambda *args: made.append(create(*args)) or made[-1]
told = {{"open", "os.rename", "os.mkdir"}}
sys.addaudithook(lambda event, args: events.append((event, args[0])) if event in told else None)
greensock.TLS(key={OURS.key!r}, cert={OURS.cert!r})
assert len(made) == 2, made
assert events == [("open", descriptor) for descriptor in made], events
print("ok")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("ok\n", ""), done.stderr


def test_where_there_is_no_memfd_a_pipe_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    descriptors = os.listdir("/proc/self/fd")
    fresh = issued("pipe.test")
    key = fresh.encoded(Encoding.PEM, PrivateFormat.PKCS8, PASSPHRASE)
    assert served("pipe.test", key=key, cert=fresh.cert, passphrase=PASSPHRASE).ok
    refused("^key does not match cert", key=issued("b.test").key, cert=fresh.cert)
    refused("^cert is longer than a pipe", key=fresh.key, cert=fresh.cert * 200)
    assert os.listdir("/proc/self/fd") == descriptors


def test_no_descriptor_is_left() -> None:
    descriptors = os.listdir("/proc/self/fd")
    fresh = issued("fresh.test")
    TLS(**fresh.both)
    refused("does not match", key=issued("b.test").key, cert=fresh.cert)
    assert os.listdir("/proc/self/fd") == descriptors


# -- simple options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", ssl.TLSVersion.TLSv1_2, "TLSv1.3", ssl.TLSVersion.TLSv1_3])
def test_versions(version: Any) -> None:
    tls = TLS(**OURS.both, min_version=version)
    assert server_side(tls).context.minimum_version.name == f"TLSv1_{tls.min_version[-1]}"
    old = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(cadata=trust().decode())
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(client_side(old, "a.test"), server_side(tls)).ok == (tls.min_version == "TLSv1.2")


OLD = ["TLSv1", "TLSv1.1", "SSLv3", "1.2", "", None, 12, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.MINIMUM_SUPPORTED]


@pytest.mark.parametrize("version", OLD)
def test_versions_that_are_not_spoken(version: Any) -> None:
    refused("^min_version must be 'TLSv1.2' or 'TLSv1.3', not ", min_version=version)


def test_protocols_are_agreed_on() -> None:
    client = TLS(ca=trust(), alpn=["http/1.1", b"h2"])
    longest = "y" * 255
    assert served(client=client, alpn=["h2", "http/1.1"]).server.selected_alpn_protocol() == "h2"
    assert served(client=client, alpn=["x"]).client.selected_alpn_protocol() is None
    assert served(client=client).server.selected_alpn_protocol() is None
    assert served(client=TLS(ca=trust(), alpn=[longest]), alpn=[longest]).client.selected_alpn_protocol() == longest


@pytest.mark.parametrize("alpn", ["h2", b"h2", None, 1, [""], ["x" * 256], [b""], ["\u00e4"], [b"\xff"], [1], [None]])
def test_what_is_no_protocol(alpn: Any) -> None:
    refused("^alpn must ", alpn=alpn)


def test_the_ciphers_of_tls_1_2() -> None:
    def names(**options: Any) -> list[str]:
        ciphers = server_side(TLS(**OURS.both, **options)).context.get_ciphers()
        return [str(cipher["name"]) for cipher in ciphers if cipher["protocol"] != "TLSv1.3"]

    default = names()
    assert default
    assert all(
        name.startswith("ECDHE-") and name.endswith(("GCM-SHA256", "GCM-SHA384", "POLY1305")) for name in default
    )
    assert names(ciphers="ECDHE-ECDSA-AES128-GCM-SHA256") == ["ECDHE-ECDSA-AES128-GCM-SHA256"]
    several = names(ciphers="HIGH:!SHA1:!aNULL:@STRENGTH")
    assert several
    assert "ECDHE-RSA-AES256-SHA" not in several


@pytest.mark.parametrize(
    ("ciphers", "match"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256:MISSPELT", "has a name that OpenSSL does not know: 'MISSPELT'"),
        ("TLS_AES_128_GCM_SHA256", "are those of TLS 1.2; 'TLS_AES_128_GCM_SHA256' is of TLS 1.3"),
        ("HIGH:!ALL", "selects nothing"),
        *((wrong, "must be a list of ciphers") for wrong in ("", ":", " ", 1, ["HIGH"], b"HIGH", "\u00e4", "A\0B")),
    ],
)
def test_ciphers_that_are_none(ciphers: Any, match: str) -> None:
    refused(f"^ciphers {match}", ciphers=ciphers)


@pytest.mark.parametrize("name", ["request_cert", "reject_unauthorized"])
@pytest.mark.parametrize("value", [0, 1, None, "yes"])
def test_flags(name: str, value: Any) -> None:
    refused(f"^{name} must be True or False", **{name: value})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("b\u00fccher.test", "xn--bcher-kva.test"),
            ("_dns.a", "_dns.a"),
        ),
        *(("localhost", "localhost"), ("host1", "host1"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")),
        *(("::0001", "::1"), ("fe80::1%eth0", "fe80::1"), ("x" * 63, "x" * 63)),
    ],
)
def test_host_names(given: str, expected: str) -> None:
    assert host_name("server_name", given) == expected
    assert TLS(server_name=given).server_name == expected


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", ".a.test", "a..test", "a test", "a\0.test", "*.a.test", "a/b", "a:1", "x" * 64, "a." * 130),
        *(1, b"a", "\ud800"),
    ],
)
def test_what_is_no_host_name(name: Any) -> None:
    refused("^server_name must be the name of a host or an address, not ", server_name=name)
    if name and isinstance(name, str):
        with pytest.raises(ValueError, match="^server_hostname must be the name"):
            client_side(TRUSTING, name)


@given(st.text())
def test_host_names_are_what_openssl_takes(name: str) -> None:
    try:
        clean = host_name("server_name", name)
    except ValueError:
        return
    assert client_side(TRUSTING, clean).wrap(ssl.MemoryBIO(), ssl.MemoryBIO()).server_hostname == clean
    assert host_name("server_name", clean) == clean


# -- sides -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [True, False, None, 1, "x", ("key", "cert"), object()])
def test_what_cannot_serve(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^tls must be TLS\(key=..., cert=...\), .* for a server, not \w+$"):
        server_side(wrong)


@pytest.mark.parametrize("wrong", [False, None, 1, "x", object()])
def test_what_cannot_connect(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^tls must be a TLS, .* or True for a client, not \w+$"):
        client_side(wrong, "a.test")


def test_a_server_needs_a_key() -> None:
    for nothing in (TLS(), {}, {"ca": trust()}):
        with pytest.raises(ValueError, match="^tls needs key and cert for a server, and has neither$"):
            server_side(nothing)


def test_mappings_are_options() -> None:
    mapping: Mapping[str, Any] = MappingProxyType(OURS.both)
    assert shown(shake(client_side({"ca": trust()}, "a.test"), server_side(mapping))) == der(OURS)


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

    def test_server_name_goes_before_the_address(self) -> None:
        client = client_side(TLS(ca=trust(), server_name="A.test"), "elsewhere.test")
        assert client.hostname == "a.test"
        assert shake(client, server_side(OURS.both)).ok
        assert shake(client_side(TLS(ca=trust(), server_name="a.test"), None), server_side(OURS.both)).ok

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_without_a_name_nothing_is_verified_and_so_nothing_begins(self, nothing: str | None) -> None:
        everything: tuple[object, ...] = (True, TRUSTING, {}, {"ca": trust()})
        for tls in everything:
            with pytest.raises(ValueError, match="^server_hostname is missing, and a server is verified by its name"):
                client_side(tls, nothing)
        with pytest.raises(ValueError, match="^server_hostname is missing: the SSLContext has check_hostname"):
            client_side(ssl.create_default_context(), nothing)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        assert client_side(context, nothing).hostname is None

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


# -- names asked for -------------------------------------------------------------------------------------


class TestNames:
    EXACT = issued("x.b.test")
    STAR = issued("*.b.test")
    UNICODE = issued("xn--bcher-kva.test")

    @pytest.mark.parametrize("kind", ["TLS", "mapping", "context"])
    def test_each_name_gets_its_certificate(self, kind: str) -> None:
        def entry(leaf: Issued) -> Any:
            if kind == "context":
                return context_for(leaf, server=True)
            return TLS(**leaf.both) if kind == "TLS" else leaf.both

        sni = {"*.B.test.": entry(self.STAR), "X.b.TEST": entry(self.EXACT), "b\u00fccher.test": entry(self.UNICODE)}
        server = server_side(TLS(**OURS.both, sni=sni))
        for name, leaf in {
            "x.b.test": self.EXACT,
            "X.B.Test": self.EXACT,
            "y.b.test": self.STAR,
            "Y.b.test.": self.STAR,
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
        server = server_side(TLS(**OURS.both, sni={"*.b.test": TestNames.STAR.both}))
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

    @given(name=st.binary(min_size=3, max_size=60))
    def test_any_name(self, name: bytes) -> None:
        server = server_side(TLS(**OURS.both, sni={"*.b.test": TestNames.STAR.both}))
        answer = self.hello(name, server)
        if not isinstance(answer, Exception):
            assert answer.server_name == name.decode("ascii").lower().removesuffix(".")


class TestEntries:
    """What an entry of ``sni`` may be."""

    def test_protocols_and_ciphers_are_those_of_the_name(self) -> None:
        inner = TLS(**TestNames.STAR.both, alpn=["inner"], ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
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

    @pytest.mark.parametrize("names", [{"A.b": 1, "a.B": 2}, {"*.a.b": 1, "*.A.b.": 2}])
    def test_a_name_twice(self, names: dict[str, int]) -> None:
        refused("^sni has '.*a.b' twice$", **OURS.both, sni=dict.fromkeys(names, OURS.both))

    @pytest.mark.parametrize("name", ["*", "*.", "", "a.*.b", "**.b", "x*.b", "a b", b"a.test", 1, None, "*.*.b"])
    def test_what_is_no_name(self, name: Any) -> None:
        refused("^sni must be the name of a host", **OURS.both, sni={name: OURS.both})

    @pytest.mark.parametrize("name", ["127.0.0.1", "::1", "[::1]", "*.127.0.0.1"])
    def test_addresses(self, name: str) -> None:
        refused("^sni must have names of hosts: clients ask for no address", **OURS.both, sni={name: OURS.both})

    @pytest.mark.parametrize("sni", [[], "x", 1, True, [("a.test", 1)]])
    def test_what_is_no_mapping(self, sni: Any) -> None:
        refused("^sni must be a mapping of names", **OURS.both, sni=sni)

    def test_what_is_no_entry(self) -> None:
        for entry in (None, True, "x", 1):
            refused(
                r"^sni\['b.test'\] must be a TLS, a mapping or an SSLContext, not ", **OURS.both, sni={"b.test": entry}
            )
        refused(r"^sni\['b.test'\] needs key and cert$", **OURS.both, sni={"B.test": {}})
        refused(r"^sni\['b.test'\]: key is given without cert$", **OURS.both, sni={"b.test": {"key": OURS.key}})
        nested = TLS(**OURS.both, sni={"c.test": OURS.both})
        refused(r"^sni\['b.test'\] must not have an sni of its own$", **OURS.both, sni={"b.test": nested})
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        refused("SSLContext for a server", **OURS.both, sni={"b.test": client})

    @pytest.mark.parametrize(
        ("option", "value"),
        [("request_cert", True), ("reject_unauthorized", False), ("min_version", "TLSv1.3")],
    )
    def test_what_openssl_settles_before_it_knows_the_name(self, option: str, value: object) -> None:
        inner = {**TestNames.STAR.both, option: value}
        match = rf"^sni\['b.test'\] must have the same {option} as the outer options"
        refused(match, **OURS.both, sni={"b.test": inner})
        refused(match, **{**OURS.both, option: value}, sni={"b.test": TestNames.STAR.both})
        assert TLS(**{**OURS.both, option: value}, sni={"b.test": inner}).sni

    def test_why_that_is_refused(self) -> None:
        """SSL_set_SSL_CTX(3) does not take over what the context for the name demands of the client."""
        strict = context_for(TestNames.STAR, server=True, trusting="clients")
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
        same = TLS(**OURS.both, **mutual, sni={"*.b.test": {**TestNames.STAR.both, **mutual}})
        client = client_side(TLS(ca=trust(), **issued("me", by="clients").both), "x.b.test")
        assert shown(shake(client, server_side(same))) == der(TestNames.STAR)
        other = {**TestNames.STAR.both, "request_cert": True, "ca": trust("other")}
        refused(r"^sni\['b.test'\] must have the same ca as the outer", **OURS.both, **mutual, sni={"b.test": other})
        assert TLS(**OURS.both, sni={"b.test": {**TestNames.STAR.both, "ca": trust()}}).sni, "where nobody is verified"

    def test_contexts_that_demand_something_else(self) -> None:
        strict = context_for(TestNames.STAR, server=True, trusting="clients")
        refused(r"^sni\['b.test'\] must have the verify_mode", **OURS.both, sni={"b.test": strict})
        newer = context_for(TestNames.STAR, server=True)
        newer.minimum_version = ssl.TLSVersion.TLSv1_3
        refused(r"^sni\['b.test'\] must have .* minimum_version", **OURS.both, sni={"b.test": newer})
        mutual: dict[str, Any] = {"request_cert": True, "ca": trust("clients")}
        refused(r"^sni\['b.test'\] must be a TLS with the same ca", **OURS.both, **mutual, sni={"b.test": strict})


# -- patched and not -------------------------------------------------------------------------------------

PROGRAM = """
from gevent import monkey
{first}
import greensock, sys
assert {patched_first} or "ssl" not in sys.modules
from greensock.tls import client_side, server_side
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
def test_patched_or_not(patched: str, tmp_path: pathlib.Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(OURS.key + OURS.cert)
    star = TestNames.STAR
    program = PROGRAM.format(
        first="monkey.patch_all()" if patched == "first" else "",
        patched_first=patched == "first",
        early="" if patched == "after the import" else "make('early')",
        then="monkey.patch_all()" if patched.startswith("after") else "",
        key=OURS.key,
        cert=OURS.cert,
        ca=trust().decode(),
        inner_key=star.key,
        inner_cert=star.cert,
        path=str(both),
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"x.b.test (True, None)", "None (False, None)"}
