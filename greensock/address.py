"""Addresses as users write them, read into one small value.

Nothing here resolves, opens or looks at the file system: what cannot be an address is refused before a name
is looked up or a descriptor is spent.
"""

import dataclasses
import ipaddress
import os
import reprlib
import sys
from typing import Final, TypeGuard

#: The longest name in text form: 255 octets on the wire, RFC 1035 section 2.3.4.
MAX_HOST: Final = 253
MAX_PORT: Final = 65535
#: sun_path has 108 bytes, of which the last is NUL: unix(7). Some systems have fewer, and say so in bind(2).
MAX_PATH: Final = 107
#: Before a name that is no file's, unix(7), as ss(8) and systemd write it. Elsewhere files may begin with it.
ABSTRACT: Final = "@" if sys.platform == "linux" else ""
#: Descriptors are C ints.
MAX_FD: Final = 2**31 - 1

#: Characters that are something else than a host in a URL (RFC 3986 section 2.2); ``:`` is judged apart.
_DELIMITERS: Final = frozenset("/?#@[]\\")

_FORMS: Final = (
    "an address is (host, port), 'host:port', '[ipv6]:port', 'tcp://host:port', 'tls://host:port', "
    "'unix:/path' or 'fd://number'"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect to; only the fields of its *scheme* mean something.

    Args:
        scheme: ``"tcp"``, ``"tls"``, ``"unix"`` or ``"fd"``.
        host: A name or an IP address, as given; IPv6 without brackets, a scope as in ``fe80::1%eth0``.
        port: 0 to 65535; 0 means any free port.
        path: Of a unix socket, in the file system; on Linux with ``@`` before a name of the abstract namespace.
        fd: Number of an open descriptor.

    Made by :func:`parse`, which checks; ``str()`` is the canonical URL, and parses to an equal address.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    fd: int = -1

    @property
    def unix_name(self) -> str | bytes:
        """What bind(2) and connect(2) take for *path*: bytes for the abstract namespace."""
        if ABSTRACT and self.path.startswith(ABSTRACT):
            return b"\0" + os.fsencode(self.path[len(ABSTRACT) :])
        return self.path

    def __str__(self) -> str:
        if self.scheme == "unix":
            # A path that starts with two slashes needs the two of the URL before it, to be told from them.
            return f"unix:{'//' if self.path.startswith('//') else ''}{self.path}"
        if self.scheme == "fd":
            return f"fd://{self.fd}"
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(address: object) -> Address:
    """Read *address*, in one of these forms.

    ==========================  =====================================================================
    ``(host, port)``            host as text, IPv6 without brackets; port as a number
    ``(host, port, flow, id)``  what ``getsockname()`` of an IPv6 socket gives; *flow* is ignored
    ``"host:port"``             the same as ``"tcp://host:port"``
    ``"[::1]:port"``            IPv6 in a string has brackets, RFC 3986 section 3.2.2
    ``"tls://host:port"``       TLS over TCP
    ``"unix:/path"``            also ``"unix:///path"``, and ``"unix:path"`` from the working directory
    ``"unix:@name"``            on Linux: of the abstract namespace, unix(7); a file is ``"unix:./@name"``
    ``"fd://3"``                a descriptor that this process has inherited
    ==========================  =====================================================================

    Raises:
        ValueError: anything else; the message names the bad part and the address.
    """
    try:
        if isinstance(address, str):
            return _parse_text(address)
        if isinstance(address, tuple):
            return _parse_tuple(address)
        raise ValueError(_FORMS)
    except ValueError as error:
        # A long address is cut short in the message, and one whose repr fails does not spoil it.
        raise ValueError(f"bad address {_repr(address)}: {error}") from None


def _parse_text(text: str) -> Address:
    scheme, separator, rest = text.partition("://")
    if text[:5].lower() == "unix:":
        return Address("unix", path=_path(text[5:]))
    if not separator:
        return _parse_host_port("tcp", text)
    match scheme.lower():  # schemes are case-insensitive: RFC 3986 section 3.1
        case "tcp" | "tls" as known:
            return _parse_host_port(known, rest)
        case "fd":
            return Address("fd", fd=_number(rest, "file descriptor", MAX_FD))
    raise ValueError(f"unknown scheme {_repr(scheme)}; {_FORMS}")


def _parse_host_port(scheme: str, text: str) -> Address:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("the bracket before the host is not closed")
        if rest and not rest.startswith(":"):
            raise ValueError(f"unexpected {_repr(rest)} between host and port")
        if not _is_ipv6(host):
            raise ValueError(f"{_repr(host)} in brackets is no IPv6 address")
        port = rest[1:]
    else:
        host, _, port = text.rpartition(":") if ":" in text else (text, "", "")
        if ":" in host:
            raise ValueError(f"an IPv6 address needs brackets, as in '[::1]:80', and a host has no ':': {_repr(host)}")
    return Address(scheme, host=_host(host), port=_number(port, "port", MAX_PORT))


def _parse_tuple(address: tuple[object, ...]) -> Address:
    if len(address) not in (2, 4):
        raise ValueError(f"a tuple of {len(address)}; {_FORMS}")
    host, port, *more = address
    if not isinstance(host, str):
        raise ValueError(f"the host {_repr(host)} is not text")
    if not _is_int(port):
        raise ValueError(f"the port {_repr(port)} is not a whole number")
    if not 0 <= port <= MAX_PORT:
        raise ValueError(f"port {_repr(port)} is out of range 0 to {MAX_PORT}")
    host = _host(host)
    if more:
        host = _scoped(host, *more)
    return Address("tcp", host=host, port=port)


def _scoped(host: str, flow: object, scope: object) -> str:
    """*host* with the scope id of a four-part socket address in it, so that one text says all of it."""
    if ":" not in host:
        raise ValueError("flow and scope belong to an IPv6 address")
    for name, value in (("flow", flow), ("scope", scope)):
        if not _is_int(value) or not 0 <= value < 2**32:
            raise ValueError(f"the {name} {_repr(value)} is not a number of 32 bits")
    return f"{host}%{scope}" if scope and "%" not in host else host


def _host(host: str) -> str:
    if not host:
        raise ValueError("the host is empty; '0.0.0.0' or '::' means every interface")
    if host == "*":  # to getaddrinfo(3) of glibc it is the loopback interface, which nobody means
        raise ValueError("'*' is no host; '0.0.0.0' or '::' means every interface")
    if "\0" in host:
        raise ValueError("NUL byte in the host")
    if " " in host or not host.isprintable():  # control characters, other whitespace, lone surrogates
        raise ValueError("whitespace or a control character in the host")
    for character in host:
        if character in _DELIMITERS:
            raise ValueError(f"{character!r} in the host")
    if ":" in host and not _is_ipv6(host):
        raise ValueError(f"the host {_repr(host)} is no IPv6 address")
    if len(host) > MAX_HOST:
        raise ValueError(f"the host has {len(host)} characters, more than {MAX_HOST}")
    return host


def _path(path: str) -> str:
    if path.startswith("//"):
        path = path[2:]
        if path and not path.startswith("/"):
            raise ValueError("the path after 'unix://' does not start with '/'")
    if not path or path == ABSTRACT:
        raise ValueError("the path is empty")
    if "\0" in path:
        abstract = f"; a name that is no file's is written unix:{ABSTRACT}name" if ABSTRACT else ""
        raise ValueError(f"NUL byte in the path{abstract}")
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise ValueError("the path has characters that no file name can have") from None
    if size > MAX_PATH:
        raise ValueError(f"the path has {size} bytes, more than the {MAX_PATH} that fit a unix socket address")
    return path


def _number(text: str, name: str, most: int) -> int:
    if not text:
        raise ValueError(f"the {name} is missing")
    if not (text.isascii() and text.isdigit()):  # int() alone would take ' 1', '+1', '1_0' and more
        raise ValueError(f"the {name} {_repr(text)} is not a decimal number")
    # The length comes first: int() of thousands of digits is slow, and then an error of its own.
    if len(text.lstrip("0")) > len(str(most)) or int(text) > most:
        raise ValueError(f"{name} {_repr(text)} is out of range 0 to {most}")
    return int(text)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_int(value: object) -> TypeGuard[int]:
    """Whether *value* is a whole number; True and False are not meant as ones."""
    return isinstance(value, int) and not isinstance(value, bool)


_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = 200


def _repr(value: object) -> str:
    """*value* for a message: cut short, and never an error of its own."""
    try:
        return _short.repr(value)
    except ValueError:  # an int of more than 4,300 digits refuses to be written
        return f"<{type(value).__name__}>"
