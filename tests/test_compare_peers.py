"""The peers of ``loadtests/compare`` answer rightly, each in each of its modes: what is compared does the same work."""

import re
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gevent
import gevent.socket
import gevent.ssl
import pytest

from authority import authority, issued
from foreign import Foreign, Start, needs
from greensock.testing import Peer
from program import ROOT

PEERS = ROOT / "loadtests" / "compare" / "peers"
COUNT = struct.Struct(">Q")
LENGTH = struct.Struct(">I")
MAX_MESSAGE = 1 << 20  # of all peers

#: Seconds in which nothing could be sent: the peer has stopped reading.
QUIET = 0.25


@dataclass(frozen=True)
class Contestant:
    """A server to compare: what runs it, its command line, and the modes that it has."""

    name: str
    runtime: str
    arguments: tuple[str, ...]
    modes: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        return () if self.runtime == sys.executable else (self.runtime,)


def python(name: str, script: str, *modes: str, arguments: tuple[str, ...] = ()) -> Contestant:
    return Contestant(name, sys.executable, (f"{script}.py", *arguments), modes)


GATHERING = ("small", "frames", "lines")
BLOCKING = ("echo", "sleep", "bulk", "source", *GATHERING)
EVENTS = (*BLOCKING, "broadcast")
UVLOOP = ("--loop", "uvloop")
STREAMS = ("--style", "streams")

CONTESTANTS = [
    python("greensock", "greensock_server", *EVENTS, "log"),
    python("greensock-sessions", "greensock_sessions", *BLOCKING),
    python("gevent", "gevent_server", *EVENTS, "log"),
    python("asyncio", "asyncio_server", *EVENTS),
    python("asyncio-writelines", "asyncio_server", *GATHERING, arguments=("--writelines",)),
    python("asyncio-streams", "asyncio_server", *BLOCKING, arguments=STREAMS),
    python("uvloop", "asyncio_server", *EVENTS, arguments=UVLOOP),
    python("uvloop-writelines", "asyncio_server", *GATHERING, arguments=(*UVLOOP, "--writelines")),
    python("uvloop-streams", "asyncio_server", *BLOCKING, arguments=(*UVLOOP, *STREAMS)),
    python("twisted", "twisted_server", *EVENTS),
    Contestant("node", "node", ("node.js",), EVENTS),
    Contestant("bun", "bun", ("bun.js",), EVENTS),
    Contestant("bun-sink", "bun", ("bun.js", "--sink"), GATHERING),
]


def cases(*modes: str) -> list[Any]:
    """Each contestant in each of these modes that it has; in all of them without."""
    return [
        pytest.param(contestant, mode, id=f"{contestant.name}-{mode}", marks=needs(*contestant.needs))
        for contestant in CONTESTANTS
        for mode in contestant.modes
        if not modes or mode in modes
    ]


Serve = Callable[..., Any]


@pytest.fixture
def contest(foreign: Start, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """A function that starts a contestant and says where it listens."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def start(contestant: Contestant, mode: str, *arguments: object) -> tuple[Foreign, tuple[str, int]]:
        script, *more = contestant.arguments
        program = foreign(contestant.runtime, PEERS / script, *more, "--mode", mode, *arguments)
        program.wait_until(lambda: re.search(r"listening \d+\n", program.said), "port")
        port = re.search(r"listening (\d+)\n", program.said)
        assert port is not None
        return program, ("127.0.0.1", int(port[1]))

    return start


# -- what each mode answers ------------------------------------------------------------------------------


def exchange(peer: Peer, data: bytes, cut: int) -> None:
    """Send *data* in two parts, while what comes back is read."""

    def send() -> None:
        peer.send(data[:cut])
        gevent.sleep(0.01)
        peer.send(data[cut:])

    sending = gevent.spawn(send)
    answer = peer.read_exactly(len(data))
    sending.get()
    assert answer == data


def check_echo(peer: Peer, other: Peer) -> None:
    exchange(peer, bytes(range(256)) * 1200, 100_000)
    exchange(other, b"and me", 3)


def check_small(peer: Peer, other: Peer) -> None:
    assert peer.exchange(b"fiver") == b"fiver"
    assert other.exchange(b"other") == b"other"


def check_frames(peer: Peer, other: Peer) -> None:
    messages = (b"abc", b"", bytes(range(256)) * 300, b"\n", b"last")
    exchange(peer, b"".join(LENGTH.pack(len(message)) + message for message in messages), 500)
    exchange(other, LENGTH.pack(5) + b"other", 2)


def check_lines(peer: Peer, other: Peer) -> None:
    exchange(peer, b"one\n\n" + b"long" * 20_000 + b"\nthree\nlast\n", 500)
    exchange(other, b"other\n", 2)


def check_broadcast(peer: Peer, other: Peer) -> None:
    assert peer.read_exactly(1) == other.read_exactly(1) == b"+"
    for sender, message in ((peer, b"hear, hear"), (other, b"and now me")):
        sender.send(message)
        assert peer.read_exactly(10) == other.read_exactly(10) == message


def check_bulk(peer: Peer, other: Peer) -> None:
    for one, size in ((peer, 1_000_003), (other, 0)):
        one.send(b"x" * size)
        one.finish()
        assert COUNT.unpack(one.read_to_end()) == (size,)


def check_source(peer: Peer, other: Peer) -> None:
    for one, size in ((peer, 3_000_001), (other, 0)):
        one.send(COUNT.pack(size)[:3])
        gevent.sleep(0.01)
        one.send(COUNT.pack(size)[3:])
        assert len(one.read_to_end()) == size


CHECKS: dict[str, Callable[[Peer, Peer], None]] = {
    "echo": check_echo,
    "log": check_echo,
    "sleep": check_echo,
    "small": check_small,
    "frames": check_frames,
    "lines": check_lines,
    "broadcast": check_broadcast,
    "bulk": check_bulk,
    "source": check_source,
}


@pytest.mark.parametrize(("contestant", "mode"), cases())
def test_it_answers_rightly_also_after_resets(
    contest: Serve, contestant: Contestant, mode: str, tmp_path: Path
) -> None:
    log = tmp_path / "peer.log"
    program, address = contest(contestant, mode, *(("--log-file", log, "--patched") if mode == "log" else ()))
    with Peer(address) as peer, Peer(address) as other:
        CHECKS[mode](peer, other)
    for begun in (b"", b"x", COUNT.pack(1 << 30)):
        victim = Peer(address)
        victim.send(begun)
        gevent.sleep(0.01)
        victim.reset()
    with Peer(address) as peer, Peer(address) as other:
        CHECKS[mode](peer, other)
    assert program.process.poll() is None, program.said
    if mode == "log":
        assert len(log.read_text().splitlines()) >= 4


@pytest.mark.parametrize(("contestant", "mode"), cases("frames", "lines"))
def test_a_message_that_is_too_large_ends_its_connection(contest: Serve, contestant: Contestant, mode: str) -> None:
    _, address = contest(contestant, mode)
    with Peer(address) as peer:
        with suppress(ConnectionError):  # it need not take all of it
            peer.send(LENGTH.pack(MAX_MESSAGE + 1) if mode == "frames" else b"")
            peer.send(b"x" * (MAX_MESSAGE + 65536))
        with suppress(ConnectionError):
            assert peer.read_to_end() == b""
    with Peer(address) as peer, Peer(address) as other:
        CHECKS[mode](peer, other)


# -- who does not read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("contestant", "mode"), cases("echo"))
def test_who_does_not_read_is_not_read_from_and_then_gets_all(
    contest: Serve, contestant: Contestant, mode: str
) -> None:
    _, address = contest(contestant, mode)
    block = bytes(range(256)) * 256
    with Peer(address, receive_buffer=65536) as peer:
        sent = 0
        with gevent.Timeout(10, AssertionError("it takes all and everything")):
            while True:
                with gevent.Timeout(QUIET, cast(Any, False)):
                    sent += peer.socket.send(block[sent % len(block) :])
                    continue
                break
        assert sent < 64 << 20
        with Peer(address) as other:
            exchange(other, b"others go on", 3)
        assert peer.read_exactly(sent) == (block * (sent // len(block) + 1))[:sent]


@pytest.mark.parametrize(("contestant", "mode"), cases("source"))
def test_a_source_waits_for_who_does_not_read(contest: Serve, contestant: Contestant, mode: str) -> None:
    _, address = contest(contestant, mode)
    size = 48 << 20
    with Peer(address, receive_buffer=65536) as peer:
        peer.send(COUNT.pack(size))
        gevent.sleep(QUIET)
        with Peer(address) as other:
            other.send(COUNT.pack(1000))
            assert len(other.read_to_end()) == 1000
        assert len(peer.read_to_end()) == size


# -- TLS -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contestant", "mode"), cases("echo"))
def test_it_speaks_tls_1_3(contest: Serve, contestant: Contestant, mode: str, tmp_path: Path) -> None:
    certificate = issued("127.0.0.1")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes(certificate.key)
    cert.write_bytes(certificate.cert)
    _, address = contest(contestant, mode, "--key", key, "--cert", cert)
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    authority("ours").configure_trust(context)
    for _ in range(2):
        plain = gevent.socket.create_connection(address, timeout=10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as socket:
            assert socket.version() == "TLSv1.3"
            for data in (b"hello", bytes(range(256)) * 256):
                socket.sendall(data)
                answer = b""
                while len(answer) < len(data):
                    part = socket.recv(65536)
                    assert part
                    answer += part
                assert answer == data


# -- what it has not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("contestant", "mode"), [case for case in cases("echo") if "log" not in case.values[0].modes])
def test_a_mode_that_it_has_not_is_refused(
    foreign: Start, monkeypatch: pytest.MonkeyPatch, contestant: Contestant, mode: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script, *more = contestant.arguments
    program = foreign(contestant.runtime, PEERS / script, *more, "--mode", "log")
    assert program.finish() == 2
    assert "no such mode here: log" in program.said
