"""Keys and certificates as contents: read in whatever form they come, and told apart by what they are.

PEM (RFC 7468) and DER become the same: private keys stay text, certificates become DER. No message here has anything
of the contents in it, and no exception that could carry them is chained: a key must not end up in a log.
"""

import base64
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Final, TypeAlias

#: What a key, a certificate or an authority may be given as.
Contents: TypeAlias = str | bytes | bytearray | memoryview | os.PathLike[str] | IO[str] | IO[bytes]

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_CERTIFICATES: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})
_OTHERS: Final = {
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    "CERTIFICATE REQUEST": "a certificate request",
    "NEW CERTIFICATE REQUEST": "a certificate request",
    "X509 CRL": "a revocation list",
}

# The tags of DER (X.690) that are asked for by name.
_UTC_TIME: Final = 0x17
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0


class Secret(bytes):
    """Bytes that do not show in a repr, a log line, or a traceback that prints variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<secret of {len(self)} bytes>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Block:
    """One thing in the contents: what its label says that it is, and its PEM text."""

    label: str
    pem: Secret

    @property
    def is_key(self) -> bool:
        """Whether this is a private key."""
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_certificate(self) -> bool:
        """Whether this is a certificate."""
        return self.label in _CERTIFICATES

    @property
    def encrypted(self) -> bool:
        """Whether this key needs a passphrase: PKCS#8 says so in the label, the older form in a header."""
        return self.label.startswith("ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in bytes(self.pem)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What has to be known of a certificate before it is used: when it is valid, and the kind of its key."""

    der: bytes
    not_before: datetime
    not_after: datetime
    #: The object identifier of the key's algorithm, as DER has it. OpenSSL holds one certificate of each.
    algorithm: bytes

    @property
    def pem(self) -> bytes:
        """The certificate as PEM text."""
        return _pem("CERTIFICATE", self.der)


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
    if b"-----BEGIN " in data:
        found = [Block(match[1].decode(), Secret(match[0] + b"\n")) for match in _PEM.finditer(data)]
        if not found:
            raise ValueError(f"{option} is PEM that is cut off or damaged")
        return found
    items = _der_blocks(data)
    if not items:
        raise ValueError(f"{option} is neither PEM nor DER; it takes contents, or a pathlib.Path for a file's name")
    return items


def certificates(option: str, found: list[Block]) -> tuple[Certificate, ...]:
    """The certificates among the blocks *found* in *option*, in order: at least one.

    Raises:
        ValueError: there is none, or one is damaged; the message says what there is instead.
    """
    parsed = [_certificate(block) for block in found if block.is_certificate]
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


def _pem(label: str, der: bytes) -> bytes:
    lines = base64.encodebytes(der).replace(b"\n", b"")
    body = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), body, label.encode())


# -- DER -------------------------------------------------------------------------------------------------


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each element from *at* to *end*: its tag, where it starts, where its value starts, and where it ends."""
    while at < end:
        tag, length, value = data[at], data[at + 1], at + 2
        if length & 0x80:
            value += length & 0x7F
            length = int.from_bytes(data[at + 2 : value], "big")
        if value + length > end:
            raise IndexError("an element that is longer than what it is in")
        yield tag, at, value, value + length
        at = value + length


def _der_blocks(data: bytes) -> list[Block] | None:
    """One block for each DER structure in *data*, or None if it is anything else."""
    found = []
    try:
        for tag, start, value, end in _elements(data, 0, len(data)):
            label = _label([part[0] for part in _elements(data, value, end)]) if tag == _SEQUENCE else ""
            if not label:
                return None
            found.append(Block(label, Secret(_pem(label, data[start:end]))))
    except IndexError:
        return None
    return found


def _label(tags: list[int]) -> str:
    """What a structure of elements with these *tags* is called in PEM."""
    match tags:
        case [0x30, 0x30, 0x03]:  # RFC 5280; a certificate request looks the same, and is refused by OpenSSL
            return "CERTIFICATE"
        case [0x02, 0x30, 0x04, *_]:  # RFC 5208
            return "PRIVATE KEY"
        case [0x30, 0x04]:
            return "ENCRYPTED PRIVATE KEY"
        case [0x02, 0x04, *_]:  # RFC 5915
            return "EC PRIVATE KEY"
        case [0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, *_]:  # RFC 8017
            return "RSA PRIVATE KEY"
        case [0x30, 0x03]:
            return "PUBLIC KEY"
    return ""


def _certificate(block: Block) -> Certificate | None:
    """What *block* says of itself (RFC 5280, 4.1), or None if it is damaged."""
    try:
        data = base64.b64decode(block.pem.partition(b"CERTIFICATE-----")[2].partition(b"-----END")[0])
        # What follows the certificate is OpenSSL's, in the "trusted" form: for whom it is trusted.
        _, start, value, end = next(_elements(data, 0, len(data)))
        _, _, value, signed = next(_elements(data, value, end))
        parts = [part for part in _elements(data, value, signed) if part[0] != _VERSION]
        _, _, _, validity, _, key, *_ = parts
        not_before, not_after = (_time(data, part) for part in _elements(data, validity[2], validity[3]))
        algorithm = next(_elements(data, key[2], key[3]))
        identifier = next(_elements(data, algorithm[2], algorithm[3]))
        return Certificate(data[start:end], not_before, not_after, data[identifier[2] : identifier[3]])
    except (ValueError, IndexError, StopIteration):
        return None


def _time(data: bytes, part: tuple[int, int, int, int]) -> datetime:
    tag, _, value, end = part
    text = data[value:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
