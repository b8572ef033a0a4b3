"""TLS as options: what they are, what is refused when they are said, and how each side takes them.

What OpenSSL makes of them is in ``test_contexts.py`` and those beside it.
"""

import copy
import dataclasses
import pathlib
import ssl
from typing import Any

import gevent.ssl
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from authority import PASSPHRASE, issued, shake, trust
from greensock import TLS
from greensock.endpoints import client_side, server_side
from greensock.tls import host_name
from handshakes import OURS, RSA, TRUSTING, der, refused, served, shown

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


# -- contents and passphrases ----------------------------------------------------------------------------


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


def test_files_and_lists(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(RSA.key)
    with (tmp_path / "key").open() as file:
        tls = TLS(key=[OURS.key, file], cert=[OURS.cert, RSA.cert])
    assert shown(shake(client_side(TRUSTING, "a.test"), server_side(tls))) == der(OURS)
    assert len(tls.identities) == 2


def test_what_may_not_serve_now() -> None:
    expired = issued("a.test", when="expired").both
    refused("^cert expired on ", **expired)
    refused("^cert is not valid before ", **issued("a.test", when="not yet").both)
    refused(r"^sni\['b.test'\]: cert expired on ", **OURS.both, sni={"b.test": expired})


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


@pytest.mark.parametrize("ciphers", ["", ":", " ", 1, ["HIGH"], b"HIGH", "\u00e4", "A\0B"])
def test_what_is_no_list_of_ciphers(ciphers: Any) -> None:
    refused("^ciphers must be a list of ciphers", ciphers=ciphers)


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


# -- names asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [{"A.b": 1, "a.B": 2}, {"*.a.b": 1, "*.A.b.": 2}])
def test_a_name_that_is_asked_for_twice(names: dict[str, int]) -> None:
    refused("^sni has '.*a.b' twice$", **OURS.both, sni=dict.fromkeys(names, OURS.both))


@pytest.mark.parametrize("name", ["*", "*.", "", "a.*.b", "**.b", "x*.b", "a b", b"a.test", 1, None, "*.*.b"])
def test_what_is_no_name_to_ask_for(name: Any) -> None:
    refused("^sni must be the name of a host", **OURS.both, sni={name: OURS.both})


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "[::1]", "*.127.0.0.1"])
def test_addresses_are_not_asked_for(name: str) -> None:
    refused("^sni must have names of hosts: clients ask for no address", **OURS.both, sni={name: OURS.both})


@pytest.mark.parametrize("sni", [[], "x", 1, True, [("a.test", 1)]])
def test_what_is_no_mapping_of_names(sni: Any) -> None:
    refused("^sni must be a mapping of names", **OURS.both, sni=sni)


def test_what_is_no_entry_for_a_name() -> None:
    for entry in (None, True, "x", 1):
        refused(r"^sni\['b.test'\] must be a TLS, a mapping or an SSLContext, not ", **OURS.both, sni={"b.test": entry})
    refused(r"^sni\['b.test'\] needs key and cert$", **OURS.both, sni={"B.test": {}})
    refused(r"^sni\['b.test'\]: key is given without cert$", **OURS.both, sni={"b.test": {"key": OURS.key}})
    nested = TLS(**OURS.both, sni={"c.test": OURS.both})
    refused(r"^sni\['b.test'\] must not have an sni of its own$", **OURS.both, sni={"b.test": nested})
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    refused("SSLContext for a server", **OURS.both, sni={"b.test": client})
