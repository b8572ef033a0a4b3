"""RESP2, the protocol of Redis (redis.io/docs/latest/develop/reference/protocol-spec): framings of one's own.

``Resp`` is the server's side: its decoder gives commands, as lists of words, and ``encode`` takes replies. ``Replies``
is the client's: it encodes commands, and its decoder gives replies; an error among them is an exception, not raised.
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


# -- the client's side -----------------------------------------------------------------------------------

LONGEST_LINE = 4096
LARGEST = 512 * 1024 * 1024  # what Redis itself takes for one word


class RedisError(Exception):
    """What Redis answers to a command that it does not like."""


class Replies:
    def decoder(self):
        return ReplyDecoder()

    def encode(self, command):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class ReplyDecoder:
    def __init__(self):
        self.rest, self.needed = bytearray(), 0  # what is not whole yet is looked at again when it is so long
        self.arrays: list[tuple[int, list]] = []  # those that are not whole, one in the other, each with its size

    def feed(self, data):
        self.rest += data
        replies: list = []
        position = 0
        if len(self.rest) >= self.needed:
            data, self.needed = bytes(self.rest), 0
            while (end := data.find(b"\r\n", position, position + LONGEST_LINE)) >= 0:
                kind, line, start = data[position : position + 1], data[position + 1 : end], end + 2
                if kind == b"$" and line != b"-1":
                    end = start + number(line, replies)
                    if len(data) < end + 2:
                        self.needed = end + 2 - position
                        break
                    value, start = data[start:end], end + 2
                elif kind == b"*" and line not in (b"-1", b"0"):
                    self.arrays.append((number(line, replies), []))
                    position = start
                    continue
                else:
                    value = simple(kind, line, replies)
                position = start
                self.put(value, replies)
            if not self.needed and len(data) - position >= LONGEST_LINE:
                raise FrameTooLarge(f"a line of more than {LONGEST_LINE} bytes", replies)
            del self.rest[:position]
        return replies

    def put(self, value, replies):
        """A value is whole: it is a reply, or part of the innermost array, which may be whole by that."""
        while self.arrays:
            size, items = self.arrays[-1]
            items.append(value)
            if len(items) < size:
                return
            value = items
            self.arrays.pop()
        replies.append(value)

    def close(self):
        if self.rest or self.arrays:
            raise IncompleteRead("the peer ended inside a reply", bytes(self.rest))


def simple(kind, line, replies):
    if kind == b"+":
        return line.decode(errors="replace")
    if kind == b"-":
        return RedisError(line.decode(errors="replace"))
    if kind == b":":
        return number(line.removeprefix(b"-"), replies) * (-1 if line[:1] == b"-" else 1)
    if kind in (b"$", b"*"):
        return [] if line == b"0" else None
    raise FrameError(f"no reply: {kind + line!r}", replies)


def number(line, replies):
    if not line.isdigit() or (size := int(line)) > LARGEST:
        raise FrameError(f"no number, or too large a one: {line!r}", replies)
    return size
