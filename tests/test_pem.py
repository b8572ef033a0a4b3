"""PEM and DER: told apart, and what a certificate says of itself."""

import base64
import textwrap
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from authority import authority, issued
from greensock import pem
from greensock.pem import Certificate, Secret

OURS = issued("a.test")
RSA = issued("a.test", rsa_key=True)
DER = x509.load_pem_x509_certificate(OURS.cert).public_bytes(Encoding.DER)


def parse(text: bytes) -> Certificate:
    (block,) = pem.split(text)
    found = pem.certificate(block)
    assert found is not None
    return found


def test_what_a_certificate_says_of_itself() -> None:
    parsed = x509.load_pem_x509_certificate(RSA.cert)
    one = parse(RSA.cert)
    assert one.not_before == parsed.not_valid_before_utc
    assert one.not_after == parsed.not_valid_after_utc
    assert one.algorithm.hex() == "2a864886f70d010101", "rsaEncryption, 1.2.840.113549.1.1.1"
    assert x509.load_pem_x509_certificate(one.pem) == parsed


@pytest.mark.parametrize("year", [1951, 1999, 2049, 2050, 9999])
def test_years_of_both_notations(year: int) -> None:
    when = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    leaf = authority().issue_cert("a.test", not_before=when - timedelta(days=1), not_after=when)
    one = parse(leaf.cert_chain_pems[0].bytes())
    assert (one.not_before, one.not_after) == (when - timedelta(days=1), when)


@given(data=st.binary(max_size=64), cut=st.integers(0, 600))
def test_der_that_was_tampered_with(data: bytes, cut: int) -> None:
    tampered = DER[:cut] + data + DER[cut + len(data) :]
    found = pem.split(tampered)
    for block in found:
        parsed = pem.certificate(block)
        assert parsed is None or parsed.not_before.tzinfo is parsed.not_after.tzinfo is UTC
    if b"-----BEGIN " not in tampered:
        bodies = (block.pem.split(b"-----")[2] for block in found)
        assert b"".join(base64.b64decode(body) for body in bodies) in (tampered, b"")


@given(st.binary())
def test_anything(data: bytes) -> None:
    for text in (data, b"-----BEGIN CERTIFICATE-----" + data + b"-----END CERTIFICATE-----"):
        for block in pem.split(text):
            assert block.label
            assert pem.certificate(block) is None or block.is_certificate


def test_pem_is_as_openssl_writes_it() -> None:
    one = parse(OURS.cert)
    body = one.pem.decode().splitlines()[1:-1]
    assert textwrap.wrap("".join(body), 64) == body
    assert one.pem == OURS.cert


def test_secrets_do_not_show() -> None:
    secret = Secret(b"swordfish")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret])):
        assert "sword" not in shown
    assert "MIG" not in repr(pem.split(OURS.key))
