"""A WHOIS server (RFC 3912): a line asks, a text answers, and the connection ends.

    greensock serve                     in this directory; greensock.toml says the rest
    whois -h 127.0.0.1 -p 4343 example.org

The records are files, read each time: who edits one needs no reload.
"""

import re
from pathlib import Path

import greensock

RECORDS = Path(__file__).parent / "records"
NAME = re.compile(rb"[a-z0-9-]+(\.[a-z0-9-]+)+")  # nothing else becomes part of a path


class Whois(greensock.Handlers):
    def data(self, socket, line):
        name = line.strip().lower()
        asked = socket.server.data.setdefault("asked", {})  # outlives a reload, and is shared by all addresses
        if name == b"?":
            socket.end("".join(f"{count:8} {name}\r\n" for name, count in sorted(asked.items())))
        elif NAME.fullmatch(name) and (record := RECORDS / f"{name.decode()}.txt").is_file():
            asked[name.decode()] = asked.get(name.decode(), 0) + 1
            socket.end(record.read_bytes())
        else:
            socket.end("No match.\r\n")

    def timeout(self, socket):
        socket.write("Too slow.\r\n")
        socket.end()

    def error(self, socket, error):
        socket.end("That is too long.\r\n")
