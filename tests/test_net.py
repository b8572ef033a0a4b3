"""Names that are looked up, and addresses as people read them."""

import socket

import gevent.socket
import pytest

from greensock import net
from greensock.address import parse
from listening import Open, ipv6, linux, listen, no_descriptor_left

__all__ = ["listen", "no_descriptor_left"]


@pytest.mark.parametrize(
    ("bound", "hostname", "url"),
    [
        (("127.0.0.1", 80), "", "tcp://127.0.0.1:80"),
        (("127.0.0.1", 80), "localhost", "tcp://localhost:80"),
        (("0.0.0.0", 80), "0.0.0.0", "tcp://127.0.0.1:80"),
        (("0.0.0.0", 80), "", "tcp://127.0.0.1:80"),
        (("::", 80, 0, 0), "::", "tcp://[::1]:80"),
        (("::", 80, 0, 0), "0::0", "tcp://[::1]:80"),
        (("::1", 80, 0, 0), "", "tcp://[::1]:80"),
        (("::1", 80, 0, 0), "ip6-localhost", "tcp://ip6-localhost:80"),
        (("fe80::1", 80, 0, 2), "", "tcp://[fe80::1%2]:80"),
        (("fe80::1", 80, 0, 2), "fe80::1%eth0", "tcp://[fe80::1%eth0]:80"),
        ("/run/echo", "", "unix:/run/echo"),
        ("echo", "", "unix:echo"),
        pytest.param("@echo", "", "unix:./@echo", marks=linux),
        (b"\0echo", "", "unix:@echo"),
    ],
)
def test_url(bound: net.SockAddr, hostname: str, url: str) -> None:
    assert net.url_of("tcp", bound, hostname) == url
    if url.startswith("tcp"):
        assert net.url_of("tls", bound, hostname) == url.replace("tcp", "tls")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "localhost:0", pytest.param("[::]:0", marks=ipv6)])
def test_url_is_connectable(listen: Open, address: str) -> None:
    listener = listen(address)
    reachable = parse(net.url_of("tcp", listener.getsockname(), parse(address).host))
    with socket.create_connection((reachable.host, reachable.port), timeout=5):
        pass


@pytest.mark.parametrize(
    ("peername", "text"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5"),
        (("::1", 5, 0, 0), "[::1]:5"),
        (("fe80::1", 5, 0, 2), "[fe80::1%2]:5"),
        ("", "unix"),
        ("/tmp/a\nlie", "unix"),
        (b"\0abstract", "unix"),
        (None, "unix"),
    ],
)
def test_display(peername: net.SockAddr | None, text: str) -> None:
    assert net.display(peername) == text


def test_numbers_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(gevent.socket, "getaddrinfo")
    for host in ("127.0.0.1", "0.0.0.0", "::1", "::"):
        assert net.resolve(host, 80)[0][1][:2] == (host, 80)


def test_resolve_gives_every_address_in_order() -> None:
    assert net.resolve("127.0.0.1", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert net.resolve("::1", 80) == [(socket.AF_INET6, ("::1", 80, 0, 0))]
    expected = socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    assert net.resolve("localhost", 80) == [(family, name) for family, _, _, _, name in expected]
