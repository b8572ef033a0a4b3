"""Keys and certificates as options: contents in whatever form they come, put together and checked.

No message here has anything of the contents in it, and no exception that could carry them is chained: a key must not
end up in a log.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final, TypeAlias

from . import pem
from .pem import Block, Certificate

#: What a key, a certificate or an authority may be given as.
Contents: TypeAlias = str | bytes | bytearray | memoryview | os.PathLike[str] | IO[str] | IO[bytes]

_OTHERS: Final = {
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    "CERTIFICATE REQUEST": "a certificate request",
    "NEW CERTIFICATE REQUEST": "a certificate request",
    "X509 CRL": "a revocation list",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key and the certificates for it, the key's own first.

    Attributes:
        names: what the two were given as, such as ``("key[1]", "cert[1]")``; errors say so.
    """

    names: tuple[str, str]
    key: Block
    chain: tuple[Certificate, ...]


# -- options ---------------------------------------------------------------------------------------------


def identities(key: object, cert: object) -> tuple[Identity, ...]:
    """What *key* and *cert* are together: contents, or lists of them that go in pairs. None of both is no identity.

    One that holds both a key and certificates serves for the other, too.

    Raises:
        ValueError: one is missing, their numbers differ, one is not what it should be, or a certificate is not valid
            now; the message names it.
    """
    if key is None and cert is None:
        return ()
    keys = _each("key", cert if key is None else key)
    certs = _each("cert", key if cert is None else cert)
    if len(keys) != len(certs):
        raise ValueError(f"there are {len(keys)} of key and {len(certs)} of cert: they go in pairs, and a chain is one")
    found: dict[int, list[Block]] = {}  # what was read of each, since an open file can be read once
    made: list[Identity] = []
    for (key_name, key_given), (cert_name, cert_given) in zip(keys, certs, strict=True):
        for name, given in ((key_name, key_given), (cert_name, cert_given)):
            if id(given) not in found:
                found[id(given)] = blocks(name, given)
        missing = key is None and not any(block.is_key for block in found[id(key_given)])
        if missing:
            raise ValueError("cert is given without key")
        if cert is None and not any(block.is_certificate for block in found[id(cert_given)]):
            raise ValueError("key is given without cert")
        identity = Identity(
            (key_name, cert_name),
            private_key(key_name, found[id(key_given)]),
            certificates(cert_name, found[id(cert_given)]),
        )
        _check_dates(cert_name, identity.chain[0])
        for other in made:
            if other.chain[0].algorithm == identity.chain[0].algorithm:
                raise ValueError(f"{cert_name} is for the same kind of key as {other.names[1]}: one of each is served")
        made.append(identity)
    return tuple(made)


def authorities(ca: object) -> tuple[Certificate, ...] | None:
    """The certificates of *ca*, contents or a list of them; None, which is None, means those of the system.

    Raises:
        ValueError: one holds no certificate, or none of them is valid now.
    """
    if ca is None:
        return None
    found = tuple(one for name, given in _each("ca", ca) for one in certificates(name, blocks(name, given)))
    now = datetime.now(UTC)
    if not any(one.not_before <= now <= one.not_after for one in found):
        _check_dates("ca", found[0])
    return found


def _each(option: str, given: object) -> list[tuple[str, object]]:
    if not isinstance(given, list | tuple):
        return [(option, given)]
    if not given:
        raise ValueError(f"{option} is an empty list")
    return [(f"{option}[{index}]", one) for index, one in enumerate(given)]


def _check_dates(option: str, certificate: Certificate) -> None:
    now = datetime.now(UTC)
    if now > certificate.not_after:
        raise ValueError(f"{option} expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC")
    if now < certificate.not_before:
        raise ValueError(f"{option} is not valid before {certificate.not_before:%Y-%m-%d %H:%M} UTC")


# -- contents --------------------------------------------------------------------------------------------


def blocks(option: str, given: object) -> list[Block]:
    """What is in the contents *given* for *option*, in order. An open file is read to its end.

    Raises:
        ValueError: they cannot be read, or are neither PEM nor DER. The message names the option.
    """
    data = _read(option, given)
    if not data.strip():
        raise ValueError(f"{option} is empty")
    found = pem.split(data)
    if not found and pem.is_pem(data):
        raise ValueError(f"{option} is PEM that is cut off or damaged")
    if not found:
        raise ValueError(f"{option} is neither PEM nor DER; it takes contents, or a pathlib.Path for a file's name")
    return found


def certificates(option: str, found: list[Block]) -> tuple[Certificate, ...]:
    """The certificates among the blocks *found* in *option*, in order: at least one.

    Raises:
        ValueError: there is none, or one is damaged; the message says what there is instead.
    """
    parsed = [pem.certificate(block) for block in found if block.is_certificate]
    if not parsed:
        raise ValueError(f"{option} holds {_what(found)} where a certificate should be")
    whole = tuple(certificate for certificate in parsed if certificate is not None)
    if len(whole) < len(parsed):
        raise ValueError(f"{option} holds a certificate that is damaged")
    return whole


def private_key(option: str, found: list[Block]) -> Block:
    """The one private key among the blocks *found* in *option*.

    Raises:
        ValueError: there is none, or more than one; the message says what there is instead.
    """
    keys = [block for block in found if block.is_key]
    if not keys:
        raise ValueError(f"{option} holds {_what(found)} where a private key should be")
    if len(keys) > 1:
        raise ValueError(f"{option} holds {len(keys)} private keys; several are given as a list, each with its cert")
    return keys[0]


def _read(option: str, given: Any) -> bytes:
    problem = ""
    data = given
    try:
        if isinstance(given, os.PathLike):
            with open(given, "rb") as file:
                data = file.read()
        elif callable(getattr(given, "read", None)):
            data = given.read()
        if not isinstance(data, str):
            return bytes(memoryview(data))
    except OSError as error:
        problem = f"cannot be read{_name(given)}: {error.strerror or type(error).__name__}"
    except ValueError:
        problem = f"cannot be read{_name(given)}: the file is closed, or open as text and not text"
    except TypeError:
        problem = f"must be contents (str, bytes or an open file) or a pathlib.Path, not {type(data).__name__}"
    if problem:  # told out here: an exception that was caught would be chained, and may carry the contents
        raise ValueError(f"{option} {problem}")
    return str(data).encode("utf-8", "replace")


def _name(given: object) -> str:
    """The name of the file, unless somebody made a Path of the contents themselves."""
    name = os.fspath(given) if isinstance(given, os.PathLike) else getattr(given, "name", None)
    plain = isinstance(name, str) and len(name) < 256 and name.isprintable() and "-----" not in name
    return f" from {name!r}" if plain else ""


def _what(found: list[Block]) -> str:
    if any(block.is_certificate for block in found):
        return "a certificate"
    if any(block.is_key for block in found):
        return "a private key"
    return next((_OTHERS[block.label] for block in found if block.label in _OTHERS), "something else")
