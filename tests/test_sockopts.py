"""Settings of real sockets, as the kernel gives them back."""

import _socket
from pathlib import Path

import pytest

from greensock import sockopts
from greensock.options import MAX_KEEPALIVE
from listening import Open, accepted, ipv6, linux, listen, no_descriptor_left

__all__ = ["listen", "no_descriptor_left"]


def keepalive_numbers(sock: _socket.socket) -> list[int]:
    options = (_socket.TCP_KEEPIDLE, _socket.TCP_KEEPINTVL, _socket.TCP_KEEPCNT)
    return [sock.getsockopt(_socket.IPPROTO_TCP, option) for option in options]


@linux
@pytest.mark.parametrize("address", ["127.0.0.1:0", pytest.param("[::1]:0", marks=ipv6)])
def test_accepted_sockets_inherit_their_settings(listen: Open, address: str) -> None:
    listener = listen(address)
    with accepted(listener) as (_, peer):
        assert not sockopts.get_no_delay(peer)
        assert sockopts.get_keepalive(peer) is None
    sockopts.tune(listener, no_delay=True, keepalive=59.5)
    with accepted(listener) as (_, peer):
        assert sockopts.get_no_delay(peer)
        assert sockopts.get_keepalive(peer) == 60.0
        assert keepalive_numbers(peer) == [60, 15, 4]
    sockopts.tune(listener, no_delay=False, keepalive=None)
    with accepted(listener) as (_, peer):
        assert not sockopts.get_no_delay(peer)
        assert sockopts.get_keepalive(peer) is None


@linux
def test_settings_of_a_connection(listen: Open) -> None:
    with accepted(listen("127.0.0.1:0")) as (_, peer):
        for on in (True, False):
            sockopts.set_no_delay(peer, on)
            assert sockopts.get_no_delay(peer) is on
        for seconds, kept in ((0.001, 1.0), (1, 1.0), (1.5, 2.0), (MAX_KEEPALIVE, 32767.0), (None, None)):
            sockopts.set_keepalive(peer, seconds)
            assert sockopts.get_keepalive(peer) == kept


def test_unix_sockets_have_no_such_settings(listen: Open, tmp_path: Path) -> None:
    listener = listen(f"unix:{tmp_path}/echo")
    sockopts.tune(listener, no_delay=True, keepalive=60.0)
    assert not sockopts.get_no_delay(listener)
    assert sockopts.get_keepalive(listener) is None
