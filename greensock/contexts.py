"""TLS options to OpenSSL: the contexts, and the objects that speak TLS in memory.

This module imports ``ssl``, and is therefore imported only when TLS is used: an application may patch before that.
All contexts made here are gevent's. They work before and after patching alike; one of the standard library's that was
made before it fails as soon as something is set.
"""

import functools
import ssl
import sys
from _ssl import _SSLContext  # below the classes of the standard library and of gevent, which patching exchanges
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeGuard, cast

import gevent.ssl

from .hubs import get_ident
from .keys import load_identity, reason_of

if TYPE_CHECKING:
    from .tls import TLS

#: Forward secrecy and authenticated encryption, the strongest first. These are the names for TLS 1.2; the suites of
#: TLS 1.3 are all of this kind and are not chosen by name.
CIPHERS: Final = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"


# -- contexts --------------------------------------------------------------------------------------------


@functools.cache
def for_server(options: "TLS") -> ssl.SSLContext:
    """The context that serves with *options*, whose values have been checked and whose contents are parsed.

    It is never let go: a handshake that has changed to the context of an SNI name goes on to call into the one that it
    began with, even if that is gone (CVE-2026-19445). Equal options share one, and so only a reload with other ones
    costs memory.

    Raises:
        ValueError: what OpenSSL does not take; the message names the option.
    """
    context = _new(ssl.PROTOCOL_TLS_SERVER, options)
    if options.request_cert:
        context.verify_mode = ssl.CERT_REQUIRED if options.reject_unauthorized else ssl.CERT_OPTIONAL
    if options.request_cert or options.ca:
        _trust(context, options, ssl.Purpose.CLIENT_AUTH)
    _watch_names(context, {name: _entry(name, entry, context, options) for name, entry in options.sni})
    return context


@functools.lru_cache(maxsize=128)
def for_client(options: "TLS") -> ssl.SSLContext:
    """The context that connects with *options*, under the same conditions. It has no callback, and need not be kept;
    but to read the system's authorities takes far longer than a handshake."""
    context = _new(ssl.PROTOCOL_TLS_CLIENT, options)
    if not options.reject_unauthorized:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _trust(context, options, ssl.Purpose.SERVER_AUTH)
    return context


def _new(protocol: int, options: "TLS") -> ssl.SSLContext:
    context = gevent.ssl.SSLContext(protocol)
    context.sslobject_class = Secured
    context.minimum_version = getattr(ssl.TLSVersion, options.min_version.replace(".", "_"))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    # A connection cut off must not look like one that was ended; set by early releases of Python 3.10 and 3.11.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    context.options &= ~getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    # Whoever gives an intermediate authority, or the peer's own certificate, as `ca` trusts it. So does Python 3.13.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _choose_ciphers(context, options.ciphers)
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    for identity in options.identities:
        if len(options.identities) > 1:
            # OpenSSL puts a key to the certificate of its kind, which may be that of another pair: first each alone.
            load_identity(gevent.ssl.SSLContext(protocol), identity, options.passphrase)
        load_identity(context, identity, options.passphrase)
    return context


def _trust(context: ssl.SSLContext, options: "TLS", purpose: ssl.Purpose) -> None:
    if options.ca is None:
        context.load_default_certs(purpose)
        return
    problem = ""
    try:
        context.load_verify_locations(cadata="".join(certificate.pem.decode() for certificate in options.ca))
    except ssl.SSLError as error:
        problem = f"ca holds a certificate that OpenSSL does not take: {reason_of(error)}"
    if problem:
        raise ValueError(problem)


# -- ciphers ---------------------------------------------------------------------------------------------


def _choose_ciphers(context: ssl.SSLContext, ciphers: str | None) -> None:
    context.set_ciphers(CIPHERS)
    if ciphers is None:
        return
    # OpenSSL passes over names that it does not know: a misspelt one would be missing without a word.
    for name in ciphers.replace(",", ":").replace(" ", ":").split(":"):
        if name.startswith("TLS_"):
            raise ValueError(
                f"ciphers are those of TLS 1.2; {name!r} is of TLS 1.3, where all are good and none is chosen"
            )
        chosen = name and name[0] not in "@!-+"
        if chosen and not _selects(gevent.ssl.SSLContext(context.protocol), name):
            raise ValueError(f"ciphers has a name that OpenSSL does not know: {name!r}")
    if not _selects(context, ciphers):
        raise ValueError(f"ciphers selects nothing: {ciphers!r}")


def _selects(context: ssl.SSLContext, ciphers: str) -> bool:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        return False
    return any(cipher["protocol"] != "TLSv1.3" for cipher in context.get_ciphers())


# -- names asked for -------------------------------------------------------------------------------------


def _entry(name: str, entry: "TLS | ssl.SSLContext", outer: ssl.SSLContext, options: "TLS") -> ssl.SSLContext:
    """The context for *name*.

    OpenSSL settles what is demanded of the client before it knows the name, and SSL_set_SSL_CTX(3) leaves that as it
    is: an entry that demands more would be ignored without a word. And a session that was begun under one name can be
    resumed under another, and so an authority that only one of them trusts would count for both.
    """
    if is_context(entry):
        adopt(entry, True)
        if entry.verify_mode != outer.verify_mode or entry.minimum_version > outer.minimum_version:
            raise ValueError(f"sni[{name!r}] must have the verify_mode and minimum_version of the outer options")
        if outer.verify_mode != ssl.CERT_NONE:
            raise ValueError(f"sni[{name!r}] must be a TLS with the same ca, because request_cert is set")
        return entry
    entry = cast("TLS", entry)
    for option in ("request_cert", "reject_unauthorized", "min_version"):
        if getattr(entry, option) != getattr(options, option):
            raise ValueError(f"sni[{name!r}] must have the same {option} as the outer options")
    if options.request_cert and entry.ca != options.ca:
        raise ValueError(f"sni[{name!r}] must have the same ca as the outer options, because request_cert is set")
    return for_server(entry)


class _Names:
    """The callback of a context: notes the name that a client asks for, and changes to the entry for it, if any."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, ssl.SSLContext]) -> None:
        self._entries = entries

    def __call__(self, secured: "Secured", name: str | None, context: ssl.SSLContext) -> None:
        if name is None:
            return
        name = name.lower().removesuffix(".")
        secured.server_name = name
        label, _, parent = name.partition(".")
        entry = self._entries.get(name) or (self._entries.get(f"*.{parent}") if label else None)
        if entry is not None:
            secured.context = entry


def _watch_names(context: ssl.SSLContext, entries: Mapping[str, ssl.SSLContext]) -> None:
    """Have *context* look at the names. gevent's property is passed by: it wraps the callback for its own sockets."""
    _plain_callback.__set__(context, _Names(entries))


_plain_callback: Final[Any] = vars(_SSLContext)["sni_callback"]


class Secured(ssl.SSLObject):
    """One side of one connection.

    Attributes:
        server_name: on a server, the name that the client asked for, in lower case and without a dot at its end.
    """

    server_name: str | None = None

    def do_handshake(self) -> None:
        """Shake hands, keep off stderr what a peer can cause, and raise what a signal's handler raises in a callback.

        A name that is not ASCII, which no honest client sends, fails before any callback is called: the handshake is
        refused, but a traceback is printed too. And what a callback raises is printed and gone.
        """
        outer = sys.unraisablehook
        if not isinstance(outer, _Unraisable):  # else another thread shakes hands
            _unraisable.outer = outer
            sys.unraisablehook = _unraisable
        try:
            super().do_handshake()
        finally:
            if outer is not _unraisable and sys.unraisablehook is _unraisable:
                sys.unraisablehook = outer
            interrupt = _unraisable.interrupts.pop(get_ident(), None)
            if interrupt is not None:
                raise interrupt

    def _sslsock(self) -> "Secured":
        """What callbacks set on a context of gevent's are given; it expects one of its own sockets here."""
        return self


class _Unraisable:
    """A ``sys.unraisablehook`` for handshakes. It passes on what is neither a peer's doing nor a signal's."""

    __slots__ = ("interrupts", "outer")

    def __init__(self, outer: Callable[[Any], object]) -> None:
        self.outer = outer
        #: by thread: what is to be raised at the end of the step of a handshake
        self.interrupts: dict[int, BaseException] = {}

    def __call__(self, unraisable: Any) -> None:
        error, traceback = unraisable.exc_value, unraisable.exc_traceback
        place = traceback and traceback.tb_frame.f_code  # what OpenSSL called, or what called it
        # Our own callback raises nothing by itself; the user's may be interrupted too.
        if place is _Names.__call__.__code__ or isinstance(error, KeyboardInterrupt):
            self.interrupts[get_ident()] = error
        elif not (isinstance(error, UnicodeDecodeError) and place is ssl.SSLObject.do_handshake.__code__):
            self.outer(unraisable)


_unraisable: Final = _Unraisable(sys.unraisablehook)


# -- contexts of the user's ------------------------------------------------------------------------------

#: Contexts of the user's that serve, for ever: the reason is that of :func:`for_server`.
_adopted: Final[dict[ssl.SSLContext, None]] = {}


def is_context(given: object) -> TypeGuard[ssl.SSLContext]:
    """Whether *given* is an SSLContext, the standard library's or one derived from it, as gevent's is."""
    return isinstance(given, _SSLContext)


def adopt(context: ssl.SSLContext, server_side: bool) -> bool:
    """Take a context of the user's as it is. The answer: whether handshakes may run code of the user's.

    Such code may block, and other connections go on meanwhile. (Python has no way to see the callbacks for pre-shared
    keys that 3.13 brought: they must not block.)

    Raises:
        ValueError: it is for the other side.
    """
    wrong = ssl.PROTOCOL_TLS_CLIENT if server_side else ssl.PROTOCOL_TLS_SERVER
    if context.protocol == wrong:
        sides = ("a server", "clients") if server_side else ("a client", "servers")
        raise ValueError(f"tls must be an SSLContext for {sides[0]}; this one is for {sides[1]}")
    if server_side:
        _adopted[context] = None
    if context.sslobject_class is ssl.SSLObject:
        context.sslobject_class = Secured
    # A class of the user's may do anything; the callback for messages is a property without documentation.
    plain = type(context).__module__ in ("ssl", "gevent.ssl") and context.sslobject_class is Secured
    callbacks = (context.sni_callback, getattr(context, "_msg_callback", None))
    return not plain or callbacks != (None, None)


# -- after the handshake ---------------------------------------------------------------------------------


def authorization(
    context: ssl.SSLContext, server_side: bool
) -> Callable[[ssl.SSLObject], tuple[bool, Exception | None]]:
    """What tells whether the peer of a connection was verified, and if it was not although it might have been, why.

    *context* is what connections begin with: what is demanded of the peer does not change with the name.
    """
    if context.verify_mode == ssl.CERT_REQUIRED:
        return lambda secured: (True, None)  # or there would have been no end of the handshake
    if context.verify_mode == ssl.CERT_OPTIONAL:
        return _if_given
    if server_side:
        return lambda secured: (False, None)
    text = "the server's certificate was not verified: reject_unauthorized is False"
    return lambda secured: (False, _unverified(text))


def _if_given(secured: ssl.SSLObject) -> tuple[bool, Exception | None]:
    if secured.getpeercert(True) is not None:
        return True, None
    return False, _unverified("the peer gave no certificate")


def _unverified(text: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(ssl.SSL_ERROR_SSL, text)
    error.reason = "CERTIFICATE_VERIFY_FAILED"
    error.library = "SSL"
    error.verify_code = 0
    error.verify_message = text
    return error
