"""gevent's StreamServer with the loop of its documentation: a greenlet per connection, recv and sendall."""

# Monkey-patching must come before anything that imports socket, threading or logging.
import sys

if "--patched" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import socket
from collections.abc import Callable

import gevent
from gevent.server import StreamServer

import peer_cli

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
        gevent.sleep(peer_cli.NAP)
        sock.sendall(data)


def logging_echo(log_file: str | None) -> Handler:
    logger = peer_cli.file_logger(log_file)

    def log(sock: socket.socket, address: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(READ_SIZE):
            logger.info("%d bytes", len(data))
            sock.sendall(data)

    return log


def main() -> None:
    cli = peer_cli.parser(__doc__)
    cli.add_argument("--patched", action="store_true", help="monkey-patch everything first")
    args = cli.parse_args()
    handlers = {"echo": echo, "small": small, "sleep": sleep}
    handle = logging_echo(args.log_file) if args.mode == "log" else handlers[args.mode]
    server = StreamServer(("127.0.0.1", args.port), handle, backlog=peer_cli.BACKLOG)
    server.start()
    peer_cli.announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
