"""A small Redis: values that may expire, and channels. redis-cli and redis-benchmark talk to it.

python examples/kv.py [address], and then: redis-benchmark -p 8080 -t set,get -P 16
"""

import sys
from typing import Any

from resp import Resp
from store import Store

import greensock

RESP = Resp()
channels: dict[bytes, greensock.Group] = {}


def subscribe(socket, name):
    channels.setdefault(name, greensock.Group()).add(socket)
    return [b"subscribe", name, sum(socket in members for members in channels.values())]


def publish(name, message):
    return channels[name].write(RESP.encode([b"message", name, message])) if name in channels else 0


store = Store()
COMMANDS: dict[bytes, Any] = {
    b"GET": store.get,
    b"SET": store.set,
    b"DEL": store.delete,
    b"INCR": store.incr,
    b"EXPIRE": store.expire,
    b"PING": lambda text="PONG": text,
    b"SUBSCRIBE": subscribe,
    b"PUBLISH": publish,
    **dict.fromkeys((b"COMMAND", b"CONFIG"), lambda *words: []),  # what the clients of Redis ask first
}


class Server(greensock.Handlers):
    def data(self, socket, command):
        name, *words = command
        try:
            known = COMMANDS[name.upper()]
            reply = known(socket, *words) if known is subscribe else known(*words)
        except KeyError:
            reply = ValueError(f"unknown command {name!r}")
        except TypeError:  # all words are bytes, so it can only be their number
            reply = ValueError(f"wrong number of arguments for {name!r}")
        except ValueError as error:
            reply = error
        socket.write_message(reply)


server = greensock.listen(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", Server(), framing=RESP)
print(f"listening on {server.url}", flush=True)
greensock.run(server)
