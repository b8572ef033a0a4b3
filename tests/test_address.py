"""Every form of an address, and every way to get one wrong."""

import dataclasses
import ipaddress
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greensock.address import Address, parse

GOOD: list[tuple[object, Address, str]] = [
    # TCP
    (("127.0.0.1", 80), Address("tcp", "127.0.0.1", 80), "tcp://127.0.0.1:80"),
    (("localhost", 0), Address("tcp", "localhost", 0), "tcp://localhost:0"),
    (("::1", 65535), Address("tcp", "::1", 65535), "tcp://[::1]:65535"),
    (("fe80::1%eth0", 80), Address("tcp", "fe80::1%eth0", 80), "tcp://[fe80::1%eth0]:80"),
    (("::1", 80, 0, 0), Address("tcp", "::1", 80), "tcp://[::1]:80"),
    (("fe80::1", 80, 7, 2), Address("tcp", "fe80::1%2", 80), "tcp://[fe80::1%2]:80"),
    (("fe80::1%eth0", 80, 0, 2), Address("tcp", "fe80::1%eth0", 80), "tcp://[fe80::1%eth0]:80"),
    ("127.0.0.1:80", Address("tcp", "127.0.0.1", 80), "tcp://127.0.0.1:80"),
    ("example.org:080", Address("tcp", "example.org", 80), "tcp://example.org:80"),
    ("bücher.example:80", Address("tcp", "bücher.example", 80), "tcp://bücher.example:80"),
    ("[::1]:80", Address("tcp", "::1", 80), "tcp://[::1]:80"),
    ("[fe80::1%eth0:1]:80", Address("tcp", "fe80::1%eth0:1", 80), "tcp://[fe80::1%eth0:1]:80"),
    ("tcp://0.0.0.0:80", Address("tcp", "0.0.0.0", 80), "tcp://0.0.0.0:80"),
    ("TCP://[::]:80", Address("tcp", "::", 80), "tcp://[::]:80"),
    ("h" * 253 + ":1", Address("tcp", "h" * 253, 1), "tcp://" + "h" * 253 + ":1"),
    # TLS
    ("tls://example.org:443", Address("tls", "example.org", 443), "tls://example.org:443"),
    ("tls://[::1]:443", Address("tls", "::1", 443), "tls://[::1]:443"),
    # unix
    ("unix:/run/echo.sock", Address("unix", path="/run/echo.sock"), "unix:/run/echo.sock"),
    ("unix:///run/echo.sock", Address("unix", path="/run/echo.sock"), "unix:/run/echo.sock"),
    ("unix:////run/echo.sock", Address("unix", path="//run/echo.sock"), "unix:////run/echo.sock"),
    ("UNIX:echo.sock", Address("unix", path="echo.sock"), "unix:echo.sock"),
    ("unix:/with space?#:80", Address("unix", path="/with space?#:80"), "unix:/with space?#:80"),
    ("unix:./@echo", Address("unix", path="./@echo"), "unix:./@echo"),
    ("unix:@echo", Address("unix", path="@echo"), "unix:@echo"),
    ("unix:/" + "p" * 106, Address("unix", path="/" + "p" * 106), "unix:/" + "p" * 106),
    # fd
    ("fd://3", Address("fd", fd=3), "fd://3"),
    ("fd://0", Address("fd", fd=0), "fd://0"),
]

BAD: list[tuple[object, str]] = [
    # port
    ("h:65536", "port '65536' is out of range 0 to 65535"),
    ("h:" + "9" * 5000, "port '9+.*' is out of range"),
    (("h", 65536), "port 65536 is out of range"),
    (("h", -1), "port -1 is out of range"),
    (("h", 10**5000), "port <int.*> is out of range"),
    ("h", "port is missing"),
    ("h:", "port is missing"),
    ("[::1]", "port is missing"),
    ("[::1]:", "port is missing"),
    ("tcp://h", "port is missing"),
    ("h:-1", "port '-1' is not a decimal number"),
    ("h:+1", "port '\\+1' is not"),
    ("h: 1", "port ' 1' is not"),
    ("h:1_0", "port '1_0' is not"),
    ("h:0x1", "port '0x1' is not"),
    ("h:1.0", "port '1.0' is not"),
    ("h:\u0661", "port '\u0661' is not"),
    ("h:²", "port '²' is not"),
    ("h:http", "port 'http' is not"),
    ("tcp://h:1/x", "port '1/x' is not"),
    ("tcp://h:1/", "port '1/' is not"),
    ("tcp://h:1?x", "port '1\\?x' is not"),
    ("h:1\0", r"port '1\\x00' is not"),
    (("h", "80"), "port '80' is not a whole number"),
    (("h", 80.0), "port 80.0 is not"),
    (("h", True), "port True is not"),
    (("h", None), "port None is not"),
    # host
    (("", 80), "host is empty"),
    ("", "host is empty"),
    (":80", "host is empty"),
    ("tls://:80", "host is empty"),
    (("h" * 254, 80), "host has 254 characters"),
    ("h" * 254 + ":80", "host has 254 characters"),
    ("*:80", "'0.0.0.0' or '::' means every interface"),
    (("*", 80), "'0.0.0.0' or '::' means every interface"),
    (("h\0", 80), "NUL byte in the host"),
    ("h\0:80", "NUL byte in the host"),
    ("h h:80", "whitespace"),
    ("h\t:80", "whitespace"),
    ("h\u3000:80", "whitespace"),
    ("h\n:80", "control character"),
    ("h\x7f:80", "control character"),
    ("h\ud800:80", "control character"),
    ("user@h:80", "'@' in the host"),
    ("h/x:80", "'/' in the host"),
    ("h]:80", "'\\]' in the host"),
    ((b"h", 80), "host b'h' is not text"),
    ((None, 80), "host None is not text"),
    (("[::1]", 80), "'\\[' in the host"),
    (("::g", 80), "host '::g' is no IPv6 address"),
    # IPv6 in a string
    ("::1:80", "needs brackets.*'::1'"),
    ("::1", "needs brackets"),
    ("a:b:80", "needs brackets.*'a:b'"),
    ("[::1:80", "bracket before the host is not closed"),
    ("[::1]80", "unexpected '80' between host and port"),
    ("[]:80", "'' in brackets is no IPv6 address"),
    ("[h]:80", "'h' in brackets"),
    ("[127.0.0.1]:80", "'127.0.0.1' in brackets"),
    ("[::1%]:80", "'::1%' in brackets"),
    ("[::1% 1]:80", "whitespace"),
    # scheme
    ("http://h:80", "unknown scheme 'http'"),
    ("://h:80", "unknown scheme ''"),
    ("tcp:///h:80", "'/' in the host"),
    # unix
    ("unix:", "path is empty"),
    ("unix://", "path is empty"),
    ("unix://relative", "path after 'unix://' does not start with '/'"),
    ("unix:/a\0b", "NUL byte in the path"),
    ("unix:\0abstract", "NUL byte in the path"),
    ("unix:/\udfff\ud800", "characters that no file name can have"),
    ("unix:/" + "p" * 107, "path has 108 bytes, more than the 107"),
    ("unix:/" + "ü" * 54, "path has 109 bytes"),
    # fd
    ("fd://", "file descriptor is missing"),
    ("fd://-1", "file descriptor '-1' is not a decimal number"),
    ("fd://three", "file descriptor 'three' is not"),
    ("fd://3/", "file descriptor '3/' is not"),
    ("fd://2147483648", "file descriptor '2147483648' is out of range"),
    # tuples
    ((), "a tuple of 0"),
    (("h",), "a tuple of 1"),
    (("h", 80, 0), "a tuple of 3"),
    (("h", 80, 0, 0), "flow and scope belong to an IPv6 address"),
    (("::1", 80, "0", 0), "flow '0' is not a number"),
    (("::1", 80, 0, -1), "scope -1 is not a number"),
    (("::1", 80, 0, 2**32), "scope 4294967296 is not a number"),
    # no address at all
    (None, "an address is"),
    (80, "an address is"),
    (b"h:80", "an address is"),
    (["h", 80], "an address is"),
    ({}, "an address is"),
    (object(), "an address is"),
]


@pytest.mark.parametrize(("given", "address", "url"), GOOD, ids=[url[:30] for _, _, url in GOOD])
def test_good(given: object, address: Address, url: str) -> None:
    assert parse(given) == address
    assert str(address) == url
    assert parse(url) == address


@pytest.mark.parametrize(("given", "message"), BAD, ids=[str(number) for number in range(len(BAD))])
def test_bad(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(given)
    assert str(caught.value).startswith("bad address ")


@pytest.mark.skipif(sys.platform != "linux", reason="unix(7) of Linux")
def test_a_name_of_the_abstract_namespace() -> None:
    assert parse("unix:@echo").unix_name == b"\0echo"
    assert parse("unix:./@echo").unix_name == "./@echo"
    with pytest.raises(ValueError, match="the path is empty"):
        parse("unix:@")
    with pytest.raises(ValueError, match="is written unix:@name"):
        parse("unix:\0echo")


def test_the_message_shows_the_address_but_not_all_of_a_long_one() -> None:
    with pytest.raises(ValueError, match=r"^bad address 'http://h:80': "):
        parse("http://h:80")
    with pytest.raises(ValueError) as caught:
        parse("x" * 1_000_000)
    assert len(str(caught.value)) < 500


def test_an_address_whose_repr_fails() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(ValueError, match="<Broken instance"):
        parse(Broken())
    with pytest.raises(ValueError, match="<Broken instance"):
        parse(("h", Broken()))


def test_addresses_are_values() -> None:
    address = parse("h:80")
    assert {address: 1}[parse(("h", 80))] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        address.port = 81  # type: ignore[misc]


hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-zA-Z0-9_.-]{1,253}", fullmatch=True),
)
ports = st.integers(0, 65535)
anything = st.text(st.characters()) | st.text("tcplsunixfd:/[]%0123456789.h\0 @")


@given(hosts, ports, st.sampled_from(["tcp", "tls"]))
def test_tcp_round_trip(host: str, port: int, scheme: str) -> None:
    address = Address(scheme, host=host, port=port)
    assert parse(str(address)) == address
    assert parse((host, port)) == dataclasses.replace(address, scheme="tcp")


@given(st.ip_addresses(v=6), ports, st.integers(0, 2**32 - 1))
def test_scope_round_trip(host: ipaddress.IPv6Address, port: int, scope: int) -> None:
    address = parse((str(host), port, 0, scope))
    assert parse(str(address)) == address
    assert parse((address.host, address.port)) == address


@given(anything)
@example("//x")
@example("///x")
def test_whatever_parses_round_trips(text: str) -> None:
    for form in (text, f"unix:{text}", f"[::1%{text}]:1", f"{text}:1", (text, 1), f"fd://{text}"):
        try:
            address = parse(form)
        except ValueError:
            continue
        assert parse(str(address)) == address


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | anything,
        lambda inner: st.lists(inner, max_size=4).map(tuple) | st.lists(inner) | st.sets(st.integers()),
    )
)
def test_nothing_but_a_value_error(value: Any) -> None:
    try:
        parse(value)
    except ValueError as error:
        assert str(error).startswith("bad address ")
