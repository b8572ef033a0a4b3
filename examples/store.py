"""Values that may expire, for kv.py."""

import time
from typing import Any


class Store:
    def __init__(self):
        self.values: dict[bytes, tuple[bytes, Any]] = {}  # each with the time when it expires, or None

    def get(self, key):
        value, until = self.values.get(key, (None, None))
        if until is not None and until <= time.monotonic():
            del self.values[key]
            return None
        return value

    def set(self, key, value, ex=b"EX", seconds=None):
        if ex.upper() != b"EX":
            raise ValueError("syntax error")
        self.values[key] = value, None if seconds is None else time.monotonic() + int(seconds)
        return "OK"

    def delete(self, *keys):
        return sum(self.get(key) is not None and self.values.pop(key) is not None for key in keys)

    def incr(self, key):
        number = int(self.get(key) or 0) + 1
        self.values[key] = b"%d" % number, self.values.get(key, (None, None))[1]
        return number

    def expire(self, key, seconds):
        value = self.get(key)
        if value is None:
            return 0
        self.values[key] = value, time.monotonic() + int(seconds)
        return 1
