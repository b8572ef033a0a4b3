"""asyncio, with its own loop or uvloop's, and its interfaces: Protocols (the faster) and streams.

asyncio and uvloop both set TCP_NODELAY on every TCP connection themselves.  asyncio's documentation recommends
Protocols for high performance, and for many writes `writelines`, which may send them together: that is
`--writelines`; without it each reply is written by itself.  BufferedProtocol, which it has for big amounts, counted
`bulk` no faster.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import ClassVar, cast

import common

READ_SIZE = 65536


class Echo(asyncio.Protocol):
    transport: asyncio.Transport
    together: ClassVar[bool] = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def reply(self, replies: list[bytes]) -> None:
        if self.together:
            self.transport.writelines(replies)
        else:
            write = self.transport.write
            for reply in replies:
                write(reply)

    # Bounded memory, as every other peer has it: a client that does not read is not read from.
    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Small(Echo):
    def data_received(self, data: bytes) -> None:
        self.reply([data[i : i + 1] for i in range(len(data))])


class Sleep(Echo):
    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(common.NAP, self.transport.write, data)


class Broadcast(Echo):
    everybody: ClassVar[set[asyncio.Transport]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=common.SLOW)
        self.everybody.add(self.transport)
        self.transport.write(common.GREETING)

    def connection_lost(self, error: Exception | None) -> None:
        self.everybody.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        for transport in self.everybody:
            transport.write(data)

    # Nobody can wait for a receiver that does not read: it is given up before it costs more memory.
    def pause_writing(self) -> None:
        self.transport.abort()


class Frames(Echo):
    rest = b""

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        unpack_from, pack = common.LENGTH.unpack_from, common.LENGTH.pack
        replies = []
        start, end = 0, len(data)
        while end - start >= 4:
            (length,) = unpack_from(data, start)
            if length > common.MAX_MESSAGE:
                self.transport.abort()
                return
            stop = start + 4 + length
            if stop > end:
                break
            message = data[start + 4 : stop]
            replies.append(pack(len(message)) + message)
            start = stop
        self.rest = data[start:]
        self.reply(replies)


class Lines(Echo):
    rest = b""

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        *lines, self.rest = data.split(b"\n")
        self.reply([line + b"\n" for line in lines])
        if len(self.rest) > common.MAX_MESSAGE:
            self.transport.abort()


class Bulk(Echo):
    count = 0

    def data_received(self, data: bytes) -> None:
        self.count += len(data)

    def eof_received(self) -> None:  # None: the transport closes when this is sent
        self.transport.write(common.COUNT.pack(self.count))


class Source(Echo):
    wanted = b""
    blocks: Iterator[bytes] = iter(())
    paused = False

    def data_received(self, data: bytes) -> None:
        self.wanted += data
        if len(self.wanted) == common.COUNT.size:
            self.blocks = common.blocks(*common.COUNT.unpack(self.wanted))
            self.resume_writing()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        for block in self.blocks:
            self.transport.write(block)
            if self.paused or self.transport.is_closing():
                return
        self.transport.close()  # when all is sent


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


# What a stream has to send is small beside what its writer may keep, so that it seldom has to wait for a drain.
# A writer that is under its limit is not asked: even a drain that does not wait costs a coroutine.


async def stream_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    buffered = writer.transport.get_write_buffer_size
    try:
        while True:
            (length,) = common.LENGTH.unpack(await reader.readexactly(4))
            if length > common.MAX_MESSAGE:
                break
            message = await reader.readexactly(length)
            writer.write(common.LENGTH.pack(len(message)) + message)
            if buffered() > READ_SIZE:
                await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def stream_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    buffered = writer.transport.get_write_buffer_size
    try:
        while (line := await reader.readline()).endswith(b"\n"):
            writer.write(line)
            if buffered() > READ_SIZE:
                await writer.drain()
    except ValueError:
        pass  # a line over the limit of the reader
    finally:
        writer.close()


async def stream_bulk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        count = 0
        while data := await reader.read(READ_SIZE):
            count += len(data)
        writer.write(common.COUNT.pack(count))
        await writer.drain()
    finally:
        writer.close()


async def stream_source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        wanted = await reader.readexactly(common.COUNT.size)
        for block in common.blocks(*common.COUNT.unpack(wanted)):
            writer.write(block)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


PROTOCOLS: dict[str, type[asyncio.Protocol]] = {
    "echo": Echo,
    "small": Small,
    "sleep": Sleep,
    "broadcast": Broadcast,
    "frames": Frames,
    "lines": Lines,
    "bulk": Bulk,
    "source": Source,
}
STREAMS: dict[str, Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]] = {
    "echo": partial(stream, write, 0),
    "small": partial(stream, write_small, 0),
    "sleep": partial(stream, write, common.NAP),
    "frames": stream_frames,
    "lines": stream_lines,
    "bulk": stream_bulk,
    "source": stream_source,
}


async def serve(style: str, mode: str, port: int, tls: ssl.SSLContext | None) -> None:
    if style == "protocol":
        loop = asyncio.get_running_loop()
        server = await loop.create_server(PROTOCOLS[mode], "127.0.0.1", port, backlog=common.BACKLOG, ssl=tls)
    else:
        limit = common.MAX_MESSAGE if mode == "lines" else READ_SIZE
        server = await asyncio.start_server(
            STREAMS[mode], "127.0.0.1", port, limit=limit, backlog=common.BACKLOG, ssl=tls
        )
    common.announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def main() -> None:
    cli = common.parser(__doc__)
    cli.add_argument("--style", choices=("protocol", "streams"), default="protocol")
    cli.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    cli.add_argument("--writelines", action="store_true", help="small, frames and lines: replies of one read together")
    args = cli.parse_args()
    Echo.together = args.writelines
    if args.mode not in (PROTOCOLS if args.style == "protocol" else STREAMS):
        cli.error(f"no such mode here: {args.mode}")
    tls = None
    if args.key:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.cert, args.key)
    serving = serve(args.style, args.mode, args.port, tls)
    if args.loop == "uvloop":
        import uvloop

        uvloop.run(serving)
    else:
        asyncio.run(serving)


if __name__ == "__main__":
    main()
