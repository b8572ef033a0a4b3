"""``examples/tls_echo.py``, with a certificate of its own making and with given ones."""

import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

import greensock
from authority import issued, trust
from connections import stream
from foreign import Start, needs
from greensock.testing import Recorder, wait_until
from program import ROOT, Launch

sys.path.append(str(ROOT / "examples"))

selfsigned: Any = __import__("selfsigned")


def names(address: object, ca: object) -> set[str]:
    """The names in the certificate of the server, which is verified."""
    with greensock.connect(address, tls={"ca": ca}, server_hostname="localhost") as socket:
        certificate: Any = socket.peer_certificate()
    return {name for _, name in certificate["subjectAltName"]}


@pytest.mark.parametrize("way", ["cryptography", pytest.param("openssl", marks=needs("openssl"))])
def test_a_certificate_is_made_and_can_be_verified(
    way: str, example: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "openssl":
        (tmp_path / "cryptography.py").write_text("raise ImportError('not installed')")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    program = example("tls_echo", "127.0.0.1:0")
    address = program.address()
    certificate = program.certificate()
    assert names(address, certificate) >= {"localhost", "127.0.0.1"}
    here = Recorder()
    with greensock.connect(address, here.handlers, tls={"ca": certificate}) as socket:
        socket.write(stream(100_000))
        wait_until(lambda: here.received == stream(100_000))
    with pytest.raises(ssl.SSLCertVerificationError):
        greensock.connect(address, tls={"ca": trust()})
    assert program.finish(signal.SIGTERM)[::2] == (0, "")


@needs("openssl")
def test_what_it_prints_is_what_openssl_takes(example: Launch, foreign: Start, tmp_path: Path) -> None:
    program = example("tls_echo", "127.0.0.1:0")
    host, port = program.address()
    (tmp_path / "echo.pem").write_text(f"listening on tls://{host}:{port}\n{program.certificate()}\n")
    trusting = ("-CAfile", tmp_path / "echo.pem", "-verify_return_error", "-verify_hostname", "localhost")
    client = foreign("openssl", "s_client", "-connect", f"{host}:{port}", "-quiet", *trusting)
    client.say("hello")
    client.wait_for("hello\n")
    assert program.finish(signal.SIGTERM)[0] == 0
    assert client.finish() == 0, "it has been told that this is the end"


def test_given_files_are_read_again(example: Launch, tmp_path: Path) -> None:
    def write(*hosts: str) -> None:
        mine = issued("localhost", *hosts)
        (tmp_path / "cert.pem").write_bytes(mine.cert)
        (tmp_path / "key.pem").write_bytes(mine.key)

    write("old.test")
    files = ("--cert", f"{tmp_path}/cert.pem", "--key", f"{tmp_path}/key.pem")
    program = example("tls_echo", "127.0.0.1:0", *files)
    address = program.address()
    here = Recorder()
    with greensock.connect(address, here.handlers, tls={"ca": trust()}, server_hostname="localhost") as socket:
        assert names(address, trust()) == {"localhost", "old.test"}
        write("new.test")
        assert names(address, trust()) == {"localhost", "old.test"}
        program.send(signal.SIGHUP)
        wait_until(lambda: names(address, trust()) == {"localhost", "new.test"})
        socket.write(b"still here")
        here.wait_for("data")
    assert program.finish(signal.SIGTERM) == (0, "", "")


@pytest.mark.parametrize("make", ["certificate", "by_openssl"])
def test_certificates_are_different_each_time(make: str) -> None:
    one, other = getattr(selfsigned, make)(), getattr(selfsigned, make)()
    assert len({*one, *other}) == 4
    for key, cert in (one, other):
        assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
        greensock.TLS(key=key, cert=cert)
