"""``examples/lines.py``: the game, by somebody who plays it, and by some who do not."""

import re
import signal

from greensock.testing import Peer
from program import Launch


def ask(peer: Peer, text: bytes, end: bytes) -> bytes:
    """Say *text*, and read what follows up to *end*."""
    peer.send(text)
    answer = b""
    while not answer.endswith(end):
        part = peer.read()
        assert part, answer
        answer += part
    return answer


def test_a_game(example: Launch) -> None:
    program = example("lines", "127.0.0.1:0")
    with Peer(program.address()) as peer:
        ask(peer, b"", b"What is your name? ")
        assert ask(peer, b"Eve\r\n", b".\n") == b"Eve, I think of a number from 1 to 100.\n"
        assert ask(peer, b"one\n", b".\n") == b"A number, please.\n"
        low, high, tries = 1, 100, 1
        while True:
            tries += 1
            guess = (low + high) // 2
            answer = ask(peer, b"%d\n" % guess, b".\n")
            if answer == b"Higher.\n":
                low = guess + 1
            elif answer == b"Lower.\n":
                high = guess - 1
            else:
                break
        assert answer == b"Yes! That took you %d.\n" % tries
        assert peer.read_to_end() == b""
    status, _, errors = program.finish(signal.SIGTERM)
    assert (status, errors) == (0, "")


def test_players_do_not_wait_for_each_other(example: Launch) -> None:
    address = example("lines", "127.0.0.1:0").address()
    peers = [Peer(address) for _ in range(20)]
    for number, peer in enumerate(peers):
        ask(peer, b"player %d\n" % number, b"100.\n")
    for peer in reversed(peers):
        assert re.fullmatch(rb"Higher\.\n|Yes! That took you 1\.\n", ask(peer, b"1\n", b".\n"))
        peer.close()


def test_half_a_line_a_long_line_and_no_line_harm_nobody(example: Launch) -> None:
    program = example("lines", "127.0.0.1:0")
    address = program.address()
    for last_words in (b"", b"Ev", b"x" * 100, b"Eve\n5"):
        with Peer(address) as peer:
            peer.send(last_words)
            peer.finish()
            peer.read_to_end()
    status, _, errors = program.finish(signal.SIGTERM)
    assert (status, errors) == (0, "")


def test_who_plays_is_told_when_it_closes(example: Launch) -> None:
    program = example("lines", "127.0.0.1:0")
    with Peer(program.address()) as peer:
        ask(peer, b"Eve\n", b"100.\n")
        program.send(signal.SIGTERM)
        assert peer.read_to_end() == b"The house closes, come again.\n"
    assert program.finish()[0] == 0
