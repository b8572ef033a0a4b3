"""The raw socket and its four names: real pairs, real faults."""

import random
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from greensock.wire import Plain
from program import Launch

Pair = tuple[Plain, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A wire, and the blocking TCP socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = socket.create_connection(listener.getsockname(), 10)
        descriptor, _ = listener._accept()  # type: ignore[attr-defined]
    here = Plain(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
    here.setblocking(False)
    with there:
        yield here, there
    here.close()


def test_it_reads_what_is_there_and_then_has_nothing(pair: Pair) -> None:
    here, there = pair
    there.sendall(b"hello")
    assert here.read(3) == b"hel"
    assert here.read(100) == b"lo"
    with pytest.raises(BlockingIOError):
        here.read(100)


def test_it_reads_the_end_of_the_peer(pair: Pair) -> None:
    here, there = pair
    there.shutdown(socket.SHUT_WR)
    assert here.read(100) == b""


def test_a_write_says_how_much_the_kernel_took(pair: Pair) -> None:
    here, there = pair
    data = bytes(range(256)) * 100_000
    sent = here.write(data)
    assert 0 < sent < len(data)
    with pytest.raises(BlockingIOError):
        while True:
            sent += here.write(data[sent:])
    received = 0
    while received < sent:
        part = there.recv(1 << 20)
        assert part == data[received : received + len(part)]
        received += len(part)


def test_many_buffers_are_taken_in_part_as_well(pair: Pair) -> None:
    here, there = pair
    buffers = [bytes([n]) * 100_000 for n in range(200)]
    whole = b"".join(buffers)
    sent = here.write_many(buffers)
    assert 0 < sent < len(whole)
    received = 0
    while received < sent:
        part = there.recv(1 << 20)
        assert part == whole[received : received + len(part)]
        received += len(part)


@pytest.mark.parametrize("many", [False, True])
def test_a_signal_in_the_middle_costs_no_byte_and_repeats_none(pair: Pair, many: bool) -> None:
    here, there = pair
    received = bytearray()
    signals = 0

    def count(*arguments: object) -> None:
        nonlocal signals
        signals += 1
        received.extend(there.recv(50_000))  # which lets the interrupted write go on

    data = random.Random(1).randbytes(8_000_000)
    before = signal.signal(signal.SIGALRM, count)
    here.setblocking(True)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        sent = here.write_many([data[:3_000_000], memoryview(data)[3_000_000:]]) if many else here.write(data)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert signals > 0
    here.finish()
    while part := there.recv(1 << 20):
        received += part
    assert received == data[:sent]


EINTR = """
    import socket, sys
    from greensock.wire import Plain

    ours, theirs = socket.socketpair()
    wire = Plain(ours.family, ours.type, ours.proto, ours.detach())
    wire.setblocking(False)
    sent = [wire.write(b"ab"), wire.write_many([b"cd", b"ef"]), wire.write(b"gh")]
    theirs.sendall(b"x")
    print(sent, theirs.recv(100), wire.read(100))
    wire.finish()
    print(theirs.recv(100))
    theirs.close()
    wire.close()
"""


def test_calls_that_the_kernel_says_were_interrupted_are_made_again(launch: Launch) -> None:
    strace = ("strace", "-qq", "-o", "/dev/null", "-e", "inject=sendto,sendmsg,recvfrom:error=EINTR:when=1+2")
    if shutil.which("strace") is None or subprocess.run([*strace, "true"], capture_output=True).returncode:
        pytest.skip("strace cannot inject faults here")
    status, output, errors = launch(EINTR, wrapper=strace).finish()
    assert (status, output) == (0, "[2, 4, 2] b'abcdefgh' b'x'\nb''\n"), errors


def test_finish_sends_fin_and_goes_on_reading(pair: Pair) -> None:
    here, there = pair
    here.write(b"bye")
    here.finish()
    assert there.recv(100) == b"bye"
    assert there.recv(100) == b""
    there.sendall(b"still here")
    assert here.read(100) == b"still here"


def test_finish_after_a_reset_is_silent(pair: Pair) -> None:
    here, there = pair
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.close()
    here.finish()
    here.finish()


def test_abort_resets(pair: Pair) -> None:
    here, there = pair
    here.abort()
    assert here.fileno() == -1
    with pytest.raises(ConnectionResetError):
        there.recv(1)


def test_it_is_no_larger_than_a_raw_socket(pair: Pair) -> None:
    assert Plain.__basicsize__ == socket.socket.__base__.__basicsize__  # type: ignore[union-attr]
    with pytest.raises(AttributeError):
        pair[0].extra = 1  # type: ignore[attr-defined]
