"""greensock.listen with one function for each connection: a session, in blocking style."""

from typing import Any

import greensock
import peer_cli

Socket = greensock.Socket[Any]


def echo(socket: Socket) -> None:
    for data in socket:
        socket.write(data)


def lines(socket: Socket) -> None:
    for line in socket.lines(peer_cli.MAX_MESSAGE):
        socket.write(line + b"\n")


def main() -> None:
    args = peer_cli.parser(__doc__).parse_args()
    sessions = {"echo": echo, "lines": lines}
    server = greensock.listen(("127.0.0.1", args.port), sessions[args.mode], backlog=peer_cli.BACKLOG)
    peer_cli.announce(server.server_port)
    server.serve_forever()


if __name__ == "__main__":
    main()
