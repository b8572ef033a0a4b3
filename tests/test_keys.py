"""Keys and certificates as OpenSSL takes them: every form, whose fault it is when it does not, and where they lie."""

import os
import shutil
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from authority import PASSPHRASE, Issued, context_for, issued, shake
from greensock import TLS
from greensock.endpoints import client_side, server_side
from handshakes import OURS, RSA, der, refused, served, shown

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


@pytest.mark.parametrize("header", [b"Proc-Type:4,ENCRYPTED", b"Proc-Type: \t4, ENCRYPTED"])
def test_an_encrypted_key_is_known_by_its_header_whatever_its_spaces(header: bytes) -> None:
    key = OURS.encoded(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, PASSPHRASE)
    spaced = key.replace(b"Proc-Type: 4,ENCRYPTED", header)
    assert spaced != key
    assert served(key=spaced, cert=OURS.cert, passphrase=PASSPHRASE).ok
    refused("^passphrase is missing: key is encrypted$", key=spaced, cert=OURS.cert)


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


def test_chains_are_sent() -> None:
    leaf = issued("a.test", below=True)
    assert served(**leaf.both).ok
    alone = leaf.leaf.cert_chain_pems[0].bytes()
    made = served(key=leaf.key, cert=alone)
    assert "unable to get local issuer" in str(made.client_error)


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


def test_keys_that_are_too_small() -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl(1) makes the key")
    command = "openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=a.test -keyout - -out -"
    made = subprocess.run(command.split(), capture_output=True, check=True).stdout
    refused("^cert is too weak: ee key too small$", cert=made)


def test_signatures_that_are_too_weak(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("openssl(1) makes the certificate")
    for name in ("ca", "leaf"):
        make = f"openssl req -newkey rsa:2048 -nodes -subj /CN={name}.test -keyout {name}.key -out {name}.csr"
        subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    for sign in (
        "openssl x509 -req -in ca.csr -signkey ca.key -out ca.pem",
        "openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -sha1 -out leaf.pem",
    ):
        subprocess.run(sign.split(), cwd=tmp_path, check=True, capture_output=True)
    with suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "leaf.pem", tmp_path / "leaf.key")
        pytest.skip(f"{ssl.OPENSSL_VERSION} takes them")
    refused("^cert is too weak: ca md too weak$", key=tmp_path / "leaf.key", cert=tmp_path / "leaf.pem")


def test_a_lack_of_descriptors_is_not_the_fault_of_a_key() -> None:
    program = f"""
import errno, os, resource
import greensock
def make(name):
    return greensock.TLS(key={OURS.key!r}, cert={OURS.cert!r}, alpn=[name])
make("imported")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for free in range(3):  # two that hold the contents, and one by which OpenSSL reads them
    try:
        make(str(free))
    except OSError as error:
        print(free, errno.errorcode[error.errno])
    os.close(taken.pop())
make("enough")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["0 EMFILE", "1 EMFILE", "2 EMFILE"]


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


def test_from_a_pipe_too_it_is_told_what_openssl_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL's own words are lost there, for a pipe cannot be rewound."""
    monkeypatch.delattr(os, "memfd_create")
    descriptors = os.listdir("/proc/self/fd")
    fresh = issued("pipe.test")
    encrypted = fresh.encoded(Encoding.PEM, PrivateFormat.PKCS8, PASSPHRASE)
    refused("^passphrase is wrong for key, or the key is damaged$", key=encrypted, cert=fresh.cert, passphrase="wrong")
    garbled = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
    refused("^key .*is not a private key that OpenSSL takes", key=garbled, cert=fresh.cert)
    refused(
        "^key is longer than a pipe of this system$", key=garbled.replace(b"MAA=", b"MAA=" * 50_000), cert=fresh.cert
    )
    assert os.listdir("/proc/self/fd") == descriptors


def test_no_descriptor_is_left() -> None:
    descriptors = os.listdir("/proc/self/fd")
    fresh = issued("fresh.test")
    TLS(**fresh.both)
    refused("does not match", key=issued("b.test").key, cert=fresh.cert)
    assert os.listdir("/proc/self/fd") == descriptors
