"""A client that stays connected: it sends a line each second, prints what comes, and connects again when it is cut off.

python examples/client.py [address]
"""

import random
import signal
import sys

import gevent
from gevent.event import Event

import greensock

FIRST, LONGEST = 0.1, 30.0  # seconds to wait before it tries again: twice as long each time

address = sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080"


class Client(greensock.Handlers):
    def open(self, socket):
        print(f"connected to {address}", flush=True)

    def data(self, socket, line):
        print(line.decode(errors="replace"), flush=True)

    def connect_error(self, socket, error):
        print(f"not connected: {error}", flush=True)

    def close(self, socket, error):
        print(f"cut off: {socket.close_reason}", flush=True)
        socket.data.set()


def stay_connected():
    wait = FIRST
    while True:
        over = Event()
        try:
            socket = greensock.connect(address, Client(), framing=greensock.framing.Lines(), data=over, timeout=5.0)
            wait = FIRST
            while not over.is_set():
                socket.write_message("hello")
                over.wait(1.0)
        except OSError:
            pass  # connect_error has told, or close does
        gevent.sleep(random.uniform(0, wait))  # not all clients at the same moment
        wait = min(2 * wait, LONGEST)


loop = gevent.spawn(stay_connected)
for number in (signal.SIGTERM, signal.SIGINT):
    gevent.signal_handler(number, loop.kill)
loop.join()
