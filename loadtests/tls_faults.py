"""Stall, garble and break off thousands of TLS handshakes, and see that nothing grows and nobody else notices.

    python loadtests/tls_faults.py --handshakes 10000

The server has a process of its own, and runs without the garbage collector. Meanwhile one client exchanges messages
over a connection that it has had from the beginning, and others come, shake hands, exchange one and go. The exit status
is 0 only if every reply was right, every fault was counted, and descriptors, watchers, greenlets, objects and private
memory stayed where they were after the first fifth, which warms up allocators and pools.
"""

import gc
import multiprocessing
import random
import socket as sockets
import ssl
import statistics
import struct
import sys
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

import click
import gevent
import gevent.pool
import gevent.socket
import gevent.ssl
import trustme
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from rich.console import Console
from rich.table import Table

import greensock
from soak import SLACK, measure

#: Seconds that the server waits for a handshake: stalls last as long.
HANDSHAKE_TIMEOUT = 1.0

#: What may differ between two checkpoints: less than one object, or the 15 KB of OpenSSL's, for each fault of one kind.
ALLOWED = {**SLACK, "objects": 50, "memory": 4 << 20}

PARTS = 5
QUIET = 2.0  # seconds without faults, for comparison
PATIENCE = 20.0
LINGER = struct.pack("ii", 1, 0)

Fault = Callable[[Any, bytes], None]


# -- the server, in a process of its own -------------------------------------------------------------------


def serve(parent: Connection, key: bytes, cert: bytes) -> None:
    """Echo, and answer whatever *parent* says with what there is and what was counted."""
    gc.disable()
    handlers = {"data": lambda socket, data: socket.write(data)}
    tls = greensock.TLS(key=key, cert=cert)
    server = greensock.listen(("127.0.0.1", 0), handlers, tls=tls, handshake_timeout=HANDSHAKE_TIMEOUT)
    parent.send(server.address)
    while True:
        gevent.socket.wait_read(parent.fileno())
        try:
            parent.recv()
        except EOFError:
            return
        parent.send((measure(), server.stats().as_dict()))


# -- what may be wrong with a handshake --------------------------------------------------------------------


def silence(peer: Any, hello: bytes) -> None:
    """Nothing comes."""


def half_a_hello(peer: Any, hello: bytes) -> None:
    """The first half of a hello, and no other."""
    peer.sendall(hello[: len(hello) // 2])


def no_answer(peer: Any, hello: bytes) -> None:
    """A hello, and nothing after what the server says."""
    peer.sendall(hello)
    peer.recv(65536)


def http(peer: Any, hello: bytes) -> None:
    """A browser at the wrong port."""
    peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def noise(peer: Any, hello: bytes) -> None:
    """Random bytes."""
    peer.sendall(random.randbytes(2000))


def damaged_hello(peer: Any, hello: bytes) -> None:
    """A hello with a bit turned, in what has to be right."""
    peer.sendall(hello[:9] + bytes([hello[9] ^ 0x80]) + hello[10:])


def too_large(peer: Any, hello: bytes) -> None:
    """A record of 64 KiB."""
    peer.sendall(b"\x16\x03\x01\xff\xff" + bytes(65535))


def wrong_keys(peer: Any, hello: bytes) -> None:
    """A hello, and then what nobody can decrypt."""
    peer.sendall(hello)
    peer.recv(65536)
    peer.sendall(b"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x35" + random.randbytes(53))


def distrust(peer: Any, hello: bytes) -> None:
    """A client that does not know the authority, and says so."""
    _STRICT.wrap_socket(peer, server_hostname="localhost").close()


def fin(peer: Any, hello: bytes) -> None:
    """Half a hello and FIN."""
    peer.sendall(hello[: len(hello) // 2])
    peer.shutdown(sockets.SHUT_WR)


def reset(peer: Any, hello: bytes) -> None:
    """A hello and RST."""
    peer.sendall(hello)
    peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, LINGER)
    peer.close()


def late_reset(peer: Any, hello: bytes) -> None:
    """RST once the server has answered."""
    peer.sendall(hello)
    peer.recv(65536)
    peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, LINGER)
    peer.close()


FAULTS: list[Fault] = [
    *(silence, half_a_hello, no_answer),
    *(http, noise, damaged_hello, too_large, wrong_keys, distrust),
    *(fin, reset, late_reset),
]

_STRICT = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def make_hello() -> bytes:
    """The first bytes of a client."""
    outgoing = ssl.MemoryBIO()
    client = _STRICT.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def commit(fault: Fault, address: Any, hello: bytes) -> None:
    """One faulty handshake, until the server has closed the connection."""
    with gevent.socket.create_connection(address, PATIENCE) as peer:
        try:
            fault(peer, hello)
            while peer.fileno() >= 0 and peer.recv(65536):
                pass
        except TimeoutError:
            raise
        except OSError:
            pass  # reset, refused or closed, as it has to be


# -- clients that behave -----------------------------------------------------------------------------------


class Clients:
    """Those that do nothing wrong. Each exchange is checked and timed."""

    def __init__(self, address: Any, authority: trustme.CA) -> None:
        self.address = address
        self.context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.context)
        self.exchanges: list[float] = []
        self.visits: list[float] = []
        self.wrong = 0
        self.door = BoundedSemaphore()  # whoever holds it keeps new ones out
        self._over = Event()
        self._greenlets = [gevent.spawn(self._stay), gevent.spawn(self._come_and_go)]

    def connect(self) -> Any:
        peer = gevent.socket.create_connection(self.address, PATIENCE)
        return self.context.wrap_socket(peer, server_hostname="localhost")

    def exchange(self, peer: Any) -> None:
        message = random.randbytes(500)
        peer.sendall(message)
        reply = b""
        while len(reply) < len(message):
            part = peer.recv(len(message) - len(reply))
            if not part:
                break
            reply += part
        self.wrong += reply != message

    def _stay(self) -> None:
        with self.connect() as peer:
            while not self._over.wait(0.005):
                began = perf_counter()
                self.exchange(peer)
                self.exchanges.append(perf_counter() - began)

    def _come_and_go(self) -> None:
        while not self._over.wait(0.02):
            with self.door:
                began = perf_counter()
                with self.connect() as peer:
                    self.exchange(peer)
                self.visits.append(perf_counter() - began)

    def stop(self) -> None:
        """End them; raises what one of them met with."""
        self._over.set()
        gevent.joinall(self._greenlets, raise_error=True)


# -- the run -----------------------------------------------------------------------------------------------


class Child:
    """The server's process, as its parent sees it."""

    def __init__(self, authority: trustme.CA) -> None:
        leaf = authority.issue_cert("localhost")
        spawning = multiprocessing.get_context("spawn")
        self._pipe, other = spawning.Pipe()
        credentials = leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
        self._process = spawning.Process(target=serve, args=(other, *credentials), daemon=True)
        self._process.start()
        other.close()
        self.address = self._answer()

    def _answer(self) -> Any:
        gevent.socket.wait_read(self._pipe.fileno(), PATIENCE)
        return self._pipe.recv()

    def ask(self) -> tuple[dict[str, int], dict[str, Any]]:
        """What there is in it now, and what it has counted."""
        self._pipe.send(None)
        answer: tuple[dict[str, int], dict[str, Any]] = self._answer()
        return answer

    def ask_at_rest(self, faults: int) -> tuple[dict[str, int], dict[str, Any]]:
        """The same when it is done with so many faults and has one client, or has had the time for it."""
        for _ in range(int(PATIENCE / 0.1)):
            found, stats = self.ask()
            if stats["refused"] >= faults and stats["connections"] == 1:
                break
            gevent.sleep(0.1)
        return found, stats

    def stop(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(PATIENCE)


def storm(child: Child, clients: Clients, handshakes: int, at_once: int) -> tuple[list[dict[str, int]], list[str]]:
    """Commit so many faults, every kind as often: what there was after each part, and what was counted wrong."""
    hello = make_hello()
    numbers = count()
    share = handshakes // PARTS
    checkpoints = []
    for part in range(1, PARTS + 1):
        pool = gevent.pool.Pool(at_once)
        faults = [pool.spawn(commit, FAULTS[next(numbers) % len(FAULTS)], child.address, hello) for _ in range(share)]
        gevent.joinall(faults, raise_error=True)
        with clients.door:
            found, stats = child.ask_at_rest(part * share)
            welcome = len(clients.visits)
        checkpoints.append(found)
        print(f"{part * share:9,} faults  {found}", flush=True)
    expected = {
        "refused": share * PARTS,
        "handshake_failures": share * PARTS,
        "handshakes": welcome + 1,
        "accepted": welcome + 1,
        "closed": welcome,
        "errors": 0,
        "buffered": 0,
    }
    wrong = [f"{name}: {stats[name]}, not {value}" for name, value in expected.items() if stats[name] != value]
    return checkpoints, wrong


def show(title: str, rows: dict[str, list[float]]) -> None:
    """One table of what clients had to wait."""
    table = Table(title=title)
    table.add_column("milliseconds")
    for heading in ("number", "p50", "p99", "max"):
        table.add_column(heading, justify="right")
    for name, times in rows.items():
        p99 = statistics.quantiles(times, n=100, method="inclusive")[98]
        waits = (f"{1000 * value:.1f}" for value in (statistics.median(times), p99, max(times)))
        table.add_row(name, f"{len(times):,}", *waits)
    Console().print(table)


@click.command(help=(__doc__ or "").replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--handshakes", default=10_000, show_default=True, type=click.IntRange(min=PARTS * len(FAULTS)))
@click.option("--at-once", default=200, show_default=True, type=click.IntRange(min=1))
def main(handshakes: int, at_once: int) -> None:
    handshakes -= handshakes % PARTS
    authority = trustme.CA()
    child = Child(authority)
    clients = Clients(child.address, authority)
    gevent.sleep(QUIET)
    exchanges, visits = len(clients.exchanges), len(clients.visits)

    began = perf_counter()
    checkpoints, problems = storm(child, clients, handshakes, at_once)
    seconds = perf_counter() - began
    clients.stop()
    child.stop()

    rows = {
        "an exchange, before": clients.exchanges[:exchanges],
        "a new client, before": clients.visits[:visits],
        "an exchange, meanwhile": clients.exchanges[exchanges:],
        "a new client, meanwhile": clients.visits[visits:],
    }
    show(f"{handshakes:,} faults, {at_once} at once, in {seconds:.0f} s", rows)
    first, last = checkpoints[0], checkpoints[-1]
    problems += [f"{name}: {first[name]} -> {last[name]}" for name in first if last[name] > first[name] + ALLOWED[name]]
    if clients.wrong:
        problems.append(f"{clients.wrong} wrong replies")
    for problem in problems:
        print(f"grew or differs: {problem}", file=sys.stderr)
    print("flat" if not problems else "NOT flat")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
