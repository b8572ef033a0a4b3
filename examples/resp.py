"""RESP2, the protocol of Redis (redis.io/docs/latest/develop/reference/protocol-spec): a framing of one's own.

It is the server's side: the decoder gives commands, as lists of words, and ``encode`` takes replies.
"""

from greensock import FrameError, FrameTooLarge, IncompleteRead

LIMITS = {b"*": 1024, b"$": 16 * 1024 * 1024}  # words of a command, bytes of a word
COMMON = {kind: {b"%b%d" % (kind, size): size for size in range(257)} for kind in LIMITS}


class Resp:
    def decoder(self):
        return CommandDecoder()

    def encode(self, reply):
        if isinstance(reply, bytes):
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        if isinstance(reply, int):
            return b":%d\r\n" % reply
        if isinstance(reply, (str, Exception)):
            return (f"+{reply}\r\n" if isinstance(reply, str) else f"-ERR {reply}\r\n").encode()
        return b"$-1\r\n" if reply is None else b"*%d\r\n%b" % (len(reply), b"".join(map(self.encode, reply)))


class CommandDecoder:
    def __init__(self):
        self.rest, self.needed = bytearray(), 0  # what is not whole yet is looked at again when it is so long
        self.words: list[bytes] = []  # of a command,
        self.missing = 0  # which has so many more

    def feed(self, data):
        self.rest += data
        commands: list[list[bytes]] = []
        position = 0
        if len(self.rest) >= self.needed:
            data, self.needed = bytes(self.rest), 0
            while found := header(data, position, b"$" if self.missing else b"*", commands):
                size, start = found
                if not self.missing:
                    self.words, self.missing, position = [], size, start
                elif len(data) < start + size + 2:
                    self.needed = start + size + 2 - position
                    break
                else:
                    self.words.append(data[start : start + size])
                    self.missing, position = self.missing - 1, start + size + 2
                    if not self.missing:
                        commands.append(self.words)
            del self.rest[:position]
        return commands

    def close(self):
        if self.rest or self.missing:
            raise IncompleteRead("the peer ended inside a command", bytes(self.rest))


def header(data, position, kind, commands):
    """The number in the line at *position* and where the next line begins, or None if this one is not whole."""
    end = data.find(b"\r\n", position, position + 12)
    line = data[position : end if end >= 0 else position + 12]
    if end < 0 and len(line) < 12 and kind.startswith(line[:1]):
        return None
    size = COMMON[kind].get(line)
    if size is None:
        if end < 0 or line[:1] != kind or not line[1:].isdigit():
            raise FrameError(f"no command: {line!r}", commands)
        if (size := int(line[1:])) > LIMITS[kind]:
            raise FrameTooLarge(f"{size} is over the limit of {LIMITS[kind]}", commands)
    return size, end + 2
