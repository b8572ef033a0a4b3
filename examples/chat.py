"""A chat with rooms, for telnet or nc. /nick NAME, /join ROOM, /who, /quit; any other line goes to the room.

python examples/chat.py [address]
"""

import sys

import greensock

rooms: dict[str, greensock.Group] = {}  # by name; socket.data has the name of the person and of his room


class Chat(greensock.Handlers[dict[str, str]]):
    def open(self, socket):
        socket.data = {"nick": f"guest{socket.remote_address[1]}"}
        self.join(socket, "lobby")

    def data(self, socket, line):
        command, _, argument = (text := line.decode(errors="replace").strip()).partition(" ")
        if not text.startswith("/"):
            self.say(socket, f"{socket.data['nick']}: {text}")
        elif command == "/nick" and argument:
            self.say(socket, f"* {socket.data['nick']} is now {argument}")
            socket.data["nick"] = argument
        elif command == "/join" and argument:
            self.leave(socket)
            self.join(socket, argument)
        elif command == "/who":
            names = sorted(member.data["nick"] for member in rooms[socket.data["room"]] if member.data)
            socket.write(f"* {', '.join(names)}\n")
        elif command == "/quit":
            socket.end("* bye\n")
        else:
            socket.write(f"* {command}?\n")

    def error(self, socket, error):
        socket.write(f"* {error}\n")  # a line that is too long, after which it closes

    def close(self, socket, error):
        self.leave(socket)

    def join(self, socket, name):
        socket.data["room"] = name
        rooms.setdefault(name, greensock.Group()).add(socket)
        self.say(socket, f"* {socket.data['nick']} is in {name}")

    def leave(self, socket):
        self.say(socket, f"* {socket.data['nick']} has left")
        room = rooms[socket.data["room"]]
        room.discard(socket)
        if not room and rooms.get(socket.data["room"]) is room:
            del rooms[socket.data["room"]]

    def say(self, socket, text):
        rooms[socket.data["room"]].write(text + "\n")  # whoever does not read is closed when 1 MiB waits for him


server = greensock.listen(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8080", Chat(), framing=greensock.framing.Lines())
print(f"listening on {server.url}", flush=True)
greensock.run(server)
