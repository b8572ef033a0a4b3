"""An old program on greensock, with blocking database drivers, and not a line of it changed: see examples/queries.py.

    python examples/legacy_db.py [address]

Each query blocks its own connection only: of 200 clients each waits as long as one would. TERM or INT drains it.
"""

from gevent import monkey

monkey.patch_all()  # before all else: the drivers find what does not block

import sys

from queries import Query

import greensock
from greensock import legacy

server = greensock.listen(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", legacy.request_handler(Query))
print(f"listening on {server.url}", flush=True)
greensock.run(server)
