"""Twisted with its reactor on epoll, the default on Linux: a Protocol for each connection.

Its documentation recommends `transport.write`, which gathers until the reactor runs again and then sends once;
LineReceiver and Int32StringReceiver for messages; `registerProducer` against buffers that grow; and a pull producer
for what is bound by the CPU alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.protocols.basic import Int32StringReceiver, LineReceiver
from zope.interface import implementer  # type: ignore[import-untyped]

import common

reactor: Any = installed_reactor


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    transport: Any

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        # Bounded memory: while much waits to be sent, the transport pauses its producer, which is its own reading.
        self.transport.registerProducer(self.transport, True)

    def readConnectionLost(self) -> None:
        self.close()

    def writeConnectionLost(self) -> None:
        pass

    def close(self) -> None:
        """When all is sent: a transport that waits for a producer would not close."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class Echo(Peer):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Small(Peer):
    def dataReceived(self, data: bytes) -> None:
        write = self.transport.write
        for i in range(len(data)):
            write(data[i : i + 1])


class Sleep(Peer):
    def dataReceived(self, data: bytes) -> None:
        reactor.callLater(common.NAP, self.transport.write, data)


@implementer(IPushProducer)
class Broadcast(Peer):
    everybody: ClassVar[set[Any]] = set()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.everybody.add(self.transport)
        self.transport.write(common.GREETING)

    def connectionLost(self, reason: object = None) -> None:
        self.everybody.discard(self.transport)

    def dataReceived(self, data: bytes) -> None:
        for transport in self.everybody:
            transport.write(data)

    # Nobody can wait for a receiver that does not read: it is given up before it costs more memory.
    def pauseProducing(self) -> None:
        self.transport.abortConnection()

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


class Frames(Int32StringReceiver, Peer):
    MAX_LENGTH = common.MAX_MESSAGE

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)  # type: ignore[no-untyped-call]

    def lengthLimitExceeded(self, length: int) -> None:
        self.transport.abortConnection()


class Lines(LineReceiver, Peer):
    MAX_LENGTH = common.MAX_MESSAGE
    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:
        self.transport.abortConnection()


class Bulk(Peer):
    count = 0

    def dataReceived(self, data: bytes) -> None:
        self.count += len(data)

    def readConnectionLost(self) -> None:
        self.transport.write(common.COUNT.pack(self.count))
        self.close()


@implementer(IPullProducer)
class Source(Peer):
    wanted = b""
    blocks: Iterator[bytes]

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.wanted += data
        if len(self.wanted) == common.COUNT.size:
            self.blocks = common.blocks(*common.COUNT.unpack(self.wanted))
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        block = next(self.blocks, None)
        if block is None:
            self.close()
        else:
            self.transport.write(block)

    def stopProducing(self) -> None:
        self.blocks = iter(())


PROTOCOLS: dict[str, type[Peer]] = {
    "echo": Echo,
    "small": Small,
    "sleep": Sleep,
    "broadcast": Broadcast,
    "frames": Frames,
    "lines": Lines,
    "bulk": Bulk,
    "source": Source,
}


def tls_options(key: str, cert: str) -> CertificateOptions:
    pem = PrivateCertificate.loadPEM(Path(key).read_bytes() + Path(cert).read_bytes())
    # Tickets, as all the others give them: the same work for each handshake.
    return CertificateOptions(
        privateKey=pem.privateKey.original, certificate=pem.original, enableSessions=True, enableSessionTickets=True
    )


def main() -> None:
    cli = common.parser(__doc__)
    args = cli.parse_args()
    if args.mode not in PROTOCOLS:
        cli.error(f"no such mode here: {args.mode}")
    where = {"backlog": common.BACKLOG, "interface": "127.0.0.1"}
    if args.key:
        endpoint: Any = SSL4ServerEndpoint(reactor, args.port, tls_options(args.key, args.cert), **where)
    else:
        endpoint = TCP4ServerEndpoint(reactor, args.port, **where)

    def listening(port: Any) -> None:
        common.announce(port.getHost().port)

    endpoint.listen(Factory.forProtocol(PROTOCOLS[args.mode])).addCallback(listening)
    reactor.run()


if __name__ == "__main__":
    main()
