"""An echo server: whatever comes in goes back.

    python examples/echo.py [host:port] [--stats]

TERM or INT drains it. With --stats it says at the end, in one line of JSON, what it has counted.
"""

import argparse
import json

import greensock


class Echo(greensock.Handlers):
    def data(self, socket, data):
        socket.write(data)


parser = argparse.ArgumentParser()
parser.add_argument("address", nargs="?", default="127.0.0.1:8080")
parser.add_argument("--stats", action="store_true", help="print the server's counters when it ends")
args = parser.parse_args()

server = greensock.listen(args.address, Echo())
print(f"listening on {server.url}", flush=True)
greensock.run(server)
if args.stats:
    print(json.dumps(server.stats().as_dict()), flush=True)
