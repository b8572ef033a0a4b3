"""One side of TLS, ready for many connections: made of options, or of a context of the user's.

Nothing here imports ``ssl`` before TLS is used: an application may patch first.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .tls import TLS, host_name, kind_of

if TYPE_CHECKING:
    import ssl


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One side, ready for many connections.

    Attributes:
        context: what OpenSSL works with; one for all equal options. A server's is never let go (CVE-2026-19445).
        server_side: which side this is.
        authorization: after the handshake, of an object that :meth:`wrap` has made: whether the peer's certificate was
            verified, and why not, if it should have been. A server that asks for none has nothing to complain about.
        hostname: clients: the name or address that is asked for and verified.
        private_bios: handshakes may run code of the user's, which may block: buffers must not be shared with other
            connections.
    """

    context: "ssl.SSLContext"
    server_side: bool
    authorization: "Callable[[ssl.SSLObject], tuple[bool, Exception | None]]"
    hostname: str | None = None
    private_bios: bool = False

    def wrap(self, incoming: "ssl.MemoryBIO", outgoing: "ssl.MemoryBIO") -> "ssl.SSLObject":
        """Begin a connection that reads from *incoming* and writes to *outgoing*.

        On a server, and unless the context is the user's, the object has ``server_name``: the name that the client
        asked for, or None.
        """
        return self.context.wrap_bio(incoming, outgoing, server_side=self.server_side, server_hostname=self.hostname)


def server_side(tls: object) -> Endpoint:
    """The server's side of *tls*: a :class:`TLS`, a mapping of its options, or an SSLContext.

    Raises:
        TypeError: an unknown option in a mapping.
        ValueError: anything else, options without key and cert, or a context for clients.
    """
    from . import contexts

    if contexts.is_context(tls):
        private = contexts.adopt(tls, True)
        return Endpoint(tls, True, contexts.authorization(tls, True), None, private)
    options = TLS.of(tls) if isinstance(tls, Mapping) else tls
    if isinstance(options, TLS):
        if options.identities:
            context = contexts.for_server(options)
            return Endpoint(context, True, contexts.authorization(context, True))
        raise ValueError("tls needs key and cert for a server, and has neither")
    raise ValueError(f"tls must be TLS(key=..., cert=...), a mapping or an SSLContext for a server, not {kind_of(tls)}")


def client_side(tls: object, hostname: str | None) -> Endpoint:
    """The client's side of *tls*, for a connection to *hostname*: what is asked for and verified.

    Args:
        tls: a :class:`TLS`, a mapping of its options, an SSLContext, or True for the defaults.
        hostname: a name or an address; ``server_name`` of the options goes before it. None if there is none, as on a
            unix socket.

    Raises:
        TypeError: an unknown option in a mapping.
        ValueError: anything else, a context for servers, or no name where one is to be verified: whoever holds a good
            certificate for any name could then answer.
    """
    from . import contexts

    if contexts.is_context(tls):
        private = contexts.adopt(tls, False)
        name = _optional_name(hostname)
        if name is None and tls.check_hostname:
            raise ValueError("server_hostname is missing: the SSLContext has check_hostname, and there is no name")
        return Endpoint(tls, False, contexts.authorization(tls, False), name, private)
    options = TLS() if tls is True else TLS.of(tls) if isinstance(tls, Mapping) else tls
    if not isinstance(options, TLS):
        raise ValueError(f"tls must be a TLS, a mapping, an SSLContext or True for a client, not {kind_of(tls)}")
    name = options.server_name or _optional_name(hostname)
    if name is None and options.reject_unauthorized:
        raise ValueError(
            "server_hostname is missing, and a server is verified by its name: give one, TLS(server_name=...), "
            "or TLS(reject_unauthorized=False)"
        )
    context = contexts.for_client(options)
    return Endpoint(context, False, contexts.authorization(context, False), name)


def _optional_name(hostname: str | None) -> str | None:
    return host_name("server_hostname", hostname) if hostname else None
