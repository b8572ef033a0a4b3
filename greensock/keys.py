"""Private keys and their certificates into OpenSSL: no disk sees a key, and what is refused is told in words.

This module imports ``ssl``, and is therefore imported only when TLS is used.
"""

import errno
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import gevent.ssl

from .certificates import Identity
from .pem import Secret


def load_identity(context: ssl.SSLContext, identity: Identity, passphrase: Secret | None) -> None:
    """Give *context* a key and the certificates for it.

    Raises:
        ValueError: what OpenSSL does not take; the message names the option and says which of them it is, if it can be
            known.
        OSError: the system has no descriptor left.
    """
    problem = ""
    chain = b"".join(certificate.pem for certificate in identity.chain)
    with _path_of(identity.names[1], chain) as cert, _path_of(identity.names[0], identity.key.pem) as key:
        try:
            context.load_cert_chain(cert, key, password=_never_ask if passphrase is None else passphrase)
        except OSError as error:
            # After a pipe the "illegal seek" of the system hides what OpenSSL said.
            if not isinstance(error, ssl.SSLError) and error.errno != errno.ESPIPE:
                raise
            problem = _diagnose(identity, error)
    if problem:
        raise ValueError(problem)


def _diagnose(identity: Identity, error: OSError) -> str:
    """Which of the two OpenSSL did not take, and why: its own words for most of it are "PEM lib"."""
    key, cert = identity.names
    reason = reason_of(error)
    if reason in ("key values mismatch", "key type mismatch", "no certificate assigned"):
        return f"{key} does not match {cert}; in a chain the key's own certificate comes first"
    if reason in ("ee key too small", "ca key too small", "ca md too weak"):
        return f"{cert} is too weak: {reason}"
    scratch = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for certificate in identity.chain:
        try:
            scratch.load_verify_locations(cadata=certificate.pem.decode())
        except ssl.SSLError:
            return f"{cert} holds a certificate that OpenSSL does not take"
    if identity.key.encrypted:
        return f"passphrase is wrong for {key}, or the key is damaged"
    if not isinstance(error, ssl.SSLError):
        return f"{key} does not match {cert}, or is not a private key that OpenSSL takes"
    return f"{key} is not a private key that OpenSSL takes: {reason}"


def reason_of(error: OSError) -> str:
    """What OpenSSL says of *error*, in words."""
    return (getattr(error, "reason", None) or "unknown reason").replace("_", " ").lower()


def _never_ask() -> str:
    """Stand in for the passphrase: without one OpenSSL would ask on the terminal, and the process would stand still."""
    raise ValueError("a private key is encrypted and there is no passphrase")


@contextmanager
def _path_of(option: str, contents: bytes) -> Iterator[str]:
    """A path under which OpenSSL finds *contents*, in memory: no disk ever sees them (memfd_create(2)).

    Where there is no memfd, it is the reading end of a pipe, which can hold 64 KiB on most systems.
    """
    if hasattr(os, "memfd_create"):
        reader = os.memfd_create("greensock")
        try:
            with open(reader, "wb", closefd=False) as file:
                file.write(contents)
            yield f"/proc/self/fd/{reader}"
        finally:
            os.close(reader)
        return
    reader, writer = os.pipe()
    try:
        try:
            os.set_blocking(writer, False)
            if os.write(writer, contents) < len(contents):
                raise ValueError(f"{option} is longer than a pipe of this system")
        finally:
            os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
