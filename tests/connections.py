"""What tests of connections have in common: bytes that show their place, kernels that are full, and pairs of sockets.

A plugin of pytest, for its fixtures.
"""

import fcntl
import random
import select
import socket as sockets
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from gevent.monkey import get_original

import greensock
from greensock.testing import PATIENCE, Dial, Peer, Recorder, Serve, wait_until
from greensock.wire import Plain

AnySocket = greensock.Socket[Any]

Pair = tuple[AnySocket, Peer, Recorder]

_PATTERN = random.Random(7).randbytes(1_000_003)


def stream(size: int, start: int = 0) -> bytes:
    """*size* bytes of one endless stream, from *start* on: lost, doubled or swapped bytes make another one."""
    parts = []
    while size > 0:
        part = _PATTERN[start % len(_PATTERN) :][:size]
        parts.append(part)
        start += len(part)
        size -= len(part)
    return b"".join(parts)


def narrow_listener() -> Any:
    """A listener on a free port whose connections have a small send buffer (socket(7); it is inherited).

    With a peer that has a small receive buffer, little fits into the kernel, and that it is full shows early.
    """
    listener = gevent.socket.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    return listener


def wait_until_steady(socket: AnySocket) -> int:
    """Block until the kernel takes no more of what is queued, and return how much that is."""
    before = -1
    while before != socket.buffered:
        before = socket.buffered
        gevent.sleep(0.1)  # above the 40 ms of a delayed acknowledgement
    return before


def fill_kernel(socket: AnySocket, size: int = 1_000_000) -> int:
    """Write *size* bytes, more than the kernel takes for a peer that does not read; returns how many are left over."""
    socket.write(stream(size))
    left = wait_until_steady(socket)
    assert 0 < left < size, "the kernel should have taken some and not all"
    return left


def attempt(function: Callable[..., object], *args: object) -> BaseException | None:
    """Call *function* and return what it raised: a greenlet that raises would be reported by the hub."""
    try:
        function(*args)
    except BaseException as error:
        return error
    return None


def turns(count: int = 5) -> None:
    """Let the loop turn *count* times: time enough for everything that is due at once."""
    for _ in range(count):
        gevent.sleep(0.0005)  # 0 would come back before the loop has looked for events


def wait_for_kernel(socket: AnySocket, *, reset: bool = False) -> None:
    """Block until the kernel has input for *socket*, or with *reset* until it knows that the peer has reset.

    Asks poll(2), which takes nothing away: neither bytes nor the error that comes only once.
    """
    asked = select.poll()
    asked.register(socket.fileno(), select.POLLIN)
    wanted = select.POLLERR | select.POLLHUP if reset else select.POLLIN
    wait_until(lambda: any(events & wanted for _, events in asked.poll(0)), what="news of the peer in the kernel")


def stand_still(seconds: float) -> None:
    """Have the loop stand still from its next turn on, as on a machine that has no time for this process."""
    gevent.get_hub().loop.run_callback(get_original("time", "sleep"), seconds)


def reset_after(peer: Peer, data: bytes) -> None:
    """Have *data* arrive, and then a reset: one that comes earlier would throw away what is still to be sent."""

    def unacknowledged() -> int:
        waiting: int = struct.unpack("i", fcntl.ioctl(peer.socket.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return waiting

    peer.send(data)
    wait_until(lambda: unacknowledged() == 0)
    peer.reset()


@contextmanager
def few_turns() -> Iterator[None]:
    """The loop sleeps, apart from what the test itself does: it does not spin on something that is always ready."""
    loop = gevent.get_hub().loop
    before = loop.iteration
    yield
    gevent.sleep(0.1)
    assert loop.iteration - before < 50


# -- of servers ------------------------------------------------------------------------------------------


@pytest.fixture
def pair(serve: Serve, dial: Dial) -> Pair:
    """An open socket, its peer, and what happens to it."""
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    return socket, peer, recorder


def open_narrow(serve: Serve, dial: Dial, recorder: Recorder, **options: object) -> tuple[AnySocket, Peer]:
    """A connection of which the kernel holds little."""
    peer = dial(serve(recorder.handlers, narrow_listener(), **options), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    return socket, peer


def open_full(serve: Serve, dial: Dial, path: Path, **options: object) -> Pair:
    """A socket with 1,000,000 bytes for a peer that does not read, and with a full kernel: over its mark by default.

    Over a unix socket in the directory *path*, whose capacity does not change as long as nobody reads.
    """
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, f"unix:{path}/s", **{"max_buffered": 5_000_000, **options}))
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    return socket, peer, recorder


def echoing(**behaviour: Any) -> Recorder:
    return Recorder(data=lambda socket, data: socket.write(data), **behaviour)


def leave(peer: Peer) -> bytes:
    """Be a peer that goes when it has read all."""
    with peer:
        return peer.read_to_end()


class Gate:
    """Handlers that wait here until the test opens it."""

    def __init__(self) -> None:
        self.inside = 0
        self._open = Event()

    def wait(self) -> None:
        self.inside += 1
        self._open.wait()

    def open(self) -> None:
        self._open.set()


def wait_and_answer(gate: Gate) -> Callable[[Any, bytes], None]:
    def data(socket: Any, data: bytes) -> None:
        gate.wait()
        socket.write(b"answer to " + data)

    return data


Sends = list[int]


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    """What each system call of all connections has sent from now on, in bytes: 0 where the kernel was full."""
    sizes: Sends = []

    def counted(send: Callable[[Plain, Any], int]) -> Callable[[Plain, Any], int]:
        def count(wire: Plain, data: Any) -> int:
            sizes.append(0)
            sizes[-1] = sent = send(wire, data)
            return sent

        return count

    for name in ("write", "write_many"):
        monkeypatch.setattr(Plain, name, counted(getattr(Plain, name)))
    return sizes


# -- in blocking style -----------------------------------------------------------------------------------


class ByHand:
    """A client without handlers, and the peer that it is connected to."""

    def __init__(self, **options: Any) -> None:
        ours, theirs = sockets.socketpair()
        self.peer = gevent.socket.socket(theirs.family, theirs.type, 0, theirs.detach())
        self.peer.settimeout(PATIENCE)
        self.socket: AnySocket = greensock.connect(f"fd://{ours.detach()}", **options)

    def says(self, data: bytes) -> None:
        self.peer.sendall(data)

    def ends(self) -> None:
        self.peer.shutdown(sockets.SHUT_WR)

    def resets(self, after: bytes = b"") -> None:
        """Leave with unread input, which is a reset for the other end of a unix pair (unix(7))."""
        self.socket.write("unread")
        self.socket.flush()
        self.says(after)
        self.peer.close()

    def close(self) -> None:
        self.socket.terminate()
        self.peer.close()


MakeByHand = Callable[..., ByHand]


@pytest.fixture
def by_hand(no_leaks: None) -> Iterator[MakeByHand]:
    """A function that makes clients without handlers, with options, each with its peer. They end with the test."""
    pairs: list[ByHand] = []

    def make(**options: Any) -> ByHand:
        pairs.append(ByHand(**options))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.close()


# -- in the clothes of the standard library --------------------------------------------------------------

#: What tests of ``as_stdlib()`` are done with as well: it has to do the same.
BOTH: Final = ["socket.socket", "as_stdlib"]


class StdlibPair:
    """A connected socket of the kind under test, and its peer, which is a blocking socket of the standard library."""

    def __init__(self, kind: str, family: int = sockets.AF_INET) -> None:
        self.kind = kind
        address: Any = ("127.0.0.1", 0) if family == sockets.AF_INET else ("::1", 0)
        with closing(sockets.socket(family)) as listener:
            listener.bind(address)
            listener.listen()
            self.below: Any = None
            self.sock: Any
            if kind == "as_stdlib":
                self.below = greensock.connect(listener.getsockname())
                self.sock = self.below.as_stdlib()
            else:
                self.sock = sockets.create_connection(listener.getsockname()[:2])
            self.peer, _ = listener.accept()
        self.peer.settimeout(PATIENCE)
        self.threads: list[threading.Thread] = []

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Call it in a thread, when the caller probably waits; whether he does makes no difference to him."""
        self.threads.append(threading.Timer(0.01, function, arguments))
        self.threads[-1].start()

    def read_all(self) -> bytes:
        """What the peer gets until the end."""
        parts = []
        while part := self.peer.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def nothing_came(self) -> bool:
        """Whether there is nothing at the peer now."""
        return select.select([self.peer], [], [], 0)[0] == []

    def wait_for_input(self) -> None:
        """Block until there is something to read; it is not taken."""
        assert select.select([self.sock], [], [], PATIENCE)[0] == [self.sock]

    def wait_for_all(self, size: int, *, ended: bool = False) -> None:
        """Block until the kernel has *size* bytes of the peer, and its end if it has *ended*."""

        def arrived() -> bool:
            waiting = struct.unpack("i", fcntl.ioctl(self.sock.fileno(), termios.FIONREAD, bytes(4)))[0]
            return waiting == size and bool(poll.poll(0)) == ended

        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP)
        wait_until(arrived, what=f"{size} bytes at the kernel")

    def reset(self) -> None:
        """The peer resets the connection, and this side's kernel knows it."""
        self.peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)
        assert poll.poll(10_000)

    def close(self) -> None:
        for thread in self.threads:
            thread.join()
        self.peer.close()
        self.sock.close()
        if self.below is not None:
            self.below.terminate()


@pytest.fixture(params=BOTH)
def both(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[StdlibPair]:
    """A socket of each kind."""
    with closing(StdlibPair(request.param)) as pair:
        yield pair


@pytest.fixture
def ours(no_leaks: None) -> Iterator[StdlibPair]:
    """A socket of our kind alone."""
    with closing(StdlibPair("as_stdlib")) as pair:
        yield pair
