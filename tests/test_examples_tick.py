"""``examples/tick.py``: a state for all, 20 times a second, and none for those who do not read."""

import json
from typing import Any

from greensock.testing import Peer, wait_until
from program import Launch


class Player(Peer):
    def state(self) -> dict[str, Any]:
        """The next state."""
        line = b""
        while not line.endswith(b"\n"):
            byte = self.read(1)
            assert byte
            line += byte
        state: dict[str, Any] = json.loads(line)
        return state

    @property
    def name(self) -> str:
        return str(self.address)


def test_players_see_each_other_move(example: Launch) -> None:
    address = example("tick", "127.0.0.1:0").address()
    with Player(address) as ada, Player(address) as bob:
        wait_until(lambda: ada.state()["players"].keys() == {ada.name, bob.name})
        bob.send(b"left\nup\nup\nnonsense\n")
        wait_until(lambda: ada.state()["players"][bob.name] == [-1, 2])
        ada.send(b"right\r\n")
        wait_until(lambda: bob.state()["players"][ada.name] == [1, 0])
        bob.close()
        wait_until(lambda: ada.state()["players"].keys() == {ada.name})


def test_ticks_are_numbered_and_none_is_skipped_for_who_reads(example: Launch) -> None:
    with Player(example("tick", "127.0.0.1:0").address()) as ada:
        numbers = [ada.state()["tick"] for _ in range(10)]
    assert numbers == list(range(numbers[0], numbers[0] + 10))


def test_a_line_that_is_too_long_is_the_end_for_its_player_alone(example: Launch) -> None:
    address = example("tick", "127.0.0.1:0").address()
    with Player(address) as ada, Player(address) as bob:
        bob.send(b"x" * 1000)
        bob.finish()
        bob.read_to_end()
        bob.close()
        wait_until(lambda: ada.state()["players"].keys() == {ada.name})
