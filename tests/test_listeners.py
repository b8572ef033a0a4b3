"""Listeners on real sockets; each fault is caused for real."""

import _socket
import contextlib
import errno
import os
import resource
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent.socket
import pytest

from greensock import listeners, net
from greensock.address import Address
from listening import Open, accept, accepted, ipv6, linux, listen, no_descriptor_left

__all__ = ["listen", "no_descriptor_left"]


def is_listening(sock: _socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


# ---------------------------------------------------------------------------------------------------- opening


@pytest.mark.parametrize("address", ["127.0.0.1:0", "tcp://localhost:0", "tls://127.0.0.1:0", ("127.0.0.1", 0)])
def test_tcp(listen: Open, address: object) -> None:
    listener = listen(address)
    assert type(listener) is _socket.socket
    assert is_listening(listener)
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert listener.getsockname()[1] != 0
    with accepted(listener) as (client, peer):
        client.sendall(b"hello")
        assert peer.recv(5) == b"hello"


@ipv6
@pytest.mark.parametrize("only", [False, True])
def test_ipv6(listen: Open, only: bool) -> None:
    listener = listen("[::]:0", ipv6_only=only)
    port = listener.getsockname()[1]
    assert listener.family == socket.AF_INET6
    assert bool(listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)) == only
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) == (errno.ECONNREFUSED if only else 0)
    with socket.socket(socket.AF_INET6) as client:
        client.connect(("::1", port))


def test_unix(listen: Open, tmp_path: Path) -> None:
    path = str(tmp_path / "echo")
    listener = listen(f"unix:{path}")
    assert type(listener) is _socket.socket
    assert listener.getsockname() == path
    with accepted(listener) as (client, peer):
        client.sendall(b"hello")
        assert peer.recv(5) == b"hello"


def test_listeners_do_not_block_and_are_not_inherited(listen: Open, tmp_path: Path) -> None:
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/echo"):
        listener = listen(address)
        assert not os.get_blocking(listener.fileno())
        assert not os.get_inheritable(listener.fileno())
        with pytest.raises(BlockingIOError):
            accept(listener)


def test_monkey_patching_makes_no_difference() -> None:
    program = """if True:
        from gevent import monkey
        monkey.patch_all()
        import _socket, socket
        from greensock import listeners
        from greensock.address import parse
        listener = listeners.open_listener(parse("localhost:0"), backlog=1, reuse_port=False, ipv6_only=False)
        assert type(listener) is _socket.socket
        adopted = listeners.adopt_listener(socket.create_server(("127.0.0.1", 0)), 1)
        assert isinstance(adopted, _socket.socket)
        listener.close()
        adopted.close()
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment, timeout=30)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT here")
def test_reuse_port(listen: Open) -> None:
    first = listen("127.0.0.1:0", reuse_port=True)
    second = listen(first.getsockname(), reuse_port=True)
    assert first.getsockname() == second.getsockname()
    with pytest.raises(OSError, match="Address already in use"):
        listen(first.getsockname(), reuse_port=False)


def test_reuse_port_where_there_is_none(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(_socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(ValueError, match="reuse_port"):
        listen("127.0.0.1:0", reuse_port=True)


def test_a_restarted_server_gets_its_port_back(listen: Open) -> None:
    listener = listen("127.0.0.1:0")
    name = listener.getsockname()
    with accepted(listener) as (client, peer):
        peer.close()  # the side that closes first goes into TIME_WAIT
        assert client.recv(1) == b""
    listener.close()
    assert listen(name).getsockname() == name


@linux
def test_backlog_is_cut_to_the_limit_of_the_system() -> None:
    limit = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert listeners.effective_backlog(1) == 1
    assert listeners.effective_backlog(limit) == limit
    assert listeners.effective_backlog(10**12) == limit


def test_backlog_where_the_system_does_not_tell(listen: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listeners, "_SOMAXCONN_FILE", str(tmp_path / "none"))
    assert listeners.effective_backlog(4096) == 4096
    listen("127.0.0.1:0", backlog=10**12)


# ---------------------------------------------------------------------------------------------------- failing


def test_port_in_use(listen: Open) -> None:
    port = listen("127.0.0.1:0").getsockname()[1]
    with pytest.raises(OSError) as caught:
        listen(("127.0.0.1", port))
    assert caught.value.errno == errno.EADDRINUSE
    assert str(caught.value).endswith(f"Address already in use: cannot listen on tcp://127.0.0.1:{port}")
    assert isinstance(caught.value.__cause__, OSError)


def test_address_of_another_machine(listen: Open) -> None:
    with pytest.raises(OSError, match=r"cannot listen on tls://192\.0\.2\.1:0$") as caught:  # RFC 5737: nobody's
        listen("tls://192.0.2.1:0")
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("host", ["name.invalid", "a..b", "l" * 64 + ".example"])  # RFC 6761; impossible labels
def test_unresolvable_name(listen: Open, host: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(socket.gaierror, match=f"cannot resolve '{host}': ") as caught:
        listen((host, 80))
    assert caught.value.errno in (socket.EAI_NONAME, socket.EAI_AGAIN, getattr(socket, "EAI_NODATA", None))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:{}/echo"])
def test_no_descriptor_to_be_had(listen: Open, tmp_path: Path, address: str) -> None:
    with open(os.devnull) as lowest:
        free = lowest.fileno()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with pytest.raises(OSError, match=r"cannot listen on (tcp|unix):") as caught:
            listen(address.format(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.errno == errno.EMFILE


def test_unix_path_in_no_directory(listen: Open, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"cannot listen on unix:{tmp_path}/none/echo$"):
        listen(f"unix:{tmp_path}/none/echo")


def test_error_of_the_interpreter_without_a_number() -> None:
    address = Address("unix", path="/" + "p" * 200)  # longer than parse() lets pass
    with pytest.raises(OSError, match="path too long: cannot listen on unix:/ppp"):
        listeners.open_listener(address, backlog=1, reuse_port=False, ipv6_only=False)


# ------------------------------------------------------------------------------------------------- unix paths


def leave_dead_socket(path: Path, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(str(path))


def refuse(listen: Open, path: Path) -> None:
    """Listening on *path* is EADDRINUSE, and leaves it as it is."""
    before = path.lstat()
    with pytest.raises(OSError, match=f"Address already in use.*: cannot listen on unix:{path}$") as caught:
        listen(f"unix:{path}")
    assert caught.value.errno == errno.EADDRINUSE
    after = path.lstat()
    assert (before.st_dev, before.st_ino, before.st_mode) == (after.st_dev, after.st_ino, after.st_mode)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_dead_socket_is_taken_over(listen: Open, tmp_path: Path, kind: int) -> None:
    path = tmp_path / "echo"
    leave_dead_socket(path, kind)
    listener = listen(f"unix:{path}")
    with accepted(listener):
        pass


def test_socket_in_use_is_not(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    listener = listen(f"unix:{path}")
    refuse(listen, path)
    with contextlib.closing(accept(listener)) as probe:
        assert probe.recv(1) == b""  # all that the server sees of the question


@linux
def test_socket_with_a_full_backlog_is_not(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    listen(f"unix:{path}", backlog=1)
    with contextlib.ExitStack() as clients:
        with pytest.raises(BlockingIOError):
            for _ in range(10):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        refuse(listen, path)


def test_datagram_socket_in_use_is_not(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(path))
        refuse(listen, path)


def test_what_is_no_socket_is_never_replaced(listen: Open, tmp_path: Path) -> None:
    file, directory, pipe = tmp_path / "file", tmp_path / "directory", tmp_path / "pipe"
    file.write_text("precious")
    directory.mkdir()
    os.mkfifo(pipe)
    for path in (file, directory, pipe):
        refuse(listen, path)
    assert file.read_text() == "precious"
    with pytest.raises(OSError, match="by something that is no socket"):
        listen(f"unix:{file}")


def test_symbolic_links_are_never_replaced(listen: Open, tmp_path: Path) -> None:
    dangling, to_dead, dead = tmp_path / "dangling", tmp_path / "to_dead", tmp_path / "dead"
    dangling.symlink_to(tmp_path / "none")
    leave_dead_socket(dead)
    to_dead.symlink_to(dead)
    for path in (dangling, to_dead):
        refuse(listen, path)
    assert dead.is_socket()


def test_path_that_goes_away_meanwhile(listen: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "echo"
    leave_dead_socket(path)
    identity_of = listeners.path_identity

    def gone(name: str) -> listeners.Identity | None:
        path.unlink()  # another server has just closed
        return identity_of(name)

    monkeypatch.setattr(listeners, "path_identity", gone)
    listen(f"unix:{path}")


def test_unlink_own_path(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    listener = listen(f"unix:{path}")
    identity = listeners.path_identity(str(path))
    assert identity == (path.stat().st_dev, path.stat().st_ino)
    assert listeners.unlink_path(str(path), identity)
    assert not path.exists()
    assert not listeners.unlink_path(str(path), identity)
    assert listeners.path_identity(str(path)) is None
    listener.close()


def test_unlink_leaves_the_path_of_a_successor(listen: Open, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    listen(f"unix:{path}")
    identity = listeners.path_identity(str(path))
    path.unlink()
    successor = listen(f"unix:{path}")
    assert listeners.path_identity(str(path)) != identity  # the first listener is open: its inode is not free
    assert not listeners.unlink_path(str(path), identity)
    with accepted(successor):
        pass


def test_unlink_leaves_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    assert not listeners.unlink_path(str(path), listeners.path_identity(str(path)))
    assert not listeners.unlink_path(str(path), None)
    assert path.read_text() == "precious"


@linux
def test_unlink_that_fails(listen: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(f"unix:{tmp_path}/echo")
    path = f"/proc/self/fd/{listener.fileno()}"  # a socket by stat(2), in a directory that lets nothing go
    monkeypatch.setattr(os, "lstat", os.stat)
    assert not listeners.unlink_path(path, listeners.path_identity(path))


# --------------------------------------------------------------------------------------------------- adopting


def adopted_listener(stack: contextlib.ExitStack, kind: str, *, listening: bool) -> tuple[object, Any]:
    """A bound socket as users have them, and what to adopt: itself or its descriptor."""
    given: Any
    match kind:
        case "raw":
            given = _socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        case "gevent":
            given = gevent.socket.socket()
        case _:
            given = socket.socket()
    stack.callback(given.close)
    given.bind(("127.0.0.1", 0))
    if listening:
        given.listen(1)
    return given, given.detach() if kind == "fd" else given


@pytest.mark.parametrize("kind", ["raw", "standard", "gevent", "fd"])
@pytest.mark.parametrize("listening", [True, False])
def test_adopt(kind: str, listening: bool) -> None:
    with contextlib.ExitStack() as stack:
        given, passed = adopted_listener(stack, kind, listening=listening)
        adopted = listeners.adopt_listener(passed, 10)
        stack.callback(adopted.close)
        assert isinstance(adopted, _socket.socket)
        assert is_listening(adopted)
        assert not os.get_blocking(adopted.fileno())
        assert adopted.gettimeout() == 0
        with pytest.raises(BlockingIOError):
            accept(adopted)
        with accepted(adopted):
            pass
        if kind != "fd":  # the user's object lives and ends with the adopted one
            assert given.getsockname() == adopted.getsockname()  # type: ignore[attr-defined]
            adopted.close()
            assert given.fileno() == -1  # type: ignore[attr-defined]


def test_adopt_a_socket_with_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        assert listeners.adopt_listener(listener, 1) is listener
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_adopt_by_address(listen: Open, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(f"{tmp_path}/echo")
        given.set_inheritable(True)  # as a supervisor passes it
        listener = listen(f"fd://{given.detach()}")
    assert listener.family == socket.AF_UNIX
    assert not os.get_inheritable(listener.fileno())
    with accepted(listener):
        pass


@linux
def test_adopt_an_abstract_unix_socket() -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind("")  # the kernel chooses a name: unix(7)
        assert is_listening(listeners.adopt_listener(given, 1))
        assert net.url_of("tcp", given.getsockname()).startswith("unix:@")


def unsuitable(stack: contextlib.ExitStack, kind: str) -> socket.socket:
    match kind:
        case "not a stream":
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.bind(("127.0.0.1", 0))
        case "not bound":
            sock = socket.socket()
        case "unix not bound":
            sock = socket.socket(socket.AF_UNIX)
        case "connected":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            sock = socket.create_connection(server.getsockname())
        case "unix connected":
            sock, other = socket.socketpair()
            stack.enter_context(other)
        case _:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    return stack.enter_context(sock)


UNSUITABLE = ["not a stream", "not bound", "unix not bound", "connected", "unix connected"]


@pytest.mark.parametrize("kind", UNSUITABLE + ["neither a TCP nor a unix"] * (sys.platform == "linux"))
@pytest.mark.parametrize("by_number", [False, True])
def test_adopt_refuses(kind: str, by_number: bool) -> None:
    with contextlib.ExitStack() as stack:
        sock = unsuitable(stack, kind)
        fd = sock.fileno()
        with pytest.raises(ValueError, match=kind.removeprefix("unix ")) as caught:
            listeners.adopt_listener(fd if by_number else sock, 10)
        assert (f"fd://{fd}" if by_number else repr(sock)) in str(caught.value)
        assert sock.fileno() == fd  # left open, and as it was
        assert os.get_blocking(fd)
        assert not is_listening(sock)


@pytest.mark.parametrize("listener", [None, "fd://3", True, 3.0, object(), sys.stdout])
def test_adopt_what_is_no_socket(listener: object) -> None:
    with pytest.raises(TypeError, match="not a socket"):
        listeners.adopt_listener(listener, 10)


def test_adopt_a_tls_socket() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as listener:
        with pytest.raises(TypeError, match="TLS comes by the option 'tls'"):
            listeners.adopt_listener(listener, 10)
        assert listener.fileno() != -1


def test_adopt_descriptors_that_are_no_sockets(listen: Open) -> None:
    with open(os.devnull) as file:
        fd = file.fileno()
        with pytest.raises(OSError, match=f"cannot listen on fd://{fd}$") as caught:
            listen(f"fd://{fd}")
        assert caught.value.errno == errno.ENOTSOCK
        assert os.fstat(fd)  # left open
    with pytest.raises(OSError, match=f"cannot listen on fd://{fd}$") as caught:
        listen(f"fd://{fd}")
    assert caught.value.errno == errno.EBADF


def test_adopt_a_closed_socket() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    with pytest.raises(OSError, match=r"cannot listen on <socket\.socket .*closed") as caught:
        listeners.adopt_listener(listener, 10)
    assert caught.value.errno == errno.EBADF


@linux
def test_adopt_when_listening_fails() -> None:
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):  # both may bind as long as neither listens: socket(7)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0) if sock is first else first.getsockname())
        first.listen()
        with pytest.raises(OSError, match="Address already in use: cannot listen on <socket") as caught:
            listeners.adopt_listener(second, 10)
        assert caught.value.errno == errno.EADDRINUSE
        assert os.get_blocking(second.fileno())
