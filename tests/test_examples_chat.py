"""``examples/chat.py``: rooms, and people who do not read."""

from collections.abc import Iterator

import pytest

from greensock.testing import Peer, wait_until
from program import Launch


class Person(Peer):
    """Somebody at a terminal."""

    def __init__(self, address: tuple[str, int], nick: str, *, receive_buffer: int | None = None) -> None:
        super().__init__(address, receive_buffer=receive_buffer)
        self.lines = self.socket.makefile("rb")
        self.say(f"/nick {nick}")
        self.hears(f"is now {nick}")

    def say(self, line: str) -> None:
        self.send(line.encode() + b"\n")

    def hears(self, ending: str) -> str:
        """Wait for a line that ends so."""
        while True:
            line = self.lines.readline().decode()
            assert line, f"the connection ended before {ending!r}"
            if line.rstrip("\n").endswith(ending):
                return line.rstrip("\n")

    def reset(self) -> None:
        self.lines.close()  # which would keep the descriptor open
        super().reset()

    def close(self) -> None:
        self.lines.close()
        super().close()


@pytest.fixture
def address(example: Launch) -> Iterator[tuple[str, int]]:
    yield example("chat", "127.0.0.1:0").address()


def test_who_is_in_the_room_hears_it_and_nobody_else(address: tuple[str, int]) -> None:
    with Person(address, "ada") as ada, Person(address, "bob") as bob, Person(address, "eve") as eve:
        eve.say("/join attic")
        eve.hears("eve is in attic")
        ada.say("hello")
        assert bob.hears("hello") == "ada: hello"
        eve.say("anybody here?")
        eve.hears("anybody here?")
        ada.say("/who")
        assert ada.hears("ada, bob") == "* ada, bob"
        eve.say("/join lobby")
        bob.hears("eve is in lobby")
        eve.say("there you are")
        ada.hears("eve: there you are")


def test_who_leaves_is_announced_however_he_left(address: tuple[str, int]) -> None:
    with Person(address, "ada") as ada, Person(address, "bob") as bob, Person(address, "eve") as eve:
        bob.say("/quit")
        bob.hears("bye")
        bob.close()
        ada.hears("bob has left")
        eve.reset()
        ada.hears("eve has left")


def test_a_line_that_is_too_long_is_answered_and_ends_it(address: tuple[str, int]) -> None:
    with Person(address, "ada") as ada, Person(address, "bob") as bob:
        bob.send(b"x" * 70_000)
        bob.hears("which is the limit")
        assert bob.lines.read() == b""
        bob.close()
        ada.hears("bob has left")


def test_what_is_no_text_harms_nobody(address: tuple[str, int]) -> None:
    with Person(address, "ada") as ada, Person(address, "bob") as bob:
        bob.send(b"\xff\xfe\x00\n/nosuch\n")
        bob.hears("/nosuch?")
        ada.say("still here")
        bob.hears("ada: still here")


def test_a_reader_that_stalls_holds_nobody_up_and_is_closed_in_the_end(address: tuple[str, int]) -> None:
    with (
        Person(address, "ada") as ada,
        Person(address, "bob") as bob,
        Person(address, "stone", receive_buffer=4096) as stone,
    ):
        line = "x" * 60_000
        for number in range(200):  # 12 MB: more than kernels and the limit of 1 MiB take for somebody who reads nothing
            ada.say(f"{number} {line}")
            assert bob.hears(line).startswith(f"ada: {number} ")
            ada.hears(line)
        bob.say("/who")
        wait_until(lambda: bob.hears("bob") == "* ada, bob", what="the stalled one to be gone")
        assert stone.is_reset()
