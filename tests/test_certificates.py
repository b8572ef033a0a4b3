"""Contents of keys and certificates: every form that they come in, and what is refused without showing them."""

import io
import pathlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from authority import PASSPHRASE, issued, trust
from greensock.certificates import authorities, blocks, certificates, identities, private_key

OURS = issued("a.test")
RSA = issued("a.test", rsa_key=True)
DER = Encoding.DER
FORMS = [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]


def der_of(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(DER)


def refused(call: Callable[[], object], match: str) -> ValueError:
    """The error of *call*: a ValueError with nothing chained to it."""
    with pytest.raises(ValueError, match=match) as caught:
        call()
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


# -- forms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode, lambda pem: pem.replace(b"\n", b"\r\n")])
def test_pem_in_memory(kind: Any) -> None:
    (identity,) = identities(kind(OURS.key), kind(OURS.cert))
    assert not identity.key.encrypted
    assert [one.der for one in identity.chain] == [der_of(OURS.cert)]
    assert identity.names == ("key", "cert")


def test_files(tmp_path: pathlib.Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes(OURS.key)
    cert.write_bytes(OURS.cert)
    expected = identities(OURS.key, OURS.cert)
    assert identities(key, cert) == expected
    with key.open("rb") as binary, cert.open(encoding="ascii") as text:
        assert identities(binary, text) == expected
        assert binary.read() == b"", "read once, to its end"
        assert not binary.closed
    assert identities(io.BytesIO(OURS.key), io.StringIO(OURS.cert.decode())) == expected


def test_both_in_one() -> None:
    both = OURS.key + OURS.cert
    expected = identities(OURS.key, OURS.cert)
    assert identities(both, both) == expected
    assert identities(both, None) == expected
    assert identities(None, both) == expected
    assert identities(io.BytesIO(both), None) == expected
    file = io.BytesIO(both)
    assert identities(file, file) == expected


@pytest.mark.parametrize("leaf", [OURS, RSA], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("form", FORMS)
def test_der(leaf: Any, form: PrivateFormat) -> None:
    (identity,) = identities(leaf.encoded(DER, form), der_of(leaf.cert))
    assert identity.chain == identities(leaf.key, leaf.cert)[0].chain
    assert (
        identity.key.label
        == {
            PrivateFormat.PKCS8: "PRIVATE KEY",
            PrivateFormat.TraditionalOpenSSL: "RSA PRIVATE KEY" if leaf is RSA else "EC PRIVATE KEY",
        }[form]
    )
    assert identity.key.pem == leaf.encoded(Encoding.PEM, form)


def test_encrypted_der() -> None:
    block = private_key("key", blocks("key", OURS.encoded(DER, PrivateFormat.PKCS8, PASSPHRASE)))
    assert (block.label, block.encrypted) == ("ENCRYPTED PRIVATE KEY", True)


@pytest.mark.parametrize("form", FORMS)
def test_encrypted_pem(form: PrivateFormat) -> None:
    assert private_key("key", blocks("key", RSA.encoded(Encoding.PEM, form, PASSPHRASE))).encrypted
    assert not private_key("key", blocks("key", RSA.encoded(Encoding.PEM, form))).encrypted


def test_chains_keep_their_order() -> None:
    leaf = issued("a.test", below=True)
    (identity,) = identities(leaf.key, leaf.cert)
    ders = [der_of(part.bytes()) for part in leaf.leaf.cert_chain_pems]
    assert len(ders) == 2
    assert [one.der for one in identity.chain] == ders
    assert identities(leaf.key, b"".join(ders)) == identities(leaf.key, leaf.cert)


def test_words_around_pem_do_no_harm() -> None:
    noisy = b"subject=a.test \xe4\n" + OURS.cert + b"\nissuer=ours\n"
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert identities(parameters + OURS.key, noisy) == identities(OURS.key, OURS.cert)


def test_pairs() -> None:
    first, second = identities([OURS.key, RSA.key], (OURS.cert, RSA.cert))
    assert (first.names, second.names) == (("key[0]", "cert[0]"), ("key[1]", "cert[1]"))
    assert first.chain[0].der == der_of(OURS.cert)
    assert second.chain[0].der == der_of(RSA.cert)


def test_nothing_is_no_identity() -> None:
    assert identities(None, None) == ()
    assert authorities(None) is None


def test_authorities() -> None:
    ours, other = trust(), trust("other")
    two = [der_of(ours), der_of(other)]
    for given_as in (ours + other, [ours, other], [two[0], io.BytesIO(other)], b"".join(two)):
        found = authorities(given_as)
        assert found is not None
        assert [one.der for one in found] == two


# -- what is refused -------------------------------------------------------------------------------------


def test_a_name_of_a_file_is_not_its_contents() -> None:
    for name in ("/etc/ssl/key.pem", "key.pem", b"./key.pem"):
        error = refused(lambda name=name: identities(name, OURS.cert), "key is neither PEM nor DER.*pathlib.Path")  # type: ignore[misc]
        assert "key.pem" not in str(error)


@pytest.mark.parametrize("nothing", ["", b"", bytearray(), "\n \n", io.StringIO("")])
def test_empty(nothing: Any) -> None:
    refused(lambda: identities(nothing, OURS.cert), "^key is empty$")


def test_what_stands_in_the_wrong_place() -> None:
    public = OURS.private_key.public_key().public_bytes(DER, PublicFormat.SubjectPublicKeyInfo)
    refused(lambda: identities(OURS.cert, OURS.cert), "^key holds a certificate where a private key should be$")
    refused(lambda: identities(OURS.key, OURS.key), "^cert holds a private key where a certificate should be$")
    refused(lambda: identities(public, OURS.cert), "^key holds a public key where a private key should be$")
    refused(lambda: authorities(OURS.key), "^ca holds a private key where a certificate should be$")
    refused(lambda: authorities([trust(), OURS.key]), r"^ca\[1\] holds a private key")
    refused(
        lambda: authorities("-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----"), "^ca holds a revocation list"
    )
    refused(lambda: authorities("-----BEGIN CMS-----\nAA==\n-----END CMS-----"), "^ca holds something else")


def test_one_without_the_other() -> None:
    refused(lambda: identities(OURS.key, None), "^key is given without cert$")
    refused(lambda: identities(None, OURS.cert), "^cert is given without key$")


def test_pairs_that_are_none() -> None:
    refused(lambda: identities([OURS.key], [OURS.cert, RSA.cert]), "1 of key and 2 of cert")
    refused(lambda: identities([], [OURS.cert]), "^key is an empty list$")
    refused(lambda: authorities([]), "^ca is an empty list$")
    refused(lambda: identities([OURS.key, [RSA.key]], [OURS.cert, RSA.cert]), r"^key\[1\] must be contents.*list$")
    refused(lambda: identities(OURS.key + RSA.key, OURS.cert), "^key holds 2 private keys; several .* list")


def test_two_of_one_kind_of_which_one_would_be_lost() -> None:
    other = issued("b.test")
    refused(
        lambda: identities([OURS.key, other.key], [OURS.cert, other.cert]),
        r"^cert\[1\] is for the same kind of key as cert\[0\]",
    )


@pytest.mark.parametrize("thing", [1, 1.5, None, True, object(), {"a": 1}, {b"a"}])
def test_what_is_no_contents(thing: object) -> None:
    refused(lambda: authorities([thing]), r"^ca\[0\] must be contents .* or a pathlib.Path, not ")


def test_damaged_pem() -> None:
    refused(lambda: identities(OURS.key[:-40], OURS.cert), "^key is PEM that is cut off or damaged$")
    lines = OURS.cert.splitlines(keepends=True)
    broken = b"".join(lines[:3] + lines[-1:])
    refused(lambda: identities(OURS.key, broken), "^cert holds a certificate that is damaged$")
    refused(lambda: identities(OURS.key, der_of(OURS.cert)[:-1]), "^cert is neither PEM nor DER")


def test_files_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    absent = tmp_path / "absent.pem"
    refused(lambda: identities(absent, OURS.cert), f"^key cannot be read from '{absent}': No such file or directory$")
    refused(lambda: authorities([tmp_path]), r"^ca\[0\] cannot be read from .*: Is a directory$")
    closed = io.BytesIO(OURS.key)
    closed.close()
    refused(lambda: identities(closed, OURS.cert), "^key cannot be read: the file is closed")
    left, right = socket.socketpair()
    with left, right, left.makefile("w") as write_only:
        refused(lambda: identities(write_only, OURS.cert), "^key cannot be read")


def test_binary_contents_in_a_text_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "key.der"
    path.write_bytes(OURS.encoded(DER, PrivateFormat.PKCS8))
    with path.open(encoding="utf-8") as file:
        refused(lambda: identities(file, OURS.cert), f"^key cannot be read from '{path}': .*open as text")


@pytest.mark.parametrize("wrap", [lambda pem: pem, lambda pem: pem.replace("\n", "/"), lambda pem: pem[:200]])
def test_a_path_made_of_the_contents_is_not_shown(wrap: Callable[[str], str]) -> None:
    error = refused(lambda: identities(pathlib.Path(wrap(OURS.key.decode())), OURS.cert), "^key cannot be read: ")
    assert "PRIVATE" not in str(error)


def test_dates() -> None:
    expired, early = issued("a.test", when="expired"), issued("a.test", when="not yet")
    refused(lambda: identities(expired.key, expired.cert), r"^cert expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC$")
    refused(
        lambda: identities([early.key], [early.cert]), r"^cert\[0\] is not valid before \d{4}-\d\d-\d\d \d\d:\d\d UTC$"
    )
    refused(lambda: authorities(expired.cert), "^ca expired on ")
    found = authorities([expired.cert, trust()])
    assert found is not None
    assert len(found) == 2, "bundles hold old ones, too"


# -- secrecy ---------------------------------------------------------------------------------------------


MARK = b"swordfish"
GARBAGE = st.one_of(
    st.binary(),
    st.binary().map(lambda data: b"\x30" + data),
    st.binary().map(lambda data: b"-----BEGIN PRIVATE KEY-----\n" + data + b"\n-----END PRIVATE KEY-----\n"),
    st.binary().map(lambda data: b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"),
    st.tuples(st.integers(0, len(OURS.key)), st.binary(min_size=1)).map(
        lambda cut: OURS.key[: cut[0]].replace(b"-----END", b"-----ENT") + cut[1]
    ),
)


@given(garbage=GARBAGE, text=st.booleans())
def test_garbage_is_named_and_never_shown(garbage: bytes, text: bool) -> None:
    contents = MARK + garbage if not garbage.startswith(b"\x30") else garbage + MARK
    given_as = contents.decode("latin-1") if text else contents
    for call, option in (
        (lambda: certificates("cert", blocks("cert", given_as)), "cert"),
        (lambda: authorities([given_as]), "ca[0]"),
        (lambda: identities(given_as, OURS.cert) and None, "key"),
    ):
        try:
            call()
        except ValueError as error:
            assert type(error) is ValueError
            assert str(error).startswith(option)
            assert MARK.decode() not in str(error)
            assert error.__context__ is None
            assert len(str(error)) < 120, "a sentence without contents"
        else:
            assert option == "key", "what was called a key is looked at by OpenSSL"
