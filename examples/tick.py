"""A game server: players move by lines (left, right, up, down) and see the state 20 times a second.

python examples/tick.py [address]
"""

import json
import sys
import time

import gevent

import greensock

TICK = 1 / 20
STALE = 4096  # with so many bytes still waiting for him a player gets no newer state until he has caught up
MOVES = {b"left": (-1, 0), b"right": (1, 0), b"up": (0, 1), b"down": (0, -1)}

players = greensock.Group()


class Game(greensock.Handlers):
    def open(self, socket):
        socket.data = [0, 0]
        players.add(socket)

    def data(self, socket, line):
        x, y = MOVES.get(line.strip(), (0, 0))
        socket.data[0] += x
        socket.data[1] += y


def play():
    number = 0
    due = time.monotonic()
    while True:
        number += 1
        places = {str(player.remote_address): player.data for player in players}
        players.write(json.dumps({"tick": number, "players": places}) + "\n", skip_over=STALE)
        due = max(due + TICK, time.monotonic() - TICK)  # by the clock, not by how long a tick took
        gevent.sleep(max(0, due - time.monotonic()))


server = greensock.listen(
    sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", Game(), framing=greensock.framing.Lines(max_size=100)
)
print(f"listening on {server.url}", flush=True)
loop = gevent.spawn(play)
greensock.run(server)
loop.kill()
