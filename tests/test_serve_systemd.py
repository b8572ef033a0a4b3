"""What systemd passes to a service, and what it is told."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from greensock.serve.systemd import Notifier, take_sockets


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Receives what a service says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.settimeout(10)
        yield receiving


def test_sockets_for_this_process() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:c", "HOME": "/"}
    assert take_sockets(environ) == [3, 4, 5]
    assert environ == {"HOME": "/"}, "children are not to take them for theirs"
    assert take_sockets(environ) == []


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"},
    ],
)
def test_no_sockets_for_this_process(environ: dict[str, str]) -> None:
    assert take_sockets(environ) == []
    assert environ == {}


def test_how_far_the_service_is(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    notifier = Notifier(environ)
    assert environ == {}
    assert notifier.watchdog is None
    notifier.ready()
    assert manager.recv(100) == b"READY=1"
    notifier.reloading()
    kind, microseconds = manager.recv(100).decode().split("\n")
    assert kind == "RELOADING=1"
    assert int(microseconds.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.alive()
    assert manager.recv(100) == b"WATCHDOG=1"
    notifier.stopping()
    assert manager.recv(100) == b"STOPPING=1"


def test_an_address_without_a_file() -> None:
    name = f"greensock-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert receiving.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_how_long_it_may_be_silent(manager: socket.socket, environ: dict[str, str], seconds: float | None) -> None:
    environ = {**environ, "NOTIFY_SOCKET": manager.getsockname()}
    assert Notifier(environ).watchdog == seconds
    assert environ == {}


@pytest.mark.parametrize("path", ["", "/nobody/is/here", "relative", "vsock:2:1234"])
def test_nobody_to_tell(path: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000"} if path else {"WATCHDOG_USEC": "1000"})
    notifier.ready()
    notifier.stopping()
    assert path.startswith("/") or notifier.watchdog is None


def test_a_manager_that_does_not_read_holds_up_nobody(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for _ in range(2_000):
        notifier.alive()
