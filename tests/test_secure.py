"""The wire of TLS, over a real socket pair, with a peer that is told what to do. Writing is in ``test_sealing``."""

import socket as sockets
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import stream
from greensock.secure import secured
from greensock.state import CloseReason
from greensock.wire import READ_SIZE, Plain
from tls_peer import Engine, WirePair, shaken


def test_it_takes_over_the_descriptor() -> None:
    one, other = sockets.socketpair()
    with other:
        number = one.fileno()
        plain = Plain(one.family, one.type, one.proto, one.detach())
        wire = secured(plain)
        assert (plain.fileno(), wire.fileno()) == (-1, number)
        assert wire.tls is None
        wire.close()


# -- reading ---------------------------------------------------------------------------------------------


def test_reading(pair: WirePair) -> None:
    with pytest.raises(BlockingIOError):
        pair.wire.read(READ_SIZE)
    pair.send(pair.encrypt(b"one") + pair.encrypt(b"two"))
    assert pair.wire.read(READ_SIZE) == b"onetwo", "all is decrypted at once"
    assert not pair.wire.more
    with pytest.raises(BlockingIOError):
        pair.wire.read(READ_SIZE)


@pytest.fixture
def pair() -> Iterator[WirePair]:
    with shaken() as pair:
        yield pair


CUTS = st.tuples(st.booleans(), st.sampled_from([1, 4, 5, 21, 478, 479, 480, 777, 16_406, 100_000]))
SIZES = st.lists(st.sampled_from([1, 64, 500, 16384, 40_000]), min_size=1, max_size=4)


@settings(max_examples=60)
@given(sizes=SIZES, cuts=st.lists(CUTS, max_size=40))
def test_any_cut_of_two_connections_gives_the_same(sizes: list[int], cuts: list[tuple[bool, int]]) -> None:
    """They share their buffers, and parts of records of one come between those of the other."""
    engine = Engine()
    pairs = [WirePair(engine) for _ in range(2)]
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


def test_close_notify_is_the_end(pair: WirePair) -> None:
    last = pair.encrypt(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        pair.tls.unwrap()
    pair.send(last + pair.say() + b"what follows is ignored")
    assert pair.wire.read(READ_SIZE) == b"last"
    assert pair.wire.more, "the end is still to be told, and the kernel need not become readable for it"
    assert pair.wire.read(READ_SIZE) == b""
    assert not pair.wire.more


def test_after_both_ends_have_said_goodbye(pair: WirePair) -> None:
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


def test_an_end_without_close_notify(pair: WirePair) -> None:
    pair.send(pair.encrypt(b"cut o"))
    pair.other.shutdown(sockets.SHUT_WR)
    assert pair.wire.read(READ_SIZE) == b"cut o"
    with pytest.raises(ssl.SSLEOFError) as caught:
        pair.wire.read(READ_SIZE)
    assert pair.wire.reason_of(caught.value) is CloseReason.TRUNCATED


def test_what_came_before_garbage_is_given_first(pair: WirePair) -> None:
    pair.send(pair.encrypt(b"good") + pair.encrypt(b"also good") + b"\x17\x03\x03\x00\x20" + bytes(32) + b"more")
    assert pair.wire.read(READ_SIZE) == b"goodalso good"
    assert pair.wire.more
    with pytest.raises(ssl.SSLError) as caught:
        pair.wire.read(READ_SIZE)
    assert pair.wire.reason_of(caught.value) is CloseReason.PROTOCOL
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        pair.decrypt()  # it was told by an alert


def test_a_reset_is_a_reset(pair: WirePair) -> None:
    assert pair.wire.reason_of(ConnectionResetError()) is CloseReason.RESET
    assert pair.wire.reason_of(TimeoutError()) is CloseReason.TIMEOUT


def test_small_and_large_reads_alternate(pair: WirePair) -> None:
    for size in (10, 10, 450, 479, 480, 16384, 10, 60_000, 10, 10):
        text = stream(size)
        pair.send(pair.encrypt(text))
        assert pair.read_all() == text
