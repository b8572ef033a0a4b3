"""A game in lines: one function for each connection, which asks, waits and answers, its state in local variables.

python examples/lines.py [address], and then: nc 127.0.0.1 8080
"""

import random
import sys

import greensock

HIGHEST = 100
PATIENCE = 60.0  # seconds for each line


class Game:
    def handle(self, socket):
        lines = socket.lines(max_size=80, timeout=PATIENCE)
        socket.write("What is your name? ")
        name = next(lines, b"").decode(errors="replace")
        secret = random.randint(1, HIGHEST)
        socket.write(f"{name}, I think of a number from 1 to {HIGHEST}.\n")
        for tries, line in enumerate(lines, 1):
            if not line.strip().isdigit():
                socket.write("A number, please.\n")
            elif (guess := int(line)) != secret:
                socket.write("Higher.\n" if guess < secret else "Lower.\n")
            else:
                socket.write(f"Yes! That took you {tries}.\n")
                return

    def stopping(self, socket):
        socket.write("The house closes, come again.\n")


server = greensock.listen(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", Game())
print(f"listening on {server.url}", flush=True)
greensock.run(server)
