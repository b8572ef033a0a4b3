"""From addresses to sockets that listen.

All sockets here are the interpreter's own ``_socket.socket``: unlike ``socket.socket`` that class is the same
object whether or not gevent has monkey-patched the program, and it has neither watchers nor a wrapper to pay
for. They are non-blocking, so that no call on them can hold up the hub, and close on exec.

Nothing here accepts, connects for a user, or knows about TLS.
"""

import _socket
import errno
import os
import stat
from contextlib import closing
from typing import Final

from .address import Address
from .net import SockAddr, resolve

#: Device and inode of a file: which one it is, whatever its name.
Identity = tuple[int, int]

_TCP_FAMILIES: Final = (_socket.AF_INET, _socket.AF_INET6)
_SOMAXCONN_FILE: Final = "/proc/sys/net/core/somaxconn"


def open_listener(address: Address, *, backlog: int, reuse_port: bool, ipv6_only: bool) -> _socket.socket:
    """A socket that is bound to *address* and listens.

    Args:
        address: Of any scheme. A name binds the first address that it resolves to. ``fd://`` is taken over as by
            :func:`adopt_listener`.
        backlog: Connections that the kernel holds until they are accepted, cut to :func:`effective_backlog`.
        reuse_port: Share the port with other sockets that ask for it too; TCP only.
        ipv6_only: Do not serve IPv4 on an IPv6 address; IPv6 only.

    Resolving waits for this greenlet alone.

    Resource handling: the caller closes the socket, and for a unix socket calls :func:`unlink_path` before. On
    a failure no descriptor is left.

    Error handling: ``OSError``, of the class and with the ``errno`` of the failure, with the address in its
    message; ``ValueError`` when *reuse_port* is asked of a system that cannot do it, or from
    :func:`adopt_listener`.
    """
    if address.scheme == "fd":
        return adopt_listener(address.fd, backlog)
    if address.scheme != "unix":
        family, name = resolve(address.host, address.port)[0]
    else:
        family, name = int(_socket.AF_UNIX), address.unix_name
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if isinstance(name, str):
                _bind_unix(sock, name)
            elif isinstance(name, bytes):
                sock.bind(name)  # gone with its last socket: there is nothing to take over
            else:
                _bind_tcp(sock, name, reuse_port=reuse_port, ipv6_only=ipv6_only)
            sock.listen(effective_backlog(backlog))
        except BaseException:
            sock.close()
            raise
    except OSError as error:
        raise _named(error, f"cannot listen on {address}") from error
    return sock


def effective_backlog(backlog: int) -> int:
    """*backlog*, cut to what the system holds (listen(2)); as it is where the system does not tell."""
    try:
        with open(_SOMAXCONN_FILE, encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        limit = 2**31 - 1  # listen(2) takes an int
    return min(backlog, limit)


def _bind_tcp(sock: _socket.socket, name: SockAddr, *, reuse_port: bool, ipv6_only: bool) -> None:
    # A restarted server gets its port back although old connections are in TIME_WAIT: socket(7).
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if reuse_port:
        if not hasattr(_socket, "SO_REUSEPORT"):
            raise ValueError("reuse_port: this system has no SO_REUSEPORT")
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    if sock.family == _socket.AF_INET6:
        # Set either way: the system's default can be changed (net.ipv6.bindv6only, ipv6(7)).
        sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, ipv6_only)
    sock.bind(name)


def _bind_unix(sock: _socket.socket, path: str) -> None:
    """Bind to *path*, taking over a socket there that nothing listens on any more.

    When two servers take over one dead path at the same moment, the last one has it: the system has no
    operation that would replace a name only if it is still the same file.
    """
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        identity = path_identity(path)
        if identity is not None:  # else it has gone meanwhile
            if not _is_socket(path):
                raise OSError(error.errno, f"{error.strerror}, by something that is no socket") from None
            if _listened_on(path):
                raise
            unlink_path(path, identity)
        sock.bind(path)


def path_identity(path: str) -> Identity | None:
    """Which file *path* is now, symbolic links not followed; None if there is none that can be seen."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def unlink_path(path: str, identity: Identity | None) -> bool:
    """Remove the socket at *path* if it is still the one that *identity* tells of, and say whether it was.

    To be called before the listener closes: while it is open its inode is in use, and no newer socket at the
    same path can have the same number.

    Error handling: none is raised. A path that cannot be removed is harmless, the next server takes it over.
    """
    if identity is None or path_identity(path) != identity or not _is_socket(path):
        return False
    try:
        os.unlink(path)
    except OSError:
        return False
    return True


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def _listened_on(path: str) -> bool:
    """Whether a server is behind *path*. It sees a connection that closes at once, which is no news to a server."""
    with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            # Only a refusal proves that nobody is there: unix(7). EAGAIN is a full backlog, EPROTOTYPE a
            # datagram socket in use, EACCES somebody else's.
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True


def adopt_listener(listener: object, backlog: int) -> _socket.socket:
    """Take over a *listener* that somebody else has bound, and return the socket to accept with.

    Args:
        listener: A ``socket.socket``, a gevent socket or a ``_socket.socket``, or the number of a descriptor, as
            systemd and other supervisors pass it.
        backlog: For one that does not listen yet; one that does keeps its own.

    Resource handling: whoever holds the result closes it, and the listener with it. Nothing is duplicated: the
    result is the very object that was passed, for a gevent socket the one inside it. So the user's object stays
    usable while the server serves, and is closed when the server closes. A descriptor given by number is made to
    close on exec, as sd_listen_fds(3) does. On a failure the listener is left open, blocking or not as it was.

    Error handling: ``TypeError`` for a TLS socket or what is no socket at all; ``ValueError`` for a socket that
    cannot become a listener: not a stream, not bound, connected; ``OSError`` for a descriptor that is closed or
    no socket, and for a failing listen(2). The message names the listener.
    """
    if isinstance(listener, int) and not isinstance(listener, bool):
        return _adopt_descriptor(listener, backlog)
    sock = listener
    if hasattr(sock, "do_handshake"):
        raise TypeError(f"expected a plain socket, TLS comes by the option 'tls': {listener!r}")
    while not isinstance(sock, _socket.socket):  # gevent's sockets, and wrappers like them, hold the real one
        sock = getattr(sock, "_sock", None)
        if sock is None:
            raise TypeError(f"not a socket: {listener!r}")
    _take_over(sock, backlog, repr(listener))
    return sock


def _adopt_descriptor(fd: int, backlog: int) -> _socket.socket:
    name = str(Address("fd", fd=fd))
    try:
        sock = _socket.socket(fileno=fd)  # finds out family and type by itself
    except OSError as error:
        raise _named(error, f"cannot listen on {name}") from error
    try:
        _take_over(sock, backlog, name)
        os.set_inheritable(fd, False)
    except BaseException:
        sock.detach()  # not ours: it stays open
        raise
    return sock


def _take_over(sock: _socket.socket, backlog: int, name: str) -> None:
    try:
        if sock.family not in (*_TCP_FAMILIES, _socket.AF_UNIX):
            raise ValueError(f"neither a TCP nor a unix socket: {name}")
        if sock.type != _socket.SOCK_STREAM:
            raise ValueError(f"not a stream socket: {name}")
        if not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
            if _is_connected(sock):
                raise ValueError(f"a connected socket cannot listen: {name}")
            bound = sock.getsockname()
            if not (bound[1] if sock.family in _TCP_FAMILIES else bound):
                raise ValueError(f"the socket is not bound: {name}")
            sock.listen(effective_backlog(backlog))
        sock.setblocking(False)
    except OSError as error:
        raise _named(error, f"cannot listen on {name}") from error


def _is_connected(sock: _socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return False
    return True


def _named(error: OSError, what: str) -> OSError:
    """The same error, of the same class and number, with *what* failed in its message."""
    if error.errno is None:  # raised by the interpreter itself, as for a path that is too long for this system
        return type(error)(f"{error}: {what}")
    return type(error)(error.errno, f"{error.strerror}: {what}")
