"""``examples/starttls.py`` with what sends mail: openssl, curl and smtplib."""

import signal
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from connections import attempt
from foreign import Start, needs
from greensock.testing import Peer
from program import TIMEOUT, Launch, Program

MAIL = "Subject: hello\r\n\r\nworld\r\n..\r\n"


@dataclass
class Server:
    """The running example, and where its certificate is."""

    program: Program
    host: str
    port: int
    ca: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


@pytest.fixture
def server(example: Launch, tmp_path: Path) -> Iterator[Server]:
    program = example("starttls", "127.0.0.1:0")
    host, port = program.address()
    (tmp_path / "ca.pem").write_text(program.certificate())
    yield Server(program, host, port, tmp_path / "ca.pem")
    if program.process.poll() is None:
        status, _, errors = program.finish(signal.SIGTERM)
        assert (status, errors) == (0, "")


@pytest.fixture
def client(server: Server) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(server.host, server.port, timeout=TIMEOUT) as client:
        yield client


def test_a_mail(server: Server, client: smtplib.SMTP) -> None:
    assert client.starttls(context=server.context())[0] == 220
    client.sendmail("a@a.test", ["b@b.test", "c@c.test"], MAIL)
    client.sendmail("d@d.test", ["e@e.test"], MAIL)
    # Its words are in small letters since Python 3.13.
    assert server.program.wait_for("4 lines").lower() == "4 lines from:<a@a.test> to:<b@b.test> to:<c@c.test>"
    assert server.program.wait_for("4 lines").lower() == "4 lines from:<d@d.test> to:<e@e.test>"


def test_nothing_goes_without_tls(client: smtplib.SMTP) -> None:
    client.ehlo_or_helo_if_needed()
    assert client.has_extn("starttls")
    with pytest.raises(smtplib.SMTPSenderRefused, match="first STARTTLS"):
        client.sendmail("a@a.test", ["b@b.test"], MAIL)


def test_what_comes_too_early(server: Server, client: smtplib.SMTP) -> None:
    client.starttls(context=server.context())
    client.ehlo()
    assert not client.has_extn("starttls"), "RFC 3207, section 4.2"
    for command in ("RCPT TO:<b@b.test>", "DATA", "STARTTLS", "nonsense"):
        assert client.docmd(command)[0] == 503
    client.mail("a@a.test")
    assert client.docmd("DATA")[0] == 503
    assert client.docmd("RSET")[0] == 250
    assert client.rcpt("b@b.test")[0] == 503


def test_half_a_mail(server: Server, client: smtplib.SMTP) -> None:
    client.starttls(context=server.context())
    client.mail("a@a.test")
    client.rcpt("b@b.test")
    assert client.docmd("NOOP")[0] == 250
    client.putcmd("DATA")
    client.send("Subject: hel")
    client.close()
    assert server.program.finish(signal.SIGTERM)[1:] == ("\n", ""), "nothing is said of it"


def test_a_line_that_does_not_end(server: Server) -> None:
    with Peer((server.host, server.port)) as peer:
        attempt(peer.send, b"x" * 1_000_000)
        attempt(peer.read_to_end)
    with Peer((server.host, server.port)) as peer:
        assert peer.read_exactly(4) == b"220 "


def test_a_command_slipped_in_behind_starttls_is_refused(server: Server) -> None:
    with Peer((server.host, server.port)) as peer:
        peer.send(b"EHLO evil.test\r\nSTARTTLS\r\nMAIL FROM:<evil@evil.test>\r\n")
        assert peer.is_reset()
    with Peer((server.host, server.port)) as peer:
        assert peer.read_exactly(4) == b"220 "
        peer.send(b"QUIT\r\n")
        assert peer.read_to_end().endswith(b"221 bye\r\n")


def test_a_client_that_does_not_trust_it(server: Server, client: smtplib.SMTP) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        client.starttls(context=ssl.create_default_context())
    client.close()


@needs("openssl")
def test_openssl_s_client(server: Server, foreign: Start) -> None:
    where = ("-connect", f"{server.host}:{server.port}", "-starttls", "smtp", "-crlf", "-quiet")
    client = foreign("openssl", "s_client", *where, "-CAfile", server.ca, "-verify_return_error")
    client.wait_for("250 STARTTLS")
    for line, answer in (
        ("EHLO here.test", "250 localhost"),
        ("MAIL FROM:<a@a.test>", "250 ok"),
        ("RCPT TO:<b@b.test>", "250 ok\r\n250 ok"),
        ("DATA", "354 end it with a line that is a dot"),
        ("hello\n.", "250 thank you"),
        ("QUIT", "221 bye"),
    ):
        client.say(line)
        client.wait_for(answer)
    assert client.finish() == 0
    assert server.program.wait_for("1 lines") == "1 lines FROM:<a@a.test> TO:<b@b.test>"


@needs("curl")
def test_curl(server: Server, foreign: Start, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(MAIL.encode())
    client = foreign(
        *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", server.ca, "--upload-file", tmp_path / "mail"),
        *("--mail-from", "a@a.test", "--mail-rcpt", "b@b.test", f"smtp://{server.host}:{server.port}"),
    )
    assert client.finish() == 0, client.said
    assert server.program.wait_for("4 lines") == "4 lines FROM:<a@a.test> TO:<b@b.test>"
