"""The options of a server and of a connection: their defaults, and what values they may have.

Each default stands here once, with its reason. A misspelt or impossible option is refused when it is given,
not when the first peer trips over it.
"""

import dataclasses
import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Final, Literal, Self, overload

#: The most that Linux takes for TCP_KEEPIDLE: MAX_TCP_KEEPIDLE in its include/net/tcp.h, about nine hours.
MAX_KEEPALIVE: Final = 32767


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a server's sockets have in common. :meth:`of` makes one from what a user gave, and checks it.

    Times are seconds, sizes are bytes; None means no limit, for *keepalive* off. The first four are for servers alone.

    Args:
        backlog: connections that the kernel holds until they are accepted; cut to the system's limit.
        reuse_port: share the port with other processes that ask for it too.
        ipv6_only: do not serve IPv4 on an IPv6 address.
        max_connections: at once; the rest wait in the backlog.
        idle_timeout: nothing was received or sent for so long: ``timeout`` comes, and the socket closes.
        handshake_timeout: for a TLS handshake.
        write_timeout: the peer took no byte of what is queued for so long: it is reset.
        close_timeout: after ``close`` the peer made no progress, or sent no FIN, for so long: it is reset.
        high_water_mark: while more is queued ``write`` answers False, and a server's socket is given no ``data``.
        low_water_mark: when no more than this is left of it, ``drain`` comes.
        max_buffered: while more is queued a handler that writes to its own socket waits; another's write is
            *slow_consumer*'s case.
        slow_consumer: ``"close"`` ends that connection, ``"raise"`` has ``write`` raise ``WriteQueueFull``.
        allow_half_open: after the peer's FIN, write on until this side ends or closes; otherwise it closes by itself.
        no_delay: send small segments at once (TCP_NODELAY).
        keepalive: silence after which the kernel asks the peer for a sign of life.
        tls: a :class:`greensock.TLS`, a mapping of its options, or an ``SSLContext``; on clients also True.
        framing: one of :mod:`greensock.framing`, or of your own: ``data`` is given whole messages.
    """

    #: Connections that the kernel holds until they are accepted: the usual limit of Linux
    #: (net.core.somaxconn since 5.4). A burst is better held than refused, and unused places cost nothing.
    backlog: int = 4096
    #: Several processes on one port is a decision about all of them, not a default.
    reuse_port: bool = False
    #: As on most systems, ``::`` serves IPv4 too; said here, because the system's default can be changed.
    ipv6_only: bool = False
    #: The limit of descriptors is a limit already; a lower one is for the user to know.
    max_connections: int | None = None
    #: Many protocols are silent for hours, and only the user knows. Peers that vanished are keepalive's part.
    idle_timeout: float | None = None
    #: A few round trips, generous for a peer on another continent. A silent peer must not hold memory longer.
    handshake_timeout: float | None = 10.0
    #: So long the kernel took no byte although some were queued: far longer than a lost packet or two takes.
    write_timeout: float | None = 30.0
    #: So long a peer may make no progress with the last bytes, or keep its own side open after them.
    close_timeout: float | None = 10.0
    #: The high mark of asyncio and uvloop: enough for a burst, and a stalled peer shows early.
    high_water_mark: int = 65536
    #: A quarter of it: a writer told to go on finds room for more than one write, and the wire does not run dry.
    low_water_mark: int = 16384
    #: 1 MiB: with 1,000 peers that do not read, 1 GiB is lost and the process is not.
    max_buffered: int = 1024 * 1024
    #: A broadcaster cannot wait for one slow peer, and a peer that misses bytes in between is worse off than one
    #: that has to connect again.
    slow_consumer: Literal["close", "raise"] = "close"
    #: Most protocols are over when the peer has ended its side; one that goes on has to know about it.
    allow_half_open: bool = False
    #: Small writes are gathered here already; Nagle's algorithm would only hold back the last one of them.
    no_delay: bool = True
    #: Peers that vanished without a word are found in minutes, not in the two hours of tcp(7).
    keepalive: float | None = 60.0
    #: In clear, unless there is a certificate: see :class:`greensock.TLS`.
    tls: Any = None
    #: Bytes as they come, unless a framing makes messages of them: see :mod:`greensock.framing`.
    framing: Any = None

    @classmethod
    def of(cls, given: Mapping[str, object], *, connecting: bool = False) -> Self:
        """The options *given* by name, the rest by default; when *connecting*, only those that a client has.

        A default gives way to what was given: alone, a high-water mark below the default low one lowers that to
        a quarter of it, and one above the default ``max_buffered`` raises that; likewise the other way round.

        Raises:
            TypeError: there is no such option; the message names it, the nearest one and all there are.
            ValueError: a value that cannot be, or marks that contradict each other; the message names them.
        """
        for name in given:
            if name not in _CHECKS or (connecting and name in _LISTENING):
                raise _unknown(name, connecting)
        values: dict[str, Any] = {name: _CHECKS[name](name, value) for name, value in given.items()}
        values.update(_marks(values))
        return cls(**values)


@overload
def seconds(name: str, value: object) -> float: ...
@overload
def seconds(name: str, value: object, *, optional: Literal[False]) -> float: ...
@overload
def seconds(name: str, value: object, *, optional: bool) -> float | None: ...
def seconds(name: str, value: object, *, optional: bool = False) -> float | None:
    """Check one time *value*: a finite number of seconds above zero, or None where it is *optional*.

    Raises:
        ValueError: it is something else; the message has *name* and value.
    """
    if value is None and optional:
        return None
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an int or fraction that no float can hold
            number = math.inf
        if 0 < number < math.inf:  # which NaN is not either
            return number
    raise _bad(name, "a number of seconds above 0" + " or None" * optional, value)


def deadline_of(timeout: object) -> float | None:
    """When *timeout* seconds from now are over, by ``time.monotonic``; None: there is no deadline.

    Raises:
        TypeError, ValueError: *timeout* is no number (a bool is none), or negative.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, not {timeout!r}")
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
    return monotonic() + timeout


def _limit(name: str, value: object) -> float | None:
    return seconds(name, value, optional=True)


def keepalive(name: str, value: object) -> float | None:
    """Check the time of silence before TCP asks whether the peer is there: at most 32,767 s, or None for never.

    Raises:
        ValueError: it is something else; the message has *name* and value.
    """
    number = seconds(name, value, optional=True)
    if number is not None and number > MAX_KEEPALIVE:
        raise _bad(name, f"at most {MAX_KEEPALIVE} seconds", value)
    return number


def flag(name: str, value: object) -> bool:
    """Check a yes or no: ``"no"``, 0 and None are refused, since somebody will have meant something by them.

    Raises:
        ValueError: *value* is neither True nor False; the message has *name* and value.
    """
    if not isinstance(value, bool):
        raise _bad(name, "True or False", value)
    return value


def _at_least(least: int, *, optional: bool = False) -> Callable[[str, object], int | None]:
    def check(name: str, value: object) -> int | None:
        if value is None and optional:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        raise _bad(name, f"a whole number of at least {least}" + " or None" * optional, value)

    return check


def _slow_consumer(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in ("close", "raise"):
        raise _bad(name, "'close' or 'raise'", value)
    return value


def _framing(name: str, value: object) -> object:
    wanted = "a framing such as greensock.framing.Lines(), with decoder() and encode(message), or None"
    if isinstance(value, type):
        raise _bad(name, f"{wanted}; this is a class, which has to be called", value)
    if value is not None and not all(callable(getattr(value, part, None)) for part in ("decoder", "encode")):
        raise _bad(name, wanted, value)
    return value


_CHECKS: Final[dict[str, Callable[[str, object], object]]] = {
    "backlog": _at_least(1),
    "reuse_port": flag,
    "ipv6_only": flag,
    "max_connections": _at_least(1, optional=True),
    "idle_timeout": _limit,
    "handshake_timeout": _limit,
    "write_timeout": _limit,
    "close_timeout": _limit,
    "high_water_mark": _at_least(0),
    "low_water_mark": _at_least(0),
    "max_buffered": _at_least(0),
    "slow_consumer": _slow_consumer,
    "allow_half_open": flag,
    "no_delay": flag,
    "keepalive": keepalive,
    "tls": lambda name, value: None if value is False else value,  # greensock.endpoints reads it, knowing the side
    "framing": _framing,
}

#: Options of what listens, which mean nothing to what connects.
_LISTENING: Final = frozenset({"backlog", "reuse_port", "ipv6_only", "max_connections"})


def _marks(given: Mapping[str, Any]) -> dict[str, int]:
    """The three marks, those that were not *given* moved out of the way of those that were."""
    default = Options()
    high = given.get("high_water_mark")
    if high is None:
        high = max(default.high_water_mark, given.get("low_water_mark", 0))
        high = min(high, given.get("max_buffered", high))
    low = given.get("low_water_mark")
    if low is None:
        low = default.low_water_mark if default.low_water_mark <= high else high // 4
    most = given.get("max_buffered")
    if most is None:
        most = max(default.max_buffered, high)
    marks = {"low_water_mark": low, "high_water_mark": high, "max_buffered": most}
    # Low against most comes first: when these two were given, the mark between them was not.
    for lower, upper in (
        ("low_water_mark", "max_buffered"),
        ("low_water_mark", "high_water_mark"),
        ("high_water_mark", "max_buffered"),
    ):
        if marks[lower] > marks[upper]:
            raise ValueError(f"{lower}={marks[lower]} is above {upper}={marks[upper]}")
    return marks


def _unknown(name: str, connecting: bool) -> TypeError:
    known = [option for option in _CHECKS if not (connecting and option in _LISTENING)]
    if name in _CHECKS:
        return TypeError(f"option {name!r} is for listening. The options of connect() are {', '.join(known)}")
    return TypeError(f"unknown option {name!r}{suggestion(name, known)} The options are {', '.join(known)}")


def suggestion(name: object, known: Iterable[str]) -> str:
    """What follows on an unknown *name* in a message: the nearest of those that are *known*, if one is near."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _bad(name: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{name} must be {expected}, not {value!r}")
