"""gevent's StreamServer with the loop of its documentation: a greenlet per connection, recv and sendall.

Its documentation has no faster way: its own echo server reads lines through makefile and answers with sendall.
"""

# Monkey-patching must come before anything that imports socket, threading or logging.
import sys

if "--patched" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import contextlib
import socket
from collections.abc import Callable

import gevent
from gevent.lock import BoundedSemaphore
from gevent.server import StreamServer
from gevent.ssl import PROTOCOL_TLS_SERVER, SSLContext

import common

READ_SIZE = 65536
Handler = Callable[[socket.socket, object], None]


def echo(sock: socket.socket, address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(READ_SIZE):
        sock.sendall(data)


def small(sock: socket.socket, address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(READ_SIZE):
        for i in range(len(data)):
            sock.sendall(data[i : i + 1])


def sleep(sock: socket.socket, address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := sock.recv(READ_SIZE):
        gevent.sleep(common.NAP)
        sock.sendall(data)


def broadcast() -> Handler:
    # A lock for each connection: two publishers' messages must not mix where sendall has to wait.
    everybody: dict[socket.socket, BoundedSemaphore] = {}

    def handle(sock: socket.socket, address: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        everybody[sock] = BoundedSemaphore()
        try:
            sock.sendall(common.GREETING)
            while data := sock.recv(READ_SIZE):
                for other, lock in list(everybody.items()):
                    with lock, contextlib.suppress(OSError):  # which the other's own greenlet meets too
                        other.sendall(data)
        finally:
            del everybody[sock]

    return handle


# As in gevent's own example of an echo server: read through makefile, answer with sendall.


def frames(sock: socket.socket, address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock.makefile("rb") as file:
        while len(header := file.read(4)) == 4:
            (length,) = common.LENGTH.unpack(header)
            if length > common.MAX_MESSAGE or len(message := file.read(length)) < length:
                return
            sock.sendall(common.LENGTH.pack(len(message)) + message)


def lines(sock: socket.socket, address: object) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with sock.makefile("rb") as file:
        while (line := file.readline(common.MAX_MESSAGE)).endswith(b"\n"):
            sock.sendall(line)


def bulk(sock: socket.socket, address: object) -> None:
    count = 0
    while data := sock.recv(READ_SIZE):
        count += len(data)
    sock.sendall(common.COUNT.pack(count))


def source(sock: socket.socket, address: object) -> None:
    with sock.makefile("rb") as file:
        wanted = file.read(common.COUNT.size)
    if len(wanted) == common.COUNT.size:
        for block in common.blocks(*common.COUNT.unpack(wanted)):
            sock.sendall(block)


def logging_echo(log_file: str | None) -> Handler:
    logger = common.file_logger(log_file)

    def log(sock: socket.socket, address: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(READ_SIZE):
            logger.info("%d bytes", len(data))
            sock.sendall(data)

    return log


def main() -> None:
    cli = common.parser(__doc__)
    cli.add_argument("--patched", action="store_true", help="monkey-patch everything first")
    args = cli.parse_args()
    handlers = {
        "echo": echo,
        "small": small,
        "sleep": sleep,
        "frames": frames,
        "lines": lines,
        "bulk": bulk,
        "source": source,
    }
    if args.mode == "log":
        handle = logging_echo(args.log_file)
    else:
        handle = broadcast() if args.mode == "broadcast" else handlers[args.mode]
    address = ("127.0.0.1", args.port)
    if args.key:
        tls = SSLContext(PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.cert, args.key)
        server = StreamServer(address, handle, backlog=common.BACKLOG, ssl_context=tls)
    else:
        server = StreamServer(address, handle, backlog=common.BACKLOG)
    server.start()
    common.announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
