"""A client for Redis that any number of greenlets share: one connection, on which their commands are together.

python examples/redis_client.py [address] [greenlets]
"""

import sys
import time

import gevent
from resp import Replies

import greensock


class Redis:
    def __init__(self, address, timeout=5.0):
        self.timeout = timeout
        self.socket = greensock.connect(address, framing=Replies(), timeout=timeout)
        self.exchange = greensock.Exchange(self.socket)

    def __call__(self, *words, timeout=None):
        """The reply to one command. An error that Redis answers is raised."""
        return checked(self.exchange.call(words, timeout or self.timeout))

    def many(self, commands):
        """The replies to many commands, in their order, sent without waiting for each."""
        return [checked(reply) for reply in self.exchange.call_many(commands, timeout=self.timeout)]

    def close(self):
        self.socket.close()


def checked(reply):
    if isinstance(reply, Exception):
        raise reply
    return reply


def work(redis, number):
    key = f"greensock:{number}"
    redis("SET", key, number, "EX", 60)
    for _ in range(100):
        redis("INCR", key)
    assert int(redis("GET", key)) == number + 100


if __name__ == "__main__":
    redis = Redis(sys.argv[1] if sys.argv[1:] else "127.0.0.1:6379")
    greenlets = int(sys.argv[2]) if sys.argv[2:] else 100
    began = time.perf_counter()
    gevent.joinall([gevent.spawn(work, redis, number) for number in range(greenlets)], raise_error=True)
    seconds = time.perf_counter() - began
    print(
        f"{greenlets} greenlets, {greenlets * 102} commands, {greenlets * 102 / seconds:,.0f} a second, one connection"
    )
    redis.close()
