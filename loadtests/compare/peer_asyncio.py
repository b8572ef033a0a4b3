"""asyncio, with its own loop or uvloop's, and its interfaces: Protocols (the faster) and streams.

asyncio and uvloop both set TCP_NODELAY on every TCP connection themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

import peer_cli

READ_SIZE = 65536


class Echo(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    # Bounded memory, as every other peer has it: a client that does not read is not read from.
    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Small(Echo):
    def data_received(self, data: bytes) -> None:
        write = self.transport.write
        for i in range(len(data)):
            write(data[i : i + 1])


class Sleep(Echo):
    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(peer_cli.NAP, self.transport.write, data)


Reply = Callable[[asyncio.StreamWriter, bytes], None]


def write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)


def write_small(writer: asyncio.StreamWriter, data: bytes) -> None:
    for i in range(len(data)):
        writer.write(data[i : i + 1])


async def stream(reply: Reply, nap: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(READ_SIZE):
            if nap:
                await asyncio.sleep(nap)
            reply(writer, data)
            await writer.drain()
    finally:
        writer.close()


async def serve(style: str, mode: str, port: int) -> None:
    if style == "protocol":
        protocol = {"echo": Echo, "small": Small, "sleep": Sleep}[mode]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(protocol, "127.0.0.1", port, backlog=peer_cli.BACKLOG)
    else:
        handle = partial(stream, write_small if mode == "small" else write, peer_cli.NAP if mode == "sleep" else 0)
        server = await asyncio.start_server(handle, "127.0.0.1", port, backlog=peer_cli.BACKLOG)
    peer_cli.announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    cli = peer_cli.parser(__doc__)
    cli.add_argument("--style", choices=("protocol", "streams"), default="protocol")
    cli.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    args = cli.parse_args()
    if args.mode == "log":
        cli.error("--mode log compares the monkey-patched peers, gevent and greensock")
    if args.loop == "uvloop":
        import uvloop

        uvloop.run(serve(args.style, args.mode, args.port))
    else:
        asyncio.run(serve(args.style, args.mode, args.port))


if __name__ == "__main__":
    main()
