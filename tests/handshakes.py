"""What tests of TLS in memory have in common: identities, handshakes made with options, and what is refused."""

import ssl
from typing import Any

import pytest

from authority import Handshake, Issued, issued, shake, trust
from greensock import TLS
from greensock.endpoints import client_side, server_side

OURS = issued("a.test", "127.0.0.1", "::1")
RSA = issued("a.test", rsa_key=True)
STAR = issued("*.b.test")
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
