"""What ``listen`` takes and refuses, and what there is to know about the server that it returns.

Accepting under stress is in ``test_accepting``, the end in ``test_server_stop``, and in ``test_draining`` that of its
connections. What a server counts is in ``test_stats``, the exchange of its handlers in ``test_server_reload``.
"""

import _socket
import dataclasses
import errno
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
import gevent.server
import gevent.socket
import pytest

import greensock
from greensock.listeners import effective_backlog
from greensock.options import Options
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from listening import ipv6, linux
from program import Launch


class Echo(greensock.Handlers[Any]):
    def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
        socket.write(data)


def peer_of(url: str) -> Peer:
    """A peer that knows nothing but the url."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Peer(parts.path)
    assert parts.hostname
    assert parts.port
    if ":" in parts.hostname:
        return Peer((parts.hostname, parts.port, 0, 0))
    return Peer((parts.hostname, parts.port))


def echoes(url: str) -> bool:
    with peer_of(url) as peer:
        return peer.exchange(b"hello") == b"hello"


# -- addresses -------------------------------------------------------------------------------------------


def test_a_server_is_bound_listening_and_accepting_when_listen_returns() -> None:
    server = greensock.listen(("127.0.0.1", 0), Echo())
    try:
        assert server.started
        assert not server.closed
        assert echoes(server.url)
    finally:
        server.stop(0)


@pytest.mark.parametrize(
    ("address", "hostname"),
    [
        (("127.0.0.1", 0), "127.0.0.1"),
        ("127.0.0.1:0", "127.0.0.1"),
        ("tcp://127.0.0.1:0", "127.0.0.1"),
        ("TCP://127.0.0.1:0", "127.0.0.1"),
        ("localhost:0", "localhost"),
        pytest.param("[::1]:0", "::1", marks=ipv6),
        pytest.param("tcp://[::1]:0", "::1", marks=ipv6),
        pytest.param(("::1", 0), "::1", marks=ipv6),
        pytest.param(("::1", 0, 0, 0), "::1", marks=ipv6),
    ],
)
def test_every_form_of_a_tcp_address_serves(serve: Serve, address: object, hostname: str) -> None:
    server = serve(Echo(), address)
    assert server.hostname == hostname
    assert server.port == server.server_port == server.address[1] != 0
    assert server.url.startswith("tcp://")
    assert echoes(server.url)


def test_port_0_picks_a_free_port_for_each_server(serve: Serve) -> None:
    first, second = serve(Echo()), serve(Echo())
    assert first.port != second.port
    assert echoes(first.url)
    assert echoes(second.url)


def test_a_name_binds_the_first_address_that_it_resolves_to(serve: Serve) -> None:
    server = serve(Echo(), "localhost:0")
    first = socket.getaddrinfo("localhost", server.port, 0, socket.SOCK_STREAM)[0][4]
    assert server.address == first
    assert server.hostname == "localhost"
    assert server.url == f"tcp://localhost:{server.port}"


@pytest.mark.parametrize("address", ["unix:{}", "unix://{}"])
def test_a_unix_path_serves(serve: Serve, tmp_path: Path, address: str) -> None:
    path = str(tmp_path / "socket")
    server = serve(Echo(), address.format(path))
    assert server.address == path
    assert server.url == f"unix:{path}"
    assert (server.port, server.server_port, server.hostname) == (None, None, None)
    assert echoes(server.url)


@linux
def test_a_name_of_the_abstract_namespace_serves_and_leaves_no_file(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    address = f"unix:@greensock-{os.getpid()}"
    server = serve(Echo(), address)
    assert (server.url, server.port, server.hostname) == (address, None, None)
    assert list(tmp_path.iterdir()) == []
    with greensock.connect(server.url) as client:
        client.write(b"hello")
        assert client.read_exactly(5, timeout=10) == b"hello"
    with pytest.raises(OSError, match=f"in use: cannot listen on {address}"):
        serve(Echo(), address)
    server.stop(0)
    server.start()
    with pytest.raises(ConnectionRefusedError, match=f"cannot connect to {address}-other"):
        greensock.connect(f"{address}-other")


@linux
def test_the_url_of_a_socket_of_the_abstract_namespace_is_connectable(serve: Serve) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # the kernel chooses a name: unix(7)
        server = serve(Echo(), socket.socket(fileno=listener.detach()))
    with greensock.connect(server.url) as client:
        client.write(b"hello")
        assert client.read_exactly(5, timeout=10) == b"hello"


def test_a_unix_path_may_be_relative(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    serve(Echo(), "unix:here")
    assert stat.S_ISSOCK((tmp_path / "here").stat().st_mode)
    with Peer("here") as peer:
        assert peer.exchange(b"hello") == b"hello"


INHERITS = """
    import sys
    import greensock

    server = greensock.listen(f"fd://{sys.argv[1]}", {"data": lambda socket, data: socket.write(data)})
    print(server.url, server.hostname, server.port)
    greensock.run(server)
    print("ended")
"""


def test_a_descriptor_that_was_inherited_serves(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert listener.getblocking(), "as a supervisor passes it"
        program = launch(INHERITS, str(listener.fileno()), pass_fds=(listener.fileno(),))
        port = listener.getsockname()[1]
    assert program.line() == f"tcp://127.0.0.1:{port} 127.0.0.1 {port}"
    with socket.create_connection(("127.0.0.1", port), 10) as one, socket.create_connection(("127.0.0.1", port)) as two:
        for peer in (two, one):
            peer.sendall(b"hello")
            assert peer.recv(100) == b"hello"
    program.process.terminate()
    assert program.finish() == (0, "ended\n", "")


def bound_socket(kind: str, *, listening: bool) -> Any:
    made: Any = {"standard": socket.socket, "gevent": gevent.socket.socket, "raw": _socket.socket}[kind]()
    made.bind(("127.0.0.1", 0))
    if listening:
        made.listen()
    return made


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("kind", ["standard", "gevent", "raw"])
def test_a_bound_socket_serves_and_is_closed_with_the_server(serve: Serve, kind: str, listening: bool) -> None:
    given = bound_socket(kind, listening=listening)
    name = given.getsockname()
    server = serve(Echo(), given)
    assert server.address == name
    assert server.url == f"tcp://127.0.0.1:{name[1]}"
    assert server.hostname == "127.0.0.1"
    assert echoes(server.url)
    server.stop(0)
    assert given.fileno() == -1


@pytest.mark.parametrize("kind", ["standard", "raw"])
def test_a_blocking_listener_does_not_freeze_the_hub(serve: Serve, dial: Dial, kind: str) -> None:
    given = bound_socket(kind, listening=True)
    given.setblocking(True)
    server = serve(Echo(), given)
    turned = gevent.spawn(gevent.sleep, 0)
    assert dial(server).exchange(b"hello") == b"hello"
    assert turned.get(timeout=5) is None
    server.stop_accepting()
    given.setblocking(True)  # as somebody else may do who shares its descriptor
    server.start_accepting()
    assert dial(server).exchange(b"again") == b"again"
    assert gevent.spawn(gevent.sleep, 0).get(timeout=5) is None


@pytest.mark.parametrize(
    ("address", "bad_part"),
    [
        (("127.0.0.1", 65536), "65536"),
        (("127.0.0.1", -1), "-1"),
        (("127.0.0.1", "80"), "'80'"),
        (("127.0.0.1", True), "True"),
        (("", 80), "host is empty"),
        ((None, 80), "None"),
        (("127.0.0.1\0", 80), "NUL byte"),
        (("127.0.0.1", 80, 0), "tuple of 3"),
        ("127.0.0.1:65536", "65536"),
        ("127.0.0.1:-1", "-1"),
        ("127.0.0.1:http", "http"),
        ("127.0.0.1:0x50", "0x50"),
        ("127.0.0.1", "port is missing"),
        ("127.0.0.1:", "port is missing"),
        (":80", "host is empty"),
        ("127.0.0.1\0:80", "NUL byte"),
        ("::1:80", "brackets"),
        ("[::1:80", "bracket"),
        ("[127.0.0.1]:80", "127.0.0.1"),
        ("ftp://127.0.0.1:80", "'ftp'"),
        ("tls://127.0.0.1:0", "tls="),
        ("unix:", "path is empty"),
        ("unix:/tmp/a\0b", "NUL byte"),
        ("unix:/" + "long" * 30, "121 bytes"),
        ("fd://", "missing"),
        ("fd://one", "one"),
        ("", "empty"),
        (8080, "8080"),
        (None, "None"),
        (b"127.0.0.1:80", "an address is"),
        (["127.0.0.1", 80], "an address is"),
    ],
)
def test_a_bad_address_is_a_value_error_that_names_the_bad_part(address: object, bad_part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(bad_part)):
        greensock.listen(address, Echo())


def test_a_port_in_use_is_an_os_error_with_the_address_in_its_message(serve: Serve) -> None:
    port = serve(Echo()).port
    with pytest.raises(OSError, match=f"127.0.0.1:{port}") as caught:
        greensock.listen(("127.0.0.1", port), Echo())
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("address", "number", "named"),
    [
        (("192.0.2.1", 0), errno.EADDRNOTAVAIL, "192.0.2.1:0"),  # RFC 5737: belongs to nobody
        ("unix:/no/such/directory/socket", errno.ENOENT, "/no/such/directory/socket"),
        ("fd://999999", errno.EBADF, "fd://999999"),
        ("name.invalid:80", socket.EAI_NONAME, "name.invalid"),  # RFC 6761: never resolves
    ],
)
def test_a_bind_that_fails_is_the_os_error_with_the_address(address: object, number: int, named: str) -> None:
    with pytest.raises(OSError, match=re.escape(named)) as caught:
        greensock.listen(address, Echo())
    assert caught.value.errno == number


def test_a_socket_that_cannot_listen_is_refused_and_left_open() -> None:
    with socket.socket() as unbound, pytest.raises(ValueError, match="not bound"):
        greensock.listen(unbound, Echo())
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with pytest.raises((ValueError, TypeError)):
            greensock.listen(datagrams, Echo())
        assert datagrams.fileno() > 0


# -- unix paths ------------------------------------------------------------------------------------------


def test_a_unix_path_that_nothing_listens_on_any_more_is_taken_over(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    assert path.exists()
    server = serve(Echo(), f"unix:{path}")
    assert echoes(server.url)


def test_a_unix_path_in_use_is_an_error_and_its_server_goes_on(serve: Serve, tmp_path: Path) -> None:
    server = serve(Echo(), f"unix:{tmp_path}/socket")
    with pytest.raises(OSError, match=re.escape(f"{tmp_path}/socket")) as caught:
        greensock.listen(server.url, Echo())
    assert caught.value.errno == errno.EADDRINUSE
    assert echoes(server.url)


def test_a_path_that_is_no_socket_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    directory = tmp_path / "directory"
    directory.mkdir()
    link = tmp_path / "link"
    link.symlink_to(file)
    for path in (file, directory, link):
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            greensock.listen(f"unix:{path}", Echo())
        assert caught.value.errno == errno.EADDRINUSE
    assert file.read_text() == "precious"
    assert directory.is_dir()
    assert link.is_symlink()


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_unix_path_is_unlinked_when_the_server_closes(serve: Serve, tmp_path: Path, end: str) -> None:
    path = tmp_path / "socket"
    server = serve(Echo(), f"unix:{path}")
    assert path.is_socket()
    getattr(server, end)()
    assert not path.exists()


def test_a_unix_path_that_somebody_else_has_bound_anew_stays(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    old = serve(Echo(), f"unix:{path}")
    path.unlink()
    new = serve(Echo(), f"unix:{path}")
    old.stop(0)
    assert path.is_socket()
    assert echoes(new.url)


def test_a_relative_unix_path_is_unlinked_from_anywhere(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = serve(Echo(), "unix:socket")
    monkeypatch.chdir("/")
    server.close()
    assert not (tmp_path / "socket").exists()


# -- handlers --------------------------------------------------------------------------------------------


def test_handlers_may_be_an_instance_or_a_mapping(serve: Serve) -> None:
    assert echoes(serve(Echo()).url)
    assert echoes(serve({"data": lambda socket, data: socket.write(data)}).url)


def test_handlers_may_be_any_object_with_event_methods(serve: Serve) -> None:
    class Duck:
        def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
            socket.write(data)

        def helper(self) -> None:
            raise AssertionError("no event")

    assert echoes(serve(Duck()).url)


def test_a_class_of_handlers_is_made_once(serve: Serve, dial: Dial) -> None:
    made = []

    class Counted(Echo):
        def __init__(self) -> None:
            made.append(self)

        def open(self, socket: greensock.Socket[Any]) -> None:
            socket.write(b"%d" % id(self))

    server = serve(Counted)
    ids = {dial(server).read() for _ in range(3)}
    assert ids == {b"%d" % id(handlers) for handlers in made}
    assert len(made) == 1


def test_a_method_inherited_unchanged_counts_as_absent(serve: Serve, dial: Dial) -> None:
    class Raises(greensock.Handlers[Any]):
        def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
            raise ValueError("on purpose")

    peer = dial(serve(Raises()))
    peer.send(b"hello")
    assert peer.is_reset(), "an `error` of its own would have kept the connection"


def test_handlers_are_generic_in_what_data_holds(serve: Serve, dial: Dial) -> None:
    """mypy reads it, too: `data` is what it is said to be, a message what the framing makes, an error an Exception."""

    @dataclass
    class Visit:
        words: int = 0

    class Words:
        def decoder(self) -> "Words":
            return self

        def feed(self, data: bytes) -> list[list[bytes]]:
            return [data.split()]

        def close(self) -> None: ...

        def encode(self, message: int) -> bytes:
            return b"%d" % message

    class Typed(greensock.Handlers[Visit]):
        def open(self, socket: greensock.Socket[Visit]) -> None:
            socket.data = Visit()

        def data(self, socket: greensock.Socket[Visit], message: list[bytes]) -> None:
            socket.data.words += len(message)
            socket.write_message(socket.data.words)

        def close(self, socket: greensock.Socket[Visit], error: Exception | None) -> None: ...

    peer = dial(serve(Typed(), framing=Words()))
    peer.send(b"to be")
    assert peer.read_exactly(1) == b"2"


class NoEvent:
    pass


async def asynchronous(socket: object, data: bytes) -> None: ...


def generator(socket: object, data: bytes) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("handlers", "named"),
    [
        ({"dta": print}, "'dta'"),
        ({"data": print, 5: print}, "5"),
        ({"data": 5}, "'data'.*5"),
        ({"data": None}, "'data'.*None"),
        ({}, "no event"),
        (NoEvent(), "NoEvent"),
        (NoEvent, "NoEvent"),
        (None, "NoneType"),
        (5, "int"),
        ({"data": asynchronous}, "'data'.*async def"),
        ({"data": generator}, "'data'.*generator"),
    ],
)
def test_handlers_that_cannot_serve_are_a_type_error_that_names_them(handlers: object, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        greensock.listen(("127.0.0.1", 0), handlers)


@pytest.mark.parametrize("handlers", [{"dta": print}, {}, NoEvent()])
def test_the_type_error_lists_the_events(handlers: object) -> None:
    with pytest.raises(TypeError) as caught:
        greensock.listen(("127.0.0.1", 0), handlers)
    for event in (
        "open",
        "handshake",
        "data",
        "drain",
        "end",
        "timeout",
        "stopping",
        "error",
        "close",
        "connect_error",
    ):
        assert event in str(caught.value)


# -- options ---------------------------------------------------------------------------------------------


def test_the_options_are_attributes_and_have_their_defaults(serve: Serve) -> None:
    server = serve(Echo())
    defaults = {**dataclasses.asdict(Options()), "backlog": effective_backlog(4096), "data": None}
    assert {name: getattr(server, name) for name in defaults} == defaults


def test_the_options_are_attributes_with_the_values_that_were_given(serve: Serve) -> None:
    given = {
        "backlog": 7,
        "reuse_port": True,
        "ipv6_only": True,
        "max_connections": 3,
        "idle_timeout": 4.5,
        "handshake_timeout": None,
        "write_timeout": 5,
        "close_timeout": 6,
        "high_water_mark": 100,
        "low_water_mark": 10,
        "max_buffered": 1000,
        "slow_consumer": "raise",
        "allow_half_open": True,
        "no_delay": False,
        "keepalive": None,
        "data": ["anything"],
    }
    server = serve(Echo(), **given)
    assert {name: getattr(server, name) for name in given} == given


@pytest.mark.parametrize("name", ["max_connections", "idle_timeout", "backlog", "tls", "framing"])
def test_an_option_cannot_be_changed_where_nobody_would_follow_it(serve: Serve, name: str) -> None:
    server = serve(Echo())
    before = getattr(server, name)
    with pytest.raises(AttributeError, match=name):
        setattr(server, name, 7)
    assert getattr(server, name) == before


def test_what_is_no_attribute_is_an_attribute_error(serve: Serve) -> None:
    with pytest.raises(AttributeError, match="idle_time"):
        _ = serve(Echo()).idle_time


@pytest.mark.parametrize("name", ["idel_timeout", "timeout", "ssl", "proxy_protocol", "spawn"])
def test_an_unknown_option_is_a_type_error_that_names_it(name: str) -> None:
    with pytest.raises(TypeError, match=repr(name)):
        greensock.listen(("127.0.0.1", 0), Echo(), **{name: 1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backlog", 0),
        ("backlog", "many"),
        ("reuse_port", "yes"),
        ("ipv6_only", 1),
        ("max_connections", 0),
        ("max_connections", True),
        ("idle_timeout", -1),
        ("idle_timeout", 0),
        ("write_timeout", "soon"),
        ("close_timeout", float("nan")),
        ("handshake_timeout", float("inf")),
        ("high_water_mark", -1),
        ("low_water_mark", "low"),
        ("max_buffered", 1.5),
        ("slow_consumer", "ignore"),
        ("allow_half_open", None),
        ("no_delay", 0),
        ("keepalive", 0),
        ("keepalive", 32768),
    ],
)
def test_a_bad_value_is_a_value_error_that_names_the_option(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        greensock.listen(("127.0.0.1", 0), Echo(), **{name: value})


def backlog_in_the_kernel(server: greensock.Server) -> int:
    """What the kernel really holds: tcpi_sacked of a listening socket, tcp(7) and tcp_get_info() in Linux."""
    info = server.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    (limit,) = struct.unpack_from("I", info, 28)
    assert isinstance(limit, int)
    return limit


@linux
@pytest.mark.parametrize("backlog", [7, 10**6])
def test_backlog_is_what_the_kernel_holds_cut_to_the_limit_of_the_system(serve: Serve, backlog: int) -> None:
    limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
    server = serve(Echo(), backlog=backlog)
    assert server.backlog == min(backlog, limit) == backlog_in_the_kernel(server)


def test_reuse_port_lets_two_servers_share_one_port(serve: Serve) -> None:
    recorders = Recorder(), Recorder()
    first = serve(recorders[0].handlers, reuse_port=True)
    serve(recorders[1].handlers, first.address, reuse_port=True)
    for _ in range(64):  # the kernel chooses by the peer's port
        Peer(first.address).close()
    wait_until(lambda: sum(recorder.events.count("close") for recorder in recorders) == 64)
    assert recorders[0].sockets
    assert recorders[1].sockets


def test_without_reuse_port_a_port_is_not_shared(serve: Serve) -> None:
    first = serve(Echo(), reuse_port=True)
    with pytest.raises(OSError, match="in use"):
        greensock.listen(first.address, Echo())


@ipv6
def test_an_ipv6_wildcard_serves_ipv4_unless_ipv6_only(serve: Serve) -> None:
    both = serve(Echo(), "[::]:0")
    assert echoes(both.url)
    assert echoes(f"tcp://127.0.0.1:{both.port}")
    only = serve(Echo(), "[::]:0", ipv6_only=True)
    assert echoes(only.url)
    with pytest.raises(ConnectionRefusedError):
        Peer(("127.0.0.1", only.port))


def test_idle_timeout_is_that_of_every_socket(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, idle_timeout=0.05)
    peer = dial(server)
    assert peer.read() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "timeout", "close"]
    assert recorder.sockets[0].idle_timeout == 0.05


def test_write_timeout_ends_a_connection_whose_peer_takes_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(bytes(8 << 20)))
    dial(serve(recorder.handlers, write_timeout=0.1), receive_buffer=4096)
    socket, error = recorder.wait_for("close")
    assert isinstance(error, TimeoutError)
    assert socket.close_reason == "timeout"
    assert socket.unsent > 0


def test_close_timeout_ends_a_peer_that_keeps_its_side_open(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.close())
    dial(serve(recorder.handlers, close_timeout=0.05))
    socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == ("local", None)


def test_the_water_marks_are_those_of_every_socket(serve: Serve, dial: Dial) -> None:
    answers: list[object] = []

    def fill(socket: Any) -> None:
        answers.append(socket.write(bytes(8 << 20)))

    recorder = Recorder(open=fill)
    peer = dial(serve(recorder.handlers, high_water_mark=1000, low_water_mark=0, max_buffered=8 << 20))
    peer.read_exactly(8 << 20)
    recorder.wait_for("drain")
    assert answers == [False]


@pytest.mark.parametrize(("slow_consumer", "closes"), [("close", True), ("raise", False)])
def test_max_buffered_and_slow_consumer_are_those_of_every_socket(
    serve: Serve, dial: Dial, slow_consumer: str, closes: bool
) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, high_water_mark=10, max_buffered=1000, slow_consumer=slow_consumer))
    (socket,) = recorder.wait_for("open")
    socket.write(bytes(8 << 20))
    if closes:
        assert socket.write(b"more") is False
        assert socket.close_reason == "slow-consumer"
    else:
        with pytest.raises(greensock.WriteQueueFull):
            socket.write(b"more")
        assert peer.read_exactly(8 << 20) == bytes(8 << 20)


def test_allow_half_open_leaves_it_to_the_handler_to_close(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, allow_half_open=True))
    peer.finish()
    (socket,) = recorder.wait_for("end")
    gevent.sleep(0)
    assert socket.state is greensock.SocketState.OPEN
    socket.write(b"still here")
    socket.end()
    assert peer.read_to_end() == b"still here"
    recorder.wait_for("close")


def test_data_becomes_the_data_of_the_server(serve: Serve, dial: Dial) -> None:
    settings = {"greeting": b"welcome"}
    server = serve({"open": lambda socket: socket.write(socket.server.data["greeting"])}, data=settings)
    assert server.data is settings
    assert dial(server).read() == b"welcome"
    server.data = {"greeting": b"farewell"}
    assert dial(server).read() == b"farewell"


def tcp_settings(accepted: Any) -> dict[str, int]:
    """What the kernel has for an accepted socket."""
    with socket.socket(fileno=os.dup(accepted.fileno())) as same:
        return {
            "no delay": int(bool(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))),
            "keepalive": int(bool(same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))),
            "idle": same.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        }


@linux
@pytest.mark.parametrize("address", ["127.0.0.1:0", "a bound socket"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"no delay": 1, "keepalive": 1, "idle": 60}),
        ({"no_delay": False, "keepalive": 7}, {"no delay": 0, "keepalive": 1, "idle": 7}),
        ({"keepalive": None}, {"no delay": 1, "keepalive": 0, "idle": 7200}),
    ],
)
def test_every_socket_inherits_no_delay_and_keepalive(
    serve: Serve, dial: Dial, address: str, options: dict[str, Any], expected: dict[str, int]
) -> None:
    recorder = Recorder()
    where = bound_socket("standard", listening=True) if address == "a bound socket" else address
    server = serve(recorder.handlers, where, **options)
    dial(server)
    (accepted,) = recorder.wait_for("open")
    seen = tcp_settings(accepted)
    if not expected["keepalive"]:
        seen["idle"] = expected["idle"]  # the system's, of no consequence
    assert seen == expected
    assert accepted.no_delay == server.no_delay
    assert accepted.keepalive == server.keepalive


def test_marks_that_contradict_each_other_are_a_value_error_that_names_them() -> None:
    with pytest.raises(ValueError, match="low_water_mark=10.*high_water_mark=5"):
        greensock.listen(("127.0.0.1", 0), Echo(), low_water_mark=10, high_water_mark=5)


def test_unix_sockets_have_no_such_settings(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, f"unix:{tmp_path}/socket", no_delay=True, keepalive=5))
    (accepted,) = recorder.wait_for("open")
    assert (accepted.no_delay, accepted.keepalive) == (False, None)
    assert accepted.family is socket.AF_UNIX


# -- what there is to know -------------------------------------------------------------------------------


def test_a_server_is_one_of_gevents(serve: Serve) -> None:
    server = serve(Echo())
    assert isinstance(server, greensock.Server)
    assert isinstance(server, gevent.server.StreamServer)


def test_a_server_that_was_made_is_not_started_before_it_is_told() -> None:
    server = greensock.Server(("127.0.0.1", 0), Echo())
    assert not server.started
    assert server.closed
    assert (server.port, server.connections, server.stats().started_at) == (None, 0, None)
    assert "127.0.0.1:0" in repr(server)
    server.start()
    try:
        assert server.started
        assert not server.closed
        assert echoes(server.url)
    finally:
        server.stop(0)
    assert not server.started
    assert server.closed


def test_the_url_of_one_not_started_is_what_was_given(tmp_path: Path) -> None:
    assert greensock.Server(("127.0.0.1", 0), Echo()).url == "tcp://127.0.0.1:0"
    assert greensock.Server(f"unix:{tmp_path}/socket", Echo()).url == f"unix:{tmp_path}/socket"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = greensock.Server(listener, Echo())
        assert server.url == f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        assert "stopped" in repr(server)


@pytest.mark.parametrize("use", ["start", "serve_forever", "stop", "close", "stop_accepting", "start_accepting"])
def test_use_from_another_thread_is_a_runtime_error(serve: Serve, use: str) -> None:
    server = serve(Echo())

    def attempt() -> str:
        with pytest.raises(RuntimeError) as caught:
            getattr(server, use)()
        return str(caught.value)

    assert "call_from_thread" in gevent.get_hub().threadpool.apply(attempt)
    assert server.started
    assert echoes(server.url)


def test_handlers_are_not_set_in_gevents_way(serve: Serve) -> None:
    with pytest.raises(TypeError, match="reload"):
        serve(Echo()).set_handle(print)


@pytest.mark.parametrize(
    ("wildcard", "loopback"),
    [("0.0.0.0", "127.0.0.1"), pytest.param("::", "[::1]", marks=ipv6)],
)
def test_the_url_of_a_wildcard_is_connectable(serve: Serve, wildcard: str, loopback: str) -> None:
    server = serve(Echo(), (wildcard, 0))
    assert server.hostname == wildcard
    assert server.url == f"tcp://{loopback}:{server.port}"
    assert echoes(server.url)


def test_repr_tells_where_and_how_many(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server)
    recorder.wait_for("open")
    assert repr(server) == str(server) == f"<Server {server.url} listening, 1 connections>"
    server.stop(0)
    assert repr(server) == f"<Server {server.url} stopped, 0 connections>"


def test_each_socket_knows_its_server_and_its_addresses(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    for address in ("127.0.0.1:0", "0.0.0.0:0"):
        server = serve(recorder.handlers, address)
        with peer_of(server.url) as peer:
            peer.send(b"x")
            (accepted, _) = recorder.wait_for("data", recorder.events.count("data") + 1)
            assert accepted.server is server
            assert accepted.remote_address == peer.address
            assert accepted.local_address == ("127.0.0.1", server.port)
            peer.close()
            recorder.wait_for("close", recorder.events.count("close") + 1)
            assert accepted.local_address == ("127.0.0.1", server.port), "also after the close"


def test_connections_is_a_live_count(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    assert server.connections == len(server.sockets) == 0
    peers = [dial(server) for _ in range(3)]
    recorder.wait_for("open", 3)
    assert server.connections == len(server.sockets) == 3
    for left, peer in enumerate(reversed(peers)):
        peer.close()
        recorder.wait_for("close", 3 - (2 - left))
        assert server.connections == len(server.sockets) == 2 - left


def test_connections_counts_from_open(serve: Serve, dial: Dial) -> None:
    counts = []
    server = serve({"open": lambda socket: counts.append(socket.server.connections), "data": print})
    for _ in range(3):
        dial(server)
    wait_until(lambda: len(counts) == 3)
    assert counts == [1, 2, 3]


def test_sockets_tells_who_is_among_them(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    peer = dial(server)
    (accepted,) = recorder.wait_for("open")
    assert accepted in server.sockets
    assert list(server.sockets) == [accepted]
    peer.close()
    recorder.wait_for("close")
    assert accepted not in server.sockets
    assert list(server.sockets) == []
    assert "0" in repr(server.sockets)


def test_sockets_may_be_iterated_while_sockets_come_and_go(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    for _ in range(10):
        dial(server)
    recorder.wait_for("open", 10)
    unseen = set(recorder.sockets)
    for accepted in server.sockets:
        assert not accepted.closed
        unseen.remove(accepted)
        unseen.pop().terminate()
        dial(server)
        gevent.sleep(0)
    assert not unseen, "of ten, five were seen and five had gone before their turn"
    recorder.wait_for("open", 15)
    assert server.connections == 10


def test_stop_accepting_leaves_connections_in_the_backlog_until_start_accepting(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data))
    server = serve(recorder.handlers)
    before = dial(server)
    recorder.wait_for("open")
    server.stop_accepting()
    server.stop_accepting()
    waiting = dial(server)
    waiting.send(b"hello")
    assert before.exchange(b"others are served") == b"others are served"
    assert recorder.events.count("open") == 1
    assert server.started
    server.start_accepting()
    server.start_accepting()
    assert waiting.read_exactly(5) == b"hello"
