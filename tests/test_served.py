"""What the engine asks of a socket, and that sockets have it."""

import pytest

from greensock.clocks import Clocked
from greensock.served import Served
from greensock.sock import Socket

ASKED = sorted(
    {
        *Served.__annotations__,
        *(name for of in (Served, Clocked) for name, value in vars(of).items() if callable(value) and value.__doc__),
    }
)


def test_what_is_asked() -> None:
    assert {"_flags", "_running", "_serve", "_settle", "_check_clocks"} < set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_a_socket_has_all_that_is_asked(name: str) -> None:
    assert hasattr(Socket, name)
