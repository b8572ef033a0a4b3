"""greensock.listen with a Handlers class: one set of handlers, shared by all sockets.

Its documentation recommends plain writes: those of one handler go out together, and one too many waits.
"""

# Monkey-patching must come before anything that imports socket, threading or logging.
import sys

if "--patched" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

from pathlib import Path
from typing import Any

import gevent

import common
import greensock
from greensock.framing import Fixed, Framing, LengthPrefixed, Lines

Socket = greensock.Socket[Any]


class Echo(greensock.Handlers[Any]):
    def data(self, socket: Socket, data: bytes) -> None:
        socket.write(data)


class Small(greensock.Handlers[Any]):
    def data(self, socket: Socket, data: bytes) -> None:
        for i in range(len(data)):
            socket.write(data[i : i + 1])


class Sleep(greensock.Handlers[Any]):
    def data(self, socket: Socket, data: bytes) -> None:
        gevent.sleep(common.NAP)
        socket.write(data)


class Log(greensock.Handlers[Any]):
    def __init__(self, log_file: str | None) -> None:
        self.logger = common.file_logger(log_file)

    def data(self, socket: Socket, data: bytes) -> None:
        self.logger.info("%d bytes", len(data))
        socket.write(data)


class Broadcast(greensock.Handlers[Any]):
    def __init__(self) -> None:
        self.everybody = greensock.Group()

    def open(self, socket: Socket) -> None:
        self.everybody.add(socket)
        socket.write(common.GREETING)

    def data(self, socket: Socket, data: bytes) -> None:
        self.everybody.write(data)


class Messages(greensock.Handlers[Any]):
    def data(self, socket: Socket, message: bytes) -> None:
        socket.write_message(message)


class Bulk(greensock.Handlers[int]):
    def open(self, socket: greensock.Socket[int]) -> None:
        socket.data = 0

    def data(self, socket: greensock.Socket[int], data: bytes) -> None:
        socket.data = (socket.data or 0) + len(data)

    def end(self, socket: greensock.Socket[int]) -> None:
        socket.write(common.COUNT.pack(socket.data))


class Source(greensock.Handlers[Any]):
    def data(self, socket: Socket, wanted: bytes) -> None:
        for block in common.blocks(*common.COUNT.unpack(wanted)):
            socket.write(block)  # which waits where much is queued already
        socket.end()


def main() -> None:
    cli = common.parser(__doc__)
    cli.add_argument("--patched", action="store_true", help="monkey-patch everything first")
    args = cli.parse_args()
    modes: dict[str, type[greensock.Handlers[Any]]] = {
        "echo": Echo,
        "small": Small,
        "sleep": Sleep,
        "broadcast": Broadcast,
        "frames": Messages,
        "lines": Messages,
        "bulk": Bulk,
        "source": Source,
    }
    framings: dict[str, Framing] = {
        "frames": LengthPrefixed(max_size=common.MAX_MESSAGE),
        "lines": Lines(max_size=common.MAX_MESSAGE),
        "source": Fixed(common.COUNT.size),
    }
    handlers = Log(args.log_file) if args.mode == "log" else modes[args.mode]()
    tls = greensock.TLS(key=Path(args.key), cert=Path(args.cert)) if args.key else None
    server = greensock.listen(
        ("127.0.0.1", args.port), handlers, framing=framings.get(args.mode), backlog=common.BACKLOG, tls=tls
    )
    common.announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
