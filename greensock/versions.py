"""Known holes of what greensock stands on (Python, gevent, greenlet, OpenSSL), and which versions have closed them.

Only those that concern a server of sockets. A distribution may have closed one without changing the version.
"""

from dataclasses import dataclass
from typing import Final

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """One defect.

    Attributes:
        of: what has it: ``"Python"``, ``"gevent"``, ``"greenlet"`` or ``"OpenSSL"``.
        name: its CVE, or its number with those who closed it.
        effect: what it does to a server.
        closed: the first good version of each branch that has one. Branches above all of these are good; those between
            and below, without an entry, were given up with the hole in them.
        since: the first version that has it.
        serious: whether a peer can make use of it, or a server runs into it by itself.
    """

    of: str
    name: str
    effect: str
    closed: tuple[Version, ...]
    since: Version = ()
    serious: bool = True

    def affects(self, version: Version) -> bool:
        """Whether *version* has the hole."""
        if version < self.since:
            return False
        branch = [good for good in self.closed if good[:2] == version[:2]]
        return version < (branch[0] if branch else max(self.closed))

    def first_good(self, version: Version) -> str:
        """The nearest version above *version* without the hole."""
        return ".".join(map(str, min(good for good in self.closed if good > version)))


HOLES: Final = (
    Hole(
        "Python",
        "CVE-2026-19445",
        "a TLS server whose sni_callback switches contexts may use the first one after it was freed",
        ((3, 11, 17), (3, 12, 15), (3, 13, 16), (3, 14, 8)),
    ),
    Hole(
        "Python",
        "CVE-2026-19553",
        "SSLContext.wrap_bio() without server_hostname checks no host name, even when check_hostname is on",
        ((3, 11, 17), (3, 12, 15), (3, 13, 16), (3, 14, 8)),
        serious=False,
    ),
    Hole(
        "Python",
        "CVE-2026-115557",
        "TLS still trusts intermediate certificates that are known to be compromised",
        ((3, 11, 18), (3, 12, 16), (3, 13, 18), (3, 14, 10), (3, 15, 2)),
    ),
    Hole(
        "Python",
        "CVE-2023-40217",
        "a TLS server may take bytes that a peer sent in clear, before the handshake, for encrypted ones",
        ((3, 11, 5),),
    ),
    Hole("Python", "CVE-2022-45061", "a long host name keeps the IDNA decoder, and so the hub, busy", ((3, 11, 1),)),
    Hole(
        "Python",
        "gh-137583",
        "reading a TLS socket and writing to it from two threads blocks both for ever",
        ((3, 13, 7),),
        since=(3, 13, 6),
    ),
    Hole(
        "gevent",
        "CVE-2023-41419",
        "gevent.pywsgi lets a peer smuggle requests past a proxy",
        ((23, 9, 0),),
    ),
    Hole(
        "gevent",
        "gevent #2100",
        "closing a descriptor while it is waited for aborts the process",
        ((25, 8, 1),),
    ),
    Hole(
        "gevent",
        "gevent #2139",
        "putting something into a full SimpleQueue is a TypeError",
        ((25, 9, 1),),
        since=(25, 4, 1),
    ),
    Hole("gevent", "gevent #2159", "every TLS connection leaks memory", ((26, 4, 0),)),
    Hole("greenlet", "greenlet #328", "every greenlet leaks 4 KB on Python 3.11", ((2, 0, 1),), since=(2, 0, 0)),
    Hole(
        "greenlet",
        "the changes of greenlet 3.3.2",
        "a switch while the garbage collector runs may crash the process",
        ((3, 3, 2),),
    ),
    Hole(
        "OpenSSL",
        "CVE-2026-35189",
        "one client certificate of 100 KiB makes a server that asks for certificates spend hundreds of MiB",
        ((3, 0, 23), (3, 4, 8), (3, 5, 9), (3, 6, 5), (4, 0, 3)),
    ),
    Hole(
        "OpenSSL",
        "CVE-2026-72897",
        "a TLS server that switches contexts by the server's name may read beyond its memory",
        ((3, 4, 8), (3, 5, 9), (3, 6, 5), (4, 0, 3)),
        since=(3, 4, 0),
    ),
    Hole(
        "OpenSSL",
        "CVE-2025-66199",
        "a compressed certificate makes a TLS 1.3 peer spend memory beyond its limit",
        ((3, 3, 6), (3, 4, 4), (3, 5, 5), (3, 6, 1)),
        since=(3, 3, 0),
    ),
    Hole(
        "OpenSSL",
        "CVE-2024-2511",
        "the session cache of a TLS 1.3 server without tickets grows for ever",
        ((3, 0, 14), (3, 1, 6), (3, 2, 2)),
        serious=False,
    ),
    Hole("OpenSSL", "CVE-2022-1473", "decoding certificates leaks memory", ((3, 0, 3),), since=(3, 0, 0)),
)


def holes(of: str, version: Version) -> list[Hole]:
    """The known holes that *version* of Python, gevent, greenlet or OpenSSL has."""
    return [hole for hole in HOLES if hole.of == of and hole.affects(version)]


def parse(text: str) -> Version:
    """The leading numbers of a version: ``"26.9.0"`` and ``"25.8.1.dev0"`` to tuples."""
    numbers = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
