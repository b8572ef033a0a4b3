"""Which side the options of TLS are for, and whom it verifies."""

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from authority import shake, trust
from greensock import TLS
from greensock.endpoints import client_side, server_side
from handshakes import OURS, TRUSTING, der, shown

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


# -- whom clients verify ---------------------------------------------------------------------------------


def test_server_name_goes_before_the_address() -> None:
    client = client_side(TLS(ca=trust(), server_name="A.test"), "elsewhere.test")
    assert client.hostname == "a.test"
    assert shake(client, server_side(OURS.both)).ok
    assert shake(client_side(TLS(ca=trust(), server_name="a.test"), None), server_side(OURS.both)).ok


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_a_name_nothing_is_verified_and_so_nothing_begins(nothing: str | None) -> None:
    everything: tuple[object, ...] = (True, TRUSTING, {}, {"ca": trust()})
    for tls in everything:
        with pytest.raises(ValueError, match="^server_hostname is missing, and a server is verified by its name"):
            client_side(tls, nothing)
    with pytest.raises(ValueError, match="^server_hostname is missing: the SSLContext has check_hostname"):
        client_side(ssl.create_default_context(), nothing)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    assert client_side(context, nothing).hostname is None
