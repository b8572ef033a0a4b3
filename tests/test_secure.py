"""The wire of TLS, over a real socket pair, with a peer that is told what to do."""

import socket as sockets
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import stream
from greensock.secure import MAX_CONTROL, WRITE_SIZE, Buffers, Secure, secured
from greensock.state import CloseReason
from greensock.wire import READ_SIZE, Plain
from tls_peer import client_context, server_context


class Endpoint:
    """What :meth:`Secure.encrypt` needs of :mod:`greensock.tls`."""

    private_bios = False

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return server_context().wrap_bio(incoming, outgoing, server_side=True)


class Engine:
    """What connections share."""

    def __init__(self) -> None:
        self.tls_buffers: Buffers | None = None


class Pair:
    """A wire and the other end of its connection."""

    def __init__(self, endpoint: Endpoint, engine: Engine) -> None:
        one, self.other = sockets.socketpair()
        one.setblocking(False)
        self.other.setblocking(False)
        self.wire: Secure = secured(Plain(one.family, one.type, one.proto, one.detach()))
        self.wire.encrypt(endpoint, engine)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def say(self) -> bytes:
        """What the peer has to say, not sent."""
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.other.sendall(data)

    def hear(self) -> None:
        """Take what the wire has sent."""
        try:
            while data := self.other.recv(1 << 20):
                self.incoming.write(data)
        except BlockingIOError:
            pass

    def shake_hands(self) -> None:
        done = False
        while not done:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            self.send(self.say())
            try:
                self.wire.shake()
            except BlockingIOError:
                pass
            self.hear()
        assert self.wire.established

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.say()

    def decrypt(self) -> bytes:
        """All that the wire has sent, in plaintext."""
        self.hear()
        parts = []
        try:
            while part := self.tls.read(65536):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)

    def read_all(self) -> bytes:
        """All that the wire has to give now."""
        parts = []
        try:
            while part := self.wire.read(READ_SIZE):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)

    def close(self) -> None:
        self.wire.close()
        self.other.close()


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def pair(endpoint: Endpoint, engine: Engine) -> Iterator[Pair]:
    pair = Pair(endpoint, engine)
    pair.shake_hands()
    yield pair
    assert engine.tls_buffers is not None
    assert not engine.tls_buffers.incoming.pending
    assert not engine.tls_buffers.outgoing.pending
    pair.close()


def test_it_takes_over_the_descriptor() -> None:
    one, other = sockets.socketpair()
    with other:
        number = one.fileno()
        plain = Plain(one.family, one.type, one.proto, one.detach())
        wire = secured(plain)
        assert (plain.fileno(), wire.fileno()) == (-1, number)
        assert wire.tls is None
        wire.close()


def test_nothing_is_written_before_the_handshake(endpoint: Endpoint, engine: Engine) -> None:
    pair = Pair(endpoint, engine)
    with pytest.raises(BlockingIOError):
        pair.wire.write(b"in clear?")
    with pytest.raises(BlockingIOError):
        pair.wire.write_many([b"in clear?"])
    pair.wire.finish()
    pair.hear()
    assert not pair.incoming.pending
    pair.close()


# -- reading ---------------------------------------------------------------------------------------------


def test_reading(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        pair.wire.read(READ_SIZE)
    pair.send(pair.encrypt(b"one") + pair.encrypt(b"two"))
    assert pair.wire.read(READ_SIZE) == b"onetwo", "all is decrypted at once"
    assert not pair.wire.more
    with pytest.raises(BlockingIOError):
        pair.wire.read(READ_SIZE)


CUTS = st.tuples(st.booleans(), st.sampled_from([1, 4, 5, 21, 478, 479, 480, 777, 16_406, 100_000]))
SIZES = st.lists(st.sampled_from([1, 64, 500, 16384, 40_000]), min_size=1, max_size=4)


@settings(max_examples=60)
@given(sizes=SIZES, cuts=st.lists(CUTS, max_size=40))
def test_any_cut_of_two_connections_gives_the_same(sizes: list[int], cuts: list[tuple[bool, int]]) -> None:
    """They share their buffers, and parts of records of one come between those of the other."""
    engine = Engine()
    pairs = [Pair(_ENDPOINT, engine) for _ in range(2)]
    try:
        for pair in pairs:
            pair.shake_hands()
        sent = [stream(sum(sizes), 1000 * number) for number in range(2)]
        ciphers = []
        for pair, text in zip(pairs, sent, strict=True):
            cipher, start = b"", 0
            for size in sizes:
                cipher += pair.encrypt(text[start : start + size])
                start += size
            ciphers.append(cipher)
        got = [bytearray(), bytearray()]
        for which, cut in [*cuts, (False, 10**6), (True, 10**6)]:
            pairs[which].send(ciphers[which][:cut])
            ciphers[which] = ciphers[which][cut:]
            got[which] += pairs[which].read_all()
        assert [bytes(part) for part in got] == sent
        assert engine.tls_buffers is not None
        assert not engine.tls_buffers.incoming.pending
    finally:
        for pair in pairs:
            pair.close()


_ENDPOINT = Endpoint()


def test_close_notify_is_the_end(pair: Pair) -> None:
    last = pair.encrypt(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.tls.unwrap()
    pair.send(last + pair.say() + b"what follows is ignored")
    assert pair.wire.read(READ_SIZE) == b"last"
    assert pair.wire.more, "the end is still to be told, and the kernel need not become readable for it"
    assert pair.wire.read(READ_SIZE) == b""
    assert not pair.wire.more


def test_after_both_ends_have_said_goodbye(pair: Pair) -> None:
    pair.wire.finish()
    assert pair.decrypt() == b""
    pair.send(pair.encrypt(b"one more thing"))
    assert pair.wire.read(READ_SIZE) == b"one more thing", "reading goes on after finish()"
    try:
        pair.tls.unwrap()
    except ssl.SSLError:
        pass
    pair.send(pair.say())
    assert pair.wire.read(READ_SIZE) == b""


def test_an_end_without_close_notify(pair: Pair) -> None:
    pair.send(pair.encrypt(b"cut o"))
    pair.other.shutdown(sockets.SHUT_WR)
    assert pair.wire.read(READ_SIZE) == b"cut o"
    with pytest.raises(ssl.SSLEOFError) as caught:
        pair.wire.read(READ_SIZE)
    assert pair.wire.reason_of(caught.value) is CloseReason.TRUNCATED


def test_what_came_before_garbage_is_given_first(pair: Pair) -> None:
    pair.send(pair.encrypt(b"good") + pair.encrypt(b"also good") + b"\x17\x03\x03\x00\x20" + bytes(32) + b"more")
    assert pair.wire.read(READ_SIZE) == b"goodalso good"
    assert pair.wire.more
    with pytest.raises(ssl.SSLError) as caught:
        pair.wire.read(READ_SIZE)
    assert pair.wire.reason_of(caught.value) is CloseReason.PROTOCOL
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        pair.decrypt()  # it was told by an alert


def test_a_reset_is_a_reset(pair: Pair) -> None:
    assert pair.wire.reason_of(ConnectionResetError()) is CloseReason.RESET
    assert pair.wire.reason_of(TimeoutError()) is CloseReason.TIMEOUT


def test_small_and_large_reads_alternate(pair: Pair) -> None:
    for size in (10, 10, 450, 479, 480, 16384, 10, 60_000, 10, 10):
        text = stream(size)
        pair.send(pair.encrypt(text))
        assert pair.read_all() == text


# -- writing ---------------------------------------------------------------------------------------------


def test_writing(pair: Pair) -> None:
    assert pair.wire.write(b"hello") == 5
    assert pair.wire.write_many([b"a", memoryview(b"bcd"), b"e" * 5000]) == 5004
    assert pair.decrypt() == b"helloabcd" + b"e" * 5000


def test_small_buffers_share_a_record(pair: Pair) -> None:
    pair.decrypt()
    pair.wire.write_many([b"x"] * 1000)
    cipher = pair.other.recv(65536)
    assert len(cipher) == 1000 + 22, "one record"


@pytest.mark.parametrize("size", [1, WRITE_SIZE, WRITE_SIZE + 1, 3_000_000])
def test_a_full_kernel(pair: Pair, size: int) -> None:
    pair.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    text = stream(size)
    got, rest, steps = bytearray(), text, 0
    while rest:
        sent = pair.wire.write(rest)
        assert 0 <= sent <= len(rest)
        rest = rest[sent:]
        assert (pair.wire.backlog is not None) == bool(rest), "what is left is left because the kernel is full"
        got += pair.decrypt()
        steps += 1
    assert bytes(got) == text
    assert steps > 1 or size < 10_000


@settings(max_examples=40)
@given(chunks=st.lists(st.integers(1, 90_000), min_size=1, max_size=30), data=st.data())
def test_any_way_to_write_gives_the_same(chunks: list[int], data: st.DataObject) -> None:
    pair = Pair(_ENDPOINT, Engine())
    try:
        pair.shake_hands()
        pair.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
        text = stream(sum(chunks))
        buffers, start = [], 0
        for size in chunks:
            buffers.append(text[start : start + size])
            start += size
        got, taken = bytearray(), 0
        while taken < len(text):
            many = data.draw(st.booleans())
            rest: Any = text[taken:]
            if many:
                cut = data.draw(st.integers(1, max(1, len(rest) - 1)))
                taken += pair.wire.write_many([rest[:cut], rest[cut:]])
            else:
                taken += pair.wire.write(rest)
            got += pair.decrypt()
        assert bytes(got) == text
    finally:
        pair.close()


def test_finish_says_goodbye_and_then_fin(pair: Pair) -> None:
    pair.wire.write(b"bye")
    pair.wire.finish()
    pair.hear()
    assert pair.tls.read(100) == b"bye"
    assert pair.tls.read(100) == b"", "close_notify"
    assert pair.other.recv(1) == b"", "FIN"


def test_a_goodbye_for_which_the_kernel_has_no_room(pair: Pair) -> None:
    pair.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    text = stream(100_000)
    taken = pair.wire.write(text)
    while taken < len(text) or pair.wire.backlog is not None:
        if pair.wire.backlog is not None and len(pair.wire.backlog) < 500:
            break
        pair.incoming.write(pair.other.recv(400))
        taken += pair.wire.push() if pair.wire.backlog is not None else pair.wire.write(text[taken:])
    pair.wire.finish()
    got = bytearray(pair.decrypt())
    while pair.wire.backlog is not None:
        pair.wire.push()
        got += pair.decrypt()
    assert bytes(got) == text
    assert pair.other.recv(1) == b"", "FIN came last"


def test_what_tls_has_to_say_goes_out_with_what_is_written(pair: Pair) -> None:
    """Session tickets, mostly: one system call, and one segment, for both."""
    pair.decrypt()
    pair.wire.backlog = pair.wire.tls.write(b"first") and pair.wire._buffers.outgoing.read()
    assert pair.wire.write(b"second") == 6
    assert pair.wire.backlog is None
    assert len(pair.other.recv(65536)) == 5 + 6 + 2 * 22


def test_words_for_which_the_kernel_has_no_room_come_first(pair: Pair) -> None:
    pair.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    words = stream(20_000)
    pair.wire.tls.write(words)
    pair.wire.backlog = pair.wire._buffers.outgoing.read()
    text = stream(5_000)
    taken, got = 0, bytearray()
    while taken < len(text):
        taken += pair.wire.write(text[taken:])
        got += pair.decrypt()
    assert bytes(got) == words + text
    assert pair.wire.backlog is None


def test_a_peer_that_makes_tls_talk_and_does_not_listen(pair: Pair) -> None:
    pair.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    answers = 0
    with pytest.raises(ssl.SSLError, match="does not read"):
        while answers < 10_000:
            pair.wire._say(bytes(1000))
            answers += 1
    assert pair.wire.backlog is not None
    assert MAX_CONTROL < len(pair.wire.backlog) < MAX_CONTROL + WRITE_SIZE + 2000
