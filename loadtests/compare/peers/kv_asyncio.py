"""examples/kv.py in asyncio on uvloop: the same commands and the same decoder, in a Protocol.

Two ways to answer: each reply by a write of its own, as handlers do, or all replies to one read gathered by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))

from resp import Resp
from store import Store

RESP = Resp()
store = Store()
COMMANDS: dict[bytes, Callable[..., Any]] = {
    b"GET": store.get,
    b"SET": store.set,
    b"DEL": store.delete,
    b"INCR": store.incr,
    b"EXPIRE": store.expire,
    b"PING": lambda text="PONG": text,
    **dict.fromkeys((b"COMMAND", b"CONFIG"), lambda *words: []),
}


def answer(command: list[bytes]) -> bytes:
    name, *words = command
    reply: object
    try:
        reply = COMMANDS[name.upper()](*words)
    except KeyError:
        reply = ValueError(f"unknown command {name!r}")
    except TypeError:
        reply = ValueError(f"wrong number of arguments for {name!r}")
    except ValueError as error:
        reply = error
    return cast(bytes, RESP.encode(reply))


class Each(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.decoder = RESP.decoder()

    def data_received(self, data: bytes) -> None:
        try:
            for command in self.decoder.feed(data):
                self.transport.write(answer(command))
        except ValueError:  # no RESP
            self.transport.abort()

    # Bounded memory: a client that does not read is not read from.
    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Gathered(Each):
    def data_received(self, data: bytes) -> None:
        try:
            self.transport.write(b"".join(map(answer, self.decoder.feed(data))))
        except ValueError:
            self.transport.abort()


async def serve(protocol: type[Each]) -> None:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(f"listening {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--replies", choices=("each", "gathered"), default="each")
    uvloop.run(serve(Each if cli.parse_args().replies == "each" else Gathered))
