"""Chaos against a model: handlers, other greenlets and peers do anything, and what must hold always does.

Always: ``open`` first, ``close`` once and last, no two handlers of a socket at once; what arrives at either side is
what the other has written, in order and without a gap; what was accepted is written or unsent; the server's counters
are back at nothing, and so are greenlets, descriptors and watchers.
"""

import random
import struct
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections import AnySocket, attempt, narrow_listener, stream
from greensock import CloseReason, WriteQueueFull
from greensock.testing import Peer, Serve, wait_until

#: What a handler or another greenlet may do with a socket.
ACTIONS: list[tuple[str, int]] = [
    *[("write", size) for size in (0, 1, 10, 100, 500, 3000, 10_000, 50_000, 100_000)],
    *[("writelines", size) for size in (0, 10, 3000, 20_000)],
    *[("sendall", size) for size in (1, 100, 30_000)],
    *[("cork", size) for size in (10, 300, 5000)],
    *[("block", milliseconds) for milliseconds in (0, 1, 1, 5)],
    *[(name, 0) for name in ("flush", "pause", "resume", "resume", "end", "close", "terminate", "raise")],
    *[("end", 100), ("reload", 0), ("reload", 1), ("idle", 0), ("idle", 20)],
]

#: What a peer may do, and another greenlet besides the above.
PEER_ACTIONS: list[tuple[str, int]] = [
    *[("send", size) for size in (1, 1, 10, 479, 500, 3000, 100_000)],
    *[("read", size) for size in (1, 5000, 50_000, 100_000)],
    *[("stall", milliseconds) for milliseconds in (1, 1, 3, 10)],
    *[("finish", 0), ("reset", 0), ("close", 0)],
]

Script = Sequence[tuple[str, int]]

_RECORD = struct.Struct("!BII")  # who wrote, the how manieth of his, bytes that follow


@dataclass
class Plan:
    """What happens to one connection. Each event takes the next batch of actions; what is left is not done."""

    batches: Sequence[Script]
    elsewhere: Script
    peer: Script
    all_events: bool  # or few of them, and no `error`


@dataclass
class Writer:
    """One greenlet's writes, in the order in which they were accepted."""

    number: int
    begun: int = 0
    accepted: dict[int, int] = field(default_factory=dict)  # sizes
    doubtful: dict[int, int] = field(default_factory=dict)  # of those that raised after they may have been accepted

    def record(self, size: int) -> bytes:
        self.begun += 1
        return _RECORD.pack(self.number, self.begun, size) + stream(size, self.begun)


class Model:
    """One connection: does as planned, and notes what happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batches = deque(plan.batches)
        self.events: list[str] = []
        self.running: Any = None
        self.nested: list[str] = []
        self.inputs: list[bytes] = []
        self.sent = 0
        self.received: list[bytes] = []
        self.handler = Writer(1)
        self.other = Writer(2)
        self.error: BaseException | None = None
        self.socket: AnySocket | None = None
        self.peer: Peer | None = None
        self.cut_off = False  # somebody has thrown away what the peer could have read

    # -- this side -------------------------------------------------------------------------------------

    def handlers(self, *, all_events: bool) -> dict[str, Callable[..., None]]:
        optional = ["drain", "end", "timeout", "error"] if all_events else ["end"]
        return {event: self._handler(event) for event in ("open", "data", "close", *optional)}

    def _handler(self, event: str) -> Callable[..., None]:
        def handle(socket: AnySocket, *arguments: Any) -> None:
            if self.running is not None:
                self.nested.append(f"{event} in {self.events[-1]}")
            self.running = gevent.getcurrent()
            self.events.append(event)
            self.socket = socket
            if event == "data":
                self.inputs.append(arguments[0])
            elif event == "close":
                self.error = arguments[0]
            try:
                if self.batches:
                    self._run(socket, self.batches.popleft(), self.handler)
            except BaseException:
                self.cut_off = True  # unless there is a handler for it
                raise
            finally:
                self.running = None

        return handle

    def _run(self, socket: AnySocket, script: Script, writer: Writer) -> None:
        for name, number in script:
            getattr(self, f"_{name}")(socket, number, writer)

    def _write(self, socket: AnySocket, size: int, writer: Writer) -> None:
        self._accept(writer, size, socket.write)

    def _writelines(self, socket: AnySocket, size: int, writer: Writer) -> None:
        def writelines(data: bytes) -> None:
            socket.writelines([data[:5], "", data[5:]])

        self._accept(writer, size, writelines)

    def _cork(self, socket: AnySocket, size: int, writer: Writer) -> None:
        with socket.cork():
            self._accept(writer, size, socket.write)
            gevent.sleep(0.001)
            self._accept(writer, size, socket.write)

    def _accept(self, writer: Writer, size: int, write: Callable[[bytes], object]) -> None:
        record = writer.record(size)
        count = writer.begun
        write(record)
        writer.accepted[count] = size

    def _sendall(self, socket: AnySocket, size: int, writer: Writer) -> None:
        count = writer.begun + 1
        writer.doubtful[count] = size
        try:
            self._accept(writer, size, socket.sendall)
        except WriteQueueFull:
            del writer.doubtful[count]
            raise
        del writer.doubtful[count]

    def _end(self, socket: AnySocket, size: int, writer: Writer) -> None:
        self._accept(writer, size, socket.end) if size else socket.end()

    def _flush(self, socket: AnySocket, _: int, writer: Writer) -> None:
        try:
            socket.flush(timeout=0.01)
        except TimeoutError:
            pass

    def _close(self, socket: AnySocket, _: int, writer: Writer) -> None:
        socket.close()

    def _terminate(self, socket: AnySocket, _: int, writer: Writer) -> None:
        self.cut_off = True
        socket.terminate()

    def _pause(self, socket: AnySocket, _: int, writer: Writer) -> None:
        socket.pause()

    def _resume(self, socket: AnySocket, _: int, writer: Writer) -> None:
        socket.resume()

    def _raise(self, socket: AnySocket, _: int, writer: Writer) -> None:
        if writer is self.handler:
            raise LookupError("as planned")

    def _block(self, socket: AnySocket, milliseconds: int, writer: Writer) -> None:
        gevent.sleep(milliseconds / 1000)

    def _reload(self, socket: AnySocket, all_events: int, writer: Writer) -> None:
        socket.reload(self.handlers(all_events=bool(all_events)))

    def _idle(self, socket: AnySocket, milliseconds: int, writer: Writer) -> None:
        socket.idle_timeout = milliseconds / 1000 or None

    def _kill(self, socket: AnySocket, _: int, writer: Writer) -> None:
        if self.running is not None:
            gevent.kill(self.running)

    # -- the peer --------------------------------------------------------------------------------------

    def _play_peer(self, peer: Peer) -> None:
        for name, number in self.plan.peer:
            if name == "send":
                self.sent += number
                peer.socket.settimeout(0.05)
                attempt(peer.send, stream(number, self.sent - number))
            elif name == "read":
                peer.socket.settimeout(0.02)
                attempt(self._read, peer, number)
            elif name == "stall":
                gevent.sleep(number / 1000)
            else:
                self.cut_off = self.cut_off or name != "finish"
                attempt(getattr(peer, name))
                if name != "finish":
                    return

    def _read(self, peer: Peer, size: int) -> bytes:
        part = peer.read(size)
        self.received.append(part)
        return part

    def _play_elsewhere(self) -> None:
        for step in self.plan.elsewhere:
            gevent.sleep(0.001)
            if self.socket is not None and "close" not in self.events:
                attempt(self._run, self.socket, [step], self.other)

    # -- one connection from begin to end ----------------------------------------------------------------

    def play(self, peer: Peer) -> None:
        """Play the plan, then let the connection end as a good peer would."""
        wait_until(lambda: "open" in self.events)
        assert self.socket is not None
        elsewhere = gevent.spawn(self._play_elsewhere)
        self._play_peer(peer)
        elsewhere.get()
        self.batches.clear()
        reading = gevent.spawn(attempt, self._read_to_end, peer)
        gevent.sleep(0.01)
        self.socket.resume()
        self.socket.close()
        peer.socket.settimeout(5)
        reading.get()
        peer.close()
        wait_until(lambda: "close" in self.events and self.running is None, what=f"the end of {self.events}")

    def _read_to_end(self, peer: Peer) -> None:
        peer.socket.settimeout(5)
        while self._read(peer, 65_536):
            pass

    # -- what must hold ------------------------------------------------------------------------------------

    def check(self) -> None:
        assert not self.nested
        assert self.events[0] == "open"
        assert self.events.count("open") == self.events.count("close") == 1
        assert self.events[-1] == "close"
        assert self.events.count("end") <= 1
        socket = self.socket
        assert socket is not None
        assert socket.closed
        assert (socket.fileno(), socket.buffered) == (-1, 0)
        assert socket.close_reason is not None
        if socket.close_reason in (CloseReason.EOF, CloseReason.LOCAL, CloseReason.STOPPED):
            assert self.error is None
        elif socket.close_reason is not CloseReason.TIMEOUT:
            assert self.error is not None
        inputs = b"".join(self.inputs)
        assert inputs == stream(len(inputs))
        assert len(inputs) == socket.bytes_read <= self.sent
        writers = {writer.number: writer for writer in (self.handler, self.other)}
        accepted = sum(size + _RECORD.size for writer in writers.values() for size in writer.accepted.values())
        doubt = sum(size + _RECORD.size for writer in writers.values() for size in writer.doubtful.values())
        assert accepted <= socket.bytes_written + socket.unsent <= accepted + doubt
        received = b"".join(self.received)
        assert len(received) <= socket.bytes_written
        self._check_records(received, writers)
        if socket.close_reason in (CloseReason.EOF, CloseReason.LOCAL) and not socket.unsent and not self.cut_off:
            assert len(received) == socket.bytes_written

    def _check_records(self, received: bytes, writers: dict[int, Writer]) -> None:
        """Whole records up to the last, which may be cut; of each writer all, in order, up to some point."""
        seen: dict[int, list[int]] = {number: [] for number in writers}
        position = 0
        while len(received) - position >= _RECORD.size:
            number, count, size = _RECORD.unpack_from(received, position)
            position += _RECORD.size
            seen[number].append(count)
            writer = writers[number]
            assert size == (writer.accepted | writer.doubtful)[count]
            payload = received[position : position + size]
            assert payload == stream(size, count)[: len(payload)]
            position += size
        for number, counts in seen.items():
            certain = [count for count in counts if count in writers[number].accepted]
            assert certain == list(writers[number].accepted)[: len(certain)]
            assert counts == sorted(set(counts))


def play_all(plans: Sequence[Plan], serve: Serve, **options: Any) -> None:
    """Play *plans* at once, each on a connection of its own of one server, and check all."""
    models: dict[Any, Model] = {}

    def opened(socket: AnySocket) -> None:
        model = models[socket.remote_address]
        handlers = model.handlers(all_events=model.plan.all_events)
        socket.reload(handlers)
        handlers["open"](socket)

    clocks = {"write_timeout": 0.2, "close_timeout": 2.0}
    server = serve({"open": opened}, narrow_listener(), max_buffered=100_000, **clocks, **options)
    server.stop_accepting()  # until it is known whose connection is whose
    peers = [Peer(server.address, receive_buffer=4096) for _ in plans]
    models.update({peer.address: Model(plan) for peer, plan in zip(peers, plans, strict=True)})
    server.start_accepting()
    playing = [gevent.spawn(attempt, models[peer.address].play, peer) for peer in peers]
    for greenlet in playing:
        error = greenlet.get()
        if error is not None:
            raise error
    for model in models.values():
        model.check()
    wait_until(lambda: server._shared.alive == 0)
    stats = server.stats()
    assert stats.connections == stats.handlers_running == stats.buffered == 0
    assert stats.accepted == stats.closed == len(plans)
    assert stats.bytes_read == sum(model.socket.bytes_read for model in models.values() if model.socket)
    assert stats.bytes_written == sum(model.socket.bytes_written for model in models.values() if model.socket)
    server.stop(0)


scripts = st.lists(st.sampled_from(ACTIONS), max_size=4)
plans = st.builds(
    Plan,
    batches=st.lists(scripts, max_size=6),
    elsewhere=st.lists(st.sampled_from([*ACTIONS, ("kill", 0)]), max_size=6),
    peer=st.lists(st.sampled_from(PEER_ACTIONS), max_size=8),
    all_events=st.booleans(),
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    plan=plans,
    allow_half_open=st.booleans(),
    slow_consumer=st.sampled_from(["close", "raise"]),
    high_water_mark=st.sampled_from([0, 1000, 65_536]),
)
def test_whatever_happens_to_a_connection_the_rules_hold(plan: Plan, serve: Serve, **options: Any) -> None:
    play_all([plan], serve, **options)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_to_many_at_once_the_rules_hold(seed: int, serve: Serve) -> None:
    chance = random.Random(seed)

    def script(actions: list[tuple[str, int]], most: int) -> Script:
        return chance.choices(actions, k=chance.randrange(most + 1))

    plans = [
        Plan(
            batches=[script(ACTIONS, 4) for _ in range(chance.randrange(10))],
            elsewhere=script([*ACTIONS, ("kill", 0)], 10),
            peer=script(PEER_ACTIONS, 15),
            all_events=chance.random() < 0.5,
        )
        for _ in range(60)
    ]
    play_all(plans, serve, allow_half_open=bool(seed % 2), slow_consumer="raise" if seed % 3 else "close")


def test_the_model_notices_what_is_wrong() -> None:
    model = Model(Plan([], [], [], True))
    writer = model.handler
    records = [writer.record(size) for size in (10, 0, 300)]
    writer.accepted = {1: 10, 2: 0, 3: 300}
    whole = b"".join(records)
    writers = {1: writer, 2: model.other}
    for end in range(len(whole) + 1):
        model._check_records(whole[:end], writers)
    wrong = [records[1], records[0] + records[2], records[0] * 2, whole[:30] + b"!" + whole[31:], whole + whole]
    for received in wrong:
        with pytest.raises((AssertionError, KeyError)):
            model._check_records(received, writers)
