"""What ``import greensock`` gives, and what is promised about it."""

import enum
import inspect
import subprocess
import sys
import typing
from importlib import metadata
from pathlib import Path

import gevent.server
import pytest

import greensock


@pytest.mark.parametrize(
    "name",
    [
        *("listen", "run", "call_from_thread"),
        *("Server", "Socket", "Handlers", "Stats", "SocketState", "CloseReason"),
        *("SocketClosed", "SlowConsumer", "WriteQueueFull", "TLS"),
    ],
)
def test_what_the_contract_names_is_there_and_documented(name: str) -> None:
    thing = getattr(greensock, name)
    assert name in greensock.__all__
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("greensock.")


@pytest.mark.parametrize("name", greensock.__all__)
def test_public_methods_are_documented(name: str) -> None:
    thing = getattr(greensock, name)
    if not inspect.isclass(thing) or issubclass(thing, enum.Enum | Exception):
        return
    for attribute, value in vars(thing).items():
        if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{attribute}"


def test_names_come_with_a_star() -> None:
    found: dict[str, object] = {}
    exec("from greensock import *", found)
    assert found.keys() - {"__builtins__"} == set(greensock.__all__)


def test_the_version_is_the_one_that_is_installed() -> None:
    assert [int(part) for part in greensock.__version__.split(".")]
    try:
        installed = metadata.version("greensock")
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the source tree")
    assert installed == greensock.__version__


def test_type_checkers_may_read_it() -> None:
    assert (Path(greensock.__file__).parent / "py.typed").is_file()
    for function in (greensock.listen, greensock.run, greensock.call_from_thread):
        assert "return" in typing.get_type_hints(function)


def test_handlers_and_sockets_are_generic_in_what_data_holds() -> None:
    assert typing.get_args(greensock.Handlers[int]) == (int,)
    assert typing.get_args(greensock.Socket[int]) == (int,)


def test_the_errors_are_those_that_callers_know() -> None:
    assert issubclass(greensock.SocketClosed, ConnectionError)
    assert issubclass(greensock.SlowConsumer, greensock.SocketClosed)
    assert issubclass(greensock.WriteQueueFull, BlockingIOError)
    assert not issubclass(greensock.WriteQueueFull, ConnectionError)


def test_the_states_are_all_there() -> None:
    assert [state.name for state in greensock.SocketState] == ["CONNECTING", "OPEN", "ENDED", "CLOSING", "CLOSED"]


def test_the_close_reasons_are_strings() -> None:
    assert issubclass(greensock.CloseReason, enum.StrEnum)
    assert {str(reason) for reason in greensock.CloseReason} == {
        *("eof", "local", "reset", "timeout", "truncated", "slow-consumer", "protocol", "handler-error", "stopped")
    }


def test_a_server_is_one_of_gevents() -> None:
    assert issubclass(greensock.Server, gevent.server.StreamServer)


def test_importing_is_silent_under_every_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", "import greensock"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
