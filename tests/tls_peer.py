"""A peer that speaks TLS, for better or worse, and what it takes to be its server."""

import os
import socket as sockets
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import authority
import greensock
from greensock.sealing import Buffers
from greensock.secure import Secure, secured
from greensock.testing import Peer
from greensock.wire import READ_SIZE, Plain

#: What the certificates of these tests are for, unless they say otherwise.
HERE = ("localhost", "127.0.0.1", "::1")


def credentials(*names: str) -> dict[str, Any]:
    """``key`` and ``cert`` for :class:`greensock.TLS`."""
    return authority.issued(*(names or HERE)).both


def trust() -> dict[str, Any]:
    """``ca`` for :class:`greensock.TLS`, by which clients verify the servers of these tests."""
    return {"ca": authority.trust()}


@cache
def server_context() -> ssl.SSLContext:
    """A server by hand."""
    return authority.context_for(authority.issued(*HERE), server=True)


@cache
def client_context() -> ssl.SSLContext:
    """A client by hand, which trusts the servers of these tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.authority("ours").configure_trust(context)
    return context


class SecurePeer(Peer):
    """A client with TLS that does exactly what it is told. What its methods take and give is plaintext.

    Args:
        address: of the server.
        context: how it speaks, by default as a client that trusts these tests' authority.
        server_hostname: whom it expects.
        shake: whether to shake hands at once.
        options: those of :class:`Peer`.
    """

    def __init__(
        self,
        address: Any,
        context: ssl.SSLContext | None = None,
        *,
        server_hostname: str = "localhost",
        shake: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(address, **options)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or client_context()).wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )
        if shake:
            try:
                self.shake_hands()
            except BaseException:
                self.close()
                raise

    def shake_hands(self) -> None:
        """Do the handshake."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_raw(self._outgoing.read())
                self.feed()
            else:
                self.send_raw(self._outgoing.read())
                return

    def hello(self) -> bytes:
        """The first bytes of a handshake, which the caller sends as he likes."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self._outgoing.read()

    def feed(self) -> None:
        """Take what has come from the network.

        Raises:
            EOFError: it was the end.
        """
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server has ended")
        self._incoming.write(data)

    def encrypt(self, data: bytes) -> bytes:
        """Records with *data*, not sent."""
        self.tls.write(data)
        return self._outgoing.read()

    def send_raw(self, data: bytes) -> None:
        """Send *data* as it is."""
        self.socket.sendall(data)

    def send(self, data: bytes) -> None:
        self.send_raw(self.encrypt(data))

    def read(self, size: int = 65536) -> bytes:
        """Some plaintext; ``b""`` after the server's close_notify.

        Raises:
            EOFError: the server has ended without one.
        """
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                self.feed()
            except ssl.SSLZeroReturnError:
                return b""

    def read_exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.read(size - len(parts))
            if not part:
                raise EOFError(f"{size - len(parts)} bytes are missing after {len(parts)}")
            parts += part
        return bytes(parts)

    def read_to_end(self) -> bytes:
        """All until the server's close_notify."""
        parts = bytearray()
        while part := self.read():
            parts += part
        return bytes(parts)

    def say_goodbye(self) -> None:
        """Send close_notify, and no FIN."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.send_raw(self._outgoing.read())

    def finish(self) -> None:
        """Send close_notify and FIN; reading goes on."""
        self.say_goodbye()
        super().finish()

    def break_off(self) -> None:
        """Send FIN without close_notify."""
        super().finish()


# -- full kernels ----------------------------------------------------------------------------------------


def stuff(socket: greensock.Socket[Any]) -> int:
    """Fill the kernel behind the back of *socket*, with bytes that are none of TLS; returns with how many."""
    stuffed = 0
    with suppress(BlockingIOError):
        while True:
            stuffed += os.write(socket.fileno(), bytes(1000))
    return stuffed


def unstuff(peer: SecurePeer, size: int) -> None:
    """Take them out at the other end."""
    assert Peer.read_exactly(peer, size) == bytes(size)


# -- wires -----------------------------------------------------------------------------------------------


class Endpoint:
    """What :meth:`Secure.encrypt` needs of :mod:`greensock.endpoints`."""

    private_bios = False

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        return server_context().wrap_bio(incoming, outgoing, server_side=True)


class Engine:
    """What connections share."""

    def __init__(self) -> None:
        self.tls_buffers: Buffers | None = None


class WirePair:
    """A wire and the other end of its connection, which is told what to do."""

    def __init__(self, engine: Engine) -> None:
        one, self.other = sockets.socketpair()
        one.setblocking(False)
        self.other.setblocking(False)
        self.wire: Secure = secured(Plain(one.family, one.type, one.proto, one.detach()))
        self.wire.encrypt(Endpoint(), engine)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def say(self) -> bytes:
        """What the peer has to say, not sent."""
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        self.other.sendall(data)

    def hear(self) -> None:
        """Take what the wire has sent."""
        try:
            while data := self.other.recv(1 << 20):
                self.incoming.write(data)
        except BlockingIOError:
            pass

    def shake_hands(self) -> None:
        done = False
        while not done:
            try:
                self.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            self.send(self.say())
            try:
                self.wire.shake()
            except BlockingIOError:
                pass
            self.hear()
        assert self.wire.established

    def encrypt(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.say()

    def decrypt(self) -> bytes:
        """All that the wire has sent, in plaintext."""
        self.hear()
        parts = []
        try:
            while part := self.tls.read(65536):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)

    def read_all(self) -> bytes:
        """All that the wire has to give now."""
        parts = []
        try:
            while part := self.wire.read(READ_SIZE):
                parts.append(part)
        except BlockingIOError:
            pass
        return b"".join(parts)

    def narrow(self) -> None:
        """Have the kernel take little of what the wire sends."""
        self.wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)

    def close(self) -> None:
        self.wire.close()
        self.other.close()


@contextmanager
def shaken() -> Iterator[WirePair]:
    """A wire that has shaken hands. In the end it has left nothing in the buffers that it shares with others."""
    engine = Engine()
    pair = WirePair(engine)
    pair.shake_hands()
    yield pair
    assert engine.tls_buffers is not None
    assert not engine.tls_buffers.incoming.pending
    assert not engine.tls_buffers.outgoing.pending
    pair.close()
