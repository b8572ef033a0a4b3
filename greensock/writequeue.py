"""Bytes waiting to be sent, and the marks that say when to stop and go on.

Nothing here sends: a socket asks what to send next, sends it, and tells how much the kernel took.
"""

import os

#: Up to this many bytes are joined into one buffer and sent by one plain ``send``: below it copying is
#: cheaper than handing the kernel a list (a 64-byte chunk costs 5 ns to copy and 100 ns to list).
JOIN_LIMIT = 65536

#: Chunks smaller than this are joined with their neighbours also inside a longer list.
SMALL = 4096

#: The most buffers that one sendmsg(2) takes: IOV_MAX, of which POSIX promises 16.
GATHER_LIMIT = os.sysconf("SC_IOV_MAX") if "SC_IOV_MAX" in os.sysconf_names else 16


class WriteQueue:
    """The pending bytes of one connection, in order.

    Args:
        high: *over* means that more than this many bytes are pending.
        low: :meth:`advance` tells when the queue, once ``congested``, is at or below this.

    Chunks are ``bytes`` and held, not copied, until they were sent whole or joined into a larger one. Most queues
    never hold more than one chunk: that is ``first``, and there is no list until there are more. A writer may put
    the first chunk into an empty queue himself, by setting ``first`` and ``size``.
    """

    __slots__ = ("_joined", "_more", "_sent", "congested", "first", "high", "low", "size")

    def __init__(self, high: int, low: int) -> None:
        self.high = high
        self.low = low
        #: bytes pending
        self.size = 0
        #: the chunk that is sent next; meaningless while ``size`` is 0
        self.first = b""
        #: a writer was told to wait, and has not been told yet to go on
        self.congested = False
        self._more: list[bytes] | None = None
        self._joined = 0  # so many chunks of ``_more`` need no joining any more: a long list is not searched each time
        self._sent = 0  # bytes of ``first`` that are gone already

    def push(self, data: bytes) -> int:
        """Queue *data* and return the number of bytes now pending."""
        size = self.size
        if not size:
            self.first = data
        elif data:
            if self._more is None:
                self._more = [data]
            else:
                self._more.append(data)
        self.size = size = size + len(data)
        return size

    @property
    def over(self) -> bool:
        """Whether more is pending than the high-water mark."""
        return self.size > self.high

    def gather(self) -> list[bytes | memoryview]:
        """What to send next: at least one buffer, at most :data:`GATHER_LIMIT` of them.

        The queue must not be empty. Small chunks are joined first, and stay joined, so that a batch
        which the kernel takes piecemeal is not joined again for each piece.
        """
        more = self._more
        if more and not self.join() and self._joined < len(more):
            more[self._joined :] = _join_small(more[self._joined :])
            self._joined = len(more) - (len(more[-1]) < SMALL)  # to the last one, what comes next may be joined
        return [self._rest_of_first(), *(self._more or ())[: GATHER_LIMIT - 1]]

    def join(self) -> bool:
        """Make ``first`` all that is pending, if that is not too much to copy. Whether it is."""
        if self.size > JOIN_LIMIT:
            return False
        if self._more or self._sent:
            self.first = b"".join((self._rest_of_first(), *(self._more or ())))
            self._more = None
            self._joined = 0
            self._sent = 0
        return True

    def _rest_of_first(self) -> bytes | memoryview:
        return memoryview(self.first)[self._sent :] if self._sent else self.first

    def advance(self, sent: int) -> bool:
        """Take *sent* bytes off the front.

        Returns True once per congestion: when the queue has come down to its low-water mark.
        """
        self.size -= sent
        if not self.size:
            self._empty()
        else:
            self._sent += sent
            if self._sent >= len(self.first):
                self._next()
        if self.congested and self.size <= self.low:
            self.congested = False
            return True
        return False

    def _next(self) -> None:
        """The first chunk is sent: find the one in which sending stopped."""
        chunks = self._more or []
        left = self._sent - len(self.first)
        whole = 0
        while left >= len(chunks[whole]):
            left -= len(chunks[whole])
            whole += 1
        self.first = chunks[whole]
        self._sent = left
        del chunks[: whole + 1]
        self._joined = max(0, self._joined - whole - 1)

    def _empty(self) -> None:
        self.first = b""
        self._more = None
        self._joined = 0
        self._sent = 0

    def clear(self) -> int:
        """Drop everything and return how many bytes that was."""
        dropped, self.size = self.size, 0
        self.congested = False
        self._empty()
        return dropped


def _join_small(chunks: list[bytes]) -> list[bytes]:
    """Join each run of small chunks, up to the join limit; large chunks stay as they are."""
    joined: list[bytes] = []
    run: list[bytes] = []
    length = 0
    for chunk in chunks:
        if run and (len(chunk) >= SMALL or length >= JOIN_LIMIT):
            joined.append(b"".join(run))
            run, length = [], 0
        if len(chunk) >= SMALL:
            joined.append(chunk)
        else:
            run.append(chunk)
            length += len(chunk)
    if run:
        joined.append(b"".join(run))
    return joined
