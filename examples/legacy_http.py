"""Files over HTTP: the standard library's own handler, as it is, on greensock.

    python examples/legacy_http.py [address] [directory]

TERM or INT drains it: what is under way is finished.
"""

import functools
import http.server
import sys

import greensock
from greensock import legacy

address = sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080"
directory = sys.argv[2] if sys.argv[2:] else "."

Handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
server = greensock.listen(address, legacy.request_handler(Handler))
print(f"listening on {server.url}", flush=True)
greensock.run(server)
