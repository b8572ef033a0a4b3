"""``examples/client.py``: connected, cut off, and connected again."""

import signal
from typing import Any

import pytest

from greensock.testing import Recorder, Serve
from program import Launch


def answer(socket: Any, line: bytes) -> None:
    socket.write(b"you said " + line)


def test_it_talks_and_connects_again_when_it_is_cut_off(example: Launch, serve: Serve) -> None:
    recorder = Recorder(data=answer)
    server = serve(recorder.handlers)
    client = example("client", f"127.0.0.1:{server.port}")
    client.wait_for("connected to")
    client.wait_for("you said hello")
    recorder.sockets[0].terminate()
    assert client.wait_for("cut off") == "cut off: reset"
    client.wait_for("connected to")
    client.wait_for("you said hello")


def test_it_comes_when_the_server_does(example: Launch, serve: Serve) -> None:
    server = serve({"data": answer})
    port = server.port
    server.stop()
    client = example("client", f"127.0.0.1:{port}")
    assert "refused" in client.wait_for("not connected")
    client.wait_for("not connected")
    serve({"data": answer}, ("127.0.0.1", port))
    client.wait_for("connected to")
    client.wait_for("you said hello")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("up", [True, False])
def test_it_ends_when_it_is_told_to(up: bool, number: signal.Signals, example: Launch, serve: Serve) -> None:
    server = serve({"data": answer})
    if not up:
        server.stop()
    client = example("client", f"127.0.0.1:{server.port if up else server.address[1] if server.address else 1}")
    client.wait_for("connected to" if up else "not connected")
    status, _, errors = client.finish(number)
    assert (status, errors) == (0, "")
