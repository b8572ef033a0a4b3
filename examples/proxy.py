"""A TCP forwarder. Neither side is read faster than the other side takes it, and each one's end is passed on.

python examples/proxy.py [address] [target]
"""

import sys

import greensock

target = sys.argv[2] if sys.argv[2:] else "127.0.0.1:8081"


class Side(greensock.Handlers):
    """One end of a pair; ``socket.data`` is the other one."""

    def data(self, socket, data):
        if not socket.data.closed and not socket.data.write(data):
            socket.pause()

    def drain(self, socket):
        socket.data.resume()

    def end(self, socket):
        socket.data.end()

    def close(self, socket, error):
        other = socket.data
        if other is not None and not other.closed:
            other.terminate() if error is not None else other.close()


class Accepted(Side):
    def open(self, socket):
        try:
            socket.data = greensock.connect(target, Side(), data=socket, allow_half_open=True)
        except OSError as error:
            print(f"{target}: {error}", file=sys.stderr, flush=True)
            socket.terminate()


server = greensock.listen(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", Accepted(), allow_half_open=True)
print(f"listening on {server.url}", flush=True)
greensock.run(server)
