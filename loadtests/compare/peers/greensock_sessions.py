"""greensock.listen with one function for each connection: a session, in blocking style.

Its documentation recommends plain loops: what is written before the next read goes out together.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent

import common
import greensock
from greensock.framing import LengthPrefixed

Socket = greensock.Socket[Any]


def echo(socket: Socket) -> None:
    for data in socket:
        socket.write(data)


def small(socket: Socket) -> None:
    for data in socket:
        for i in range(len(data)):
            socket.write(data[i : i + 1])


def sleep(socket: Socket) -> None:
    for data in socket:
        gevent.sleep(common.NAP)
        socket.write(data)


def frames(socket: Socket) -> None:
    for message in socket.messages():
        socket.write_message(message)


def lines(socket: Socket) -> None:
    for line in socket.lines(common.MAX_MESSAGE):
        socket.write(line + b"\n")


def bulk(socket: Socket) -> None:
    socket.write(common.COUNT.pack(sum(map(len, socket))))


def source(socket: Socket) -> None:
    for block in common.blocks(*common.COUNT.unpack(socket.read_exactly(common.COUNT.size))):
        socket.write(block)  # which waits where much is queued already


SESSIONS: dict[str, Callable[[Socket], None]] = {
    "echo": echo,
    "small": small,
    "sleep": sleep,
    "frames": frames,
    "lines": lines,
    "bulk": bulk,
    "source": source,
}


def main() -> None:
    cli = common.parser(__doc__)
    args = cli.parse_args()
    if args.mode not in SESSIONS:
        cli.error(f"no such mode here: {args.mode}")
    framing = LengthPrefixed(max_size=common.MAX_MESSAGE) if args.mode == "frames" else None
    tls = greensock.TLS(key=Path(args.key), cert=Path(args.cert)) if args.key else None
    server = greensock.listen(
        ("127.0.0.1", args.port), SESSIONS[args.mode], framing=framing, backlog=common.BACKLOG, tls=tls
    )
    common.announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
